"""Quotas: what a provider's account may send becomes the lane's limit and a metric."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.agents.quotas import Quotas
from streams.core.event import Reason, ReasonKind
from streams.metrics import DispatchMetrics, Metrics
from streams.providers._http import HttpExchange
from streams.providers.base import HttpRequest, HttpResponse, NoResponse
from streams.providers.ses import Config, create
from streams.sandbox import Sandbox, SandboxConfig, SesConfig
from tests.agents.dispatch_desk import Desk
from tests.agents.test_dispatch import desk


class Lanes:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.pauses: dict[str, float] = {}
        self.reasons: dict[str, Reason | None] = {}

    def limit_rate(self, provider: str, rate: float) -> None:
        self.rates[provider] = rate

    def pause(self, provider: str, seconds: float, reason: Reason | None = None) -> None:
        self.pauses[provider] = seconds
        self.reasons[provider] = reason


def ses(endpoint: str) -> object:
    return create("ses", Config(endpoint_url=endpoint, region="us-east-1", access_key_id="AKIA", secret_access_key="s"))


async def test_the_quota_of_an_account_limits_its_lane_and_is_shown(tmp_path: Path) -> None:
    config = SandboxConfig(ledger_path=tmp_path / "ledger", ses=SesConfig(max_send_rate=14, max_24h=200))
    sandbox = Sandbox(config)
    lanes, metrics = Lanes(), Metrics()
    try:
        url = await sandbox.start()
        async with HttpExchange() as exchange:
            await Quotas({"ses": ses(url)}, exchange, lanes, DispatchMetrics(metrics), lambda: 0).ask()  # type: ignore[dict-item]
    finally:
        await sandbox.stop()
    assert lanes.rates == {"ses": 14.0}
    assert lanes.pauses == {}
    assert dict(metrics.quota_limit.items())[("ses",)].value == 200


@pytest.mark.parametrize("answer", [NoResponse(sent=True, detail="timeout"), HttpResponse(500, {}, b"")])
async def test_a_quota_that_cannot_be_read_changes_nothing(answer: HttpResponse | NoResponse) -> None:
    async def exchange(request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        return answer

    lanes = Lanes()
    await Quotas({"ses": ses("http://127.0.0.1:1")}, exchange, lanes, DispatchMetrics(Metrics()), lambda: 0).ask()  # type: ignore[dict-item]
    assert lanes.rates == {}


class Account:
    """GetAccount as a test wants it; `asked` is a Quotas that has asked once."""

    def __init__(self, name: str = "ses", **told: object) -> None:
        self.told = told
        self.lanes, self.metrics = Lanes(), Metrics()
        self.quotas = Quotas(
            {name: ses("http://127.0.0.1:1")},  # type: ignore[dict-item]
            self._exchange,
            self.lanes,
            DispatchMetrics(self.metrics),
            lambda: 0,
        )

    async def _exchange(self, request: HttpRequest, deadline_s: float) -> HttpResponse:
        quota = {"MaxSendRate": 1, "Max24HourSend": 10, "SentLast24Hours": self.told.get("sent", 0)}
        return HttpResponse(200, {}, json.dumps({"SendQuota": quota, **self.told}).encode())

    def standing(self) -> list[str]:
        return [labels[1] for labels, level in self.metrics.account_standing.items() if level.value]


@pytest.mark.parametrize(
    ("told", "standing"),
    [
        ({"SendingEnabled": False}, "paused"),
        ({"SendingEnabled": False, "EnforcementStatus": "PROBATION"}, "paused"),
        ({"SendingEnabled": False, "EnforcementStatus": "SHUTDOWN"}, "shutdown"),
        ({"SendingEnabled": True, "EnforcementStatus": "SHUTDOWN"}, "shutdown"),
    ],
)
async def test_an_account_that_may_not_send_is_paused_and_what_waits_knows_why(
    told: dict[str, object], standing: str
) -> None:
    account = Account(**told)
    await account.quotas.ask()
    assert account.lanes.pauses["ses"] > 60
    reason = account.lanes.reasons["ses"]
    assert reason is not None
    assert reason.kind is ReasonKind.ACCOUNT
    assert "switched off" in reason.detail
    assert account.standing() == [standing]


@pytest.mark.parametrize("word", ["HEALTHY", "PROBATION", "SOMETHING_NEW"])
async def test_an_account_under_review_still_sends_and_is_shown(word: str) -> None:
    account = Account(SendingEnabled=True, EnforcementStatus=word)
    await account.quotas.ask()
    assert account.lanes.pauses == {}
    assert account.standing() == [{"HEALTHY": "healthy", "PROBATION": "probation"}.get(word, "unknown")]


async def test_a_change_of_standing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    account = Account(EnforcementStatus="PROBATION")
    for word in ("PROBATION", "PROBATION", "HEALTHY", "HEALTHY"):
        account.told["EnforcementStatus"] = word
        await account.quotas.ask()
    assert [record.message for record in caplog.records] == [
        "ses: the account is on probation: look at its bounces and complaints",
        "ses: the account is in good standing again",
    ]


async def test_a_day_that_is_used_up_pauses_the_lane_until_there_is_room() -> None:
    account = Account(sent=10)
    await account.quotas.ask()
    assert account.lanes.pauses["ses"] > 60
    assert account.lanes.reasons["ses"] is None
    assert account.metrics.quota_remaining.at("ses").value == 0
    account.lanes.pauses.clear()
    account.told["sent"] = 4
    await account.quotas.ask()
    assert account.lanes.pauses == {}
    assert account.metrics.quota_remaining.at("ses").value == 6


async def test_an_account_of_a_tenant_is_limited_and_paused_but_is_no_label() -> None:
    account = Account("ses/@acme", SendingEnabled=False)
    await account.quotas.ask()
    assert account.lanes.rates == {"ses/@acme": 1.0}
    assert "ses/@acme" in account.lanes.pauses
    assert account.standing() == []


async def test_messages_behind_an_account_that_is_switched_off_are_held_with_the_reason() -> None:
    d: Desk = await desk()
    why = Reason(ReasonKind.ACCOUNT, "SHUTDOWN", "", "sending is switched off for this account (SHUTDOWN)")
    d.dispatch.boarding.pause("mailgun", 90, why)
    message = d.message("u@example.net")
    await d.give(message)
    d.dispatch.boarding.park_paused()
    await d.settled()
    assert d.requests == []
    row = d.row(message)
    assert row is not None
    assert row.reason == why


async def test_the_accounts_own_rate_holds_even_where_none_is_configured() -> None:
    d: Desk = await desk()
    d.dispatch.boarding.limit_rate("mailgun", 10)
    await d.give(*(d.message(f"u{n}@example.net", content_hash=f"c{n}") for n in range(30)))
    assert len(d.requests) == 0
    d.clock.advance(1)
    d.dispatch.lanes.gates["mailgun"].pump()
    await d.settled()
    assert len(d.requests) == 10
