"""Receipts for tests of the state machine."""

from __future__ import annotations

from collections.abc import Iterable

from streams.core.ids import message_id, recipient_key
from streams.core.lifecycle import Step, advance
from streams.core.message_state import MessageState
from streams.core.receipt import Facts, Receipt, ReceiptKind
from streams.core.suppression import Suppression, fold

NOW_MS = 1_800_000_000_000
MESSAGE_ID = message_id("acme", "order-1", recipient_key("acme", "ann@example.com"))

BY_DISPATCH = frozenset({
    ReceiptKind.ACCEPTED, ReceiptKind.SCHEDULED, ReceiptKind.SENT, ReceiptKind.RETRY, ReceiptKind.REJECTED,
    ReceiptKind.FAILED, ReceiptKind.EXPIRED, ReceiptKind.CANCELLED, ReceiptKind.SUPPRESSED, ReceiptKind.UNCERTAIN,
    ReceiptKind.UNCERTAIN_FINAL, ReceiptKind.PROBE,
})  # fmt: skip


def facts(retry_final: bool = False, accepted_ms: int = NOW_MS) -> Facts:
    return Facts(
        "acme", "transactional", "order-1", "ann@example.com", accepted_ms, ("news",), {"order": "1"}, "", retry_final
    )


def receipt(kind: ReceiptKind, attempt: int = 0, at_s: int = 1, **more: object) -> Receipt:
    """Of dispatch with facts, of a provider without; ``more`` overrides any field."""
    fields: dict[str, object] = {
        "message_id": MESSAGE_ID,
        "receipt_id": f"{kind}:{attempt}",
        "occurred_ms": NOW_MS + at_s * 1000,
        "attempt": attempt,
        "provider": "mailgun-eu" if attempt else "",
        "provider_message_id": f"theirs-{attempt}" if attempt else "",
        "facts": facts() if kind in BY_DISPATCH or kind is ReceiptKind.CONFLICT else None,
    }
    return Receipt(kind=kind, **(fields | more))  # type: ignore[arg-type]


def run(receipts: Iterable[Receipt], state: MessageState | None = None) -> tuple[MessageState | None, list[Step]]:
    """Fold them all."""
    steps = []
    for one in receipts:
        step = advance(state, one, NOW_MS)
        state = step.state
        steps.append(step)
    return state, steps


def state_after(*receipts: Receipt) -> MessageState:
    state, _ = run(receipts)
    assert state is not None
    return state


def event_types(steps: Iterable[Step]) -> list[str]:
    return [event.type.value.removeprefix("message.") for step in steps for event in step.events]


def event_ids(steps: Iterable[Step]) -> set[str]:
    return {event.event_id for step in steps for event in step.events}


def suppressions(steps: Iterable[Step]) -> Suppression | None:
    row = None
    for step in steps:
        for change in step.suppressions:
            row = fold(row, change)
    return row
