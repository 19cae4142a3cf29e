"""What is known of the attempts of a message: bits that are only ever added, and what they amount to.

Facts are kept by attempt number, by who says so, and by the provider's message id; :func:`resolve` brings together what
belongs to one attempt.

Rules:

1. :mod:`~streams.core.marks` has the table of facts about one attempt, weakest first. An attempt is what its strongest
   fact says, with one exception: a bounce strikes out ``delivered`` (the delayed bounce).
2. Among attempts, one that was delivered or complained about speaks for the message; else the latest attempt does.
3. Whatever a provider reports of an attempt proves that it took it.
4. What does not come from dispatch counts as :mod:`~streams.core.belief` says.
5. A report whose provider id is that of another attempt belongs to that one: a stored message that is sent again still
   names the attempt that it was made for.
6. Joining is commutative, associative and idempotent, so the order of receipts cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from streams.core.belief import believed, is_everyones, matches, speaker_of
from streams.core.event import BounceType, Status
from streams.core.marks import (
    ANSWERED,
    BOUNCED,
    DELIVERED,
    DOUBT,
    ENDS,
    FINAL_FAILURES,
    HARD,
    MARKS_OF,
    OURS,
    PROBED,
    PROOF,
    REPORTED,
    REPORTS,
    SENT,
    SOFT,
    STATUS,
)
from streams.core.message_state import MAX_ATTEMPTS, NOT_ECHOED, Attempt
from streams.core.receipt import Facts, Receipt, ReceiptKind


def joined(attempts: tuple[Attempt, ...], receipt: Receipt) -> tuple[Attempt, ...]:
    """The attempts with the receipt's facts joined in; sorted by number, reporter and provider id."""
    kind = receipt.kind
    marks = MARKS_OF[kind]
    number, theirs = receipt.attempt, receipt.provider_message_id
    if kind is ReceiptKind.BOUNCED:
        marks |= SOFT if receipt.bounce_type is BounceType.SOFT else HARD
    is_report = kind in REPORTS
    if number < 1:
        number = NOT_ECHOED if is_report else 0
    speaker = speaker_of(receipt)
    sent_ms = receipt.occurred_ms if marks & PROOF else 0
    failed_ms = receipt.occurred_ms if kind in FINAL_FAILURES else 0
    if not attempts:
        return (Attempt(number, marks, speaker, theirs, sent_ms, failed_ms),)
    for at, old in enumerate(attempts):
        if old.number == number and old.provider_message_id == theirs and old.provider == speaker:
            both = Attempt(
                number,
                old.marks | marks,
                speaker,
                theirs,
                _earliest(old.sent_ms, sent_ms),
                _earliest(old.failed_ms, failed_ms),
            )
            return attempts if both == old else (*attempts[:at], both, *attempts[at + 1 :])
    if is_report and len(attempts) >= MAX_ATTEMPTS:  # what dispatch says is never crowded out
        return attempts
    new = Attempt(number, marks, speaker, theirs, sent_ms, failed_ms)
    return tuple(sorted((*attempts, new), key=_place))


def resolve(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The attempts, one entry each: what may not be believed (yet) is left out, what was reported has found its own.

    What belongs to no attempt, though its provider has one of them, goes first.
    """
    last = -1
    for a in attempts:
        if a.number <= last or (a.number > 0 and not (a.marks & OURS and a.provider)):
            return _resolved(attempts)
        last = a.number
    return attempts


def _resolved(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    owned: dict[int, list[Attempt]] = {}
    for a in attempts:
        if a.marks & OURS or a.number == 0:
            owned.setdefault(a.number, []).append(a)
    strays: list[Attempt] = []
    found: list[tuple[int, Attempt]] = []
    for a in attempts:
        if a.marks & OURS or a.number == 0:
            continue
        if a.number == NOT_ECHOED:
            number = _only(n for n, own in owned.items() if n > 0 and _has_id(own, a)) or _only(
                n for n in owned if n > 0
            )
            if number and believed(owned[number], a):
                found.append((number, a))
            elif not number and (is_everyones(a) or any(believed(own, a) for n, own in owned.items() if n > 0)):
                strays.append(a)
            continue
        if not is_everyones(a) and not believed(owned.get(a.number, ()), a):
            continue
        number = a.number
        if a.provider_message_id and not _has_id(owned.get(number, ()), a):
            number = _only(n for n, own in owned.items() if n > 0 and _has_id(own, a)) or number
        found.append((number, a))
        if number != a.number:  # the attempt it names is proven all the same: a proof is never taken back
            found.append((a.number, a._replace(marks=a.marks & PROOF, failed_ms=0)))
    for number, a in found:
        owned.setdefault(number, []).append(a)
    return (*strays, *(_one(number, owned[number]) for number in sorted(owned)))


def _one(number: int, entries: list[Attempt]) -> Attempt:
    first = min(entries, key=_weight)
    if len(entries) == 1:
        return first
    marks = sent_ms = failed_ms = 0
    for a in entries:
        marks |= a.marks
        sent_ms, failed_ms = _earliest(sent_ms, a.sent_ms), _earliest(failed_ms, a.failed_ms)
    theirs = first.provider_message_id or next(
        (a.provider_message_id for a in sorted(entries, key=_weight) if a.provider_message_id), ""
    )
    return Attempt(number, marks, first.provider, theirs, sent_ms, failed_ms)


def _weight(a: Attempt) -> tuple[bool, bool, bool, str, str]:
    """Whose word names the provider and its id: dispatch's with an id, dispatch's, a report's."""
    return not a.marks & SENT, not a.marks & OURS, not a.provider, a.provider, a.provider_message_id


def _has_id(own: Iterable[Attempt], report: Attempt) -> bool:
    """Whether dispatch knows the report's id as that of this attempt, at the report's provider."""
    theirs = report.provider_message_id
    return bool(theirs) and any(
        a.marks & SENT and a.provider_message_id == theirs and matches(report.provider, a.provider) for a in own
    )


def _only(numbers: Iterable[int]) -> int:
    """The one number there is, else 0."""
    found = list(numbers)
    return found[0] if len(found) == 1 else 0


def _place(a: Attempt) -> tuple[int, str, str]:
    return a.number, a.provider, a.provider_message_id


def verdict(resolved: tuple[Attempt, ...]) -> tuple[Status, bool]:
    """The status of the message, and whether its strongest fact ends it (rules 1 and 2)."""
    best = 0
    for attempt in resolved:
        marks = attempt.marks
        if marks & BOUNCED:
            marks &= ~DELIVERED
        if marks > HARD | SOFT | PROBED and (best < DELIVERED or marks.bit_length() >= best.bit_length()):
            best = marks
    length = best.bit_length()
    return STATUS[length], ENDS[length]


def double_sends(resolved: tuple[Attempt, ...]) -> int:
    """Acceptances that came although the one before had not failed by then."""
    taken = [a for a in resolved if a.number > 0 and a.marks & PROOF]
    return sum(not a.failed_ms or b.sent_ms < a.failed_ms for a, b in pairwise(taken))


def wants_retry(facts: Facts | None, resolved: tuple[Attempt, ...]) -> bool:
    """Whether the latest attempt failed softly for good, nobody has answered that yet, and policy wants it answered."""
    if facts is None or not facts.retry_final or not resolved:
        return False
    marks = resolved[-1].marks
    return bool(resolved[-1].number > 0 and marks & SENT and marks & SOFT and not marks & ANSWERED)


def older(known: Facts | None, new: Facts) -> Facts:
    """One of two descriptions of a message, the same whichever came first; one that was accepted goes first."""
    if known is None:
        return new
    return min(known, new, key=lambda f: (not f.accepted_ms, f.accepted_ms, repr(f)))


def is_proven(attempt: Attempt) -> bool:
    """Whether anything proves that a provider took it."""
    return bool(attempt.marks & PROOF)


def any_doubted(attempts: tuple[Attempt, ...]) -> bool:
    """Whether dispatch has ever said of one that it does not know."""
    for attempt in attempts:  # noqa: SIM110 - half the cost of any() on every receipt
        if attempt.marks & DOUBT:
            return True
    return False


def newly_proven(before: tuple[Attempt, ...], after: tuple[Attempt, ...]) -> list[Attempt]:
    """The attempts that something proves now and nothing proved before; only those of which dispatch has spoken, and
    never by what does not name its attempt. What is proven stays so.
    """
    if before is after:
        return []
    told = _proven(before)
    return [_one(number, entries) for number, entries in _proven(after).items() if number not in told]


def _proven(attempts: tuple[Attempt, ...]) -> dict[int, list[Attempt]]:
    proofs: dict[int, list[Attempt]] = {}
    for a in attempts:
        if a.number > 0 and a.marks & PROOF:
            proofs.setdefault(a.number, []).append(a)
    for number, entries in list(proofs.items()):
        own = [a for a in attempts if a.number == number and a.marks & OURS and a.provider]
        counted = [a for a in entries if believed(own, a)] if own else []
        if counted:
            proofs[number] = [*own, *(a for a in counted if a not in own)]
        else:
            del proofs[number]
    return proofs


def needs_settling(attempt: Attempt) -> bool:
    """Dispatch was in doubt, the provider's word proves acceptance, and dispatch has not recorded it."""
    marks = attempt.marks
    return bool(attempt.number > 0 and marks & DOUBT and marks & REPORTED and not marks & SENT)


def _earliest(known_ms: int, new_ms: int) -> int:
    return min(known_ms, new_ms) if known_ms and new_ms else known_ms or new_ms
