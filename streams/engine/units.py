"""Units of work: events first, then state, then offset.

A unit belongs to one batch. Its events are emitted at once; its table writes are visible at once, but their
changelog records are held back until the events are acknowledged; the batch is released when the changelog is
acknowledged. So a crash at any point leaves no state that claims events which nobody got.

Rules:
1. The units of a partition of a source topic proceed in the order of their creation.
2. The last write per key within a unit is the one that is logged.
3. A unit of a stale batch, or of a worker that cannot reach its group, logs nothing.
4. Write a table through the units of one source topic, or be ready for their order to be that of logging.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from streams.engine.batch import Batch
from streams.engine.producer import NO_HEADERS, Headers
from streams.engine.tickets import Placed, Ticket

if TYPE_CHECKING:
    from streams.engine.app import EngineApp
    from streams.engine.table_partition import StagedWrite
    from streams.engine.tables import BytesTable


class Unit:
    """Ordered work for one batch; takes over one reference of it."""

    __slots__ = ("_app", "_batch", "_finished", "_lane", "_last", "_partition", "_tracker", "_unacked", "_writes")

    def __init__(self, app: EngineApp, batch: Batch) -> None:
        self._app = app
        self._batch = batch
        self._partition = batch.partition
        self._tracker = batch.assignment.tracker
        self._lane = batch.assignment.lane
        self._finished = False
        self._last: Ticket | None = None
        self._unacked: set[Ticket] = set()
        self._writes: dict[tuple[str, bytes], StagedWrite] = {}
        self._lane.join(self)

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> None:
        """Emit an event now; the unit's state waits for its acknowledgement. Raises RecordTooLarge."""
        if self._tracker.closed:
            return  # stale: the new owner emits it
        self._follow(self._app.emit(topic, partition, key, value, headers))

    def place(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> Placed | None:
        """`emit`, and a way to know the event's offset; None when nothing was emitted."""
        if self._tracker.closed:
            return None
        placed = self._app.place(topic, partition, key, value, headers)
        self._follow(placed.ticket)
        return placed

    def put(self, table: BytesTable, key: bytes, value: bytes) -> None:
        """Write a row of the batch's partition: read by everybody at once, logged later. Raises RecordTooLarge."""
        self._stage(table, key, value)

    def delete(self, table: BytesTable, key: bytes) -> None:
        """Delete a row of the batch's partition, like `put`."""
        self._stage(table, key, None)

    def finish(self) -> None:
        """Nothing more will be added. Returns at once; the rest happens as acknowledgements come in."""
        if self._finished:
            raise RuntimeError("a unit is finished once")
        self._finished = True
        self._lane.advance()

    async def room(self) -> None:
        """Wait until at most `max_units` units of this partition are in flight. Call it after `finish`."""
        await self._lane.room()

    def _follow(self, ticket: Ticket) -> None:
        if ticket is not self._last:
            self._last = ticket
            self._wait_for(ticket)

    def _stage(self, table: BytesTable, key: bytes, value: bytes | None) -> None:
        if self._tracker.closed:
            return
        name = (table.name, key)
        write = table.stage(self._partition, key, value)
        older = self._writes.get(name)
        if older is not None:
            table.unstage(older)
        self._writes[name] = write

    def _wait_for(self, ticket: Ticket) -> None:
        if ticket not in self._unacked and not (ticket.done and ticket.error is None):
            self._unacked.add(ticket)
            ticket.add_done_callback(self._on_acked)

    def _on_acked(self, ticket: Ticket) -> None:
        if ticket.error is not None:
            return  # the process is ending; stay unfinished
        self._unacked.discard(ticket)
        if not self._unacked and self._finished:
            self._lane.advance()

    @property
    def events_acked(self) -> bool:
        return self._finished and not self._unacked

    @property
    def stale(self) -> bool:
        return self._batch.stale

    def log(self) -> None:
        """The lane's side: emit the changelog records, then release the batch once they are acknowledged."""
        if self._writes:
            self._app.observer.on_logging()
        for write in self._writes.values():
            self._wait_for(write.table.log(write))
        self._writes.clear()

    @property
    def logged(self) -> bool:
        return not self._unacked

    def release(self) -> None:
        self._batch.release()


class UnitLane:
    """The units of one partition of one source topic, during one assignment."""

    def __init__(self, app: EngineApp) -> None:
        self._app = app
        self._waiting: deque[Unit] = deque()  # for their events
        self._logging: deque[Unit] = deque()  # for their changelog
        self._room = asyncio.Event()
        self._fenced = False
        self._advancing = False
        self.closed = False

    @property
    def in_flight(self) -> int:
        return len(self._waiting) + len(self._logging)

    def join(self, unit: Unit) -> None:
        self._waiting.append(unit)

    async def room(self) -> None:
        while self.in_flight > self._app.settings.max_units and not self.closed:
            self._room.clear()
            await self._room.wait()

    def advance(self) -> None:
        """Move every unit as far as its acknowledgements allow."""
        if self._advancing or self.closed:
            return
        self._advancing = True
        try:
            self._advance()
        finally:
            self._advancing = False
        if self.in_flight <= self._app.settings.max_units:
            self._room.set()

    def _advance(self) -> None:
        while self._waiting and self._waiting[0].events_acked:
            if self._waiting[0].stale:
                return
            if not self._app.fence.open:
                self._wait_for_fence()
                return
            unit = self._waiting.popleft()
            unit.log()
            self._logging.append(unit)
        while self._logging and self._logging[0].logged:
            self._logging.popleft().release()

    def _wait_for_fence(self) -> None:
        """The group has not answered for a session: another worker may own the partition by now."""
        if not self._fenced:
            self._fenced = True
            self._app.fence.when_open(self._unfenced)

    def _unfenced(self) -> None:
        self._fenced = False
        self.advance()

    def close(self) -> None:
        """The partition is gone; what is left is dropped."""
        self.closed = True
        self._waiting.clear()
        self._logging.clear()
        self._room.set()
