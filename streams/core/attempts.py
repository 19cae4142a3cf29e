"""What is known of the attempts of a message: bits that are only ever added, and what they amount to.

Rules:

1. ``PRECEDENCE`` is the table of facts about one attempt, weakest first. An attempt is what its strongest fact says,
   with one exception: a bounce strikes out ``delivered`` (the delayed bounce).
2. Among attempts, one that was delivered or complained about speaks for the message; else the latest attempt does.
3. Whatever a provider reports of an attempt proves that it took it.
4. Joining is commutative, associative and idempotent, so the order of receipts cannot matter.
"""

from __future__ import annotations

from itertools import pairwise

from streams.core.event import BounceType, Status
from streams.core.message_state import MAX_ATTEMPTS, NOT_ECHOED, Attempt
from streams.core.receipt import Facts, Receipt, ReceiptKind

K, S = ReceiptKind, Status

PRECEDENCE: tuple[tuple[ReceiptKind, Status], ...] = (
    (K.ACCEPTED, S.ACCEPTED),
    (K.SCHEDULED, S.SCHEDULED),
    (K.UNCERTAIN, S.UNCERTAIN),
    (K.UNCERTAIN_FINAL, S.UNCERTAIN),
    (K.PROVIDER_SENT, S.SENT),
    (K.SENT, S.SENT),
    (K.DEFERRED, S.DEFERRED),
    (K.PROVIDER_SUPPRESSED, S.SUPPRESSED),
    (K.PROVIDER_REJECTED, S.REJECTED),
    (K.BOUNCED, S.BOUNCED),
    (K.RETRY, S.DEFERRED),
    (K.EXPIRED, S.EXPIRED),
    (K.CANCELLED, S.CANCELLED),
    (K.SUPPRESSED, S.SUPPRESSED),
    (K.REJECTED, S.REJECTED),
    (K.FAILED, S.FAILED),
    (K.DELIVERED, S.DELIVERED),
    (K.COMPLAINED, S.COMPLAINED),
)
"""Facts that give an attempt its status, weakest first."""

TERMINAL = frozenset({
    K.UNCERTAIN_FINAL, K.PROVIDER_SUPPRESSED, K.PROVIDER_REJECTED, K.BOUNCED, K.EXPIRED, K.CANCELLED, K.SUPPRESSED,
    K.REJECTED, K.FAILED, K.DELIVERED, K.COMPLAINED,
})  # fmt: skip
"""After these, as the strongest fact, nothing more is expected of us (a bounce that is to be retried excepted)."""

REPORTS = frozenset({
    K.PROVIDER_SENT, K.DEFERRED, K.DELIVERED, K.BOUNCED, K.COMPLAINED, K.OPENED, K.CLICKED, K.UNSUBSCRIBED,
    K.PROVIDER_SUPPRESSED, K.PROVIDER_REJECTED,
})  # fmt: skip
"""What a provider says; each proves that it took the attempt."""

# Marks of an attempt: three that give no status, then one per line of PRECEDENCE: the highest bit is the status.
_PROBED, _SOFT, _HARD = 1, 2, 4
_MARK = {kind: 8 << line for line, (kind, _) in enumerate(PRECEDENCE)}
_STATUS = (S.ACCEPTED,) * 4 + tuple(status for _, status in PRECEDENCE)  # by bit_length
_ENDS = (False,) * 4 + tuple(kind in TERMINAL for kind, _ in PRECEDENCE)

_SENT, _REPORTED, _BOUNCED, _DELIVERED = (_MARK[k] for k in (K.SENT, K.PROVIDER_SENT, K.BOUNCED, K.DELIVERED))
_PROOF = _SENT | _REPORTED
_DOUBT = _PROBED | _MARK[K.UNCERTAIN] | _MARK[K.UNCERTAIN_FINAL]
_ANSWERED = _HARD | sum(
    _MARK[k] for k in (K.DELIVERED, K.COMPLAINED, K.RETRY, K.EXPIRED, K.CANCELLED, K.SUPPRESSED, K.REJECTED, K.FAILED)
)
_FINAL_FAILURES = frozenset({K.BOUNCED, K.PROVIDER_SUPPRESSED, K.PROVIDER_REJECTED})
_MARKS_OF = dict(_MARK) | {K.PROBE: _PROBED} | {k: _MARK.get(k, 0) | _REPORTED for k in REPORTS}
del K, S


def joined(attempts: tuple[Attempt, ...], receipt: Receipt) -> tuple[Attempt, ...]:
    """The attempts with the receipt's facts joined in; sorted by number, then (where not echoed) provider id."""
    kind = receipt.kind
    marks = _MARKS_OF[kind]
    number, provider_message_id = receipt.attempt, receipt.provider_message_id
    if kind is ReceiptKind.BOUNCED:
        marks |= _SOFT if receipt.bounce_type is BounceType.SOFT else _HARD
    if number < 1:
        number = NOT_ECHOED if kind in REPORTS else 0
    sent_ms = receipt.occurred_ms if marks & _PROOF else 0
    failed_ms = receipt.occurred_ms if kind in _FINAL_FAILURES else 0
    if not attempts:
        return (Attempt(number, marks, receipt.provider, provider_message_id, sent_ms, failed_ms),)
    for at, old in enumerate(attempts):
        if old.number == number and (number != NOT_ECHOED or old.provider_message_id == provider_message_id):
            both = Attempt(
                number,
                old.marks | marks,
                _first(old.provider, receipt.provider),
                _first(old.provider_message_id, provider_message_id),
                _earliest(old.sent_ms, sent_ms),
                _earliest(old.failed_ms, failed_ms),
            )
            return attempts if both == old else (*attempts[:at], both, *attempts[at + 1 :])
    if len(attempts) >= MAX_ATTEMPTS:
        return attempts
    new = Attempt(number, marks, receipt.provider, provider_message_id, sent_ms, failed_ms)
    return tuple(sorted((*attempts, new), key=lambda a: (a.number, a.provider_message_id)))


def resolve(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The attempts after what was not echoed has found its own: by provider id, or because there is only one."""
    if not attempts or attempts[0].number != NOT_ECHOED:
        return attempts
    known = {a.number: a for a in attempts if a.number > 0}
    rest = [a for a in attempts if a.number == 0]
    for stray in (a for a in attempts if a.number == NOT_ECHOED):
        theirs = stray.provider_message_id
        owners = [a for a in known.values() if theirs and a.provider_message_id == theirs]
        if not owners and len(known) == 1:
            owners = list(known.values())
        if len(owners) != 1:
            rest.insert(0, stray)
            continue
        owner = owners[0]
        known[owner.number] = owner._replace(
            marks=owner.marks | stray.marks,
            sent_ms=_earliest(owner.sent_ms, stray.sent_ms),
            failed_ms=_earliest(owner.failed_ms, stray.failed_ms),
        )
    return (*rest, *(known[number] for number in sorted(known)))


def verdict(resolved: tuple[Attempt, ...]) -> tuple[Status, bool]:
    """The status of the message, and whether its strongest fact ends it (rules 1 and 2)."""
    best = 0
    for attempt in resolved:
        marks = attempt.marks
        if marks & _BOUNCED:
            marks &= ~_DELIVERED
        if marks > _HARD | _SOFT | _PROBED and (best < _DELIVERED or marks.bit_length() >= best.bit_length()):
            best = marks
    length = best.bit_length()
    return _STATUS[length], _ENDS[length]


def double_sends(resolved: tuple[Attempt, ...]) -> int:
    """Acceptances that came although the one before had not failed by then."""
    taken = [a for a in resolved if a.number > 0 and a.marks & _PROOF]
    return sum(not a.failed_ms or b.sent_ms < a.failed_ms for a, b in pairwise(taken))


def wants_retry(facts: Facts | None, resolved: tuple[Attempt, ...]) -> bool:
    """Whether the latest attempt failed softly for good, nobody has answered that yet, and policy wants it answered."""
    if facts is None or not facts.retry_final or not resolved:
        return False
    marks = resolved[-1].marks
    return bool(resolved[-1].number > 0 and marks & _SENT and marks & _SOFT and not marks & _ANSWERED)


def older(known: Facts | None, new: Facts) -> Facts:
    """One of two descriptions of a message, the same whichever came first; one that was accepted goes first."""
    if known is None:
        return new
    return min(known, new, key=lambda f: (not f.accepted_ms, f.accepted_ms, repr(f)))


def is_proven(attempt: Attempt) -> bool:
    """Whether anything proves that a provider took it."""
    return bool(attempt.marks & _PROOF)


def any_doubted(attempts: tuple[Attempt, ...]) -> bool:
    """Whether dispatch has ever said of one that it does not know."""
    for attempt in attempts:  # noqa: SIM110 - half the cost of any() on every receipt
        if attempt.marks & _DOUBT:
            return True
    return False


def newly_proven(before: tuple[Attempt, ...], after: tuple[Attempt, ...]) -> list[Attempt]:
    """The numbered attempts that something proves now and nothing proved before."""
    if before is after:
        return []
    told = [a.number for a in before if a.marks & _PROOF]
    return [a for a in after if a.marks & _PROOF and a.number > 0 and a.number not in told]


def needs_settling(attempt: Attempt) -> bool:
    """Dispatch was in doubt, the provider's word proves acceptance, and dispatch has not recorded it."""
    marks = attempt.marks
    return bool(attempt.number > 0 and marks & _DOUBT and marks & _REPORTED and not marks & _SENT)


def _first(known: str, new: str) -> str:
    return min(known, new) if known and new else known or new


def _earliest(known_ms: int, new_ms: int) -> int:
    return min(known_ms, new_ms) if known_ms and new_ms else known_ms or new_ms
