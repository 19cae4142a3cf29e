"""The circuit breaker of one provider, for the whole fleet.

Workers send sums of their outcomes; the one agent that owns the provider's key folds them into a window, decides, and
publishes a record that every process reads. Nothing here has a timer: an open breaker whose time has come is woken by
the next worker that has something to send and asks for a probe. Rules:

1. Only outcomes whose blame is the provider's are in the sums.
2. A sum counts once: each carries its worker's sequence, and the epoch of the record the worker had read.
3. Every change raises the epoch; outcomes of an older epoch cannot undo a newer decision.
4. Half-open admits one probe: its holder is named in the record, with a lease after which another may ask.

Transitions (the only ones):

    closed    -> open       too many failures in the window, or in a row
    open      -> half_open  a worker asks for the probe at or after retry_at
    half_open -> closed     the holder reports a success
    half_open -> open       the holder reports a failure (the wait doubles, up to a limit)
    half_open -> half_open  the lease ran out and another worker asks
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum


class BreakerState(StrEnum):
    """Also the label values of ``streams_breaker_state``."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """Opens when ``failure_ratio`` of at least ``min_requests`` calls in ``window_s`` failed, or ``consecutive`` in a
    row.
    """

    window_s: float = 30.0
    min_requests: int = 20
    failure_ratio: float = 0.5
    consecutive: int = 5
    open_s: float = 10.0
    max_open_s: float = 300.0
    probe_lease_s: float = 60.0
    ramp_s: float = 0.0
    """How long its share of traffic that has another way grows, after it has closed; 0 for all at once."""


@dataclass(frozen=True, slots=True)
class BreakerRecord:
    """What every process reads from the ``breakers`` topic."""

    provider: str
    state: BreakerState = BreakerState.CLOSED
    epoch: int = 0
    changed_ms: int = 0
    retry_at_ms: int = 0
    holder: str = ""
    lease_until_ms: int = 0
    trips: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OutcomeSum:
    """What one worker saw of one provider since its last sum. ``run_failed`` is its current run of failures in a row.

    ``asks_probe`` requests the half-open permit. ``probe_result`` reports on it: 1 success, -1 failure, 0 none.
    """

    worker: str
    sequence: int
    provider: str
    epoch: int
    at_ms: int
    succeeded: int = 0
    failed: int = 0
    run_failed: int = 0
    asks_probe: bool = False
    probe_result: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class BreakerWindow:
    """State of the deciding agent for one provider: buckets of one second, and what has been counted already."""

    record: BreakerRecord
    buckets: tuple[tuple[int, int, int], ...] = ()  # (second, succeeded, failed)
    seen: dict[str, int] = field(default_factory=dict)  # worker -> last sequence
    runs: dict[str, int] = field(default_factory=dict)  # worker -> failures in a row


_MAX_WORKERS = 256


def fold(window: BreakerWindow, outcome: OutcomeSum, policy: BreakerPolicy) -> BreakerWindow:
    """The window after one sum; its ``record`` differs from the old one exactly when something must be published."""
    if outcome.sequence <= window.seen.get(outcome.worker, -1):
        return window
    window = _counted(window, outcome, policy)
    record = window.record
    match record.state:
        case BreakerState.CLOSED:
            if outcome.epoch >= record.epoch and (why := _tripped(window, policy)):
                return _opened(window, outcome, policy, why)
        case BreakerState.OPEN:
            if outcome.asks_probe and outcome.at_ms >= record.retry_at_ms:
                return _granted(window, outcome, policy)
        case BreakerState.HALF_OPEN:
            if outcome.worker == record.holder and outcome.epoch == record.epoch and outcome.probe_result:
                if outcome.probe_result > 0:
                    return _closed(window, outcome)
                return _opened(window, outcome, policy, outcome.detail or "the probe failed")
            if outcome.asks_probe and outcome.at_ms >= record.lease_until_ms:
                return _granted(window, outcome, policy)
    return window


def _counted(window: BreakerWindow, outcome: OutcomeSum, policy: BreakerPolicy) -> BreakerWindow:
    seen = _bounded(window.seen) | {outcome.worker: outcome.sequence}
    if outcome.epoch < window.record.epoch:  # what it saw was before the last decision and is answered by it
        return replace(window, seen=seen)
    second = outcome.at_ms // 1000
    oldest = second - int(policy.window_s)
    merged = {at: (good, bad) for at, good, bad in window.buckets if at > oldest}
    good, bad = merged.get(second, (0, 0))
    merged[second] = (good + outcome.succeeded, bad + outcome.failed)
    runs = _bounded(window.runs) | {outcome.worker: outcome.run_failed}
    buckets = tuple((at, *counts) for at, counts in sorted(merged.items()))
    return replace(window, buckets=buckets, seen=seen, runs=runs)


def _bounded(table: dict[str, int]) -> dict[str, int]:
    """Forget the oldest half when a fleet has cycled through many worker names."""
    return table if len(table) < _MAX_WORKERS else dict(list(table.items())[_MAX_WORKERS // 2 :])


def _tripped(window: BreakerWindow, policy: BreakerPolicy) -> str:
    succeeded = sum(good for _, good, _ in window.buckets)
    failed = sum(bad for _, _, bad in window.buckets)
    run = max(window.runs.values(), default=0)
    if run >= policy.consecutive:
        return f"{run} failures in a row"
    if failed + succeeded >= policy.min_requests and failed >= policy.failure_ratio * (failed + succeeded):
        return f"{failed} of {failed + succeeded} calls failed within {policy.window_s:g} s"
    return ""


def _opened(window: BreakerWindow, outcome: OutcomeSum, policy: BreakerPolicy, why: str) -> BreakerWindow:
    record = window.record
    trips = record.trips + 1
    wait_s = min(policy.max_open_s, policy.open_s * 2.0 ** min(trips - 1, 20))
    return _changed(window, outcome.at_ms, BreakerState.OPEN, trips=trips, retry_in_s=wait_s, reason=why)


def _granted(window: BreakerWindow, outcome: OutcomeSum, policy: BreakerPolicy) -> BreakerWindow:
    granted = _changed(window, outcome.at_ms, BreakerState.HALF_OPEN, trips=window.record.trips, reason="probing")
    lease_ms = outcome.at_ms + int(policy.probe_lease_s * 1000)
    return replace(granted, record=replace(granted.record, holder=outcome.worker, lease_until_ms=lease_ms))


def _closed(window: BreakerWindow, outcome: OutcomeSum) -> BreakerWindow:
    return _changed(window, outcome.at_ms, BreakerState.CLOSED, trips=0, reason="the probe succeeded")


def _changed(
    window: BreakerWindow, now_ms: int, state: BreakerState, *, trips: int, retry_in_s: float = 0.0, reason: str
) -> BreakerWindow:
    record = BreakerRecord(
        provider=window.record.provider,
        state=state,
        epoch=window.record.epoch + 1,
        changed_ms=now_ms,
        retry_at_ms=now_ms + int(retry_in_s * 1000) if retry_in_s else 0,
        trips=trips,
        reason=reason,
    )
    return BreakerWindow(record=record, seen=window.seen)
