"""Suppressed addresses: who may not be written to, since when, until when, and why. One row per tenant and mailbox.

Rules:

1. A row is a join of changes: per list and kind the latest time it was asked for, and the latest time it was lifted.
   So changes may be repeated and may arrive in any order; an old bounce that arrives late does not undo a later lift.
2. A lifted row stays for a while, because it is what an old bounce has to meet.
3. What concerns the whole tenant stops all mail, an unsubscription bulk mail only: nobody unsubscribes from a password
   reset. What concerns one list (``SendRequest.list_id``) stops the mail of that list, and no other.
4. A hard bounce that proves nothing by itself (a name server that failed, a refusal that usually means nobody) is a
   doubt. Doubts about two messages, with no lift since the first, are a bounce.
5. What is in force depends on the clock of whoever asks: a suppression may end by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from streams.core.event import BounceType, ReasonKind
from streams.core.ids import recipient_key_of
from streams.core.receipt import Facts, Receipt, ReceiptKind

LIST_CODE = "list:"
"""Before the list's id in ``reason.code`` of an unsubscription that concerns one list alone."""


class SuppressionKind(StrEnum):
    """Why an address may not be written to. Order: the first that applies is the one that is told."""

    COMPLAINT = "complaint"
    BOUNCE = "bounce"
    MANUAL = "manual"
    UNSUBSCRIBE = "unsubscribe"


REASON_OF: dict[SuppressionKind, ReasonKind] = {
    SuppressionKind.COMPLAINT: ReasonKind.SUPPRESSED_COMPLAINT,
    SuppressionKind.BOUNCE: ReasonKind.SUPPRESSED_BOUNCE,
    SuppressionKind.MANUAL: ReasonKind.SUPPRESSED_MANUAL,
    SuppressionKind.UNSUBSCRIBE: ReasonKind.SUPPRESSED_UNSUBSCRIBE,
}

_KIND_OF_REASON = {reason: kind for kind, reason in REASON_OF.items()} | {
    ReasonKind.COMPLAINT: SuppressionKind.COMPLAINT,
    ReasonKind.UNSUBSCRIBE: SuppressionKind.UNSUBSCRIBE,
}
_KIND_OF_RECEIPT = {
    ReceiptKind.COMPLAINED: SuppressionKind.COMPLAINT,
    ReceiptKind.UNSUBSCRIBED: SuppressionKind.UNSUBSCRIBE,
    ReceiptKind.BOUNCED: SuppressionKind.BOUNCE,
}
_ENOUGH_DOUBTS = 2
_RANK = {kind: rank for rank, kind in enumerate(SuppressionKind)}


@dataclass(frozen=True, slots=True)
class SuppressionChange:
    """One wish: suppress, or lift. It travels on ``receipts``, keyed by its recipient key, if it is not a receipt's.

    ``kind`` None lifts everything (of ``list_id``, where one is named); with ``lift`` only that kind is lifted.
    ``source`` names who says so: a provider, ``import``, a component; a person is the ``actor``.
    """

    recipient_key: str
    kind: SuppressionKind | None
    changed_ms: int
    message_id: str = ""
    actor: str = ""
    tenant: str = ""
    recipient: str = ""
    """The address, where the message's facts are known."""
    list_id: str = ""
    until_ms: int = 0
    """When it ends by itself; 0 for never."""
    lift: bool = False
    source: str = ""
    note: str = ""
    """For people: why."""
    doubtful: bool = False
    """Suppresses only with another one, of another message."""

    @property
    def lifts(self) -> bool:
        """Whether it takes something back."""
        return self.lift or self.kind is None


@dataclass(frozen=True, slots=True)
class Hold:
    """One reason of a row. ``since_ms`` 0: only ever lifted; ``until_ms`` 0: without end."""

    kind: SuppressionKind
    since_ms: int
    list_id: str = ""
    until_ms: int = 0
    lifted_ms: int = 0
    source: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A hard bounce of one message that proves nothing by itself; ``until_ms`` as in :class:`Hold`."""

    at_ms: int
    message_id: str
    until_ms: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Suppression:
    """The row of one recipient key. ``holds`` has at most one entry per list and kind, sorted by them; ``doubts`` are
    those of the latest two messages, oldest first.
    """

    holds: tuple[Hold, ...] = ()
    lifted_ms: int = 0
    """When everything was lifted; 0 for never."""
    actor: str = ""
    tenant: str = ""
    recipient: str = ""
    doubts: tuple[Doubt, ...] = ()

    def in_force(self, now_ms: int) -> tuple[Hold, ...]:
        """What holds now: the gravest first, the whole tenant before its lists."""
        held = [hold for hold in self.all_holds() if self._is_held(hold, now_ms)]
        return tuple(sorted(held, key=lambda hold: (bool(hold.list_id), _RANK[hold.kind], hold.list_id)))

    def active(self, now_ms: int) -> tuple[SuppressionKind, ...]:
        """The kinds in force, each once."""
        return tuple(dict.fromkeys(hold.kind for hold in self.in_force(now_ms)))

    def blocks(self, stream: str, list_id: str, now_ms: int) -> SuppressionKind | None:
        """Why a message of ``stream`` (``transactional``, ``bulk``) and of this list may not go to the address."""
        found: SuppressionKind | None = None
        for hold in self.all_holds():
            stops = hold.list_id == list_id if hold.list_id else stops_mail(hold.kind, stream)
            if stops and (found is None or _RANK[hold.kind] < _RANK[found]) and self._is_held(hold, now_ms):
                found = hold.kind
        return found

    def changed_ms(self) -> int:
        """When it was last changed."""
        told = (max(h.since_ms, h.lifted_ms) for h in self.holds)
        return max(self.lifted_ms, 0, *told, *(d.at_ms for d in self.doubts))

    def over_ms(self) -> int:
        """When it was last changed, or will last have ended by itself; only then its time in memory begins."""
        return max(self.changed_ms(), 0, *(h.until_ms for h in self.holds))

    def all_holds(self) -> tuple[Hold, ...]:
        """With what follows from two doubts."""
        if len(self.doubts) < _ENOUGH_DOUBTS:
            return self.holds
        known = next((h for h in self.holds if h.kind is SuppressionKind.BOUNCE and not h.list_id), None)
        lifted_ms = max(self.lifted_ms, known.lifted_ms if known else 0)
        if self.doubts[0].at_ms <= lifted_ms or (known is not None and known.since_ms > lifted_ms):
            return self.holds
        latest = self.doubts[-1]
        return (
            *(h for h in self.holds if h is not known),
            Hold(SuppressionKind.BOUNCE, latest.at_ms, "", latest.until_ms, lifted_ms, latest.source, "bounced twice"),
        )

    def _is_held(self, hold: Hold, now_ms: int) -> bool:
        return hold.since_ms > max(hold.lifted_ms, self.lifted_ms) and not 0 < hold.until_ms <= now_ms


def stops_mail(kind: SuppressionKind, stream: str) -> bool:
    """Whether a suppression beyond a single list concerns this stream."""
    return kind is not SuppressionKind.UNSUBSCRIBE or stream == "bulk"


@dataclass(frozen=True, slots=True)
class SuppressionPolicy:
    """What a provider's report may do to an address; people and imports do as they like.

    ``lasts_ms`` is how long what follows from a report is in force; 0 for ever.
    """

    bounces: bool = True
    complaints: bool = True
    unsubscribes: bool = True
    lasts_ms: int = 0

    def judged(self, change: SuppressionChange) -> SuppressionChange | None:
        """The change as it counts, or None if this deployment does not want it."""
        if not change.message_id or change.lifts:
            return change
        wanted = {
            SuppressionKind.BOUNCE: self.bounces,
            SuppressionKind.COMPLAINT: self.complaints,
            SuppressionKind.UNSUBSCRIBE: self.unsubscribes,
            SuppressionKind.MANUAL: True,
        }
        if change.kind is None or not wanted[change.kind]:
            return None
        if not self.lasts_ms or change.kind is SuppressionKind.UNSUBSCRIBE:  # a wish does not fade
            return change
        return replace(change, until_ms=change.changed_ms + self.lasts_ms)


def change_of(receipt: Receipt, facts: Facts | None) -> SuppressionChange | None:
    """What a receipt means for its address: nothing, unless it says so."""
    kind: SuppressionKind | None
    if receipt.kind is ReceiptKind.UNSUPPRESS:
        kind = None
    elif receipt.suppress or receipt.kind is ReceiptKind.SUPPRESS or _is_doubt(receipt):
        kind = _kind_of(receipt)
    else:
        return None
    facts = facts or receipt.facts
    code = receipt.reason.code if receipt.reason else ""
    of_list = kind is SuppressionKind.UNSUBSCRIBE and code.startswith(LIST_CODE)
    return SuppressionChange(
        recipient_key_of(receipt.message_id),
        kind,
        receipt.occurred_ms,
        "" if receipt.kind in (ReceiptKind.SUPPRESS, ReceiptKind.UNSUPPRESS) else receipt.message_id,
        receipt.actor,
        facts.tenant if facts else "",
        facts.recipient if facts else "",
        code.removeprefix(LIST_CODE) if of_list else "",
        source=receipt.provider,
        doubtful=_is_doubt(receipt),
    )


def _is_doubt(receipt: Receipt) -> bool:
    """A hard bounce whose reporter does not call the address dead."""
    is_bounce = receipt.kind in (ReceiptKind.BOUNCED, ReceiptKind.REJECTED)
    return is_bounce and receipt.bounce_type is BounceType.HARD and not receipt.suppress


def fold(row: Suppression | None, change: SuppressionChange) -> Suppression:
    """The row after ``change``; the very same object if the change brings nothing new."""
    row = row or Suppression()
    latest = row.changed_ms() <= change.changed_ms
    everything = change.kind is None and not change.list_id
    after = replace(
        row,
        lifted_ms=max(row.lifted_ms, change.changed_ms) if everything else row.lifted_ms,
        holds=row.holds if everything or change.doubtful else _joined(row.holds, _holds_of(change)),
        doubts=_doubts_after(row.doubts, change) if change.doubtful else row.doubts,
        actor=change.actor if latest else row.actor,
        tenant=row.tenant or change.tenant,
        recipient=row.recipient or change.recipient,
    )
    return row if after == row else after


def _doubts_after(doubts: tuple[Doubt, ...], change: SuppressionChange) -> tuple[Doubt, ...]:
    """The latest of each message, of these the latest two: the same in any order, and however often it is said."""
    new = Doubt(change.changed_ms, change.message_id, change.until_ms, change.source)
    latest: dict[str, Doubt] = {}
    for one in (*doubts, new):
        here = latest.get(one.message_id)
        if here is None or (one.at_ms, one.until_ms, one.source) > (here.at_ms, here.until_ms, here.source):
            latest[one.message_id] = one
    return tuple(sorted(latest.values(), key=lambda d: (d.at_ms, d.message_id))[-_ENOUGH_DOUBTS:])


def _holds_of(change: SuppressionChange) -> Iterator[Hold]:
    """What a change says of single kinds; a list that is lifted is lifted for all of them."""
    if change.lifts:
        for kind in SuppressionKind if change.kind is None else (change.kind,):
            yield Hold(kind, 0, change.list_id, lifted_ms=change.changed_ms)
    elif change.kind is not None:
        yield Hold(
            change.kind,
            change.changed_ms,
            change.list_id,
            change.until_ms,
            source=change.source or change.actor,
            note=change.note,
        )


def _joined(holds: tuple[Hold, ...], others: Iterable[Hold]) -> tuple[Hold, ...]:
    by_place = {(hold.list_id, hold.kind): hold for hold in holds}
    for other in others:
        place = (other.list_id, other.kind)
        here = by_place.get(place)
        by_place[place] = other if here is None else _later(here, other)
    return tuple(by_place[place] for place in sorted(by_place))


def _later(one: Hold, other: Hold) -> Hold:
    """The same whichever comes first: the younger wish counts, of two of one moment the one without or with the later
    end.
    """
    younger = max(one, other, key=lambda h: (h.since_ms, h.until_ms == 0, h.until_ms, h.source, h.note))
    return replace(younger, lifted_ms=max(one.lifted_ms, other.lifted_ms))


def _kind_of(receipt: Receipt) -> SuppressionKind:
    if receipt.kind in _KIND_OF_RECEIPT:
        return _KIND_OF_RECEIPT[receipt.kind]
    reason = receipt.reason.kind if receipt.reason else None
    default = SuppressionKind.MANUAL if receipt.kind is ReceiptKind.SUPPRESS else SuppressionKind.BOUNCE
    return _KIND_OF_REASON.get(reason, default) if reason else default
