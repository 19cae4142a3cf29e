"""Public records as commands read, write and show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from streams.cli.context import Invocation, now_ms
from streams.cli.failure import Failure
from streams.topics import AUDIT_LOG, DELIVERY_EVENTS

if TYPE_CHECKING:
    from streams.kafka import Record


def read_event(invocation: Invocation, value: bytes | None) -> dict[str, Any] | None:
    """A delivery event with the schema's field names; None for what is none (somebody else wrote it)."""
    event = read_record(invocation, "DeliveryEvent", value)
    return event if isinstance(event, dict) else None


def read_record(invocation: Invocation, name: str, value: bytes | None) -> dict[str, Any] | str:
    """A public record in any of its encodings, or why it is none. Asks the schema registry where it must."""
    from streams.serde.records import NeedsSchema, decode

    found = decode(name, value, invocation.registry)
    if isinstance(found, NeedsSchema):
        invocation.fetch_schema(found.schema_id)
        found = decode(name, value, invocation.registry)
    if isinstance(found, NeedsSchema):
        raise Failure(f"the schema registry did not tell schema {found.schema_id}")
    return found if isinstance(found, dict) else found.detail


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
        event = read_event(invocation, record.value)
        if event is not None and event["event_id"] not in seen:
            seen.add(event["event_id"])
            yield event


def type_of(record: Record) -> str:
    """The event's type, from its header: cheaper than decoding."""
    return record.headers.get("ce_type", b"").decode("ascii", "replace")


def shown(event: Mapping[str, Any], name: str = "DeliveryEvent") -> dict[str, Any]:
    """A record for people and programs: times as RFC 3339, nothing that is not set."""
    from streams.serde.public import readable

    return readable(name, event)


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
    """Note on `audit-log` what somebody asked for; the flush that acknowledges the order acknowledges it too."""
    from streams.core.audit import AuditRecord, TargetKind
    from streams.kafka import NewRecord
    from streams.serde.public import encode_audit

    record = AuditRecord(
        audit_id=uuid4().hex,
        occurred_ms=now_ms(),
        actor=invocation.actor,
        action=action,
        target_kind=TargetKind(kind),
        target=target,
        tenant=tenant,
        detail=detail,
    )
    invocation.kafka.send(NewRecord(invocation.topics.name(AUDIT_LOG), tenant.encode(), encode_audit(record)))
