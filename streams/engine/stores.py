"""Where the rows of one table partition live. This file: the interface, and the store in memory.

Rules:
1. `write` is visible at once; whether it lasts is the changelog's business.
2. `next_offset` is the changelog offset up to which (exclusive) the durable rows contain every record, counted
   from the beginning. It only moves over records without a gap.
3. A store that may contain rows which the changelog does not have is told to `forget_unlogged` and restored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from streams.engine.tickets import Ticket


class PartitionStore(Protocol):
    """Rows of one partition of one table, bytes to bytes."""

    next_offset: int | None
    """None: empty, restore from the beginning."""

    def get(self, key: bytes) -> bytes | None: ...

    def write(self, key: bytes, value: bytes | None) -> None:
        """Visible at once; None deletes."""

    def logged(self, ticket: Ticket, key: bytes, value: bytes | None) -> None:
        """The write's changelog record is part of `ticket`."""

    def acked(self, ticket: Ticket) -> None:
        """The record batch of `ticket` is acknowledged."""

    def apply(self, records: Sequence[Any], next_offset: int) -> None:
        """Restore: changelog records in order; `next_offset` follows them."""

    def items(self) -> Iterator[tuple[bytes, bytes]]: ...

    def count(self) -> int: ...

    def forget_unlogged(self) -> None:
        """Forget at least the rows whose changelog record is not acknowledged; restoring brings the rest back."""

    def wipe(self) -> None:
        """Forget every row and the offset."""

    def close(self) -> None: ...


class Stores(Protocol):
    """Opens the stores of one worker."""

    def __call__(self, table: str, partition: int) -> PartitionStore: ...

    def close(self) -> None: ...


class MemoryStore:
    """Rows in a dict."""

    __slots__ = ("_rows", "get", "next_offset")

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}
        self.get = self._rows.get  # the hot path: no frame of our own
        self.next_offset: int | None = None

    def write(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = value

    def logged(self, ticket: Ticket, key: bytes, value: bytes | None) -> None:
        pass

    def acked(self, ticket: Ticket) -> None:
        if ticket.base_offset is not None and ticket.base_offset == (self.next_offset or 0):
            self.next_offset = ticket.base_offset + ticket.records

    def apply(self, records: Sequence[Any], next_offset: int) -> None:
        rows = self._rows
        for record in records:
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
        self.next_offset = next_offset

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(list(self._rows.items()))

    def count(self) -> int:
        return len(self._rows)

    def forget_unlogged(self) -> None:
        self.wipe()  # they cannot be told apart

    def wipe(self) -> None:
        self._rows.clear()
        self.next_offset = None

    def close(self) -> None:
        self._rows.clear()
