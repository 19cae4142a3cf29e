"""Due times of parked and uncertain rows: two heaps per partition, rebuilt from the ledger after recovery.

One is for messages that their sender has timed, one for all others, so that each can be counted. An entry may be stale
(the row has moved on); whoever is woken looks at the row again.
"""

from __future__ import annotations

from heapq import heappop, heappush

_Heaps = dict[int, list[tuple[int, str]]]


class Schedule:
    """Message ids by due time."""

    __slots__ = ("_heaps", "_timed")

    def __init__(self) -> None:
        self._heaps: _Heaps = {}
        self._timed: _Heaps = {}

    def add(self, partition: int, due_ms: int, message_id: str, *, timed: bool = False) -> None:
        """Wake this message at ``due_ms``."""
        heaps = self._timed if timed else self._heaps
        heappush(heaps.setdefault(partition, []), (due_ms, message_id))

    def drop(self, partition: int) -> None:
        """The partition went to somebody else."""
        self._heaps.pop(partition, None)
        self._timed.pop(partition, None)

    def due(self, now_ms: int, limit: int) -> list[tuple[int, str]]:
        """At most ``limit`` pairs of partition and message id whose time has come, taken out."""
        woken: list[tuple[int, str]] = []
        for heaps in (self._timed, self._heaps):
            for partition, heap in heaps.items():
                while heap and heap[0][0] <= now_ms and len(woken) < limit:
                    woken.append((partition, heappop(heap)[1]))
        return woken

    def next_due_ms(self, *, timed: bool | None = None) -> int | None:
        """The earliest time at which somebody must be woken; ``timed`` asks for one kind only."""
        times = [heap[0][0] for heaps in self._of(timed) for heap in heaps.values() if heap]
        return min(times, default=None)

    def count(self, *, timed: bool) -> int:
        """How many entries of a kind there are."""
        return sum(len(heap) for heaps in self._of(timed) for heap in heaps.values())

    def __len__(self) -> int:
        return self.count(timed=True) + self.count(timed=False)

    def _of(self, timed: bool | None) -> tuple[_Heaps, ...]:
        if timed is None:
            return self._timed, self._heaps
        return (self._timed,) if timed else (self._heaps,)
