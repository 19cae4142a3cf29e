"""A batch: a run of records of one partition, handed to an agent as one unit.

Rules:
1. It starts with one reference, the agent's. It is done when the last reference is released, and only the
   contiguous done prefix of its partition is committed.
2. A batch that is never released is never committed: it will be delivered again, here or elsewhere.
3. `stale` means that its partition was taken away before it was done. Its work goes on at its own risk: what it
   emits is seen twice, what it would write to tables is dropped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from faust.types import TP

from streams.engine.offsets import Run, Tracker

if TYPE_CHECKING:
    from streams.engine.consumer import EngineConsumer
    from streams.engine.units import UnitLane


class Assignment:
    """One partition of a source topic while it is ours."""

    __slots__ = ("consumer", "generation", "lane", "tp", "tracker")

    def __init__(self, consumer: EngineConsumer, tp: TP, generation: int, tracker: Tracker, lane: UnitLane) -> None:
        self.consumer = consumer
        self.tp = tp
        self.generation = generation
        self.tracker = tracker
        self.lane = lane


class Batch:
    """`records` are aiokafka's ConsumerRecord: key, value, offset, timestamp (ms), headers."""

    __slots__ = ("_run", "abandoned", "assignment", "generation", "partition", "records", "topic")

    def __init__(self, assignment: Assignment, records: Sequence[Any], size_bytes: int = 0) -> None:
        self.assignment = assignment
        self.topic, self.partition = assignment.tp
        self.generation = assignment.generation
        self.records = records
        self.abandoned = False
        self._run: Run = assignment.tracker.add(records[-1].offset, len(records), size_bytes)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def stale(self) -> bool:
        """The partition was taken away since; see rule 3."""
        return self.assignment.tracker.closed

    @property
    def done(self) -> bool:
        return self._run.references <= 0

    def forget(self) -> None:
        """Nobody will look at the records any more; what was made of them may be under way for long."""
        self.records = ()

    def retain(self, n: int = 1) -> None:
        """One more piece of work must end before this batch is done."""
        if self._run.references <= 0:
            raise RuntimeError("a batch that is done cannot be retained")
        self._run.references += n

    def release(self, n: int = 1) -> None:
        """A piece of work has ended. Raises RuntimeError on one release too many."""
        if self.abandoned:
            return
        assignment = self.assignment
        advanced = assignment.tracker.release(self._run, n, time.monotonic())
        if self._run.references <= 0:
            assignment.consumer.on_batch_done(self, advanced)

    def abandon(self) -> None:
        """This run will not be finished here, as when its partition is leaving: nobody waits for it any longer, it is
        never committed, and it will be delivered again. Later releases do nothing.
        """
        if not self.abandoned and not self.done:
            self.abandoned = True
            self.assignment.consumer.on_batch_done(self, False)
