"""Lost webhooks: the events of the past are read once they have settled, and handed in like webhooks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from streams.agents.gaps import Gaps
from streams.agents.normalise import Normalise, NormaliseConfig
from streams.core.ids import partition_of_text
from streams.core.receipt import Receipt, ReceiptKind
from streams.engine.errors import PartitionLost
from streams.metrics import GapMetrics, Metrics, exposition
from streams.providers._http import HttpExchange
from streams.providers.base import HttpRequest, HttpResponse, NoResponse
from streams.providers.mailgun import Config, Mailgun, create
from streams.sandbox import MailgunConfig, OutcomeMix, Sandbox, SandboxConfig
from streams.serde.internal import unpack
from streams.topics import Topics
from tests.agents.fake_engine import Emitted, FakeBatch, FakeEngine, FakeUnit, record

NOW = 1_800_000_000_000
ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklm"
SETTLE_S = 1800.0


def mailgun(name: str = "mg", **changes: Any) -> Mailgun:
    options = {"domain": "mg.example.com", "api_key": "key-1", "base_url": "https://api.example.com"}
    return create(name, Config(**(options | changes)))


class Script:
    """Answers of the events API, by the number of the question."""

    def __init__(self, *pages: list[dict[str, Any]] | HttpResponse | NoResponse) -> None:
        self.pages = list(pages)
        self.asked: list[HttpRequest] = []

    async def __call__(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        self.asked.append(request)
        page = self.pages.pop(0) if self.pages else []
        if not isinstance(page, list):
            return page
        body = {"items": page, "paging": {"next": f"https://api.example.com/v3/x/events/{len(self.asked)}"}}
        return HttpResponse(200, {}, json.dumps(body).encode())


def event(number: int, at_ms: int, name: str = "delivered") -> dict[str, Any]:
    return {
        "event": name,
        "id": f"event-{number}",
        "timestamp": at_ms / 1000,
        "recipient": "ann@example.com",
        "user-variables": {"message_id": f"{ID}a", "attempt": "1"},
        "message": {"headers": {"message-id": "x@mg.example.com"}},
    }


class Desk:
    def __init__(self, exchange: Any, engine: FakeEngine | None = None, **providers: Mailgun) -> None:
        self.engine = engine or FakeEngine()
        self.now_ms = NOW
        self.pauses: list[float] = []
        self.metrics = Metrics()
        self.gaps = Gaps(
            self.engine,
            self.engine.table("watermarks"),
            Topics("t."),
            12,
            providers or {"mg": mailgun()},
            exchange,
            GapMetrics(self.metrics),
            lambda: self.now_ms,
            self.pause,
        )
        for partition in range(12):
            self.gaps.partition_ready(partition)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def handed_in(self) -> list[Emitted]:
        return self.engine.on("t.webhooks.mailgun")


def span(request: HttpRequest) -> tuple[int, int]:
    query = dict(pair.split("=", 1) for pair in request.url.partition("?")[2].split("&"))
    return int(query["begin"]), int(query["end"])


async def test_what_has_settled_is_handed_in_like_a_webhook_and_the_watermark_follows() -> None:
    script = Script([event(1, NOW - 9_000_000), event(2, NOW - 8_000_000)], [])
    desk = Desk(script)
    await desk.gaps.look()
    assert [e.key for e in desk.handed_in()] == [b"event-1", b"event-2"]
    headers = dict(desk.handed_in()[0].headers)
    assert (headers["provider"], headers["verified"], headers["filled_by"]) == (b"mg", b"1", b"events")
    settled_s = NOW // 1000 - int(SETTLE_S)
    assert span(script.asked[0])[1] == settled_s
    desk.now_ms += 60_000
    await desk.gaps.look()
    assert span(script.asked[-1]) == (settled_s, settled_s + 60)
    text = exposition(desk.metrics.registry)[1].decode()
    assert 'streams_gap_events_total{provider="mg",result="read"} 2.0' in text


async def test_the_watermark_outlives_the_worker_and_nothing_is_skipped_after_a_failure() -> None:
    first = Script([event(1, NOW - 9_000_000)], HttpResponse(503, {}, b""))
    desk = Desk(first)
    await desk.gaps.look()
    again = Script([event(2, NOW - 8_000_000)], [])
    after_restart = Desk(again, desk.engine)
    await after_restart.gaps.look()
    assert span(again.asked[0])[0] == (NOW - 9_000_000) // 1000
    assert [e.key for e in after_restart.handed_in()] == [b"event-1", b"event-2"]


async def test_a_partition_that_goes_while_its_watermark_is_written_stops_the_reading_and_nothing_else() -> None:
    script = Script([event(1, NOW - 9_000_000)], [event(2, NOW - 8_000_000)])
    desk = Desk(script)

    def lost(partition: int, key: bytes, value: bytes) -> None:
        raise PartitionLost("watermarks", partition)

    desk.gaps.watermarks.put = lost  # type: ignore[assignment, method-assign]
    await desk.gaps.look()
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("answer", "quiet_s"),
    [
        pytest.param(HttpResponse(503, {}, b""), 60, id="later"),
        pytest.param(HttpResponse(429, {}, b'{"message": "try again after 240 seconds"}'), 240, id="as it asks"),
        pytest.param(NoResponse(sent=True, detail="timeout", timeout=True), 60, id="no answer"),
        pytest.param(HttpResponse(401, {}, b"Forbidden"), 3600, id="a key that may not"),
        pytest.param(HttpResponse(200, {}, b"Mailgun Magnificent API"), 60, id="no page"),
    ],
)
async def test_who_does_not_answer_is_left_alone_for_a_while(answer: HttpResponse | NoResponse, quiet_s: int) -> None:
    script = Script(answer)
    desk = Desk(script)
    await desk.gaps.look()
    desk.now_ms += quiet_s * 1000 - 1
    await desk.gaps.look()
    assert len(script.asked) == 1
    desk.now_ms += 1
    await desk.gaps.look()
    assert len(script.asked) == 2
    assert (
        'streams_gap_events_total{provider="mg",result="failed"} 1.0' in exposition(desk.metrics.registry)[1].decode()
    )


async def test_a_page_that_leads_to_another_host_is_not_followed_with_our_key() -> None:
    body = {"items": [event(1, NOW - 9_000_000)], "paging": {"next": "https://evil.example.net/v3/x/events/1"}}
    script = Script(HttpResponse(200, {}, json.dumps(body).encode()))
    desk = Desk(script)
    await desk.gaps.look()
    assert len(script.asked) == 1
    assert not desk.handed_in()


async def test_pages_are_asked_for_at_the_configured_pace() -> None:
    desk = Desk(Script([event(1, NOW - 9_000_000)], [event(2, NOW - 8_000_000)], []))
    await desk.gaps.look()
    assert desk.pauses == [0.5, 0.5]


async def test_only_the_owner_of_the_source_reads_and_a_source_is_read_once() -> None:
    script = Script()
    desk = Desk(
        script, mg=mailgun(), bulk=mailgun("bulk"), off=mailgun("off", domain="other.example.com", fill_gaps=False)
    )
    await desk.gaps.look()
    assert len(script.asked) == 1
    desk.gaps.partition_lost(partition_of_text(mailgun().events_source, 12))
    desk.now_ms += 60_000
    await desk.gaps.look()
    assert len(script.asked) == 1


async def test_after_a_long_silence_only_what_mailgun_still_has_is_asked_for() -> None:
    script = Script()
    desk = Desk(script)
    await desk.gaps.look()
    desk.now_ms += 30 * 86_400_000
    await desk.gaps.look()
    begin, end = span(script.asked[-1])
    assert end - begin == 3 * 86_400


async def test_webhook_and_events_api_tell_of_one_fact_under_one_receipt_id(tmp_path: Path) -> None:
    """The real wire forms: what the sandbox posts, and what its events API answers."""
    config = SandboxConfig(
        ledger_path=tmp_path / "ledger", webhook_delay_s=0.0, mix=OutcomeMix.only_success(), mailgun=MailgunConfig()
    )
    sandbox = Sandbox(config)
    url = await sandbox.start()
    try:
        provider = mailgun(api_key="key-sandbox", base_url=url, visibility_delay_s=0.0)
        engine = FakeEngine()
        async with HttpExchange() as exchange:
            form = "&".join(
                ["from=a@mg.example.com", "subject=s", "text=t", f"v:message_id={ID}a", "v:attempt=1"]
                + [
                    f"to={name}@example.net"
                    for name in ("u", "bounce", "softbounce", "open", "complaint", "unsubscribe")
                ]
            )
            headers = (*provider.events_request(0, 1).headers, ("content-type", "application/x-www-form-urlencoded"))
            sent = await exchange(HttpRequest("POST", f"{url}/v3/mg.example.com/messages", headers, form.encode()), 10)
            assert isinstance(sent, HttpResponse)
            assert sent.status == 200
            desk = Desk(exchange, engine, mg=provider)
            desk.now_ms = time.time_ns() // 1_000_000 + 1000
            await desk.gaps.look()
        filled = desk.handed_in()
        assert len(filled) >= 8
    finally:
        await sandbox.stop()
    normalise = Normalise(
        engine, engine.table("tokens"), FakeUnit, NormaliseConfig(Topics("t."), 12, {"mg": provider}), lambda: NOW
    )
    for emitted in filled:
        webhook = {"signature": {}, **json.loads(emitted.value or b"")}
        given = [("provider", b"mg"), ("verified", b"1"), ("received_at", b"%d" % NOW)]
        for value, more in ((json.dumps(webhook).encode(), []), (emitted.value, [("filled_by", b"events")])):
            batch = FakeBatch("t.webhooks.mailgun", 1, [record(value, b"k", 1, NOW, [*given, *more])])
            await normalise.handle(batch)
    receipts: list[Receipt] = [unpack(e.value or b"") for e in engine.on("t.receipts")]  # type: ignore[misc]
    assert len(receipts) == 2 * len(filled)
    assert len({receipt.receipt_id for receipt in receipts}) == len(filled)
    assert {receipt.filled for receipt in receipts} == {True, False}
    assert {ReceiptKind.DELIVERED, ReceiptKind.BOUNCED, ReceiptKind.COMPLAINED} <= {r.kind for r in receipts}
