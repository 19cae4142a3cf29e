"""What is known of the attempts of a message: bits that are only ever added, and what they amount to.

Facts are kept by attempt number, by who says so, and by the provider's message id; :func:`resolve` brings together what
belongs to one attempt.

Rules:

1. ``PRECEDENCE`` is the table of facts about one attempt, weakest first. An attempt is what its strongest fact says,
   with one exception: a bounce strikes out ``delivered`` (the delayed bounce).
2. Among attempts, one that was delivered or complained about speaks for the message; else the latest attempt does.
3. Whatever a provider reports of an attempt proves that it took it.
4. Dispatch says which provider has an attempt, and only that provider is believed about it (``standing``): a report
   that comes first is held until then. Our own mailbox and tracking (``EVERYONE``) may speak of all attempts; whoever
   holds the keys of an account that a tenant has brought, of that tenant's attempts there alone.
5. A report whose provider id is that of another attempt belongs to that one: a stored message that is sent again still
   names the attempt that it was made for.
6. Joining is commutative, associative and idempotent, so the order of receipts cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from itertools import pairwise

from streams.core.accounts import OWN, without_identity
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
_OWN = _PROBED | sum(_MARK[k] for k in _MARK if k not in REPORTS)
_DOUBT = _PROBED | _MARK[K.UNCERTAIN] | _MARK[K.UNCERTAIN_FINAL]
_ANSWERED = _HARD | sum(
    _MARK[k] for k in (K.DELIVERED, K.COMPLAINED, K.RETRY, K.EXPIRED, K.CANCELLED, K.SUPPRESSED, K.REJECTED, K.FAILED)
)
_FINAL_FAILURES = frozenset({K.BOUNCED, K.PROVIDER_SUPPRESSED, K.PROVIDER_REJECTED})
_MARKS_OF = dict(_MARK) | {K.PROBE: _PROBED} | {k: _MARK.get(k, 0) | _REPORTED for k in REPORTS}
del K, S


class Standing(Enum):
    """What a report is worth. What does not count is kept, in case dispatch still names its provider."""

    COUNTED = "counted"
    HELD = "held"  # dispatch has not said yet which provider has that attempt
    FOREIGN = "foreign"  # it said, and it was another


EVERYONE = "*"
"""In ``Receipt.vouches``: may speak of every provider's attempts."""

_BETWEEN = "|"


def joined(attempts: tuple[Attempt, ...], receipt: Receipt) -> tuple[Attempt, ...]:
    """The attempts with the receipt's facts joined in; sorted by number, reporter and provider id."""
    kind = receipt.kind
    marks = _MARKS_OF[kind]
    number, theirs = receipt.attempt, receipt.provider_message_id
    if kind is ReceiptKind.BOUNCED:
        marks |= _SOFT if receipt.bounce_type is BounceType.SOFT else _HARD
    is_report = kind in REPORTS
    if number < 1:
        number = NOT_ECHOED if is_report else 0
    speaker = _speaker(receipt)
    sent_ms = receipt.occurred_ms if marks & _PROOF else 0
    failed_ms = receipt.occurred_ms if kind in _FINAL_FAILURES else 0
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


def standing(attempts: tuple[Attempt, ...], receipt: Receipt) -> Standing:
    """Whether the receipt may be believed by what is known now. What counts once counts for ever."""
    if receipt.kind not in REPORTS:
        return Standing.COUNTED
    number, provider = receipt.attempt, receipt.provider
    if number > 0 and provider and not receipt.vouches:
        for a in attempts:  # nearly always the answer
            if a[0] == number and a[2] == provider and a[1] & _OWN:
                return Standing.COUNTED
    speaker = _speaker(receipt)
    if not speaker or speaker == EVERYONE:
        return Standing.COUNTED
    claimed = False
    for a in attempts:
        if a.marks & _OWN and a.provider and a.number > 0 and (number < 1 or a.number == number):
            if a.provider == speaker or _speaks_for(speaker, a.provider):
                return Standing.COUNTED
            claimed = True
    return Standing.FOREIGN if claimed else Standing.HELD


def speaks_as_tenant(receipt: Receipt) -> bool:
    """Whether its proof is the key of an account that a tenant has brought."""
    return any(f"/{OWN}" in name for name in receipt.vouches)


def newly_counted(
    kept: Iterable[Receipt], before: tuple[Attempt, ...], after: tuple[Attempt, ...]
) -> tuple[Receipt, ...]:
    """Which of the receipts that were kept count now and did not before."""
    if before is after:
        return ()
    return tuple(
        one
        for one in kept
        if standing(after, one) is Standing.COUNTED and standing(before, one) is not Standing.COUNTED
    )


def resolve(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    """The attempts, one entry each: what may not be believed (yet) is left out, what was reported has found its own.

    What belongs to no attempt, though its provider has one of them, goes first.
    """
    last = -1
    for a in attempts:
        if a.number <= last or (a.number > 0 and not (a.marks & _OWN and a.provider)):
            return _resolved(attempts)
        last = a.number
    return attempts


def _resolved(attempts: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    owned: dict[int, list[Attempt]] = {}
    for a in attempts:
        if a.marks & _OWN or a.number == 0:
            owned.setdefault(a.number, []).append(a)
    strays: list[Attempt] = []
    found: list[tuple[int, Attempt]] = []
    for a in attempts:
        if a.marks & _OWN or a.number == 0:
            continue
        if a.number == NOT_ECHOED:
            number = _only(n for n, own in owned.items() if n > 0 and _has_id(own, a)) or _only(
                n for n in owned if n > 0
            )
            if number and _believed(owned[number], a):
                found.append((number, a))
            elif not number and (_is_everyones(a) or any(_believed(own, a) for n, own in owned.items() if n > 0)):
                strays.append(a)
            continue
        if not _is_everyones(a) and not _believed(owned.get(a.number, ()), a):
            continue
        number = a.number
        if a.provider_message_id and not _has_id(owned.get(number, ()), a):
            number = _only(n for n, own in owned.items() if n > 0 and _has_id(own, a)) or number
        found.append((number, a))
        if number != a.number:  # the attempt it names is proven all the same: a proof is never taken back
            found.append((a.number, a._replace(marks=a.marks & _PROOF, failed_ms=0)))
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
    return not a.marks & _SENT, not a.marks & _OWN, not a.provider, a.provider, a.provider_message_id


def _has_id(own: Iterable[Attempt], report: Attempt) -> bool:
    """Whether dispatch knows the report's id as that of this attempt, at the report's provider."""
    theirs = report.provider_message_id
    return bool(theirs) and any(
        a.marks & _SENT and a.provider_message_id == theirs and _matches(report.provider, a.provider) for a in own
    )


def _believed(own: Iterable[Attempt], report: Attempt) -> bool:
    return any(a.marks & _OWN and a.provider and _matches(report.provider, a.provider) for a in own) or (
        _is_everyones(report)
    )


def _matches(speaker: str, provider: str) -> bool:
    return not speaker or speaker in (EVERYONE, provider) or _speaks_for(speaker, provider)


def _speaks_for(speaker: str, provider: str) -> bool:
    """Whether one of the names in ``speaker`` is the provider, or the provider whose account it is, or the tenant
    whose account it is (``mailgun/@acme`` for ``mailgun/@acme-1f3a5c7e``).
    """
    return bool(provider) and any(
        name == provider or provider.startswith(f"{name}/") or ("/" in name and without_identity(provider) == name)
        for name in speaker.split(_BETWEEN)
    )


def _is_everyones(report: Attempt) -> bool:
    return not report.provider or report.provider == EVERYONE


def _speaker(receipt: Receipt) -> str:
    """Who says so: the provider, or all that its proof is as good for; of dispatch: who has the attempt."""
    return _BETWEEN.join(receipt.vouches) if receipt.vouches else receipt.provider


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
        if a.number > 0 and a.marks & _PROOF:
            proofs.setdefault(a.number, []).append(a)
    for number, entries in list(proofs.items()):
        own = [a for a in attempts if a.number == number and a.marks & _OWN and a.provider]
        believed = [a for a in entries if _believed(own, a)] if own else []
        if believed:
            proofs[number] = [*own, *(a for a in believed if a not in own)]
        else:
            del proofs[number]
    return proofs


def needs_settling(attempt: Attempt) -> bool:
    """Dispatch was in doubt, the provider's word proves acceptance, and dispatch has not recorded it."""
    marks = attempt.marks
    return bool(attempt.number > 0 and marks & _DOUBT and marks & _REPORTED and not marks & _SENT)


def _earliest(known_ms: int, new_ms: int) -> int:
    return min(known_ms, new_ms) if known_ms and new_ms else known_ms or new_ms
