"""A batch that is abandoned is not waited for and never committed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from faust.types import TP

from streams.engine.batch import Assignment, Batch
from streams.engine.offsets import Tracker


class Ears:
    """The consumer's side of a batch."""

    def __init__(self) -> None:
        self.ended: list[tuple[Batch, bool]] = []

    def on_batch_done(self, batch: Batch, advanced: bool) -> None:
        self.ended.append((batch, advanced))


def batches(*ends: int) -> tuple[Ears, Tracker, list[Batch]]:
    ears, tracker = Ears(), Tracker(0, 0.0)
    assignment = Assignment(ears, TP("t", 0), 1, tracker, None)  # type: ignore[arg-type]
    records: Any = [SimpleNamespace(offset=end) for end in ends]
    return ears, tracker, [Batch(assignment, [record]) for record in records]


def test_an_abandoned_batch_is_told_once_and_its_late_releases_do_nothing() -> None:
    ears, tracker, (batch,) = batches(4)
    batch.retain(2)
    batch.abandon()
    batch.abandon()
    batch.release(3)
    assert [(ended is batch, advanced) for ended, advanced in ears.ended] == [(True, False)]
    assert tracker.commit_point() is None


def test_nothing_behind_an_abandoned_batch_is_committed() -> None:
    _, tracker, (first, second) = batches(0, 1)
    first.abandon()
    second.release()
    assert second.done
    assert tracker.commit_point() is None


def test_a_batch_that_is_done_cannot_be_abandoned() -> None:
    ears, tracker, (batch,) = batches(0)
    batch.release()
    batch.abandon()
    assert tracker.commit_point() == 1
    assert len(ears.ended) == 1
