"""Public records as commands read, write and show them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from streams.cli.context import Invocation, now_ms
from streams.topics import AUDIT_LOG, DELIVERY_EVENTS

if TYPE_CHECKING:
    from streams.kafka import Record

_TIMES = ("occurred_at", "recorded_at", "retry_at", "updated_at", "send_at", "expires_at")


def read_event(value: bytes | None) -> dict[str, Any] | None:
    """A delivery event with the schema's field names; None for what is none (somebody else wrote it)."""
    from streams.serde.records import decode

    event = decode("DeliveryEvent", value)
    return event if isinstance(event, dict) else None


def events_of(invocation: Invocation, keys: tuple[str, ...], since_ms: int = 0) -> Iterator[dict[str, Any]]:
    """All events of the messages whose ids begin with one of `keys` (message ids or recipient keys), in order.

    Reads only their partitions; an event repeated after a crash is given once.
    """
    from streams.core.ids import partition_of

    topic = invocation.topics.name(DELIVERY_EVENTS)
    partitions = invocation.kafka.partitions(topic)
    prefixes = tuple(key.encode() for key in keys)
    seen: set[str] = set()
    for record in invocation.kafka.read(topic, {partition_of(key, partitions) for key in keys}, since_ms=since_ms):
        if record.key is None or not record.key.startswith(prefixes):
            continue
        event = read_event(record.value)
        if event is not None and event["event_id"] not in seen:
            seen.add(event["event_id"])
            yield event


def type_of(record: Record) -> str:
    """The event's type, from its header: cheaper than decoding."""
    return record.headers.get("ce_type", b"").decode("ascii", "replace")


def shown(event: Mapping[str, Any]) -> dict[str, Any]:
    """An event or request for people and programs: times as RFC 3339, nothing that is not set."""
    return {
        name: _rfc3339(value) if name in _TIMES and isinstance(value, int) else value
        for name, value in event.items()
        if value not in (None, "", [], {}) and not (name == "attempt" and not value)
    }


def why(event: Mapping[str, Any]) -> str:
    """The reason in one line: kind, codes, detail."""
    reason = event.get("reason") or {}
    parts = [
        str(event.get("bounce_type") or ""),
        *(str(reason.get(name) or "") for name in ("kind", "code", "enhanced_code", "detail")),
    ]
    return " ".join(part for part in parts if part)


def since_text(text: str | None) -> int:
    """`15m`, `24h`, `7d` ago, or an RFC 3339 time, as epoch milliseconds; 0 for none. Raises ValueError."""
    if not text:
        return 0
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    if text[-1] in units and text[:-1].isdigit():
        return now_ms() - int(text[:-1]) * units[text[-1]] * 1000
    when = datetime.fromisoformat(text)
    return int((when if when.tzinfo else when.astimezone()).timestamp() * 1000)


def audit(invocation: Invocation, action: str, kind: str, target: str, *, tenant: str = "", detail: str = "") -> None:
    """Note on `audit-log` what somebody asked for; with the flush that acknowledges the order itself."""
    from streams.kafka import NewRecord
    from streams.serde.records import encode

    record = {
        "audit_id": uuid4().hex,
        "occurred_at": now_ms(),
        "actor": invocation.actor,
        "action": action,
        "tenant": tenant,
        "target_kind": kind,
        "target": target,
        "detail": detail,
    }
    topic = invocation.topics.name(AUDIT_LOG)
    invocation.kafka.send(NewRecord(topic, tenant.encode(), encode("AuditRecord", record)))


def as_json(record: Mapping[str, Any]) -> str:
    """One line."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), default=_text_of_bytes)


def _text_of_bytes(value: object) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def _rfc3339(at_ms: int) -> str:
    when = datetime.fromtimestamp(at_ms / 1000, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at_ms % 1000:03d}Z"


def elapsed(since_s: float) -> str:
    """Seconds since a reading of the monotonic clock, for a remark."""
    return f"{time.monotonic() - since_s:.1f} s"
