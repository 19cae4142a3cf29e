"""Records that are made to stop a worker: one that cannot be written would be met again after every restart."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest

from streams.agents.bindings import Bind, Find
from streams.agents.breaker_view import BreakerView, Door
from streams.agents.configuration import templates, tenants
from streams.agents.lookups import Lookups, LookupsConfig
from streams.agents.normalise import _receipt
from streams.core.breaker import BreakerPolicy
from streams.core.receipt import Receipt
from streams.providers.base import Reading
from streams.providers.mailgun.events import read_events as read_mailgun
from streams.providers.ses.events import read_events as read_ses
from streams.serde.internal import pack, unpack
from streams.serde.public import Undecodable
from streams.serde.registry import SchemaRegistry
from streams.topics import Topics
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeReader, FakeUnit, record
from tests.agents.test_intake import Desk as IntakeDesk
from tests.agents.test_intake import request, without
from tests.agents.test_normalise import JsonReader
from tests.agents.test_track import Desk as TrackDesk
from tests.core.receipts import MESSAGE_ID, NOW_MS

LONG = 2_000_000
WIDE = "\U0001f600"  # four bytes

REQUESTS: dict[str, dict[str, Any]] = {
    "tenant": request(tenant="a" * LONG),
    "tenant and key": request(tenant="a" * LONG, idempotency_key="\0"),
    "stream": request(stream="s" * LONG),
    "idempotency_key": request(idempotency_key="k" * LONG),
    "recipient": request("e" * LONG),
    "recipient, at": request("e" * LONG + "@example.com"),
    "recipients": request(*[f"{n}" + "x" * 900 for n in range(1000)]),
    "provider": request(provider="p" * LONG),
    "retry_policy": request(retry_policy="p" * LONG),
    "on_uncertain": request(on_uncertain="p" * LONG),
    "template_id": without(request(template_id="t" * LONG), "subject", "text"),
    "subject": request(subject="s" * LONG),
    "header name": request(headers={"X" * LONG: "v"}),
    "header value": request(headers={"X": "v" * LONG}),
    "tag": request(tags=["t" * LONG]),
    "tags": request(tags=[f"{n}" for n in range(100_000)]),
    "metadata key": request(metadata={"k" * LONG: "v"}),
    "metadata value": request(metadata={"k": "v" * LONG}),
    "metadata, as much as allowed": request(metadata={f"{n}{WIDE * 60}": WIDE * 1024 for n in range(32)}),
    "data key": without(request(data={"d" * LONG: 1}, template_id="welcome"), "subject", "text"),
    "data value": without(request(data={"name": "d" * LONG}, template_id="welcome"), "subject", "text"),
    "filename": request(attachments=[{"filename": "f" * LONG, "data": ""}]),
    "url": request(attachments=[{"filename": "f", "url": "https://" + "f" * LONG}]),
    "list_id": request(list_id="l" * LONG),
    "from": request(**{"from": {"email": "a" * LONG}}),
    "name": request(recipients=[{"email": "ann@example.com", "name": "n" * LONG}]),
    "cc": request(cc=[{"email": "c" * LONG}]),
    "reply_to": request(reply_to=[{"email": "r@example.com", "name": "n" * LONG}]),
}


@pytest.mark.parametrize("field", REQUESTS)
async def test_no_field_of_a_request_is_too_long_to_be_refused(field: str) -> None:
    desk = IntakeDesk()
    batch = await desk.take(json.dumps(REQUESTS[field]).encode())
    assert batch.done
    assert all(len(emitted.value or b"") <= 600_000 for emitted in desk.engine.on("receipts"))
    assert len(desk.messages()) + len(desk.receipts()) + len(desk.dead()) >= 1


def mailgun_event(number: int) -> Reading:
    """As long as every field may be, and not ASCII."""
    event = {
        "event": ("clicked", "failed", "opened")[number % 3],
        "severity": "permanent",
        "reason": WIDE * 100,
        "id": f"{number}{WIDE * 200}",
        "timestamp": 1.7e9 + number,
        "url": WIDE * 5000,
        "ip": WIDE * 100,
        "recipient": "ann@example.com",
        "user-variables": {"message_id": MESSAGE_ID, "attempt": "1"},
        "client-info": {"user-agent": WIDE * 3000},
        "message": {"headers": {"message-id": WIDE * 5000}},
        "delivery-status": {"message": WIDE * 5000, "code": 550},
    }
    found = read_mailgun(json.dumps({"event-data": event}).encode(), 1)
    assert isinstance(found, Reading)
    return found


def ses_event(number: int) -> Reading:
    event = {
        "eventType": "Click",
        "mail": {
            "messageId": f"{number}{WIDE * 500}",
            "destination": ["ann@example.com"],
            "tags": {"message_id": [MESSAGE_ID], "attempt": ["1"]},
        },
        "click": {
            "timestamp": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z",
            "ipAddress": WIDE * 200,
            "link": WIDE * 5000,
            "userAgent": WIDE * 3000,
        },
    }
    found = read_ses(json.dumps(event).encode(), 1)
    assert isinstance(found, Reading)
    return found


def receipts_of(readings: list[Reading], kind: str) -> list[Receipt]:
    reader = JsonReader(kind, kind)
    return [
        _receipt(sighting, reader, kind, NOW_MS, (kind,), filled=False)
        for reading in readings
        for sighting in reading.sightings
    ]


@pytest.mark.parametrize("kind", ["mailgun", "ses"])
async def test_reports_of_a_message_that_nobody_knows_never_fill_a_row(kind: str) -> None:
    """They are kept whole until the message is known; a row that is too large could never be written."""
    desk = TrackDesk()
    made = {"mailgun": mailgun_event, "ses": ses_event}[kind]
    await desk.take(*receipts_of([made(number) for number in range(150)], kind))
    row = desk.messages.get(3, MESSAGE_ID.encode())
    assert row is not None
    assert len(row) < 500_000


async def test_questions_for_a_provider_id_that_nobody_knows_never_fill_a_row() -> None:
    engine = FakeEngine()
    table = engine.table("provider_ids")
    lookups = Lookups(engine, table, FakeUnit, LookupsConfig(Topics("t."), 12), lambda: NOW_MS)
    finds = [
        Find(receipt, f"{n}{WIDE * 80}@example.com")
        for n, receipt in enumerate(receipts_of([mailgun_event(n) for n in range(150)], "mailgun"))
    ]
    await lookups.handle(FakeBatch("t.lookups", 3, [record(pack(find), b"key", n) for n, find in enumerate(finds)]))
    assert all(len(row) < 500_000 for _, row in table.items(3))


async def test_one_providers_ids_are_not_anothers() -> None:
    """The same id at another provider, or to another recipient of the same call, finds nobody's message."""
    engine = FakeEngine()
    lookups = Lookups(engine, engine.table("provider_ids"), FakeUnit, LookupsConfig(Topics("t."), 12), lambda: NOW_MS)
    sighted = receipts_of([mailgun_event(1)], "mailgun")[0]
    bind = Bind("mailgun", "shared", MESSAGE_ID, 1, "ann@example.com")
    other = Bind("mailgun", "shared", MESSAGE_ID[:-1] + "z", 1, "bob@example.com")
    asked = replace(sighted, message_id="", provider_message_id="shared")
    finds = [
        Find(replace(asked, provider="ses"), "ann@example.com"),
        Find(asked, "eve@example.com"),
        Find(asked, ""),
        Find(asked, "ann@example.com"),
    ]
    values = [pack(one) for one in (bind, other, *finds)]
    await lookups.handle(FakeBatch("t.lookups", 3, [record(value, b"key", n) for n, value in enumerate(values)]))
    home = [unpack(emitted.value or b"") for emitted in engine.on("t.receipts")]
    assert [receipt.message_id for receipt in home] == [MESSAGE_ID]


async def test_made_up_schema_ids_are_not_remembered_without_end() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(404))
    registry = SchemaRegistry(httpx.AsyncClient(base_url="http://registry", transport=transport))
    for schema_id in range(1500):
        await registry.fetch(schema_id)
    assert isinstance(registry.known(1499), Undecodable)
    assert registry.known(0) is None
    assert len(registry._unknown) <= 1000


@pytest.mark.parametrize("key", [b"breaker/mailgun", b"pause/tenant/x", b"mailgun", b"", b"\xff", b"breaker/"])
def test_no_record_of_breakers_or_controls_stops_every_worker(key: bytes) -> None:
    """They are compacted: what stops a worker once would stop all of them at every start."""
    view = BreakerView("worker", BreakerPolicy())
    nests = (b'{"a":' + b"[" * 100_000, b"[" * 100_000)
    others = (
        None,
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff\xfe",
        b'{"action":"\xff"}',
        b'{"action":{"a":1}}',
        b'{"epoch":1e400}',
    )
    for value in (*nests, *others, b"1" * 100_000):
        view.read_control(key, value)
        view.read_breaker(key, value)
    assert view.door("ses", NOW_MS) is Door.OPEN


@pytest.mark.parametrize(
    "value", [b'{"template_id":' + b"[" * 100_000, b"\xc3\x01", b"\0\0\0\0\1", b"\x80\x04", b"{}", b"\xff"]
)
def test_no_record_of_templates_or_tenants_stops_intake(value: bytes) -> None:
    for topic in (templates, tenants):
        assert topic(FakeReader({b"x": value})).get("x") is None
