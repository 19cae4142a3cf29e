"""Messages at rest that somebody will want again: when they are due, what holds them, since when they wait."""

from __future__ import annotations

from collections.abc import Iterable

from streams.agents.dispatch.ages import Ages
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.holds import Holds
from streams.agents.dispatch.observer import DispatchObserver
from streams.agents.dispatch.schedule import Schedule
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Stream
from streams.core.receipt import ReceiptKind


class Resting:
    """Of one process; everything in it can be built from the ledger's rows."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.holds = Holds()
        self.ages = Ages()

    def add(self, message_id: str, partition: int, row: AttemptRow, due_ms: int = 0) -> None:
        """A parked or uncertain row; ``due_ms`` where it is to be looked at before its own time."""
        timed = row.told == ReceiptKind.SCHEDULED
        self.schedule.add(partition, due_ms or row.due_ms, message_id, timed=timed)
        self.holds.note(message_id, partition, row)
        if row.state is LedgerState.PARKED:
            self.ages.add(message_id, partition, stream_of(row), row.asked_ms or row.changed_ms)

    def remove(self, message_id: str) -> None:
        """It moves again."""
        if self.ages:
            self.ages.remove(message_id)
            self.holds.remove(message_id)

    def drop(self, partition: int) -> None:
        """The partition went to another worker."""
        self.schedule.drop(partition)
        self.holds.drop(partition)
        self.ages.drop(partition)

    def wake(self, lane: str | None, now_ms: int) -> None:
        """What held them is over: whoever waits for this lane (None: for any) is due now."""
        for partition, message_id in self.holds.wake(lane):
            self.schedule.add(partition, now_ms, message_id)

    def report(self, observer: DispatchObserver) -> None:
        """How many wait, and since when the first of them should have gone."""
        for kind, timed in (("retry", False), ("send_at", True)):
            observer.scheduled(kind, self.schedule.count(timed=timed), self.schedule.next_due_ms(timed=timed))

    def oldest_open_ms(self, stream: Stream, busy: Iterable[Flight | None], now_ms: int) -> int:
        """From when on the oldest message was to be sent that is not handed over, among these and those at rest; 0 if
        there is none.
        """
        wanted = [
            max(flight.message.requested_ms, flight.message.send_at_ms)
            for flight in busy
            if flight is not None and flight.message.stream is stream
        ]
        if (parked_ms := self.ages.oldest_ms(stream)) is not None:
            wanted.append(parked_ms)
        oldest_ms = min(wanted, default=0)
        return oldest_ms if oldest_ms <= now_ms else 0


def stream_of(row: AttemptRow) -> Stream:
    """The stream of a row's message."""
    bulk = row.source is not None and row.source.topic.endswith(".bulk")
    return Stream.BULK if bulk else Stream.TRANSACTIONAL
