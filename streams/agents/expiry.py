"""Forgets table rows whose time has come, a bounded number of rows per call.

Rules:

1. A sweep only deletes what is expired when it is looked at again, right before the deletion and without an await in
   between. So it may run at any time, twice, or never.
2. It remembers nothing that matters: a lost partition or a restart begins a new walk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from streams.agents.ports import TablePort

Verdict = Callable[[bytes, bytes], bool]
"""Whether the row (key, value) may be forgotten."""


@dataclass(slots=True)
class Expiry:
    """Walks the rows of one table, partition by partition, ``rows_per_call`` at a time."""

    table: TablePort
    rows_per_call: int = 2_000
    _walks: dict[int, Iterator[tuple[bytes, bytes]]] = field(default_factory=dict)

    def sweep(self, partition: int, is_expired: Verdict) -> list[bytes]:
        """Look at the next rows of a partition that is ours; returns those that were deleted."""
        walk = self._walks.get(partition)
        if walk is None:
            walk = self._walks[partition] = iter(self.table.items(partition))
        deleted: list[bytes] = []
        for _ in range(self.rows_per_call):
            try:
                key, seen = next(walk)
            except StopIteration:
                del self._walks[partition]
                break
            if not is_expired(key, seen):
                continue
            row = self.table.get(partition, key)
            if row is not None and is_expired(key, row):
                self.table.delete(partition, key)
                deleted.append(row)
        return deleted

    def walking(self, partition: int) -> bool:
        """A walk through the partition has begun and not come to its end."""
        return partition in self._walks

    def forget(self, partition: int) -> None:
        """The partition is gone."""
        self._walks.pop(partition, None)
