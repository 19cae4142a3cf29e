"""One partition of a table while it is ours: its rows, and what of them the changelog does not have yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from streams.engine.errors import PartitionLost, StoreFailure
from streams.engine.stores import PartitionStore
from streams.engine.tickets import Ticket

if TYPE_CHECKING:
    from streams.engine.tables import BytesTable


class StagedWrite:
    """A write that is visible but not logged yet."""

    __slots__ = ("key", "older", "overtaken_by", "partition", "table", "value")

    def __init__(self, table: BytesTable, partition: TablePartition, key: bytes, value: bytes | None) -> None:
        self.table = table
        self.partition = partition
        self.key = key
        self.value = value
        self.older: StagedWrite | None = None
        self.overtaken_by: Ticket | None = None


class TablePartition:
    """The rows of one partition while it is ours, and what is under way to the changelog."""

    __slots__ = (
        "detached",
        "held",
        "last_ticket",
        "log_end",
        "number",
        "on_failure",
        "on_foreign",
        "staged",
        "store",
        "unacked",
    )

    def __init__(
        self,
        number: int,
        store: PartitionStore,
        on_foreign: Callable[[int, int, int], None],
        on_failure: Callable[[StoreFailure], None],
    ) -> None:
        self.number = number
        self.store = store
        self.on_foreign = on_foreign
        self.on_failure = on_failure
        self.log_end: int | None = None
        """Where our next record must land, if nobody else writes; None before the restore."""
        self.held: list[tuple[bytes, bytes | None, Ticket]] = []
        """Writes that wait for the fence, in order."""
        self.staged: dict[bytes, StagedWrite] = {}
        self.last_ticket: Ticket | None = None
        self.unacked = 0
        self.detached = False

    @property
    def clean(self) -> bool:
        """The changelog holds everything that the store holds."""
        return not self.staged and not self.unacked and not self.held

    def detach(self) -> None:
        """Acknowledgements that are still to come are not for the store any more."""
        self.detached = True

    def give_up(self, error: PartitionLost) -> None:
        """The partition is gone: what is held is dropped, and whoever waits for it learns it."""
        held, self.held = self.held, []
        if held:
            self.unacked += 1  # never clean again: the store has rows that the changelog does not
        for _, _, ticket in held:
            ticket.resolve(None, 0, error)

    def on_acked(self, ticket: Ticket) -> None:
        if ticket.error is not None or self.detached:
            return
        self.unacked -= 1
        try:
            self.store.acked(ticket)
        except StoreFailure as exc:
            self.on_failure(exc)
            return
        if ticket.base_offset is not None:
            if self.log_end is not None and ticket.base_offset > self.log_end:
                self.on_foreign(self.number, self.log_end, ticket.base_offset)
            self.log_end = ticket.base_offset + ticket.records
