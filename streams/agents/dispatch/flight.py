"""A message under way in this process: from its admission until its row rests in the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from streams.agents.dispatch.allowance import Allowance
from streams.agents.ports import OffsetPort, TicketPort
from streams.core.event import Reason
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Message, RecordRef
from streams.providers.base import Earlier


@dataclass(slots=True, eq=False)
class Flight:
    """Mutable, owned by one event loop. ``batch`` is the run of source records that waits for us; None after parking.

    ``row`` is what the ledger holds (None: nothing yet). ``source`` is None as long as nobody knows where the message's
    record lies: it was taken in ahead of it, and ``written`` tells when the record is safe.
    """

    message: Message
    partition: int
    source: RecordRef | None
    batch: OffsetPort | None
    row: AttemptRow | None = None
    written: TicketPort | None = None
    size_bytes: int = 0
    """Of the message's record."""
    generation: int = 0
    """Of the consumer group when the flight began; rows are written only within it."""
    cancelled_by: str = ""
    single: bool = False
    commanded: bool = False
    """``batch`` is a command's: delivered again it does nothing, so it does not protect the receipt of the row."""
    note: Reason | None = None
    """What the call that begins should say about itself, as that it is redirected (staging)."""
    place: Allowance | None = None
    """The warm-up cap of which it has taken a place."""
    probe_epoch: int = 0
    """Epoch of the half-open breaker whose one probe this is; 0 for ordinary sends, and when it has been used."""
    probe_of: str = ""
    """The provider of that breaker."""

    @property
    def attempts(self) -> int:
        """Provider calls begun so far."""
        return self.row.attempt if self.row else 0

    @property
    def tries(self) -> int:
        """Refusals so far that were the message's own."""
        return self.row.tries if self.row else 0

    @property
    def earlier(self) -> Earlier | None:
        """The attempt whose final soft failure at the provider (``row.provider``) this flight answers, if it does.

        Only such a row is parked with the id of its provider: a person's retry drops it.
        """
        row = self.row
        if row is None or row.state is not LedgerState.PARKED or not row.provider_message_id:
            return None
        return Earlier(row.provider_message_id, row.sent_ms)

    @property
    def next_attempt(self) -> int:
        """The number of the call that is about to begin; a half of a refused batch keeps its number."""
        again = self.row is not None and self.row.state is LedgerState.SENDING
        return self.attempts if again else self.attempts + 1

    def land(self) -> None:
        """The row rests and its receipt is out: the source offset may advance."""
        if self.batch is not None:
            self.batch.release()
            self.batch = None
