"""What becomes of a record that cannot be used: its bytes, where it lay, and why. Never a crash, never silence."""

from __future__ import annotations

from streams.agents.ports import BatchPort, Headers, RecordPort, UnitPort

MAX_BYTES = 512 * 1024
"""Longer values are cut; the source offset in the headers leads to the whole."""

_MAX_DETAIL = 500
_MAX_KEY = 64 * 1024  # with value and headers still below the engine's own limit of a record


def dead_letter(topic: str, unit: UnitPort, batch: BatchPort, record: RecordPort, reason: str, detail: str) -> None:
    """Emit ``record`` to the ``dead-letters`` topic, whose full name is ``topic``."""
    value = record.value
    headers: Headers = [
        ("dlq.topic", batch.topic.encode()),
        ("dlq.partition", b"%d" % batch.partition),
        ("dlq.offset", b"%d" % record.offset),
        ("dlq.reason", reason.encode()),
        ("dlq.detail", detail[:_MAX_DETAIL].encode("utf-8", "replace")),
    ]
    if value is not None and len(value) > MAX_BYTES:
        headers.append(("dlq.truncated_from", b"%d" % len(value)))
        value = value[:MAX_BYTES]
    key = record.key
    unit.emit(topic, 0, key if key is None or len(key) <= _MAX_KEY else None, value, headers)
