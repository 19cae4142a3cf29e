"""The state machine of a message: receipts in, events and commands out. Order does not matter.

Rules:

1. ``TRANSITIONS`` says what follows what when nothing is late; ``docs/lifecycle.md`` draws it.
2. Receipts that come late, early or again end where order would have ended: state is a join of facts, and
   ``marks.PRECEDENCE`` says which fact speaks. Where both tables apply they agree (a test walks every transition).
3. Opens, clicks and unsubscriptions change no status. A conflict concerns another request: it leaves the message alone.
4. The ids of the events of a set of receipts depend on that set alone. An event's id derives from its receipt, except
   for ``message.accepted`` (once per message) and ``message.sent`` (once per attempt, whoever proves it).
5. Events wait until the message's facts are known, and a provider's report until dispatch has said that this provider
   has the attempt. What comes earlier is kept and told then; what another provider says is kept and never told.
6. A deferral reported by a provider starts nothing. Only a provider's *final* soft failure of the latest attempt, never
   delivered, and recorded as sent by dispatch itself, may ask for a retry.
7. Doubt is settled by proof, whichever comes first. A probe is answered each time it is asked.
8. ``advance`` reads no clock, no configuration and no chance: all it knows are its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from streams.core.attempts import (
    any_doubted,
    double_sends,
    is_proven,
    joined,
    needs_settling,
    older,
    resolve,
    verdict,
    wants_retry,
)
from streams.core.belief import Standing, newly_counted, standing
from streams.core.command import Command, NoProof, Retry, Settle
from streams.core.event import DeliveryEvent, Status
from streams.core.lifecycle_events import EVENT_OF, accepted_and_sent, events_of
from streams.core.marks import PRECEDENCE, REPORTS
from streams.core.message_state import MAX_COUNT, MessageState, with_early, with_entry
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.suppression import SuppressionChange, change_of
from streams.core.value import value

__all__ = ["EVENT_OF", "PRECEDENCE", "TRANSITIONS", "Step", "advance", "expired"]

K, S = ReceiptKind, Status

_HANDED_OVER = {
    K.SENT: S.SENT,
    K.RETRY: S.DEFERRED,
    K.UNCERTAIN: S.UNCERTAIN,
    K.REJECTED: S.REJECTED,
    K.FAILED: S.FAILED,
}
_GIVEN_UP = {K.EXPIRED: S.EXPIRED, K.CANCELLED: S.CANCELLED, K.SUPPRESSED: S.SUPPRESSED}
_REPORTED = {
    K.DEFERRED: S.DEFERRED,
    K.DELIVERED: S.DELIVERED,
    K.BOUNCED: S.BOUNCED,
    K.COMPLAINED: S.COMPLAINED,
    K.PROVIDER_SUPPRESSED: S.SUPPRESSED,
    K.PROVIDER_REJECTED: S.REJECTED,
}

TRANSITIONS: Mapping[Status | None, Mapping[ReceiptKind, Status]] = MappingProxyType({
    None: {K.ACCEPTED: S.ACCEPTED, K.SCHEDULED: S.SCHEDULED} | _HANDED_OVER | _GIVEN_UP,
    S.ACCEPTED: {K.SCHEDULED: S.SCHEDULED} | _HANDED_OVER | _GIVEN_UP,
    S.SCHEDULED: _HANDED_OVER | _GIVEN_UP,
    S.UNCERTAIN: {K.UNCERTAIN_FINAL: S.UNCERTAIN, K.PROVIDER_SENT: S.SENT} | _HANDED_OVER | _REPORTED,
    S.SENT: {K.PROVIDER_SENT: S.SENT} | _REPORTED,
    S.DEFERRED: _HANDED_OVER | _GIVEN_UP | _REPORTED,
    S.DELIVERED: {K.BOUNCED: S.BOUNCED, K.COMPLAINED: S.COMPLAINED},
    S.BOUNCED: {K.COMPLAINED: S.COMPLAINED} | _HANDED_OVER | _GIVEN_UP,
    S.COMPLAINED: {},
    S.SUPPRESSED: _HANDED_OVER,
    S.REJECTED: _HANDED_OVER,
    S.FAILED: _HANDED_OVER,
    S.EXPIRED: _HANDED_OVER,
    S.CANCELLED: {},
})  # fmt: skip
"""What follows what, in order. From an ended status only the hand-over of a next attempt leads on (a retry)."""

_ENGAGEMENT = frozenset({K.OPENED, K.CLICKED, K.UNSUBSCRIBED})
_NOTHING = MessageState(None, S.ACCEPTED)
del K, S


@value
class Step:
    """What one receipt led to. ``state`` is None only where there was none and the receipt concerns no message.

    ``duplicate``: seen before, nothing new (a change of suppressions is given again, in case it was not stored).
    ``early``: kept until it may be told. ``foreign``: from a provider that does not have the attempt.
    ``out_of_order``: a provider's report that came too late or too soon.
    ``ended``: the message has just become terminal. ``double_send``: a second acceptance has just come to light.
    """

    state: MessageState | None
    events: tuple[DeliveryEvent, ...] = ()
    commands: tuple[Command, ...] = ()
    suppressions: tuple[SuppressionChange, ...] = ()
    duplicate: bool = False
    early: bool = False
    out_of_order: bool = False
    ended: bool = False
    double_send: bool = False
    foreign: bool = False


def advance(state: MessageState | None, receipt: Receipt, recorded_ms: int) -> Step:
    """Fold one receipt into the state of its message."""
    kind = receipt.kind
    if kind is ReceiptKind.SUPPRESS or kind is ReceiptKind.UNSUPPRESS:
        change = change_of(receipt, None)
        return Step(state, suppressions=() if change is None else (change,))
    if state is None and kind is ReceiptKind.SENT and _says_all(receipt):
        return _first_acceptance(receipt, recorded_ms)
    if state is not None and kind is not ReceiptKind.PROBE:
        for entry in state.timeline:
            if entry[1] == receipt.receipt_id:
                return Step(state, suppressions=_suppressions(receipt, state), duplicate=True)
    return _step(state, receipt, recorded_ms)


def _step(state: MessageState | None, receipt: Receipt, recorded_ms: int) -> Step:
    """Any receipt that is new."""
    kind = receipt.kind
    before = state or _NOTHING
    after = _fold(before, receipt)
    early = after.early is not before.early and len(after.early) > len(before.early)
    return Step(
        after,
        events_of(before, after, receipt, recorded_ms),
        _commands(before, after, receipt),
        _all_suppressions(before, after, receipt),
        False,
        early,
        kind in REPORTS and (early or not _follows(state, kind)),
        after.terminal and not before.terminal,
        after.double_sends > before.double_sends,
        early and standing(after.attempts, receipt) is Standing.FOREIGN,
    )


def _says_all(receipt: Receipt) -> bool:
    return bool(
        receipt.facts is not None
        and receipt.facts.accepted_ms
        and receipt.attempt > 0
        and receipt.provider
        and not receipt.suppress
    )


def _first_acceptance(receipt: Receipt, recorded_ms: int) -> Step:
    """What :func:`_step` gives for the usual first receipt, an acceptance with all facts, at half the cost."""
    facts = receipt.facts
    assert facts is not None
    attempts = joined((), receipt)
    after = MessageState(
        facts, Status.SENT, attempts, with_entry((), receipt), last_ms=max(_NOTHING.last_ms, receipt.occurred_ms)
    )
    return Step(after, accepted_and_sent(receipt, attempts[0], facts, recorded_ms))


def expired(state: MessageState, now_ms: int, retention_ms: int) -> bool:
    """Whether a row may be forgotten: ended, or never claimed by facts, for ``retention_ms``; merely sent, for twice
    that. What still waits for us (accepted, scheduled, to be retried, uncertain) never expires.
    """
    age_ms = now_ms - state.last_ms
    if state.terminal or state.facts is None:
        return age_ms > retention_ms
    return state.status is Status.SENT and age_ms > 2 * retention_ms


# ---------------------------------------------------------------------------------------------- folding


def _fold(state: MessageState, receipt: Receipt) -> MessageState:
    kind, facts, attempts = receipt.kind, state.facts, state.attempts
    if kind is not ReceiptKind.CONFLICT:
        attempts = joined(attempts, receipt)
        if receipt.facts is not None and receipt.facts != facts:
            facts = older(facts, receipt.facts)
    early, opens, clicks = state.early, state.opens, state.clicks
    if early:
        for kept in newly_counted(early, state.attempts, attempts):
            opens += kept.kind is ReceiptKind.OPENED
            clicks += kept.kind is ReceiptKind.CLICKED
        if facts is not None:
            early = tuple(kept for kept in early if standing(attempts, kept) is not Standing.COUNTED)
    counts = kind not in REPORTS or standing(attempts, receipt) is Standing.COUNTED
    waits = not counts or (facts is None and receipt.facts is None)
    if waits and (kind in EVENT_OF or (receipt.suppress and kind in REPORTS)):
        early = with_early(early, receipt)
    resolved = resolve(attempts)
    status, ends = verdict(resolved)
    return MessageState(
        facts,
        status,
        attempts,
        state.timeline if kind is ReceiptKind.PROBE else with_entry(state.timeline, receipt),
        early,
        min(opens + (counts and kind is ReceiptKind.OPENED), MAX_COUNT),
        min(clicks + (counts and kind is ReceiptKind.CLICKED), MAX_COUNT),
        ends and not wants_retry(facts, resolved),
        double_sends(resolved) if len(resolved) > 1 else 0,
        max(state.last_ms, receipt.occurred_ms),
    )


# ---------------------------------------------------------------------------------------------- asking


def _commands(before: MessageState, after: MessageState, receipt: Receipt) -> tuple[Command, ...]:
    commands: list[Command] = []
    if receipt.kind is ReceiptKind.PROBE:
        commands.append(_answer(after, receipt))
    elif any_doubted(after.attempts):
        unsettled = {a.number for a in resolve(before.attempts) if needs_settling(a)}
        commands += [
            Settle(receipt.message_id, a.number, a.provider_message_id, a.sent_ms)
            for a in resolve(after.attempts)
            if needs_settling(a) and a.number not in unsettled
        ]
    if after.facts is not None and after.facts.retry_final:
        resolved = resolve(after.attempts)
        if wants_retry(after.facts, resolved) and not wants_retry(before.facts, resolve(before.attempts)):
            commands.append(Retry(receipt.message_id, resolved[-1].number, final_soft=True))
    return tuple(commands)


def _answer(state: MessageState, probe: Receipt) -> Command:
    """A probe is answered each time it is asked: the answer may have been lost with a crash."""
    for attempt in resolve(state.attempts):
        if attempt.number == probe.attempt and is_proven(attempt):
            return Settle(probe.message_id, probe.attempt, attempt.provider_message_id, attempt.sent_ms)
    return NoProof(probe.message_id, probe.attempt)


def _follows(state: MessageState | None, kind: ReceiptKind) -> bool:
    return kind in _ENGAGEMENT or (state is not None and kind in TRANSITIONS[state.status])


def _all_suppressions(before: MessageState, after: MessageState, receipt: Receipt) -> tuple[SuppressionChange, ...]:
    """The receipt's own; those of receipts that count only now; and, when the address becomes known, all again."""
    own = _suppressions(receipt, after)
    if not before.early or after.facts is None:
        counted = newly_counted(before.early, before.attempts, after.attempts) if before.early else ()
    elif before.facts is None:
        counted = tuple(kept for kept in before.early if standing(after.attempts, kept) is Standing.COUNTED)
    else:
        counted = newly_counted(before.early, before.attempts, after.attempts)
    changes = (change_of(kept, after.facts) for kept in counted)
    return (*(change for change in changes if change is not None), *own)


def _suppressions(receipt: Receipt, state: MessageState) -> tuple[SuppressionChange, ...]:
    change = change_of(receipt, state.facts)
    if change is None or standing(state.attempts, receipt) is not Standing.COUNTED:
        return ()
    return (change,)
