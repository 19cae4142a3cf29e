"""What must not be sent, decided without any provider: cancelled, expired, suppressed.

Asked at admission and again right before the write-ahead, because a batch may have waited in between.
"""

from __future__ import annotations

from streams.agents.dispatch.config import DispatchConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.ports import TablePort
from streams.agents.suppression_view import SuppressionView
from streams.core.event import Reason, ReasonKind
from streams.core.ids import recipient_key_of
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.suppression import REASON_OF, Suppression
from streams.serde.internal import Malformed, unpacker

_DAY_MS = 86_400_000
_read = unpacker(Suppression)


class Refusals:
    """Reads the table ``suppressions`` of the same partition (its lag is harmless) and what holds for everybody."""

    def __init__(self, suppressions: TablePort, config: DispatchConfig, everywhere: SuppressionView) -> None:
        self._suppressions = suppressions
        self._everywhere = everywhere
        self._ledger_ms = int(config.topics.ledger_days * _DAY_MS)

    def row_of(self, flight: Flight, now_ms: int) -> AttemptRow | None:
        """The row in which the flight must rest now, or None if it may be sent."""
        message = flight.message
        if flight.cancelled_by:
            reason = Reason(ReasonKind.CANCELLED, detail=f"cancelled by {flight.cancelled_by}")
            return self.row(flight, LedgerState.CANCELLED, reason, now_ms)
        if message.expires_at_ms and now_ms >= message.expires_at_ms:
            reason = Reason(ReasonKind.EXPIRED, detail="its expires_at passed before it could be handed over")
            return self.row(flight, LedgerState.EXPIRED, reason, now_ms)
        if not flight.attempts and now_ms - message.requested_ms > self._ledger_ms:
            reason = Reason(ReasonKind.EXPIRED, detail="the request is older than the send ledger remembers")
            return self.row(flight, LedgerState.EXPIRED, reason, now_ms)
        if (blocked := self._suppressed(flight, now_ms)) is not None:
            return self.row(flight, LedgerState.SUPPRESSED, blocked, now_ms)
        return None

    def row(self, flight: Flight, state: LedgerState, reason: Reason, now_ms: int) -> AttemptRow:
        """A row at rest that no provider was asked about."""
        return AttemptRow(
            state=state,
            attempt=flight.attempts,
            changed_ms=now_ms,
            fingerprint=flight.message.fingerprint,
            source=flight.source,
            tries=flight.tries,
            reason=reason,
        )

    def _suppressed(self, flight: Flight, now_ms: int) -> Reason | None:
        own = self._suppressed_here(flight, now_ms)
        if own is None and self._everywhere.has_rules:
            return self._everywhere.blocked(flight.message, now_ms)
        return own

    def _suppressed_here(self, flight: Flight, now_ms: int) -> Reason | None:
        key = recipient_key_of(flight.message.message_id).encode()
        kept = self._suppressions.get(flight.partition, key)
        if kept is None:
            return None
        row = _read(kept)
        if isinstance(row, Malformed):
            return None
        kind = row.blocks(flight.message.stream.value, flight.message.list_id, now_ms)
        return None if kind is None else Reason(REASON_OF[kind], detail=f"the address is suppressed: {kind.value}")
