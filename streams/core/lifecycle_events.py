"""Which events a step of the state machine publishes, and their ids.

Rules:

1. A receipt has at most one event of its own (``EVENT_OF``); its id derives from the receipt's.
2. ``message.accepted`` is published once, when facts first say that we took responsibility; ``message.sent`` once per
   attempt, at the first proof of any kind. Their ids name the message and the attempt, not the receipt.
3. Nothing is published before the facts are known, and no report before it is known that its provider has the attempt;
   then everything that waited for that is, oldest first.
4. An event carries the status of the message as it is known when the event is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streams.core.attempts import newly_proven
from streams.core.belief import Standing, standing
from streams.core.event import DeliveryEvent, EventType, Status
from streams.core.ids import event_id
from streams.core.message_state import Attempt, MessageState, by_time
from streams.core.receipt import Facts, Receipt, ReceiptKind

K = ReceiptKind
EVENT_OF: Mapping[ReceiptKind, EventType] = MappingProxyType({
    K.SCHEDULED: EventType.SCHEDULED,
    K.RETRY: EventType.DEFERRED,
    K.REJECTED: EventType.REJECTED,
    K.FAILED: EventType.FAILED,
    K.EXPIRED: EventType.EXPIRED,
    K.CANCELLED: EventType.CANCELLED,
    K.SUPPRESSED: EventType.SUPPRESSED,
    K.UNCERTAIN: EventType.UNCERTAIN,
    K.UNCERTAIN_FINAL: EventType.UNCERTAIN,
    K.CONFLICT: EventType.REJECTED,
    K.DEFERRED: EventType.DEFERRED,
    K.DELIVERED: EventType.DELIVERED,
    K.BOUNCED: EventType.BOUNCED,
    K.COMPLAINED: EventType.COMPLAINED,
    K.OPENED: EventType.OPENED,
    K.CLICKED: EventType.CLICKED,
    K.UNSUBSCRIBED: EventType.UNSUBSCRIBED,
    K.PROVIDER_SUPPRESSED: EventType.SUPPRESSED,
    K.PROVIDER_REJECTED: EventType.REJECTED,
})  # fmt: skip
"""The event of each receipt's own. ``message.accepted`` and ``message.sent`` follow from rule 2."""
del K


def events_of(
    before: MessageState, after: MessageState, receipt: Receipt, recorded_ms: int
) -> tuple[DeliveryEvent, ...]:
    """What the step from ``before`` to ``after`` publishes, in this order."""
    facts = after.facts
    if facts is None:
        if receipt.facts is None:
            return ()
        return (_event(receipt, receipt.facts, after.status, recorded_ms),)  # a conflict before its original
    events: list[DeliveryEvent] = []
    if facts.accepted_ms and not (before.facts and before.facts.accepted_ms):
        events.append(_accepted(receipt.message_id, facts, recorded_ms))
    told = before.attempts if before.facts is not None else ()
    for attempt in newly_proven(told, after.attempts):
        events.append(_sent(receipt, attempt, facts, after.status, recorded_ms))  # noqa: PERF401
    tells = receipt.kind in EVENT_OF and standing(after.attempts, receipt) is Standing.COUNTED
    told_now = [receipt] if tells else []
    if before.early:
        told_now = sorted((*told_now, *_released(before, after)), key=by_time)
    for one in told_now:
        own = one.facts or facts if one.kind is ReceiptKind.CONFLICT else facts
        events.append(_event(one, own, after.status, recorded_ms))
    return tuple(events)


def accepted_and_sent(
    receipt: Receipt, attempt: Attempt, facts: Facts, recorded_ms: int
) -> tuple[DeliveryEvent, DeliveryEvent]:
    """What the acceptance of a message of which nothing was known publishes."""
    return (
        _accepted(receipt.message_id, facts, recorded_ms),
        _sent(receipt, attempt, facts, Status.SENT, recorded_ms),
    )


def _released(before: MessageState, after: MessageState) -> list[Receipt]:
    """What was kept and may be told now."""
    return [
        kept
        for kept in before.early
        if kept.kind in EVENT_OF and standing(after.attempts, kept) is Standing.COUNTED and kept not in after.early
    ]


def _accepted(message_id: str, facts: Facts, recorded_ms: int) -> DeliveryEvent:
    return DeliveryEvent(
        event_id(message_id, EventType.ACCEPTED, "accepted"),
        EventType.ACCEPTED,
        facts.accepted_ms,
        recorded_ms,
        message_id,
        facts.idempotency_key,
        facts.tenant,
        facts.stream,
        facts.recipient,
        Status.ACCEPTED,
        tags=facts.tags,
        metadata=facts.metadata,
        traceparent=facts.traceparent,
    )


def _sent(receipt: Receipt, attempt: Attempt, facts: Facts, status: Status, recorded_ms: int) -> DeliveryEvent:
    return DeliveryEvent(
        event_id(receipt.message_id, EventType.SENT, f"sent/{attempt.number}"),
        EventType.SENT,
        attempt.sent_ms,
        recorded_ms,
        receipt.message_id,
        facts.idempotency_key,
        facts.tenant,
        facts.stream,
        facts.recipient,
        status,
        attempt.provider.partition("/")[0],
        attempt.provider_message_id,
        attempt.number,
        receipt.reason if receipt.kind is ReceiptKind.SENT else None,  # that it was redirected
        tags=facts.tags,
        metadata=facts.metadata,
        traceparent=facts.traceparent,
    )


def _event(receipt: Receipt, facts: Facts, status: Status, recorded_ms: int) -> DeliveryEvent:
    """The receipt's own event."""
    type_ = EVENT_OF[receipt.kind]
    return DeliveryEvent(
        event_id(receipt.message_id, type_, receipt.receipt_id),
        type_,
        receipt.occurred_ms,
        recorded_ms,
        receipt.message_id,
        facts.idempotency_key,
        facts.tenant,
        facts.stream,
        facts.recipient,
        status,
        receipt.provider,
        receipt.provider_message_id,
        receipt.attempt,
        receipt.reason,
        receipt.bounce_type,
        receipt.retry_at_ms,
        receipt.url,
        receipt.ip,
        receipt.user_agent,
        receipt.automated,
        facts.tags,
        facts.metadata,
        facts.traceparent,
    )
