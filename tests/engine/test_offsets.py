"""The commit point: the contiguous done prefix, nothing more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.offsets import Tracker


def test_nothing_is_committed_before_something_is_done() -> None:
    tracker = Tracker(None, 0.0)
    tracker.add(last=9, records=10)
    assert tracker.commit_point() is None


def test_a_run_done_out_of_order_waits_for_the_ones_before_it() -> None:
    tracker = Tracker(None, 0.0)
    first, second, third = (tracker.add(last, 10) for last in (9, 19, 29))
    tracker.release(third, 1, 0.0)
    tracker.release(second, 1, 0.0)
    assert tracker.commit_point() is None
    tracker.release(first, 1, 0.0)
    assert tracker.commit_point() == 30
    assert tracker.pending_records == 0


def test_holes_in_the_log_do_not_stop_the_commit_point() -> None:
    tracker = Tracker(5, 0.0)
    tracker.release(tracker.add(last=7, records=1), 1, 0.0)
    tracker.release(tracker.add(last=4711, records=2), 1, 0.0)
    assert tracker.commit_point() == 4712


def test_what_is_committed_is_not_committed_again() -> None:
    tracker = Tracker(10, 0.0)
    tracker.release(tracker.add(last=9, records=1), 1, 0.0)
    assert tracker.commit_point() is None


def test_a_retained_run_is_not_done() -> None:
    tracker = Tracker(None, 0.0)
    run = tracker.add(0, 1)
    run.references += 2
    tracker.release(run, 1, 0.0)
    tracker.release(run, 1, 0.0)
    assert tracker.commit_point() is None
    tracker.release(run, 1, 0.0)
    assert tracker.commit_point() == 1


def test_a_release_too_many_is_a_bug() -> None:
    tracker = Tracker(None, 0.0)
    run = tracker.add(0, 1)
    tracker.release(run, 1, 0.0)
    with pytest.raises(RuntimeError, match="more often"):
        tracker.release(run, 1, 0.0)


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=30), data=st.data())
def test_the_commit_point_never_passes_an_unfinished_run(sizes: list[int], data: st.DataObject) -> None:
    tracker = Tracker(None, 0.0)
    runs, offset = [], 0
    for size in sizes:
        offset += size + data.draw(st.integers(0, 3))  # with holes
        runs.append(tracker.add(offset - 1, size))
    for run in data.draw(st.permutations(runs)):
        tracker.release(run, 1, 0.0)
        unfinished = [other.last for other in runs if other.references > 0]
        assert (tracker.next or 0) <= min(unfinished, default=offset)
    assert tracker.next == offset
    assert tracker.pending_records == 0
