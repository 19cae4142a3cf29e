"""Quotas: what a provider's account may send becomes the lane's limit and a metric."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streams.agents.quotas import Quotas
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

    def limit_rate(self, provider: str, rate: float) -> None:
        self.rates[provider] = rate

    def pause(self, provider: str, seconds: float) -> None:
        self.pauses[provider] = seconds


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


async def test_an_account_that_may_not_send_is_paused() -> None:
    told = {"SendQuota": {"MaxSendRate": 1, "Max24HourSend": 10, "SentLast24Hours": 0}, "SendingEnabled": False}

    async def exchange(request: HttpRequest, deadline_s: float) -> HttpResponse:
        return HttpResponse(200, {}, json.dumps(told).encode())

    lanes = Lanes()
    await Quotas({"ses": ses("http://127.0.0.1:1")}, exchange, lanes, DispatchMetrics(Metrics()), lambda: 0).ask()  # type: ignore[dict-item]
    assert lanes.pauses["ses"] > 60


async def test_the_accounts_own_rate_holds_even_where_none_is_configured() -> None:
    d: Desk = await desk()
    d.dispatch.boarding.limit_rate("mailgun", 10)
    await d.give(*(d.message(f"u{n}@example.net", content_hash=f"c{n}") for n in range(30)))
    assert len(d.requests) == 0
    d.clock.advance(1)
    d.dispatch.lanes.gates["mailgun"].pump()
    await d.settled()
    assert len(d.requests) == 10
