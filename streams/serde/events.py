"""``DeliveryEvent`` in and out. Writing is laid out by hand, because every event of every message passes here.

Rules:

1. The layout below follows ``DeliveryEvent.avsc`` field by field; a test compares it with the Avro library for any
   event.
2. Text that no UTF-8 can hold (half a surrogate pair out of somebody's JSON) is written with ``?`` in its place.
3. Events are CloudEvents 1.0 in Kafka's binary mode: attributes are headers, the value is Avro alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from streams.core.event import Automated, BounceType, DeliveryEvent, EventType, Reason, ReasonKind, Status
from streams.serde.records import NeedsSchema, SchemaCache, Undecodable, decode
from streams.serde.schemas import schema

CONTENT_TYPE = "application/avro"
SOURCE = "streams"
"""The CloudEvents source; with the id it identifies an event."""

_NULL = "\x00"
_SOME = "\x02"  # branch 1 of a union
_END = "\x00"  # of an array or map


def encode_event(event: DeliveryEvent, prefix: bytes = b"") -> bytes:
    """Avro single-object encoding; ``prefix`` replaces its header (see :func:`records.confluent_prefix`)."""
    reason, bounce, attempt = event.reason, event.bounce_type, event.attempt
    provider, theirs = event.provider, event.provider_message_id
    text = "".join(
        (
            _string(event.event_id),
            _WORDS[event.type],
            _time(event.occurred_ms),
            _time(event.recorded_ms),
            _string(event.message_id),
            _string(event.idempotency_key),
            _string(event.tenant),
            _string(event.stream),
            _string(event.recipient),
            _SOME + _string(provider) if provider else _NULL,
            _SOME + _string(theirs) if theirs else _NULL,
            _SMALL[attempt] if 0 <= attempt < _TABLE else _varint(attempt),
            _WORDS[event.status],
            _NULL if reason is None else _reason(reason),
            _NULL if bounce is None else _SOME + _WORDS[bounce],
            _SOME + _time(event.retry_at_ms) if event.retry_at_ms else _NULL,
            _SOME + _string(event.url) if event.url else _NULL,
            _SOME + _string(event.ip) if event.ip else _NULL,
            _SOME + _string(event.user_agent) if event.user_agent else _NULL,
            _WORDS[event.automated],
            _array(event.tags) if event.tags else _END,
            _map(event.metadata) if event.metadata else _END,
        )
    )
    return (prefix or _own_prefix()) + text.encode("latin-1")


def event_headers(event: DeliveryEvent) -> list[tuple[str, bytes]]:
    """The CloudEvents attributes of an event, and its trace context."""
    seconds, millis = divmod(event.occurred_ms, 1000)
    headers = [
        _SPECVERSION,
        ("ce_id", event.event_id.encode()),
        _CE_SOURCE,
        _CE_TYPES[event.type],
        ("ce_subject", event.message_id.encode()),
        ("ce_time", f"{_second(seconds)}.{millis:03d}Z".encode()),
        _CE_CONTENT_TYPE,
    ]
    if event.traceparent:
        headers.append(("traceparent", event.traceparent.encode()))
    return headers


def decode_event(
    value: bytes | None,
    headers: Iterable[tuple[str, bytes]] = (),
    registry: SchemaCache | None = None,
) -> DeliveryEvent | Undecodable | NeedsSchema:
    """The event in a record of ``delivery-events``; ``headers`` give its trace context."""
    record = decode("DeliveryEvent", value, registry)
    if not isinstance(record, dict):
        return record
    traceparent = next((v.decode("ascii", "replace") for n, v in headers if n == "traceparent"), "")
    try:
        return _event_of(record, traceparent)
    except ValueError as exc:
        return Undecodable("malformed", str(exc))


def event_record(event: DeliveryEvent) -> dict[str, Any]:
    """The event under the schema's names, absent values as None: for JSON and for the Avro library."""
    reason = event.reason
    return {
        "event_id": event.event_id,
        "type": str(event.type),
        "occurred_at": event.occurred_ms,
        "recorded_at": event.recorded_ms,
        "message_id": event.message_id,
        "idempotency_key": event.idempotency_key,
        "tenant": event.tenant,
        "stream": event.stream,
        "recipient": event.recipient,
        "provider": event.provider or None,
        "provider_message_id": event.provider_message_id or None,
        "attempt": event.attempt,
        "status": str(event.status),
        "reason": None
        if reason is None
        else {
            "kind": str(reason.kind),
            "code": reason.code,
            "enhanced_code": reason.enhanced_code,
            "detail": reason.detail,
        },
        "bounce_type": None if event.bounce_type is None else str(event.bounce_type),
        "retry_at": event.retry_at_ms or None,
        "url": event.url or None,
        "ip": event.ip or None,
        "user_agent": event.user_agent or None,
        "automated": str(event.automated),
        "tags": list(event.tags),
        "metadata": dict(event.metadata),
    }


def rfc3339(ms: int) -> str:
    """Epoch milliseconds as people and CloudEvents read them: ``2026-01-31T12:00:00.250Z``."""
    seconds, millis = divmod(ms, 1000)
    return f"{_second(seconds)}.{millis:03d}Z"


def _event_of(record: Mapping[str, Any], traceparent: str) -> DeliveryEvent:
    reason, bounce = record["reason"], record["bounce_type"]
    return DeliveryEvent(
        event_id=record["event_id"],
        type=EventType(record["type"]),
        occurred_ms=record["occurred_at"],
        recorded_ms=record["recorded_at"],
        message_id=record["message_id"],
        idempotency_key=record["idempotency_key"],
        tenant=record["tenant"],
        stream=record["stream"],
        recipient=record["recipient"],
        status=Status(record["status"]),
        provider=record["provider"] or "",
        provider_message_id=record["provider_message_id"] or "",
        attempt=record["attempt"],
        reason=Reason(ReasonKind(reason["kind"]), reason["code"], reason["enhanced_code"], reason["detail"])
        if reason
        else None,
        bounce_type=BounceType(bounce) if bounce else None,
        retry_at_ms=record["retry_at"] or 0,
        url=record["url"] or "",
        ip=record["ip"] or "",
        user_agent=record["user_agent"] or "",
        automated=Automated(record["automated"]),
        tags=tuple(record["tags"]),
        metadata=record["metadata"],
        traceparent=traceparent,
    )


# ------------------------------------------------------------------------------------- Avro's primitives
#
# As text in which one character stands for one byte (Latin-1), because joining text and encoding it once costs half of
# encoding every piece.


def _varint(number: int) -> str:
    """A long: zigzag, then seven bits a byte, low ones first."""
    left = (number << 1) ^ (number >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return out.decode("latin-1")


_TABLE = 1024
_SMALL = tuple(_varint(n) for n in range(_TABLE))


def _string(text: str) -> str:
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode("latin-1")
    size = len(text)
    return _SMALL[size] + text if size < _TABLE else _varint(size) + text


def _time(ms: int) -> str:
    """Six bytes and more for any time of this century: the low two from a table, the others change every 8 s."""
    low = ms << 1 & 0x3FFF
    return _LOW[low] + _high(ms >> 13) if ms >= _TABLE_MS else _varint(ms)


_LOW = tuple(chr(n & 0x7F | 0x80) + chr(n >> 7 | 0x80) for n in range(0x4000))
_TABLE_MS = 1 << 13  # from here on a time has more than two bytes


@lru_cache(maxsize=4096)
def _high(left: int) -> str:
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return out.decode("latin-1")


def _reason(reason: Reason) -> str:
    return _SOME + _WORDS[reason.kind] + _string(reason.code) + _string(reason.enhanced_code) + _string(reason.detail)


@lru_cache(maxsize=1024)
def _array(items: tuple[str, ...]) -> str:
    return _varint(len(items)) + "".join([_string(item) for item in items]) + _END


def _map(entries: Mapping[str, str]) -> str:
    return _varint(len(entries)) + "".join([_string(k) + _string(v) for k, v in entries.items()]) + _END


_WORDS: Mapping[str, str] = {
    word: _string(word.value) for words in (EventType, Status, BounceType, Automated, ReasonKind) for word in words
}
"""Every word of the vocabulary, encoded."""


# --------------------------------------------------------------------------------------- fixed headers

_SPECVERSION = ("ce_specversion", b"1.0")
_CE_SOURCE = ("ce_source", SOURCE.encode())
_CE_CONTENT_TYPE = ("content-type", CONTENT_TYPE.encode())
_CE_TYPES = {kind: ("ce_type", kind.value.encode()) for kind in EventType}


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1)
def _own_prefix() -> bytes:
    return schema("DeliveryEvent").prefix
