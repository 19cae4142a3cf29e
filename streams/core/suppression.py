"""Suppressed addresses: who may not be written to, since when, and why. One row per tenant and mailbox.

Rules:

1. A row is a join of changes: per kind the latest time it was asked for, and the latest time all were lifted. So
   changes may be repeated and may arrive in any order; an old bounce that arrives late does not undo a later lift.
2. A lifted row stays for a while, because it is what an old bounce has to meet.
3. Everything but an unsubscription concerns all mail: nobody unsubscribes from a password reset.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from streams.core.event import ReasonKind
from streams.core.ids import recipient_key_of
from streams.core.receipt import Facts, Receipt, ReceiptKind


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


@dataclass(frozen=True, slots=True)
class SuppressionChange:
    """One wish: suppress (``kind`` set) or lift everything (``kind`` None). A provider's word has no ``actor``."""

    recipient_key: str
    kind: SuppressionKind | None
    changed_ms: int
    message_id: str = ""
    actor: str = ""
    tenant: str = ""
    recipient: str = ""
    """The address, where the message's facts are known."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """The row of one recipient key. ``since`` holds at most one time per kind, sorted by kind; 0 is never."""

    since: tuple[tuple[SuppressionKind, int], ...] = ()
    lifted_ms: int = 0
    actor: str = ""
    tenant: str = ""
    recipient: str = ""

    def active(self) -> tuple[SuppressionKind, ...]:
        """The kinds in force."""
        held = {kind for kind, since_ms in self.since if since_ms > self.lifted_ms}
        return tuple(kind for kind in SuppressionKind if kind in held)

    def blocks(self, stream: str) -> SuppressionKind | None:
        """Why a message of ``stream`` (``transactional``, ``bulk``) may not go to this address, or None."""
        for kind in self.active():
            if kind is not SuppressionKind.UNSUBSCRIBE or stream == "bulk":
                return kind
        return None

    def changed_ms(self) -> int:
        """When it was last changed."""
        return max(self.lifted_ms, *(since_ms for _, since_ms in self.since), 0)


def change_of(receipt: Receipt, facts: Facts | None) -> SuppressionChange | None:
    """What a receipt means for its address: nothing, unless it says so."""
    kind: SuppressionKind | None
    if receipt.kind is ReceiptKind.UNSUPPRESS:
        kind = None
    elif receipt.suppress or receipt.kind is ReceiptKind.SUPPRESS:
        kind = _kind_of(receipt)
    else:
        return None
    facts = facts or receipt.facts
    return SuppressionChange(
        recipient_key_of(receipt.message_id),
        kind,
        receipt.occurred_ms,
        "" if receipt.kind in (ReceiptKind.SUPPRESS, ReceiptKind.UNSUPPRESS) else receipt.message_id,
        receipt.actor,
        facts.tenant if facts else "",
        facts.recipient if facts else "",
    )


def fold(row: Suppression | None, change: SuppressionChange) -> Suppression:
    """The row after ``change``; the very same object if the change brings nothing new."""
    row = row or Suppression()
    latest = row.changed_ms() <= change.changed_ms
    after = replace(
        row,
        lifted_ms=max(row.lifted_ms, change.changed_ms) if change.kind is None else row.lifted_ms,
        since=row.since if change.kind is None else _later(row.since, change.kind, change.changed_ms),
        actor=change.actor if latest else row.actor,
        tenant=row.tenant or change.tenant,
        recipient=row.recipient or change.recipient,
    )
    return row if after == row else after


def _kind_of(receipt: Receipt) -> SuppressionKind:
    if receipt.kind in _KIND_OF_RECEIPT:
        return _KIND_OF_RECEIPT[receipt.kind]
    reason = receipt.reason.kind if receipt.reason else None
    default = SuppressionKind.MANUAL if receipt.kind is ReceiptKind.SUPPRESS else SuppressionKind.BOUNCE
    return _KIND_OF_REASON.get(reason, default) if reason else default


def _later(
    since: tuple[tuple[SuppressionKind, int], ...], kind: SuppressionKind, changed_ms: int
) -> tuple[tuple[SuppressionKind, int], ...]:
    times = dict(since)
    times[kind] = max(times.get(kind, 0), changed_ms)
    return tuple(sorted(times.items()))
