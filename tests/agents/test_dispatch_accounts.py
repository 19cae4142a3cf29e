"""Accounts of tenants in dispatch: gates of their own, opened late, held when they cannot be, woken when they can."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streams.agents.dispatch.account_source import Opened
from streams.agents.dispatch.config import LaneConfig
from streams.agents.dispatch.observer import Silent
from streams.core.accounts import Account, has_accounts
from streams.core.breaker import BreakerState
from streams.core.command import Retry
from streams.core.event import Reason, ReasonKind
from streams.core.ledger import LedgerState
from streams.core.message import Message
from streams.core.outcome import AttemptResult, Deferred, Scope, Uncertain
from streams.core.receipt import ReceiptKind
from streams.core.tenant import Tenant
from streams.providers.base import HttpRequest, HttpResponse
from tests.agents.dispatch_desk import Desk, FunctionProvider, reason
from tests.agents.test_breakers import published

REFUSED = Deferred(Reason(ReasonKind.CREDENTIALS, "401", detail="no such key"), Scope.ACCOUNT, AttemptResult.AUTH)


class Source:
    """Accounts that are opened by a function; a digest that changes is a changed file."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.digests: dict[str, bytes] = {}
        self.reasons: dict[str, Reason] = {}
        self.asks = False
        self.made: dict[str, FunctionProvider] = {}
        self.opened: list[str] = []

    def tenant(self, name: str) -> Tenant | None:
        return self.tenants.get(name)

    def any_configured(self) -> bool:
        return any(map(has_accounts, self.tenants.values()))

    def open(self, account: Account, now_ms: int) -> Opened:
        self.opened.append(account.lane)
        opened = self.watch(account)
        opened.at_ms = opened.since_ms = now_ms
        opened.digest = self.digests.get(account.lane, b"1")
        opened.reason = self.reasons.get(account.tenant)
        if opened.reason is None:
            adapter = FunctionProvider(account.lane)
            if account.lane in self.made:
                adapter.answer = self.made[account.lane].answer
            opened.adapter = self.made[account.lane] = adapter  # type: ignore[assignment]
        return opened

    def watch(self, account: Account) -> Opened:
        size = int.from_bytes(self.digests.get(account.lane, b"1"), "big")
        return Opened(None, files=((account.lane, (size, 0, 0)),), asks=self.asks)

    def changed(self, opened: Opened) -> bool:
        return any(self.digests.get(lane, b"1") != bytes([state[0]]) for lane, state in opened.files)


class AccountsDesk(Desk):
    def __init__(self, **config: Any) -> None:
        self.source = Source()
        super().__init__(accounts=self.source, **config)

    def lane(self, tenant: str) -> str:
        return self.dispatch.lanes.of(tenant)["mailgun"].lane

    async def look(self) -> None:
        await self.dispatch.lanes.look()
        await self.at_rest()

    async def at_rest(self) -> None:
        """Until what runs in threads has come back, and nothing moves."""
        for _ in range(200):
            await asyncio.sleep(0.001)
            if not self.dispatch.lanes._opening:
                break
        await self.dispatch.waker.wake_due()
        await self.settled()


def own(name: str, domain: str = "a.example", **changes: Any) -> Tenant:
    settings = {"mailgun": {"domain": domain, "api_key": "env:TENANT_KEY", **changes.pop("settings", {})}}
    return Tenant(name, account_settings=settings, **changes)


async def desk(*tenants: Tenant, **config: Any) -> AccountsDesk:
    made = AccountsDesk(**config)
    for tenant in tenants:
        made.source.tenants[tenant.tenant] = tenant
    made.dispatch.lanes.active = made.source.any_configured()
    await made.open()
    return made


async def test_a_tenant_with_an_account_of_its_own_sends_through_that_and_nobody_elses_mail_does() -> None:
    d = await desk(own("acme"))
    await d.give(d.message("a@example.net", tenant="acme"), d.message("b@example.net", tenant="other"))
    await d.at_rest()
    assert [request.url for request in d.requests] == ["http://mailgun/", f"http://{d.lane('acme')}/"]
    assert len(d.receipts(ReceiptKind.SENT)) == 2
    assert {receipt.provider for receipt in d.receipts()} == {"mailgun"}
    sent = {receipt.facts and receipt.facts.tenant: receipt.vouches for receipt in d.receipts(ReceiptKind.SENT)}
    assert sent == {"acme": (d.lane("acme"),), "other": ()}, "who may report about it"


async def test_accounts_are_opened_when_first_needed_and_once() -> None:
    d = await desk(own("acme"), own("idle"))
    assert d.source.opened == []
    await d.give(*(d.message(f"u{n}@example.net", tenant="acme", content_hash=str(n)) for n in range(20)))
    await d.at_rest()
    assert d.source.opened == [d.lane("acme")]
    assert len(d.sent_to()) == 20


async def test_a_refused_password_holds_the_account_and_not_the_provider() -> None:
    d = await desk(own("acme"), default_policy="cubed")
    await d.give(d.message("first@example.net", tenant="acme"))
    await d.at_rest()
    d.source.made[d.lane("acme")].answer = lambda batch: REFUSED
    refused = d.message("a@example.net", "k2", tenant="acme")
    await d.give(refused)
    row = d.row(refused)
    assert row is not None and row.state is LedgerState.PARKED and row.tries == 1
    assert row.due_ms - d.clock() == 8 * 60_000  # by the policy: a person must correct it
    others = d.message("b@example.net", "k3", tenant="acme")
    await d.give(others)
    d.dispatch.boarding.park_paused()
    await d.settled()
    row = d.row(others)
    assert row is not None and row.state is LedgerState.PARKED and row.tries == 0
    assert row.reason is not None and row.reason.kind is ReasonKind.CREDENTIALS
    (told,) = [r for r in d.receipts(ReceiptKind.RETRY) if r.message_id == others.message_id]
    assert told.reason is not None and told.reason.detail == "no such key"
    await d.give(d.message("c@example.net", "k4", tenant="other"))
    assert d.sent_to()[-1] == "c@example.net"
    assert d.dispatch.resting.holds.counts() == {"mailgun": 2}
    assert all(outcome.failed == 0 for outcome in d.breakers.sums(d.clock()))


@pytest.mark.parametrize("how", ["file", "record"])
async def test_a_new_password_wakes_everybody_whom_the_old_one_held(how: str) -> None:
    d = await desk(own("acme"))
    await d.give(d.message("first@example.net", tenant="acme"))
    await d.at_rest()
    lane = d.lane("acme")
    d.source.made[lane].answer = lambda batch: REFUSED
    held = [d.message(f"u{n}@example.net", "k2", tenant="acme", content_hash=str(n)) for n in range(5)]
    await d.give(*held)
    d.dispatch.boarding.park_paused()
    await d.settled()
    assert all((row := d.row(message)) and row.state is LedgerState.PARKED for message in held)
    del d.source.made[lane]
    if how == "file":
        d.source.digests[lane] = b"2"
        await d.look()
    else:
        d.source.tenants["acme"] = own("acme", settings={"api_key": "env:TENANT_OTHER"})
        d.dispatch.tenant_changed("acme")
    await d.at_rest()
    assert d.lane("acme") == lane
    assert all((row := d.row(message)) and row.state is LedgerState.SENT for message in held)
    assert len(d.dispatch.resting.holds) == 0


async def test_held_messages_are_found_again_after_a_restart() -> None:
    d = await desk(own("acme"))
    d.source.reasons["acme"] = Reason(ReasonKind.CREDENTIALS, "account", detail="tenant acme: not set")
    message = d.message(tenant="acme")
    await d.give(message)
    await d.at_rest()
    d.dispatch.boarding.park_paused()
    await d.settled()
    await d.restarted()
    d.dispatch.lanes.active = True
    assert d.dispatch.resting.holds.counts() == {"mailgun": 1}
    d.source.reasons.clear()
    await d.wake(61)
    await d.at_rest()
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT


async def test_an_account_that_cannot_be_opened_says_why_and_its_mail_is_sent_when_it_can() -> None:
    d = await desk(own("acme"))
    d.source.reasons["acme"] = Reason(ReasonKind.CREDENTIALS, "account", detail="tenant acme: TENANT_KEY is not set")
    message = d.message(tenant="acme")
    (batch,) = await d.give(message)
    await d.at_rest()
    d.dispatch.boarding.park_paused()
    await d.settled()
    assert batch.done and d.sent_to() == []
    (told,) = d.receipts(ReceiptKind.RETRY)
    assert told.reason is not None and told.reason.detail == "tenant acme: TENANT_KEY is not set"
    d.source.reasons.clear()
    d.source.digests[d.lane("acme")] = b"2"
    await d.look()
    await d.at_rest()
    assert len(d.receipts(ReceiptKind.SENT)) == 1


async def test_a_rotation_that_fails_half_way_leaves_the_old_password_in_use() -> None:
    d = await desk(own("acme"))
    await d.give(d.message(tenant="acme"))
    await d.at_rest()
    d.source.reasons["acme"] = Reason(ReasonKind.CREDENTIALS, "account", detail="the secret file is gone")
    d.dispatch.observer = notes = Notes()
    d.source.digests[d.lane("acme")] = b"2"
    for _ in range(3):
        await d.look()
    await d.give(d.message("b@example.net", "k2", tenant="acme"))
    await d.at_rest()
    assert d.sent_to()[-1] == "b@example.net"
    assert notes.told == [("mailgun", "failed")]
    d.source.reasons.clear()
    d.clock.advance(60)
    await d.look()
    assert notes.told == [("mailgun", "failed"), ("mailgun", "read")], "it is tried again"


class Notes(Silent):
    """What was told about credentials."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def credentials(self, provider: str, result: str) -> None:
        self.told.append((provider, result))


async def test_files_that_still_change_are_not_read_while_the_old_password_works() -> None:
    d = await desk(own("acme"))
    await d.give(d.message(tenant="acme"))
    await d.at_rest()
    lane = d.lane("acme")
    for digest in (b"2", b"3", b"4"):
        d.source.digests[lane] = digest
        await d.look()
    assert d.source.opened == [lane]
    await d.look()
    assert d.source.opened == [lane, lane]


async def test_a_rotation_is_told_when_the_last_call_with_the_old_password_has_ended() -> None:
    d = await desk(own("acme"))
    await d.give(d.message("first@example.net", tenant="acme"))
    await d.at_rest()
    d.dispatch.observer = notes = Notes()
    lane, answered = d.lane("acme"), asyncio.Event()

    async def slow(request: HttpRequest, deadline_s: float) -> HttpResponse:
        await answered.wait()
        return HttpResponse(200)

    usual, d.dispatch._calls.exchange = d.dispatch._calls.exchange, slow  # type: ignore[assignment]
    await d.give(d.message("a@example.net", "k2", tenant="acme"))
    d.dispatch._calls.exchange = usual
    d.source.digests[lane] = b"2"
    for _ in range(2):
        await d.look()
    await d.give(d.message("b@example.net", "k3", tenant="acme"))
    await d.at_rest()
    assert d.source.made[lane].batches, "the new one is in use"
    assert notes.told == []
    answered.set()
    async with asyncio.timeout(5):
        while not notes.told:
            await asyncio.sleep(0.01)
    assert notes.told == [("mailgun", "read")]


async def test_who_asks_for_it_has_every_account_opened_anew_that_can_have_changed() -> None:
    d = await desk(own("acme"))
    await d.give(d.message(tenant="acme"))
    await d.at_rest()
    d.dispatch.lanes.reopen()
    await d.at_rest()
    assert d.source.opened == [d.lane("acme")] * 2


async def test_a_secret_that_tells_nobody_of_changes_is_asked_for_every_five_minutes() -> None:
    d = await desk(own("acme"))
    d.source.asks = True
    await d.give(d.message(tenant="acme"))
    await d.at_rest()
    d.clock.advance(299)
    await d.look()
    assert d.source.opened == [d.lane("acme")]
    d.clock.advance(1)
    await d.look()
    assert d.source.opened == [d.lane("acme")] * 2


async def test_a_secret_that_tells_nobody_of_changes_is_fetched_again_while_its_account_is_in_trouble() -> None:
    d = await desk(own("acme"))
    d.source.asks = True
    await d.give(d.message("first@example.net", tenant="acme"))
    await d.at_rest()
    lane = d.lane("acme")
    d.source.made[lane].answer = lambda batch: REFUSED
    await d.give(d.message("a@example.net", "k2", tenant="acme"))
    d.clock.advance(5)
    await d.look()
    assert d.source.opened == [lane, lane]
    await d.look()
    assert d.source.opened == [lane, lane]  # not at every look


async def test_another_domain_is_another_account_and_nobody_asks_it_about_what_the_old_one_was_given() -> None:
    d = await desk(own("acme"))
    await d.give(d.message("first@example.net", tenant="acme"))
    await d.at_rest()
    before = d.lane("acme")
    d.source.made[before].answer = lambda batch: Uncertain(reason("no answer"))
    doubtful = d.message("a@example.net", "k2", tenant="acme")
    await d.give(doubtful)
    d.source.tenants["acme"] = own("acme", "b.example")
    d.dispatch.tenant_changed("acme")
    await d.at_rest()
    await d.look()
    assert d.lane("acme") != before
    await d.wake(4000)
    row = d.row(doubtful)
    assert row is not None and row.state is LedgerState.UNCERTAIN and row.account
    assert all(provider.questions == [] for provider in d.source.made.values())
    await d.give(d.message("b@example.net", "k3", tenant="acme"))
    await d.at_rest()
    assert d.requests[-1].url == f"http://{d.lane('acme')}/"


async def test_what_waits_at_an_account_that_goes_moves_to_the_next_one() -> None:
    d = await desk(own("acme"))
    d.source.reasons["acme"] = Reason(ReasonKind.CREDENTIALS, "account", detail="not set")
    message = d.message(tenant="acme")
    await d.give(message)
    await d.at_rest()
    d.source.tenants["acme"] = Tenant("acme")
    d.dispatch.tenant_changed("acme")
    await d.at_rest()
    assert [request.url for request in d.requests] == ["http://mailgun/"]


async def test_the_providers_breaker_holds_the_accounts_too() -> None:
    d = await desk(own("acme"))
    published(d.breakers, state=BreakerState.OPEN, epoch=1, retry_at_ms=1 << 50)
    message = d.message(tenant="acme")
    await d.give(message)
    await d.at_rest()
    row = d.row(message)
    assert row is not None and row.state is LedgerState.PARKED and d.requests == []
    published(d.breakers, state=BreakerState.CLOSED, epoch=2)
    await d.at_rest()
    assert len(d.sent_to()) == 1


async def test_an_account_that_nobody_uses_is_forgotten_and_comes_back_when_it_is_needed() -> None:
    d = await desk(own("acme"))
    await d.give(d.message("a@example.net", tenant="acme"))
    await d.at_rest()
    lane = d.lane("acme")
    d.clock.advance(3600)
    await d.look()
    assert lane not in d.dispatch.lanes.gates and lane not in d.providers
    await d.give(d.message("b@example.net", "k2", tenant="acme"))
    await d.at_rest()
    assert len(d.sent_to()) == 2


async def test_an_account_has_limits_of_its_own() -> None:
    limits: Callable[[LaneConfig], LaneConfig] = lambda base: LaneConfig(rate=5, burst=5)  # noqa: E731
    d = await desk(own("acme"))
    opening = d.source.open

    def open_limited(account: Account, now_ms: int) -> Opened:
        opened = opening(account, now_ms)
        opened.limits = limits
        return opened

    d.source.open = open_limited  # type: ignore[method-assign]
    await d.give(d.message("first@example.net", tenant="acme"))
    await d.at_rest()
    assert d.dispatch.lanes.gates[d.lane("acme")].rate == 5
    assert d.dispatch.lanes.gates["mailgun"].rate == 0


# ---------------------------------------------------------------------------------------------- a wrong password


async def wrong_password() -> tuple[Desk, Message]:
    d = await Desk(default_policy="cubed").open()
    d.providers["mailgun"].answer = lambda batch: REFUSED
    message = d.message()
    await d.give(message)
    return d, message


def correct(d: Desk) -> None:
    d.providers["mailgun"].answer = FunctionProvider("x").answer


async def test_a_password_corrected_while_the_policy_still_tries_is_delivered() -> None:
    d, message = await wrong_password()
    began_ms, tried = d.clock(), []
    for minutes in (8, 27, 64):
        await d.wake(60 * minutes)
        tried.append((d.clock() - began_ms) / 60_000)
        row = d.row(message)
        assert row is not None and row.state is LedgerState.PARKED
    assert tried == [8, 35, 99]
    correct(d)
    await d.wake(60 * 125)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT and row.attempt == 5


async def test_one_corrected_later_is_failed_with_its_cause_and_one_command_delivers_it_once() -> None:
    d, message = await wrong_password()
    for minutes in (8, 27, 64, 125):
        await d.wake(60 * minutes)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.FAILED and row.attempt == 5
    (failed,) = d.receipts(ReceiptKind.FAILED)
    assert failed.reason is not None and failed.reason.kind is ReasonKind.CREDENTIALS
    await d.wake(86_400)
    assert len(d.requests) == 5
    correct(d)
    await d.give(Retry(message.message_id, 5, actor="ann"))
    await d.wake(1)
    await d.give(Retry(message.message_id, 5, actor="ann"))  # given twice
    await d.wake(60)
    assert len(d.requests) == 6
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT
