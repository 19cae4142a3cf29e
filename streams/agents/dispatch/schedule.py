"""Due times of parked and uncertain rows: one heap per partition, rebuilt from the ledger after recovery.

An entry may be stale (the row has moved on); whoever is woken looks at the row again.
"""

from __future__ import annotations

from heapq import heappop, heappush


class Schedule:
    """Message ids by due time."""

    __slots__ = ("_heaps",)

    def __init__(self) -> None:
        self._heaps: dict[int, list[tuple[int, str]]] = {}

    def add(self, partition: int, due_ms: int, message_id: str) -> None:
        """Wake this message at ``due_ms``."""
        heappush(self._heaps.setdefault(partition, []), (due_ms, message_id))

    def drop(self, partition: int) -> None:
        """The partition went to somebody else."""
        self._heaps.pop(partition, None)

    def due(self, now_ms: int, limit: int) -> list[tuple[int, str]]:
        """At most ``limit`` pairs of partition and message id whose time has come, taken out."""
        woken: list[tuple[int, str]] = []
        for partition, heap in self._heaps.items():
            while heap and heap[0][0] <= now_ms and len(woken) < limit:
                woken.append((partition, heappop(heap)[1]))
        return woken

    def next_due_ms(self) -> int | None:
        """The earliest time at which somebody must be woken."""
        return min((heap[0][0] for heap in self._heaps.values() if heap), default=None)

    def __len__(self) -> int:
        return sum(map(len, self._heaps.values()))
