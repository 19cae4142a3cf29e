"""Intake: every request becomes messages, or is refused where its sender and its operator can see it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.agents.configuration import templates, tenants
from streams.agents.contents import ContentStore, Gone
from streams.agents.intake import Intake, IntakeConfig
from streams.agents.intake.counts import IntakeCounts
from streams.core import ids
from streams.core.event import ReasonKind
from streams.core.message import Content, Mailbox, Message, RecordRef, Role, Stream, Template
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.tenant import Tenant
from streams.serde.internal import unpack
from streams.serde.public import Undecodable, encode_request, encode_template, encode_tenant
from streams.serde.registry import RegistryUnavailable
from streams.serde.schemas import parse_foreign, schema
from streams.topics import Topics
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeReader, FakeUnit, record

NOW = 1_760_000_000_000
DAY = 86_400_000
PARTITIONS = 12
TEMPLATE = Template("welcome", "3", "Hello {{ name }}", "Dear {{ name }}", "")


class NoRecords:
    async def read(self, ref: RecordRef) -> bytes | Gone:
        return Gone(ref)


class Notes:
    """Remembers what intake counted."""

    def __init__(self) -> None:
        self.counts = IntakeCounts()

    def batch(self, topic: str, counts: IntakeCounts) -> None:
        self.counts = counts


class Desk:
    """An intake with an engine in memory."""

    def __init__(self, *, automatic: bool = True, **changes: Any) -> None:
        self.engine = FakeEngine(automatic=automatic, max_record_bytes=changes.pop("max_record_bytes", 900 * 1024))
        self.templates = FakeReader({b"welcome": encode_template(TEMPLATE)})
        self.tenants = FakeReader()
        self.notes = Notes()
        self.now_ms = NOW
        self.contents = ContentStore(NoRecords(), "contents", clock=lambda: self.now_ms)
        self.intake = Intake(
            app=self.engine,
            unit=FakeUnit,
            contents=self.contents,
            templates=templates(self.templates),
            tenants=tenants(self.tenants),
            config=IntakeConfig(Topics(), PARTITIONS),
            clock=lambda: self.now_ms,
            observer=self.notes,
            **changes,
        )

    async def take(self, *values: bytes | None, topic: str = "send-requests", timestamp: int = NOW) -> FakeBatch:
        batch = FakeBatch(topic, 2, [record(v, b"key", n + 5, timestamp) for n, v in enumerate(values)])
        await self.intake.handle(batch)
        return batch

    def messages(self, topic: str = "outbound") -> list[Message]:
        found: list[Any] = [unpack(e.value or b"") for e in self.engine.on(topic)]
        assert all(isinstance(m, Message) for m in found)
        return found

    def receipts(self) -> list[Receipt]:
        found: list[Any] = [unpack(e.value or b"") for e in self.engine.on("receipts")]
        assert all(isinstance(r, Receipt) for r in found)
        return found

    def dead(self) -> list[dict[str, str]]:
        return [{k: v.decode() for k, v in e.headers} for e in self.engine.on("dead-letters")]


def request(*emails: str, **fields: Any) -> dict[str, Any]:
    return {
        "idempotency_key": "order-1",
        "tenant": "acme",
        "from": {"email": "shop@example.com", "name": "Shop"},
        "recipients": [{"email": email} for email in emails or ("ann@example.com",)],
        "subject": "Hi",
        "text": "Hello",
    } | fields


def without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k not in names}


def templated(*emails: str, **fields: Any) -> dict[str, Any]:
    return without(request(*emails, **fields), "subject", "text") | {
        "template_id": fields.get("template_id", "welcome")
    }


async def test_a_request_for_one_becomes_one_message_with_its_content_inside() -> None:
    desk = Desk()
    batch = await desk.take(encode_request(request(tags=["welcome"], metadata={"order": "1"})))
    [message] = desk.messages()
    key = ids.recipient_key("acme", "ann@example.com")
    assert message.message_id == ids.message_id("acme", "order-1", key)
    assert message.recipient == Mailbox("ann@example.com")
    assert message.content is not None
    assert (message.content.subject, message.content.text) == ("Hi", "Hello")
    assert message.content_ref is None
    assert (message.requested_ms, message.accepted_ms) == (NOW, NOW)
    assert (message.tags, message.metadata, message.stream) == (("welcome",), {"order": "1"}, Stream.TRANSACTIONAL)
    [emitted] = desk.engine.on("outbound")
    assert (emitted.key, emitted.partition) == (message.message_id.encode(), ids.partition_of(key, PARTITIONS))
    assert batch.done
    assert desk.engine.on("contents") == []


async def test_json_and_avro_requests_make_the_same_message() -> None:
    desk = Desk()
    await desk.take(encode_request(request()), json.dumps(request()).encode())
    first, second = desk.messages()
    assert (first.message_id, first.fingerprint, first.content_hash) == (
        second.message_id,
        second.fingerprint,
        second.content_hash,
    )


async def test_the_offset_waits_for_every_acknowledgement() -> None:
    desk = Desk(automatic=False)
    batch = await desk.take(encode_request(request()), b"rubbish")
    assert not batch.done
    desk.engine.acknowledge("outbound")
    assert not batch.done
    desk.engine.acknowledge("dead-letters")
    assert batch.done


async def test_rule_11_a_shared_content_is_acknowledged_before_any_message_names_it() -> None:
    desk = Desk(automatic=False)
    task = asyncio.create_task(desk.take(encode_request(request("a@example.com", "b@example.com"))))
    while not desk.engine.on("contents"):
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert desk.engine.on("outbound") == []
    desk.engine.acknowledge("contents")
    await task
    [content] = desk.engine.on("contents")
    messages = desk.messages()
    ref = RecordRef("contents", content.partition, content.offset)
    assert [(m.content, m.content_ref) for m in messages] == [(None, ref), (None, ref)]
    body = unpack(content.value or b"")
    assert isinstance(body, Content)
    assert content.key == messages[0].content_hash.encode()
    assert await desk.contents.load(ref) == content.value


async def test_rule_11_an_equal_content_is_written_once_within_and_across_batches() -> None:
    desk = Desk()
    one = encode_request(request("a@example.com", "b@example.com"))
    two = encode_request(request("c@example.com", "d@example.com", idempotency_key="order-2"))
    await desk.take(one, two)
    await desk.take(two)
    assert len(desk.engine.on("contents")) == 1
    assert len({m.content_ref for m in desk.messages()}) == 1
    desk.now_ms += DAY
    await desk.take(two, timestamp=NOW + DAY)
    assert len(desk.engine.on("contents")) == 2


async def test_rule_11_a_large_content_is_not_repeated_inside_a_message() -> None:
    desk = Desk()
    await desk.take(encode_request(request(text="x" * 70_000)))
    [message] = desk.messages()
    assert message.content is None
    assert message.content_ref is not None
    assert len(desk.engine.on("outbound")[0].value or b"") < 1000


@pytest.mark.parametrize("field", ["send_at", "expires_at"])
async def test_rule_11_times_beyond_retention_are_refused(field: str) -> None:
    desk = Desk()
    await desk.take(encode_request(request(**{field: NOW + 29 * DAY + 1})))
    assert desk.messages() == []
    [receipt] = desk.receipts()
    assert receipt.reason is not None
    assert receipt.reason.code == field
    assert "29 days" in receipt.reason.detail
    await desk.take(encode_request(request(**{field: NOW + 29 * DAY - 1})))
    assert len(desk.messages()) == 1


async def test_rule_11_a_content_no_record_can_hold_is_refused_before_it_is_produced() -> None:
    desk = Desk(max_record_bytes=600_000)
    batch = await desk.take(encode_request(request("a@example.com", "b@example.com", html="x" * 700_000)))
    assert desk.messages() == []
    assert desk.engine.on("contents") == []
    assert [r.reason.kind for r in desk.receipts() if r.reason] == [ReasonKind.MESSAGE_TOO_LARGE] * 2
    assert batch.done


async def test_rule_11_a_message_no_record_can_hold_is_refused_and_its_neighbours_are_not() -> None:
    desk = Desk(max_record_bytes=20_000)
    body = templated("a@example.com", "b@example.com")
    body["recipients"][0]["data"] = {"name": "x" * 30_000}
    await desk.take(encode_request(body))
    assert [m.recipient.email for m in desk.messages()] == ["b@example.com"]
    [receipt] = desk.receipts()
    assert receipt.facts is not None
    assert receipt.facts.recipient == "a@example.com"


async def test_a_value_too_large_to_look_at_is_a_dead_letter_with_truncated_bytes_and_its_place() -> None:
    desk = Desk()
    desk.intake.config = IntakeConfig(Topics(), PARTITIONS, max_request_bytes=600 * 1024)
    await desk.take(b"{" + b" " * 700 * 1024)
    [letter] = desk.dead()
    assert letter["dlq.reason"] == "too_large"
    assert (letter["dlq.topic"], letter["dlq.partition"], letter["dlq.offset"]) == ("send-requests", "2", "5")
    assert len(desk.engine.on("dead-letters")[0].value or b"") == 512 * 1024


async def test_rule_12_a_request_older_than_the_ledger_is_never_sent_and_never_spoken_of() -> None:
    desk = Desk()
    await desk.take(encode_request(request()), timestamp=NOW - 29 * DAY - 1)
    assert desk.messages() == []
    assert desk.receipts() == []
    assert desk.dead()[0]["dlq.reason"] == "too_old"
    await desk.take(encode_request(request()), timestamp=NOW - 29 * DAY)
    assert len(desk.messages()) == 1


async def test_rule_13_the_same_address_twice_is_one_message_and_counted() -> None:
    desk = Desk()
    await desk.take(encode_request(request("Ann@Example.com", "b@example.com", "ann@example.COM")))
    assert [m.recipient.email for m in desk.messages()] == ["Ann@Example.com", "b@example.com"]
    assert desk.notes.counts.duplicates["transactional"] == 1


async def test_rule_15_a_template_that_is_only_late_is_found() -> None:
    desk = Desk()
    desk.templates.later = {b"late": encode_template(Template("late", "1", "S", "T"))}
    await desk.take(encode_request(templated(template_id="late")), encode_request(templated()))
    assert len(desk.messages()) == 2
    assert desk.templates.reads_to_end == 1


async def test_rule_15_a_missing_template_is_rejected_after_reading_to_the_end() -> None:
    desk = Desk()
    await desk.take(encode_request(templated(template_id="nowhere")))
    assert desk.templates.reads_to_end == 1
    [receipt] = desk.receipts()
    assert receipt.reason is not None
    assert (receipt.reason.kind, receipt.reason.detail) == (ReasonKind.TEMPLATE, "there is no template nowhere")


async def test_rule_15_a_tenant_that_is_only_late_gives_its_sender() -> None:
    desk = Desk()
    desk.tenants.later = {b"acme": encode_tenant(Tenant("acme", Mailbox("acme@example.com"), provider="ses"))}
    await desk.take(encode_request(without(request(), "from")))
    [message] = desk.messages()
    assert message.content is not None
    assert (message.content.sender.email, message.provider) == ("acme@example.com", "ses")


async def test_rule_15_a_request_without_a_sender_is_rejected_after_reading_to_the_end() -> None:
    desk = Desk()
    await desk.take(encode_request(without(request(), "from")))
    assert desk.tenants.reads_to_end == 1
    assert desk.messages() == []
    assert "no default sender" in desk.dead()[0]["dlq.detail"]


async def test_rule_15_the_template_is_pinned_and_a_repeat_after_a_change_is_the_same_request() -> None:
    desk = Desk()
    await desk.take(encode_request(templated()))
    desk.templates.set(b"welcome", encode_template(Template("welcome", "4", "Changed {{ name }}")))
    await desk.take(encode_request(templated()))
    first, second = desk.messages()
    assert first.content is not None
    assert first.content.template == TEMPLATE
    assert first.content_hash != second.content_hash
    assert first.fingerprint == second.fingerprint


async def test_a_tenant_that_is_switched_off_is_refused() -> None:
    desk = Desk()
    desk.tenants.set(b"acme", encode_tenant(Tenant("acme", enabled=False)))
    await desk.take(encode_request(request()))
    assert desk.messages() == []
    assert desk.receipts()[0].kind is ReceiptKind.REJECTED


async def test_rule_16_copies_are_messages_of_their_own_that_share_the_visible_headers() -> None:
    desk = Desk()
    body = request("ann@example.com", cc=[{"email": "c@example.com"}], bcc=[{"email": "b@example.com"}])
    await desk.take(encode_request(body))
    messages = desk.messages()
    assert [(m.recipient.email, m.role) for m in messages] == [
        ("ann@example.com", Role.TO),
        ("c@example.com", Role.CC),
        ("b@example.com", Role.BCC),
    ]
    content = unpack(desk.engine.on("contents")[0].value or b"")
    assert isinstance(content, Content)
    assert content.visible_to == (Mailbox("ann@example.com"),)
    assert content.visible_cc == (Mailbox("c@example.com"),)
    assert b"b@example.com" not in (desk.engine.on("contents")[0].value or b"")


async def test_rule_17_the_bulk_door_leads_to_the_bulk_lane() -> None:
    desk = Desk()
    await desk.take(encode_request(request()), topic="send-requests.bulk")
    await desk.take(encode_request(request(stream="bulk", idempotency_key="2")))
    assert [m.stream for m in desk.messages("outbound.bulk")] == [Stream.BULK, Stream.BULK]
    assert desk.engine.on("outbound") == []


async def test_one_bad_address_is_rejected_alone() -> None:
    desk = Desk()
    await desk.take(encode_request(request("a@example.com", "nobody", "c@example.com")))
    assert [m.recipient.email for m in desk.messages()] == ["a@example.com", "c@example.com"]
    [receipt] = desk.receipts()
    assert receipt.kind is ReceiptKind.REJECTED
    assert receipt.reason is not None
    assert (receipt.reason.kind, receipt.reason.code) == (ReasonKind.INVALID_ADDRESS, "recipients[1].email")
    assert receipt.facts is not None
    assert (receipt.facts.recipient, receipt.facts.accepted_ms) == ("nobody", 0)
    assert desk.dead() == []


async def test_an_invalid_request_is_a_dead_letter_and_its_sender_learns_of_every_message() -> None:
    desk = Desk()
    value = encode_request(without(request("a@example.com", "b@example.com"), "text"))
    await desk.take(value)
    [letter] = desk.dead()
    assert letter["dlq.reason"] == "invalid_request"
    assert letter["dlq.detail"].startswith("text is missing")
    assert desk.engine.on("dead-letters")[0].value == value
    assert desk.engine.on("dead-letters")[0].key == b"key"
    receipts = desk.receipts()
    assert [r.facts.recipient for r in receipts if r.facts] == ["a@example.com", "b@example.com"]
    again = Desk()
    await again.take(value)
    assert [r.receipt_id for r in again.receipts()] == [r.receipt_id for r in receipts]


@pytest.mark.parametrize("value", [None, b"", b"rubbish", b"{}", b"\xc3\x01" + bytes(20), b"\x00\x00\x00\x00\x01x"])
async def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on(value: bytes | None) -> None:
    desk = Desk()
    batch = await desk.take(value, encode_request(request()))
    assert len(desk.messages()) == 1
    assert len(desk.dead()) == 1
    assert desk.receipts() == []
    assert batch.done


async def test_the_senders_trace_goes_on_and_a_missing_one_is_begun_the_same_way_each_time() -> None:
    desk = Desk()
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    value = encode_request(request())
    for headers in ([("traceparent", trace.encode())], [], [], [("traceparent", b"00-zz")]):
        await desk.intake.handle(FakeBatch("send-requests", 2, [record(value, None, 5, NOW, headers)]))
    given_, *own = [m.traceparent for m in desk.messages()]
    assert given_ == trace
    assert len(set(own)) == 1
    assert len(own[0]) == 55


async def test_data_of_one_recipient_travels_with_the_message_and_shared_data_with_the_content() -> None:
    desk = Desk()
    await desk.take(encode_request(templated(data={"name": "Ann"})))
    await desk.take(encode_request(templated("a@example.com", "b@example.com", data={"shop": "S"})))
    alone, *together = desk.messages()
    assert alone.data == {"name": "Ann"}
    assert [m.data for m in together] == [{}, {}]
    content = unpack(desk.engine.on("contents")[0].value or b"")
    assert isinstance(content, Content)
    assert content.data == {"shop": "S"}


async def test_a_key_and_value_too_large_together_are_still_a_dead_letter() -> None:
    desk = Desk()
    batch = FakeBatch("send-requests", 0, [record(b"?" * 800_000, b"k" * 500_000)])
    await desk.intake.handle(batch)
    assert len(desk.dead()) == 1
    assert batch.done


async def test_a_campaigns_messages_are_encoded_like_single_ones() -> None:
    desk = Desk()
    many = templated(*(f"user{n}@example.com" for n in range(1000)), stream="bulk")
    for n, recipient in enumerate(many["recipients"]):
        recipient["data"] = {"name": f"N{n}", "list": [n]}
    await desk.take(encode_request(many))
    messages = desk.messages("outbound.bulk")
    assert len({m.message_id for m in messages}) == 1000
    assert [m.data["list"] for m in messages] == [[n] for n in range(1000)]
    assert len(desk.engine.on("contents")) == 1


class FlakyRegistry:
    """Knows the request's schema as number 7, but is down at first."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.schemas: dict[int, Any] = {}

    def known(self, schema_id: int) -> Any:
        return self.schemas.get(schema_id)

    async def fetch(self, schema_id: int) -> None:
        if self.failures:
            self.failures -= 1
            raise RegistryUnavailable("down")
        known = schema_id == 7
        self.schemas[schema_id] = (
            parse_foreign(schema("SendRequest").text) if known else Undecodable("unknown_schema", "no such id")
        )


async def test_a_registry_that_is_down_delays_requests_and_refuses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.agents.intake.reading._REGISTRY_BACKOFF_S", 0.0)
    desk = Desk(registry=FlakyRegistry(failures=3))
    body = encode_request(request())[10:]
    await desk.take(b"\x00\x00\x00\x00\x07" + body, b"\x00\x00\x00\x00\x08" + body)
    assert len(desk.messages()) == 1
    assert desk.dead()[0]["dlq.reason"] == "unknown_schema"


requests = st.fixed_dictionaries(
    {"idempotency_key": st.text(max_size=5)},
    optional={
        "recipients": st.lists(
            st.fixed_dictionaries({"email": st.text(max_size=8) | st.just("a@example.com")}), max_size=3
        ),
        "cc": st.lists(st.fixed_dictionaries({"email": st.text(max_size=8)}), max_size=1),
        "tenant": st.text(max_size=5),
        "stream": st.sampled_from(["bulk", "transactional", "x"]),
        "text": st.text(max_size=5),
        "subject": st.text(max_size=5),
        "from": st.fixed_dictionaries({"email": st.just("a@example.com"), "name": st.text(max_size=3)}),
        "data": st.dictionaries(st.text(max_size=3), st.integers() | st.lists(st.none(), max_size=2), max_size=2),
        "template_id": st.sampled_from(["welcome", "", "x y"]),
        "headers": st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
        "send_at": st.integers() | st.just("2026-01-01T00:00:00Z"),
    },
)


@given(st.lists(st.binary(max_size=60) | requests.map(lambda r: json.dumps(r).encode()), max_size=4))
def test_no_record_makes_intake_raise_or_vanish(values: list[bytes]) -> None:
    async def scenario() -> None:
        desk = Desk()
        if not values:
            return
        batch = await desk.take(*values)
        assert batch.done
        told = len(desk.dead()) + len(desk.engine.on("outbound") + desk.engine.on("outbound.bulk"))
        assert told + len(desk.receipts()) >= len(values)

    asyncio.run(scenario())
