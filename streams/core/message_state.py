"""What track remembers of a message: the fold of its receipts, small enough for millions of them.

Rules:

1. Every field is a join of the receipts folded so far (a set, a minimum, a maximum, a bit-wise or), or is derived
   from such fields. So the order of the receipts cannot matter. Only :mod:`streams.core.lifecycle` makes states.
2. ``timeline`` is also the memory of what was seen: a receipt whose id stands there is a repeat.
3. ``early`` keeps, whole, the receipts whose events cannot be published yet: before the message's facts are known, or
   before it is known that who reports has the attempt.
4. ``Attempt`` and ``Entry`` are written without field names; a new field goes last and has a default.
"""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

from streams.core.event import Status
from streams.core.receipt import Facts, Receipt, ReceiptKind
from streams.core.value import value

MAX_SEEN = 64
"""Entries of a timeline, and receipts kept early. Beyond it the oldest opens and clicks are forgotten first."""

MAX_ATTEMPTS = 64
"""Entries of what is known of attempts, reports of a provider included."""

MAX_COUNT = 65_535
MAX_REASON = 120  # characters

NOT_ECHOED = -1
"""The number under which facts are folded whose source did not say which attempt it meant."""


class Attempt(NamedTuple):
    """What one speaker says of one attempt (dispatch of a provider, or that provider itself: the same ``provider``).

    ``number`` 0 holds what dispatch decided before any hand-over. ``marks`` are bits of :mod:`streams.core.marks`.
    ``sent_ms`` is the earliest proof of acceptance, ``failed_ms`` the earliest final failure that the provider
    reported; 0 is never.
    """

    number: int
    marks: int
    provider: str = ""
    provider_message_id: str = ""
    sent_ms: int = 0
    failed_ms: int = 0


class Entry(NamedTuple):
    """One line of a message's history. Entries sort by time, then receipt id."""

    occurred_ms: int
    receipt_id: str
    kind: ReceiptKind
    attempt: int = 0
    provider: str = ""
    reason: str = ""


@value
class MessageState:
    """The row of one message in the table ``messages``.

    ``last_ms`` is the latest time any receipt named; ``double_sends`` counts acceptances by a provider while an
    earlier acceptance had not failed. ``terminal`` means that no more is expected of us.
    """

    facts: Facts | None
    status: Status
    attempts: tuple[Attempt, ...] = ()
    timeline: tuple[Entry, ...] = ()
    early: tuple[Receipt, ...] = ()
    opens: int = 0
    clicks: int = 0
    terminal: bool = False
    double_sends: int = 0
    last_ms: int = 0


def with_entry(timeline: tuple[Entry, ...], receipt: Receipt) -> tuple[Entry, ...]:
    """The timeline with a receipt that it does not have yet."""
    reason = receipt.reason
    text = ""
    if reason is not None:
        text = " ".join(p for p in (reason.kind, reason.code, reason.enhanced_code, reason.detail) if p)[:MAX_REASON]
    entry = Entry(receipt.occurred_ms, receipt.receipt_id, receipt.kind, receipt.attempt, receipt.provider, text)
    if not timeline:
        return (entry,)
    if timeline[-1] < entry:
        entries = (*timeline, entry)
    else:
        ordered = list(timeline)
        insort(ordered, entry)
        entries = tuple(ordered)
    if len(entries) <= MAX_SEEN:
        return entries
    spare = next((at for at, e in enumerate(entries) if e.kind in _SPARED), 0)
    return entries[:spare] + entries[spare + 1 :]


def with_early(early: tuple[Receipt, ...], receipt: Receipt) -> tuple[Receipt, ...]:
    """The early receipts with one more, oldest first."""
    ordered = sorted((*early, receipt), key=by_time)
    if len(ordered) > MAX_SEEN:
        del ordered[next((at for at, r in enumerate(ordered) if r.kind in _SPARED), 0)]
    return tuple(ordered)


def by_time(receipt: Receipt) -> tuple[int, str]:
    """The order in which a history is told."""
    return receipt.occurred_ms, receipt.receipt_id


_SPARED = frozenset({ReceiptKind.OPENED, ReceiptKind.CLICKED})
