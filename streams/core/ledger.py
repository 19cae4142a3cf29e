"""The send ledger: one row per message in the table ``attempts``, written by dispatch alone, ahead of every provider
call.

Rules:

1. Before a provider is called, the row says ``sending`` and Kafka has acknowledged it. A ``sending`` row of an owner
   that is gone, or whose lease ran out, means *perhaps sent*: it becomes ``uncertain``, never ``parked``.
2. A result stands in the row before anybody is told. The row is an outbox: its receipt can be built from it again,
   after a redelivery of its source record or, where ``owed`` is set, in a scan after recovery.
3. ``attempt`` numbers provider calls and only grows; ``tries`` counts the refusals that were the message's own.
4. A row is small: it names the outbound record that holds the message instead of repeating it.

States and the only ways between them:

    (none)    -> sending | parked | suppressed | expired | rejected | cancelled | failed
    parked    -> sending | parked | suppressed | expired | cancelled | rejected | failed
    sending   -> sent | parked | rejected | failed | uncertain | expired
    sending   -> sending            (again, the same attempt: a split batch)
    uncertain -> sent | parked | held | failed
    held      -> sent | parked | failed (late proof, a final soft failure answered by policy, or a person retries)
    sent      -> parked | failed        (a provider's final soft failure, answered by policy; or a person retries)
    rejected, failed, expired, suppressed, cancelled -> parked   (a person retries; cancelled never)
"""

from __future__ import annotations

from enum import StrEnum

from streams.core.event import Reason
from streams.core.message import RecordRef
from streams.core.receipt import ReceiptKind
from streams.core.value import value


class LedgerState(StrEnum):
    """Where a message stands with its providers."""

    PARKED = "parked"  # waits for its time, its lane or its turn: due_ms
    SENDING = "sending"  # a call may be under way
    UNCERTAIN = "uncertain"  # perhaps sent; reconciliation is due at due_ms
    HELD = "held"  # perhaps sent, nobody can tell: waits for a person
    SENT = "sent"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"


S = LedgerState
TRANSITIONS: dict[LedgerState | None, frozenset[LedgerState]] = {
    None: frozenset({S.SENDING, S.PARKED, S.SUPPRESSED, S.EXPIRED, S.REJECTED, S.CANCELLED, S.FAILED}),
    S.PARKED: frozenset({S.SENDING, S.PARKED, S.SUPPRESSED, S.EXPIRED, S.CANCELLED, S.REJECTED, S.FAILED}),
    S.SENDING: frozenset({S.SENT, S.PARKED, S.REJECTED, S.FAILED, S.UNCERTAIN, S.SENDING, S.EXPIRED}),
    S.UNCERTAIN: frozenset({S.SENT, S.PARKED, S.HELD, S.FAILED}),
    S.HELD: frozenset({S.SENT, S.PARKED, S.FAILED}),
    S.SENT: frozenset({S.PARKED, S.FAILED}),
    S.REJECTED: frozenset({S.PARKED}),
    S.FAILED: frozenset({S.PARKED}),
    S.EXPIRED: frozenset({S.PARKED}),
    S.SUPPRESSED: frozenset({S.PARKED}),
    S.CANCELLED: frozenset(),
}
del S

OPEN = frozenset({LedgerState.PARKED, LedgerState.SENDING, LedgerState.UNCERTAIN})
"""States that still cost somebody an answer; rows in them never expire."""

RECEIPT_OF: dict[LedgerState, ReceiptKind] = {
    LedgerState.SENT: ReceiptKind.SENT,
    LedgerState.REJECTED: ReceiptKind.REJECTED,
    LedgerState.FAILED: ReceiptKind.FAILED,
    LedgerState.EXPIRED: ReceiptKind.EXPIRED,
    LedgerState.SUPPRESSED: ReceiptKind.SUPPRESSED,
    LedgerState.CANCELLED: ReceiptKind.CANCELLED,
    LedgerState.UNCERTAIN: ReceiptKind.UNCERTAIN,
    LedgerState.HELD: ReceiptKind.UNCERTAIN_FINAL,
}
"""What a row in a settled state tells track."""


@value
class AttemptRow:
    """One message's row. ``owner`` is ``worker@generation`` of the writer; ``lease_until_ms`` outlives the call's
    deadline.

    ``told`` is the kind of receipt that the current state owes or has given (parked rows: ``accepted``, ``scheduled``
    or ``retry``; empty if none). ``owed`` is True while no source offset protects that receipt.
    """

    state: LedgerState
    attempt: int
    changed_ms: int
    fingerprint: str = ""
    source: RecordRef | None = None
    tries: int = 0
    provider: str = ""
    provider_message_id: str = ""
    due_ms: int = 0
    lease_until_ms: int = 0
    owner: str = ""
    reason: Reason | None = None
    told: str = ""
    owed: bool = False
    sent_ms: int = 0
    checks: int = 0
    """How often reconciliation has asked about the current uncertain attempt."""
    asked_ms: int = 0
    """Of parked rows: from when on the message was to be sent."""
    account: str = ""
    """The account at ``provider`` that the attempt was made with; empty for the provider's own."""

    def accepted(self, provider_message_id: str, now_ms: int) -> AttemptRow:
        """The row after the provider has taken the attempt; named field by field, since every message comes by here."""
        return AttemptRow(
            LedgerState.SENT,
            self.attempt,
            now_ms,
            self.fingerprint,
            self.source,
            self.tries,
            self.provider,
            provider_message_id,
            self.due_ms,
            0,
            self.owner,
            self.reason,
            self.told,
            self.owed,
            self.sent_ms,
            self.checks,
            self.asked_ms,
            self.account,
        )


def may_become(old: AttemptRow | None, new: LedgerState) -> bool:
    """Whether the ledger knows a way from ``old`` to ``new``."""
    return new in TRANSITIONS[old.state if old else None]


def is_foreign(row: AttemptRow, owner: str) -> bool:
    """Whether a ``sending`` row was written by somebody else: another process, or this one before a rebalance."""
    return row.state is LedgerState.SENDING and row.owner != owner


def receipt_kind(row: AttemptRow) -> ReceiptKind | None:
    """The receipt that a row owes; parked rows name it themselves, ``sending`` owes none."""
    if row.state is LedgerState.PARKED:
        return ReceiptKind(row.told) if row.told else None
    return RECEIPT_OF.get(row.state)
