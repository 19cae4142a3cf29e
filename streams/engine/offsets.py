"""Which offset may be committed: the end of the contiguous prefix of finished runs.

Rules:
1. Runs are added in the order of delivery. A run is finished when its references are gone.
2. Only delivered offsets are known, so holes in the log (compaction, aborted transactions) need no care.
3. A tracker lives for one assignment of one partition. `close` makes everything that is left stale.
"""

from __future__ import annotations

from collections import deque


class Held:
    """What the partitions of one topic have delivered and not finished here, in bytes."""

    __slots__ = ("size_bytes",)

    def __init__(self) -> None:
        self.size_bytes = 0


class Run:
    """A delivered run of records: its last offset, its size, and how many references keep it unfinished."""

    __slots__ = ("last", "records", "references", "size_bytes")

    def __init__(self, last: int, records: int, size_bytes: int) -> None:
        self.last = last
        self.records = records
        self.size_bytes = size_bytes
        self.references = 1


class Tracker:
    """Offsets of one partition during one assignment."""

    __slots__ = ("_runs", "closed", "committed", "held", "next", "pending_records", "progressed_s")

    def __init__(self, committed: int | None, now_s: float, held: Held | None = None) -> None:
        """``held`` is shared by the partitions of a topic."""
        self._runs: deque[Run] = deque()
        self.held = Held() if held is None else held
        self.next: int | None = None
        """The offset to commit, or None while nothing has finished."""
        self.committed = committed
        self.pending_records = 0
        """Delivered and not finished, finished runs behind an unfinished one included."""
        self.progressed_s = now_s
        self.closed = False

    def add(self, last: int, records: int, size_bytes: int = 0) -> Run:
        run = Run(last, records, size_bytes)
        self._runs.append(run)
        self.pending_records += records
        self.held.size_bytes += size_bytes
        return run

    def release(self, run: Run, references: int, now_s: float) -> bool:
        """Give references back; True when the commit point moved. Raises on a reference too many."""
        run.references -= references
        self.progressed_s = now_s
        if run.references > 0:
            return False
        if run.references < 0:
            raise RuntimeError("a batch was released more often than retained")
        runs = self._runs
        if not runs or runs[0] is not run:
            return False
        while runs and runs[0].references <= 0:
            finished = runs.popleft()
            self.next = finished.last + 1
            self.pending_records -= finished.records
            self.held.size_bytes -= finished.size_bytes
        return True

    def commit_point(self) -> int | None:
        """The offset worth committing now, or None when it would not move."""
        if self.next is None or (self.committed is not None and self.next <= self.committed):
            return None
        return self.next

    @property
    def unfinished(self) -> int:
        """Runs that somebody still works on."""
        return sum(1 for run in self._runs if run.references > 0)

    def close(self) -> None:
        self.closed = True
        self.held.size_bytes -= sum(run.size_bytes for run in self._runs)
        self._runs.clear()
        self.pending_records = 0
