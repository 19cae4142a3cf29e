"""Tables: bytes to bytes, with the partition given explicitly.

Faust assigns the partitions (a `faust.Table` stands underneath and owns the changelog topic); the rows, the
changelog and its acknowledgements are ours.

Rules:
1. One writer per table. What is read is what was written last, acknowledged or not.
2. The changelog's order is the order of `put` and of the units' logging; a staged write that was overtaken by a
   logged one of the same key is not logged any more, its unit waits for the overtaker instead.
3. Behind a closed fence (see fence) writes are held: visible here, logged when the group answers again, dropped
   (their tickets fail with PartitionLost) when it has given the partition away.
4. A partition that is given away while writes are unlogged or unacknowledged forgets them, and is restored
   when it comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import faust
from faust.types import TP

from streams.engine.errors import PartitionLost, StoreFailure
from streams.engine.producer import NO_HEADERS
from streams.engine.stores import PartitionStore
from streams.engine.table_partition import StagedWrite, TablePartition
from streams.engine.tickets import Ticket

if TYPE_CHECKING:
    from streams.engine.app import EngineApp

StoreFactory = Callable[[str, int], PartitionStore]


class EngineTable(faust.Table[bytes, bytes]):
    """Faust's side of a table: name, changelog topic, assignment. It holds no rows."""

    mundane_level = "debug"

    async def on_start(self) -> None:
        """Nothing: the rows are not a service, and topics are created before the start."""

    def persisted_offset(self, tp: TP) -> int | None:
        return None

    async def need_active_standby_for(self, tp: TP) -> bool:
        return False

    def reset_state(self) -> None:
        pass

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        pass

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        pass

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        await self.call_recover_callbacks()


class BytesTable:
    """A table as agents use it. Reads and writes of a partition that is not ours raise PartitionLost."""

    def __init__(self, app: EngineApp, name: str, partitions: int, store_factory: StoreFactory) -> None:
        self.name = name
        self.partitions = partitions
        self.changelog = app.settings.changelog_topic(name)
        self._app = app
        self._store_factory = store_factory
        self._owned: dict[int, TablePartition] = {}
        self._kept: dict[int, TablePartition] = {}  # between a revocation and the next assignment
        self.faust_table = app.Table(
            name,
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            changelog_topic=app.topic(
                self.changelog, partitions=partitions, key_type=bytes, value_type=bytes, compacting=True
            ),
        )

    # -- rows

    def get(self, partition: int, key: bytes) -> bytes | None:
        try:
            return self._owned[partition].store.get(key)
        except KeyError:
            raise PartitionLost(self.name, partition) from None

    def put(self, partition: int, key: bytes, value: bytes) -> Ticket:
        """Write a row: visible at once, logged now. Raises RecordTooLarge before anything happened."""
        return self._write(partition, key, value)

    def delete(self, partition: int, key: bytes) -> Ticket:
        """Delete a row: a tombstone in the changelog."""
        return self._write(partition, key, None)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """A snapshot of the partition's rows; rows may be written while it is read."""
        return self._partition(partition).store.items()

    def count(self, partition: int) -> int:
        return self._partition(partition).store.count()

    def owned(self) -> tuple[int, ...]:
        """The partitions whose rows are here."""
        return tuple(sorted(self._owned))

    # -- staged writes (see units)

    def stage(self, partition: int, key: bytes, value: bytes | None) -> StagedWrite:
        """Write a row that is visible at once and logged later, by a Unit. Raises RecordTooLarge."""
        self._app.check_size(self.changelog, key, value)
        owned = self._partition(partition)
        write = StagedWrite(self, owned, key, value)
        write.older = owned.staged.get(key)
        owned.staged[key] = write
        owned.store.write(key, value)
        return write

    def unstage(self, write: StagedWrite) -> None:
        """Forget a staged write that its own unit has replaced."""
        newest = write.partition.staged.get(write.key)
        while newest is not None and newest.older is not write:
            newest = newest.older
        if newest is not None:
            newest.older = write.older

    def log(self, write: StagedWrite) -> Ticket:
        """Emit the changelog record of a staged write."""
        if write.overtaken_by is not None:
            return write.overtaken_by
        owned = write.partition
        ticket = self._emit(owned, write.key, write.value)
        newest = owned.staged.get(write.key)
        if newest is write:
            del owned.staged[write.key]
        else:
            while newest is not None and newest.older is not write:
                newest = newest.older
            if newest is not None:
                newest.older = None
        _overtake(write.older, ticket)
        return ticket

    def _write(self, partition: int, key: bytes, value: bytes | None) -> Ticket:
        owned = self._partition(partition)
        if owned.held or not self._app.fence.open:
            ticket = self._hold(owned, key, value)
        else:
            ticket = self._emit(owned, key, value)
        owned.store.write(key, value)
        if owned.staged:
            _overtake(owned.staged.pop(key, None), ticket)
        return ticket

    def _hold(self, owned: TablePartition, key: bytes, value: bytes | None) -> Ticket:
        """The group has not answered for a session: the write is visible here, and logged when it answers again."""
        self._app.check_size(self.changelog, key, value)
        if not owned.held:
            self._app.fence.when_open(partial(self._log_held, owned))
        ticket = Ticket()
        owned.held.append((key, value, ticket))
        return ticket

    def _log_held(self, owned: TablePartition) -> None:
        if owned.detached:
            return
        held, owned.held = owned.held, []
        for key, value, ticket in held:
            self._emit(owned, key, value).add_done_callback(ticket.follow)

    def _emit(self, owned: TablePartition, key: bytes, value: bytes | None) -> Ticket:
        ticket = self._app.emit(self.changelog, owned.number, key, value, NO_HEADERS)
        if ticket is not owned.last_ticket:
            owned.last_ticket = ticket
            owned.unacked += 1
            ticket.add_done_callback(owned.on_acked)
        owned.store.logged(ticket, key, value)
        return ticket

    def _partition(self, partition: int) -> TablePartition:
        try:
            return self._owned[partition]
        except KeyError:
            raise PartitionLost(self.name, partition) from None

    # -- the engine's side

    def revoke(self) -> None:
        """All partitions are taken away; they may come back with the next assignment."""
        for number, owned in self._owned.items():
            owned.give_up(PartitionLost(self.name, number))
        self._kept = {**self._kept, **self._owned}
        self._owned = {}

    def assign(self, partitions: set[int]) -> dict[int, PartitionStore]:
        """Open the stores of an assignment for restoring; they are not readable before `ready`."""
        for number in [number for number in self._kept if number not in partitions]:
            gone = self._kept.pop(number)
            gone.detach()
            gone.store.close()
        for number in partitions:
            kept = self._kept.get(number)
            if kept is not None and kept.clean:
                continue
            if kept is None:
                store = self._store_factory(self.name, number)
            else:
                kept.detach()
                store = kept.store
                store.forget_unlogged()
            self._kept[number] = TablePartition(number, store, self._on_foreign, self._on_failure)
        return {number: kept.store for number, kept in self._kept.items()}

    def ready(self) -> None:
        """Restored: readable and writable."""
        for kept in self._kept.values():
            kept.log_end = kept.store.next_offset
        self._owned, self._kept = self._kept, {}

    def relog(self, partition: int, keys: Iterable[bytes]) -> list[Ticket]:
        """Log the rows of `keys` again as they are read here. Rows that a unit holds back are logged by it."""
        owned = self._partition(partition)
        return [self._emit(owned, key, owned.store.get(key)) for key in keys if key not in owned.staged]

    def log_ends(self) -> list[tuple[int, int]]:
        """Partitions where nothing of ours is under way, and where their changelogs end as far as we know."""
        return [
            (number, owned.log_end)
            for number, owned in self._owned.items()
            if owned.clean and owned.log_end is not None
        ]

    def check_end(self, partition: int, before: int, end: int) -> None:
        """The changelog ends at `end`, says the broker; it was asked when we thought: at `before`."""
        owned = self._owned.get(partition)
        if owned is not None and owned.clean and owned.log_end == before < end:
            owned.log_end = end
            owned.on_foreign(partition, before, end)

    def _on_foreign(self, partition: int, begin: int, end: int) -> None:
        self._app.repairs.begin(self, partition, begin, end)

    def _on_failure(self, failure: StoreFailure) -> None:
        self._app.fail(str(failure))

    def close(self) -> None:
        for partition in (*self._owned.values(), *self._kept.values()):
            partition.detach()
            partition.store.close()
        self._owned, self._kept = {}, {}


def _overtake(write: StagedWrite | None, ticket: Ticket) -> None:
    while write is not None:
        write.overtaken_by = ticket
        write = write.older
