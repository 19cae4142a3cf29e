"""What is observed of a fleet while a fault lasts: the flow of events, memory, readiness, ends of processes."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import psutil

from streams.core.event import EventType
from streams.core.ids import partition_of
from tests.faults.beside import Beside
from tests.fleet import Fleet

_LOOK_S = 0.05
MEGABYTE = 1 << 20


class Observed(Beside):
    """Looks again and again."""

    every_s = _LOOK_S

    @abstractmethod
    def look(self) -> None:
        """At one thing, once."""

    def run(self) -> None:
        while not self.pause(self.every_s):
            self.look()


class Flow(Observed):
    """When messages were told to be sent, for each partition."""

    def __init__(self, fleet: Fleet, partitions: int = 4) -> None:
        super().__init__()
        self._seen = fleet.seen
        self._read = 0
        self._came_s: list[list[float]] = [[] for _ in range(partitions)]

    def look(self) -> None:
        events, now_s = self._seen.events, time.monotonic()
        new = events[self._read :]
        self._read += len(new)
        partitions = {partition_of(e.message_id, len(self._came_s)) for e in new if e.type is EventType.SENT}
        for partition in partitions:
            self._came_s[partition].append(now_s)

    def standstill_s(self, begin_s: float, end_s: float) -> float:
        """The longest time without any message sent, of the partition where it was longest."""
        return max(_longest_gap(came_s, begin_s, end_s) for came_s in self._came_s)

    def resumed_s(self, since_s: float) -> float:
        """From then until a message of every partition has been sent; infinite as long as one waits."""
        first = (next((at_s for at_s in came_s if at_s >= since_s), math.inf) for came_s in self._came_s)
        return max(first) - since_s


def _longest_gap(came_s: Iterable[float], begin_s: float, end_s: float) -> float:
    marks = [begin_s, *(at_s for at_s in came_s if begin_s <= at_s <= end_s), end_s]
    return max(after - before for before, after in pairwise(marks))


class Supervisor(Observed):
    """Starts a worker again that has ended, as whoever runs it would; `ends` are the exit codes."""

    every_s = 0.5

    def __init__(self, fleet: Fleet, workers: Sequence[str]) -> None:
        super().__init__()
        self._fleet = fleet
        self._workers = workers
        self.ends: list[int] = []

    def look(self) -> None:
        for name in self._workers:
            code = self._fleet.worker(name).returncode
            if code is not None:
                self.ends.append(code)
                self._fleet.start_worker(name)


class Memory(Observed):
    """The largest resident size of a process, in bytes; `mark` begins anew."""

    every_s = 0.25

    def __init__(self, pid: Callable[[], int]) -> None:
        super().__init__()
        self._pid = pid
        self.peak = 0
        self.mark()

    @property
    def now(self) -> int:
        try:
            return int(psutil.Process(self._pid()).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0  # it ended a moment ago

    def mark(self) -> int:
        """The size now, from which the peak is counted again."""
        self.peak = self.now
        return self.peak

    def look(self) -> None:
        self.peak = max(self.peak, self.now)


class Readiness(Observed):
    """When a process began and ceased to call itself ready."""

    every_s = 0.25

    def __init__(self, fleet: Fleet, name: str) -> None:
        super().__init__()
        self._fleet = fleet
        self._name = name
        self.said: list[tuple[float, bool]] = []
        """Monotonic time of the answer, and whether it was yes; changes only."""

    def look(self) -> None:
        ready = self._fleet.is_ready(self._name)
        if not self.said or self.said[-1][1] != ready:
            self.said.append((time.monotonic(), ready))

    def first_s(self, ready: bool, since_s: float) -> float:
        """Seconds from then until it first said so; infinite if it never did."""
        before = [said for at_s, said in self.said if at_s <= since_s]
        if before and before[-1] is ready:
            return 0.0
        return next((at_s - since_s for at_s, said in self.said if at_s > since_s and said is ready), float("inf"))
