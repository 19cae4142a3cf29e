"""Taking a record in once: new messages stand in line, repeats are told apart from redeliveries and conflicts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streams.agents.dispatch.ahead import Expected
from streams.agents.dispatch.flight import Flight
from streams.agents.ports import BatchPort, RecordPort
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Message, RecordRef
from streams.topics import DEAD_LETTERS

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch


class Admission:
    """Works on the desk of a :class:`Dispatch`; check and reserve, without an await between."""

    def __init__(self, desk: Dispatch) -> None:
        self._desk = desk

    def admit(self, message: Message, batch: BatchPort, source: RecordRef, size_bytes: int = 0) -> None:
        """Take a message in once: new ones stand in line, repeats are told apart from redeliveries and conflicts."""
        message_id = message.message_id
        if message_id in self._desk.busy:
            self._meet_busy(message, batch, source)
            return
        row = self._desk.book.row(batch.partition, message_id)
        if row is not None and not (row.state is LedgerState.CANCELLED and row.source is None):
            self._meet_row(message, row, batch, source)
            return
        flight = Flight(message, batch.partition, source, batch, row=row, size_bytes=size_bytes)
        if row is not None:
            flight.cancelled_by = (row.reason.detail if row.reason else "") or "cancelled before it arrived"
        self._desk.begin(flight)

    def _meet_busy(self, message: Message, batch: BatchPort, source: RecordRef) -> None:
        flight = self._desk.busy[message.message_id]
        if flight is None:  # a command is at work: look again when it has finished
            self._desk.after(message.message_id, lambda: self._meet_again(message, batch, source))
        elif flight.source is None:
            self._meet_ahead(flight, message, batch, source)
        elif flight.source == source:
            flight.batch = batch  # a redelivery: the new row is not on Kafka yet, and an older one may be all there is
        elif flight.message.fingerprint == message.fingerprint:
            self._repeat(message, batch)
        else:
            self._conflict(message, batch)

    def _meet_ahead(self, flight: Flight, message: Message, batch: BatchPort, source: RecordRef) -> None:
        """The message is under way, and nobody knows yet from which record: perhaps from this one."""
        written, held = flight.written, flight.batch
        assert written is not None
        assert isinstance(held, Expected)
        if not written.done:
            written.add_done_callback(lambda _: self._meet_again(message, batch, source))
        elif flight.message.fingerprint == message.fingerprint:  # the broker did not say: this will do as well
            flight.source = source
            held.came(batch)
        else:
            self._conflict(message, batch)

    def _meet_again(self, message: Message, batch: BatchPort, source: RecordRef) -> None:
        """Who was in the way is not any more; but meanwhile the partition may have gone, and even come back."""
        if not self._desk.takes(batch):
            batch.abandon()
        elif not self._desk.ahead.claim(batch, source.offset):
            self.admit(message, batch, source)

    def _meet_row(self, message: Message, row: AttemptRow, batch: BatchPort, source: RecordRef) -> None:
        if row.source == source:  # a redelivery of the record that made the row: it may owe its receipt
            ticket = self._desk.book.tell(batch.partition, message, row)
            if ticket is None:
                batch.release()
            else:
                ticket.add_done_callback(lambda _: batch.release())
        elif row.source is None and row.fingerprint == message.fingerprint:
            self._adopt(message, row, batch, source)
        elif row.fingerprint == message.fingerprint:
            self._repeat(message, batch)
        else:
            self._conflict(message, batch)

    def _adopt(self, message: Message, row: AttemptRow, batch: BatchPort, source: RecordRef) -> None:
        """An attempt began ahead of the record, and its worker ended before it knew where that would lie: here."""
        flight = Flight(message, batch.partition, source, batch, row=row)
        self._desk.take_off(flight)
        self._desk.decide(flight, replace(row, source=source))

    def _repeat(self, message: Message, batch: BatchPort) -> None:
        self._desk.observer.requests(message.stream.value, "duplicate", 1)
        batch.release()

    def _conflict(self, message: Message, batch: BatchPort) -> None:
        self._desk.observer.requests(message.stream.value, "conflict", 1)
        ticket = self._desk.book.conflict(batch.partition, message, self._desk.clock())
        ticket.add_done_callback(lambda _: batch.release())

    def dead_letter(self, batch: BatchPort, record: RecordPort, detail: str) -> None:
        self._desk.observer.dead_letter(batch.topic, "malformed")
        headers = [
            ("dlq.topic", batch.topic.encode()),
            ("dlq.partition", str(batch.partition).encode()),
            ("dlq.offset", str(record.offset).encode()),
            ("dlq.reason", b"malformed"),
            ("dlq.detail", detail.encode()),
        ]
        topic = self._desk.config.topics.name(DEAD_LETTERS)
        self._desk.app.emit(topic, 0, record.key, record.value, headers).add_done_callback(lambda _: batch.release())
