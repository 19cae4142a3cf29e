"""Events: the hand-laid encoding is Avro, the headers are CloudEvents."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import Automated, BounceType, DeliveryEvent, EventType, Reason, ReasonKind, Status
from streams.serde.events import decode_event, encode_event, event_headers, event_record, rfc3339
from streams.serde.records import Undecodable, confluent_prefix, encode
from streams.serde.schemas import schema

SENT = DeliveryEvent(
    event_id="e" * 32,
    type=EventType.SENT,
    occurred_ms=1_760_000_000_123,
    recorded_ms=1_760_000_000_456,
    message_id="m" * 41,
    idempotency_key="order-1",
    tenant="acme",
    stream="transactional",
    recipient="zoë@bücher.example",
    status=Status.SENT,
    provider="mailgun-eu",
    provider_message_id="2025.1@mg.example.com",
    attempt=1,
    tags=("welcome",),
    metadata={"order": "1"},
    traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
)

texts = st.text(st.characters(codec="utf-8"), max_size=30) | st.just("x" * 5000)
times = st.integers(0, 1 << 43)
reasons = st.none() | st.builds(Reason, st.sampled_from(ReasonKind), texts, texts, texts)
events = st.builds(
    DeliveryEvent,
    event_id=texts,
    type=st.sampled_from(EventType),
    occurred_ms=times,
    recorded_ms=times,
    message_id=texts,
    idempotency_key=texts,
    tenant=texts,
    stream=texts,
    recipient=texts,
    status=st.sampled_from(Status),
    provider=texts,
    provider_message_id=texts,
    attempt=st.integers(0, 5000),
    reason=reasons,
    bounce_type=st.none() | st.sampled_from(BounceType),
    retry_at_ms=times,
    url=texts,
    ip=texts,
    user_agent=texts,
    automated=st.sampled_from(Automated),
    tags=st.lists(texts, max_size=3).map(tuple),
    metadata=st.dictionaries(texts, texts, max_size=3),
)


@given(events)
def test_the_hand_laid_encoding_is_what_the_avro_library_writes(event: DeliveryEvent) -> None:
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, schema("DeliveryEvent").parsed, event_record(event))
    assert encode_event(event) == schema("DeliveryEvent").prefix + buffer.getvalue()


@given(events)
def test_an_event_comes_back_as_it_was_written(event: DeliveryEvent) -> None:
    assert decode_event(encode_event(event)) == event


def test_the_trace_context_travels_in_the_headers() -> None:
    assert decode_event(encode_event(SENT), event_headers(SENT)) == SENT


def test_a_confluent_prefix_replaces_the_single_object_header() -> None:
    framed = encode_event(SENT, confluent_prefix(7))
    assert framed == b"\x00\x00\x00\x00\x07" + encode_event(SENT)[10:]


def test_headers_are_cloudevents_in_binary_mode() -> None:
    assert event_headers(SENT) == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"e" * 32),
        ("ce_source", b"streams"),
        ("ce_type", b"message.sent"),
        ("ce_subject", b"m" * 41),
        ("ce_time", b"2025-10-09T08:53:20.123Z"),
        ("content-type", b"application/avro"),
        ("traceparent", SENT.traceparent.encode()),
    ]


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "1970-01-01T00:00:00.000Z"), (999, "1970-01-01T00:00:00.999Z"), (4102444800005, "2100-01-01T00:00:00.005Z")],
)
def test_times_are_written_as_rfc_3339(ms: int, text: str) -> None:
    assert rfc3339(ms) == text


def test_an_event_of_a_type_we_do_not_know_is_undecodable_and_named() -> None:
    record = event_record(SENT) | {"type": "message.teleported"}
    found = decode_event(encode("DeliveryEvent", record))
    assert isinstance(found, Undecodable)
    assert "message.teleported" in found.detail


def test_an_event_in_plain_json_is_the_same_event() -> None:
    record: dict[str, Any] = event_record(SENT) | {"occurred_at": "2025-10-09T08:53:20.123Z"}
    assert decode_event(msgspec.json.encode(record), event_headers(SENT)) == SENT
