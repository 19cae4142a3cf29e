"""Comparing suppression lists, against the look-alike providers over HTTP, and as a worker's job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from streams.agents.suppression_job import SuppressionJob, rows_of, rules_of
from streams.agents.suppression_orders import mark_of, order_of, read_mark
from streams.agents.suppression_sync import EVERYBODY, Ours, Sync, SyncFailed, SyncReport, ours_of_row, owners_of
from streams.agents.suppression_view import read_rule
from streams.core.ids import normalise_address, partition_of_text, recipient_key
from streams.core.suppression import Suppression, SuppressionChange, SuppressionKind, fold
from streams.core.suppression_rules import SuppressionRule, rule_key
from streams.metrics import Metrics, SuppressionSyncMetrics
from streams.providers import mailgun
from streams.providers._http import HttpExchange
from streams.providers.base import HttpRequest, HttpResponse, Listed, ListName, NoResponse
from streams.serde.internal import packer, unpack
from streams.topics import Topics
from tests.agents.fake_engine import FakeEngine
from tests.rules.mail import sandbox
from tests.rules.test_rule_07_attempts_are_told_apart import ADAPTERS, adapter

K, L = SuppressionKind, ListName
HOUR = 3_600_000
NOW = 1_800_000_000_000


def row(*changes: SuppressionChange) -> Suppression:
    made: Suppression | None = None
    for change in changes:
        made = fold(made, change)
    assert made is not None
    return made


def change(
    kind: SuppressionKind | None, at_ms: int, address: str = "ann@example.net", **more: Any
) -> SuppressionChange:
    return SuppressionChange("k", kind, at_ms, tenant="acme", recipient=address, **more)


def ours(*rows: Suppression) -> dict[str, Ours]:
    found = [ours_of_row(one) for one in rows]
    return {normalise_address(one.address): one for one in found if one}


class Desk:
    """One comparison after the other with one account of a look-alike; keeps what it would write to Kafka."""

    def __init__(self, provider: Any, exchange: HttpExchange, tenants: tuple[str, ...] = ("acme",)) -> None:
        self.provider, self.exchange, self.tenants = provider, exchange, tenants
        self.emitted: list[SuppressionChange | SuppressionRule] = []
        self.slept: list[float] = []

    async def emit(self, wish: SuppressionChange | SuppressionRule) -> None:
        self.emitted.append(wish)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def run(self, known: dict[str, Ours] | None = None, since_ms: int = 0, **how: Any) -> SyncReport:
        dry = how.pop("dry", False)
        sync = Sync("mg", self.provider, self.exchange, self.tenants, self.emit, lambda: NOW, dry=dry, sleep=self.sleep)
        return await sync.run(known or {}, since_ms, **how)

    async def there(self, name: ListName) -> dict[str, Listed]:
        """What the provider has on a list now."""
        found: dict[str, Listed] = {}
        request: HttpRequest | None = self.provider.list_request(name, 0, NOW)
        while request is not None:
            page = self.provider.read_list(name, 0, await self.exchange(request, 5), NOW)
            found |= {entry.address: entry for entry in page.entries}
            request = page.next
        return found

    async def put(self, *entries: Listed) -> None:
        for request in self.provider.add_requests(entries, NOW):
            assert self.provider.read_change(await self.exchange(request, 5), NOW) is None


@asynccontextmanager
async def desk(folder: Path, name: str = "mailgun", tenants: tuple[str, ...] = ("acme",)) -> AsyncIterator[Desk]:
    async with sandbox(folder) as running, HttpExchange() as exchange:
        provider: Any = adapter(name, running)
        getattr(provider, "prepare", lambda: None)()
        yield Desk(provider, exchange, tenants)


@pytest.mark.parametrize("name", ADAPTERS)
async def test_what_only_the_provider_knows_is_suppressed_here(tmp_path: Path, name: str) -> None:
    async with desk(tmp_path, name) as one:
        await one.put(Listed(L.BOUNCE, "ann@example.net"), Listed(L.COMPLAINT, "bob@example.net"))
        report = await one.run()
        assert (report.read, report.pulled, report.pushed, report.removed) == (2, 2, 0, 0)
        found = {c.recipient: c for c in one.emitted if isinstance(c, SuppressionChange)}
        assert {address: (c.kind, c.tenant) for address, c in found.items()} == {
            "ann@example.net": (K.BOUNCE, "acme"),
            "bob@example.net": (K.COMPLAINT, "acme"),
        }
        assert found["ann@example.net"].recipient_key == recipient_key("acme", "ann@example.net")
        assert found["ann@example.net"].source == "mg"


@pytest.mark.parametrize("name", ADAPTERS)
async def test_what_only_we_know_is_put_onto_the_providers_list_once(tmp_path: Path, name: str) -> None:
    known = ours(
        row(change(K.BOUNCE, 5)),
        row(change(K.COMPLAINT, 5, "bob@example.net")),
        row(change(K.BOUNCE, 5, "limited@example.net", until_ms=NOW + HOUR)),
        row(change(K.COMPLAINT, 5, "list@example.net", list_id="news")),
    )
    async with desk(tmp_path, name) as one:
        assert (await one.run(known)).pushed == 2
        assert set(await one.there(L.BOUNCE)) == {"ann@example.net"}
        assert set(await one.there(L.COMPLAINT)) == {"bob@example.net"}
        again = await one.run(known)
        assert (again.pushed, again.pulled, one.emitted) == (0, 0, [])


@pytest.mark.parametrize("name", ADAPTERS)
async def test_what_was_lifted_here_is_taken_off_the_providers_list(tmp_path: Path, name: str) -> None:
    async with desk(tmp_path, name) as one:
        await one.put(Listed(L.BOUNCE, "ann@example.net"), Listed(L.BOUNCE, "bob@example.net"))
        lifted = ours(row(change(K.BOUNCE, 5), change(None, 2 * NOW)))
        report = await one.run(lifted)
        assert (report.removed, report.pulled) == (1, 1)
        assert set(await one.there(L.BOUNCE)) == {"bob@example.net"}
        assert [c.recipient for c in one.emitted if isinstance(c, SuppressionChange)] == ["bob@example.net"]


async def test_a_bounce_there_that_is_younger_than_the_lift_suppresses_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        await one.put(Listed(L.BOUNCE, "ann@example.net", since_ms=NOW))
        lifted_before = row(change(K.BOUNCE, 5), change(None, NOW - HOUR))
        report = await one.run(ours(lifted_before))
        assert (report.removed, report.pulled) == (0, 1)
        (wish,) = one.emitted
        assert isinstance(wish, SuppressionChange)
        assert fold(lifted_before, wish).active(NOW) == (K.BOUNCE,)


async def test_what_a_person_suppressed_comes_back_as_that_and_not_as_a_bounce(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        assert (await one.run(ours(row(change(K.MANUAL, 5))))).pushed == 1
        await one.run()
        (wish,) = one.emitted
        assert isinstance(wish, SuppressionChange)
        assert wish.kind is K.MANUAL


async def test_unsubscriptions_come_in_but_go_out_only_where_that_stops_no_other_mail(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        assert (await one.run(ours(row(change(K.UNSUBSCRIBE, 5))))).pushed == 0
        await one.put(Listed(L.UNSUBSCRIBE, "bob@example.net"), Listed(L.UNSUBSCRIBE, "tag@example.net", tags=("x",)))
        report = await one.run()
        assert (report.pulled, report.left_out) == (1, 1)
        assert [w.kind for w in one.emitted] == [K.UNSUBSCRIBE]


async def test_the_entries_of_an_account_that_all_share_become_rules_for_everybody(tmp_path: Path) -> None:
    async with desk(tmp_path, tenants=(EVERYBODY,)) as one:
        await one.put(Listed(L.BOUNCE, "ann@example.net"))
        await one.run()
        (rule,) = one.emitted
        assert isinstance(rule, SuppressionRule)
        assert (rule.address, rule.kind) == ("ann@example.net", K.BOUNCE)


async def test_only_what_is_new_since_the_last_time_is_taken(tmp_path: Path) -> None:
    async with desk(tmp_path) as one:
        await one.put(Listed(L.BOUNCE, "old@example.net", NOW - 5 * HOUR), Listed(L.BOUNCE, "new@example.net", NOW))
        known = ours(row(change(K.COMPLAINT, NOW, "bob@example.net")))
        assert (await one.run(known, since_ms=NOW - HOUR)).pulled == 1
        assert [w.recipient for w in one.emitted if isinstance(w, SuppressionChange)] == ["new@example.net"]


@pytest.mark.parametrize("how", [{"dry": True}, {"pull": False, "push": False}])
async def test_a_dry_run_changes_nothing_anywhere(tmp_path: Path, how: dict[str, bool]) -> None:
    async with desk(tmp_path) as one:
        await one.put(Listed(L.BOUNCE, "bob@example.net"))
        await one.run(ours(row(change(K.BOUNCE, 5))), **how)
        assert one.emitted == []
        assert set(await one.there(L.BOUNCE)) == {"bob@example.net"}


async def test_a_list_that_cannot_be_read_is_asked_again_and_then_given_up() -> None:
    answers: list[Any] = []

    async def exchange(request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        answers.append(request)
        return HttpResponse(503, {}, b"")

    provider = mailgun.create("mg", mailgun.Config("mg.example.com", api_key="k"))
    one = Desk(provider, exchange)  # type: ignore[arg-type]
    with pytest.raises(SyncFailed, match="cannot be read"):
        await one.run(ours(row(change(K.BOUNCE, 5))))
    assert len(answers) == len(one.slept) > 1
    assert {request.method for request in answers} == {"GET"}, "nothing is changed after half a reading"


def test_an_account_belongs_to_its_tenants_else_to_whom_the_settings_say() -> None:
    accounts = {"acme": {"mg": "shop"}, "globex": {"mg": "shop"}, "x": {"ses": "shop"}}
    assert owners_of("mg/shop", accounts, "default") == ("acme", "globex")
    assert owners_of("mg", accounts, "default") == owners_of("mg/other", accounts, "default") == ("default",)


# ---------------------------------------------------------------------------------------------- the job


class Rules:
    """The compacted topic ``suppression-rules`` as one process has read it."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def items(self) -> list[tuple[bytes, bytes]]:
        rows: dict[bytes, bytes] = {}
        for emitted in self._engine.on("suppression-rules"):
            rows[emitted.key or b""] = emitted.value or b""
        return list(rows.items())

    def get(self, key: bytes) -> bytes | None:
        return dict(self.items()).get(key)

    async def caught_up(self) -> None: ...


def job(engine: FakeEngine, provider: Any, exchange: Any, now: list[int], metrics: Metrics) -> SuppressionJob:
    stored = packer(Suppression)(row(change(K.COMPLAINT, 5, "bob@example.net")))
    return SuppressionJob(
        engine,
        {"mailgun": provider},
        exchange,
        Rules(engine),
        lambda since_ms: [(b"k", stored), (b"gone", None), (b"foreign", b"\xff")],
        {},
        "acme",
        Topics(),
        4,
        lambda: now[0],
        SuppressionSyncMetrics(metrics),
        every_s=3600,
    )


async def test_the_job_compares_remembers_when_and_counts(tmp_path: Path) -> None:
    engine, now, metrics = FakeEngine(), [NOW], Metrics()
    async with desk(tmp_path) as one:
        await one.put(Listed(L.BOUNCE, "ann@example.net"))
        work = job(engine, one.provider, one.exchange, now, metrics)
        assert work._is_due("mailgun")
        report = await work.compare("mailgun")
        assert report is not None
        assert (report.pulled, report.pushed) == (1, 1)
        assert set(await one.there(L.COMPLAINT)) == {"bob@example.net"}
    (told,) = engine.on("receipts")
    assert unpack(told.value or b"").recipient == "ann@example.net"
    assert not work._is_due("mailgun")
    now[0] += HOUR
    assert work._is_due("mailgun")
    assert dict(metrics.suppression_syncs.items())["mailgun", "pulled"].value == 1


async def test_a_job_that_failed_waits_for_its_next_turn_and_compares_the_same_again() -> None:
    async def exchange(request: HttpRequest, deadline_s: float) -> HttpResponse:
        return HttpResponse(401, {}, b"Forbidden")

    engine, metrics = FakeEngine(), Metrics()
    provider = mailgun.create("mailgun", mailgun.Config("mg.example.com", api_key="k"))
    work = job(engine, provider, exchange, [NOW], metrics)
    assert await work.compare("mailgun") is None
    assert not work._is_due("mailgun")
    assert work._mark("mailgun") == 0
    assert dict(metrics.suppression_syncs.items())["mailgun", "failed"].value == 1


def test_only_the_owner_of_the_providers_partition_does_the_job() -> None:
    engine = FakeEngine()
    work = job(engine, object(), None, [NOW], Metrics())
    home = partition_of_text("mailgun", 4)
    asked: list[tuple[str, int]] = []

    def owns(topic: str, partition: int) -> bool:
        asked.append((topic, partition))
        return False

    engine.owns = owns  # type: ignore[method-assign]
    assert not work._is_mine("mailgun")
    assert asked == [("provider-outcomes", home)]


def test_our_side_is_what_changed_of_those_tenants_and_has_an_address() -> None:
    write = packer(Suppression)
    rows = [
        (b"a", write(row(change(K.BOUNCE, 5)))),
        (b"b", write(Suppression(tenant="acme"))),
        (b"c", write(Suppression(tenant="globex", recipient="x@example.net"))),
        (b"d", None),
    ]
    assert set(rows_of(rows, ("acme",))) == {"ann@example.net"}
    rules = [SuppressionRule(K.BOUNCE, 50, address="ann@example.net"), SuppressionRule(K.BOUNCE, 5, address="b@x.org")]
    records = [(rule_key(rule), order_of(rule, Topics(), 1).value or b"") for rule in rules]
    assert set(rules_of([*records, (b"sync/mg", b'{"at_ms": 5}')], 20)) == {"ann@example.net"}


def test_marks_are_no_rules_and_what_cannot_be_read_is_no_mark() -> None:
    mark = mark_of("mg", 77, Topics())
    assert read_mark(mark.value) == 77
    assert read_rule(mark.value or b"") is None
    assert read_mark(None) == read_mark(b"\xff") == read_mark(b'{"at_ms": "x"}') == read_mark(b"[]") == 0
