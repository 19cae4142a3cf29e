"""Taking a message in ahead of its record: what intake has just emitted need not be read before it is sent.

    emitted  ->  taken in  ->  ``sending`` row emitted  ->  both acknowledged, by one request  ->  call

Rules:

1. Only a message that nobody has heard of, in a partition that is ours, while there is room: everything else waits for
   its record, which comes in any case.
2. No provider is called, and no row but the write-ahead one is written, before the record is acknowledged.
3. The offset of the record waits for the message like any other, from when it comes.
4. A crash may leave a ``sending`` row that names no record. It is uncertain like any other, and adopts the record when
   that is delivered again; if the record was not acknowledged, intake emits another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streams.agents.dispatch.flight import Flight
from streams.agents.ports import BatchPort, PlacedPort
from streams.core.message import Message, RecordRef, Stream

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch

_ROOM_SHARE: Final = 0.5
"""Of what may be under way: beyond it older ones may wait in the topic, and go first."""


class Expected:
    """The offset of a record that has not come yet; whoever holds it may be done before."""

    __slots__ = ("_abandoned", "_batch", "_released")

    def __init__(self) -> None:
        self._batch: BatchPort | None = None
        self._released = False
        self._abandoned = False

    def came(self, batch: BatchPort) -> None:
        """The record, with one reference of its run."""
        if self._released:
            batch.release()
        elif self._abandoned:
            batch.abandon()
        else:
            self._batch = batch

    def release(self) -> None:
        """See :class:`OffsetPort`."""
        self._released = True
        if self._batch is not None:
            self._batch.release()

    def abandon(self) -> None:
        """See :class:`OffsetPort`."""
        self._abandoned = True
        if self._batch is not None:
            self._batch.abandon()


class Ahead:
    """Works on the desk of a :class:`Dispatch`; intake is given it."""

    def __init__(self, desk: Dispatch) -> None:
        self._desk = desk
        self._topic = desk.config.topics.outbound(Stream.TRANSACTIONAL)
        self._coming: dict[tuple[int, int], tuple[Flight, Expected]] = {}
        """By partition and offset: acknowledged, and not read yet."""

    def takes(self, partition: int) -> bool:
        """Whether messages of it may be taken in before their records."""
        desk = self._desk
        full = desk.under_way.is_full(Stream.TRANSACTIONAL, _ROOM_SHARE)
        return desk.partitions.takes(partition) and not full

    def take(self, message: Message, partition: int, placed: PlacedPort, size_bytes: int = 0) -> None:
        """Take a message in that has just been emitted, if nobody has heard of it; ``send_off`` when all are in."""
        desk = self._desk
        message_id = message.message_id
        if not desk.owns(partition) or message_id in desk.busy or desk.book.row(partition, message_id) is not None:
            return
        expected = Expected()
        flight = Flight(message, partition, None, expected, written=placed.ticket, size_bytes=size_bytes)
        desk.begin(flight)
        placed.ticket.add_done_callback(lambda _: self._written(flight, expected, placed.offset))

    def send_off(self) -> None:
        """What was taken in goes on its way."""
        self._desk.boarding.send_off(Stream.TRANSACTIONAL)

    def claim(self, batch: BatchPort, offset: int) -> bool:
        """Whether the message of a record has been taken in already; one reference of the run is then taken over."""
        if batch.topic != self._topic:
            return False
        found = self._coming.pop((batch.partition, offset), None)
        if found is None:
            return False
        flight, expected = found
        if flight.generation != batch.generation:
            return False  # of an earlier time here
        expected.came(batch)
        return True

    def left(self, partition: int) -> None:
        """The partition went to another worker, who reads the records."""
        for place in [place for place in self._coming if place[0] == partition]:
            del self._coming[place]

    def _written(self, flight: Flight, expected: Expected, offset: int | None) -> None:
        if offset is not None:
            flight.source = RecordRef(self._topic, flight.partition, offset)
            if self._desk.may_write(flight):
                self._coming[(flight.partition, offset)] = (flight, expected)
