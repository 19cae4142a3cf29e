"""The breaker's decisions, and rule 14: sums count once, one probe at a time, newer decisions win."""

from __future__ import annotations

from dataclasses import replace

from streams.core.breaker import (
    BreakerPolicy,
    BreakerRecord,
    BreakerState,
    BreakerWindow,
    OutcomeSum,
    fold,
)

POLICY = BreakerPolicy(window_s=30, min_requests=10, failure_ratio=0.5, consecutive=5, open_s=10, max_open_s=60)
NOW = 1_700_000_000_000


def window() -> BreakerWindow:
    return BreakerWindow(BreakerRecord("mailgun"))


def outcome(sequence: int = 1, worker: str = "w1", **kwargs: object) -> OutcomeSum:
    fields: dict[str, object] = {"epoch": 0, "at_ms": NOW} | kwargs
    return OutcomeSum(worker=worker, sequence=sequence, provider="mailgun", **fields)  # type: ignore[arg-type]


def opened() -> BreakerWindow:
    return fold(window(), outcome(failed=5, run_failed=5), POLICY)


def test_failures_in_a_row_open_it_and_name_the_cause() -> None:
    record = opened().record
    assert record.state is BreakerState.OPEN
    assert record.retry_at_ms == NOW + 10_000
    assert record.epoch == 1
    assert "5 failures in a row" in record.reason


def test_a_bad_ratio_opens_it_only_after_enough_calls() -> None:
    few = fold(window(), outcome(succeeded=3, failed=4, run_failed=1), POLICY)
    assert few.record.state is BreakerState.CLOSED
    more = fold(few, outcome(2, succeeded=1, failed=4, run_failed=1), POLICY)
    assert more.record.state is BreakerState.OPEN


def test_failures_outside_the_window_are_forgotten() -> None:
    early = fold(window(), outcome(succeeded=5, failed=4, run_failed=1), POLICY)
    late = fold(early, outcome(2, at_ms=NOW + 31_000, failed=4, run_failed=1), POLICY)
    assert late.record.state is BreakerState.CLOSED


def test_rule_14_a_redelivered_sum_counts_once() -> None:
    once = fold(window(), outcome(succeeded=5, failed=4, run_failed=2), POLICY)
    assert fold(once, outcome(succeeded=5, failed=4, run_failed=2), POLICY) is once


def test_rule_14_a_sum_from_before_the_last_decision_does_not_open_it_again() -> None:
    closed = fold(
        fold(opened(), outcome(2, at_ms=NOW + 10_000, epoch=1, asks_probe=True), POLICY),
        outcome(3, at_ms=NOW + 11_000, epoch=2, succeeded=1, probe_result=1),
        POLICY,
    )
    assert closed.record.state is BreakerState.CLOSED
    stale = fold(closed, outcome(1, "w2", epoch=0, at_ms=NOW + 11_500, failed=9, run_failed=9), POLICY)
    assert stale.record.state is BreakerState.CLOSED


def test_rule_14_the_probe_is_granted_only_when_due_and_to_one_worker() -> None:
    early = fold(opened(), outcome(2, epoch=1, at_ms=NOW + 9_999, asks_probe=True), POLICY)
    assert early.record.state is BreakerState.OPEN
    granted = fold(early, outcome(1, "w2", epoch=1, at_ms=NOW + 10_000, asks_probe=True), POLICY)
    assert (granted.record.state, granted.record.holder) == (BreakerState.HALF_OPEN, "w2")
    other = fold(granted, outcome(3, epoch=2, at_ms=NOW + 10_001, asks_probe=True), POLICY)
    assert other.record.holder == "w2"
    after_lease = fold(other, outcome(4, epoch=2, at_ms=NOW + 10_000 + 60_000, asks_probe=True), POLICY)
    assert after_lease.record.holder == "w1"


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_a_limit() -> None:
    state, at_ms, sequence = opened(), NOW, 1
    waits = []
    for _ in range(5):
        at_ms = state.record.retry_at_ms
        state = fold(
            state, outcome(sequence := sequence + 1, epoch=state.record.epoch, at_ms=at_ms, asks_probe=True), POLICY
        )
        state = fold(
            state,
            outcome(sequence := sequence + 1, epoch=state.record.epoch, at_ms=at_ms, failed=1, probe_result=-1),
            POLICY,
        )
        waits.append((state.record.retry_at_ms - at_ms) // 1000)
    assert waits == [20, 40, 60, 60, 60]


def test_only_the_holder_of_the_current_probe_can_close_it() -> None:
    granted = fold(opened(), outcome(2, epoch=1, at_ms=NOW + 10_000, asks_probe=True), POLICY)
    foreign = fold(granted, outcome(1, "w9", epoch=2, at_ms=NOW + 10_001, succeeded=1, probe_result=1), POLICY)
    assert foreign.record.state is BreakerState.HALF_OPEN
    outdated = fold(granted, outcome(3, epoch=1, at_ms=NOW + 10_001, succeeded=1, probe_result=1), POLICY)
    assert outdated.record.state is BreakerState.HALF_OPEN
    closed = fold(granted, outcome(4, epoch=2, at_ms=NOW + 10_002, succeeded=1, probe_result=1), POLICY)
    assert closed.record.state is BreakerState.CLOSED
    assert closed.record.trips == 0


def test_a_fleet_of_many_worker_names_does_not_grow_the_window_without_bound() -> None:
    state = window()
    for number in range(2_000):
        state = fold(state, outcome(1, f"w{number}", succeeded=1), POLICY)
    assert len(state.seen) <= 256
    assert replace(state.record) == state.record
