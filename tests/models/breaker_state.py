"""The key of a breaker world: epochs and sequences count from the oldest that still matters, times from now.

With a policy that opens by failures in a row alone, how many calls went well is left out, and runs end at the limit.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from streams.core.breaker import BreakerRecord, BreakerState, BreakerWindow, OutcomeSum

if TYPE_CHECKING:
    from tests.models.breaker_world import BreakerWorld

_MANY = 1_000


def _first_unread(world: BreakerWorld) -> int:
    """The oldest sum that somebody may still read: while owners may die, what was not committed comes again."""
    return world.points[0] if world.owner_may_die else world.position


class _Names:
    """Names of processes in the order in which they are met; sequences and epochs by their order."""

    def __init__(self, world: BreakerWorld) -> None:
        self._world = world
        self._names: dict[str, int] = {"": -1}
        self._epochs: set[int] = set()
        self._sequences: dict[str, set[int]] = {}
        self.policy = world.scenario.policy
        self._past_ms = min((one.at_ms - world.now() for one in world.sums[_first_unread(world) :]), default=0)
        """Before that all times are alike: they are compared with those of sums to come, and with now."""

    def name(self, name: str) -> int:
        return self._names.setdefault(name, len(self._names))

    def time(self, at_ms: int) -> int:
        return max(self._past_ms, at_ms - self._world.now())

    def record(self, record: BreakerRecord, base: int) -> tuple[Any, ...]:
        return (
            record.state.value,
            record.epoch - base,
            self.time(record.retry_at_ms),
            self.name(record.holder),
            self.time(record.lease_until_ms),
            min(record.trips, 2),
        )

    def sum(self, one: OutcomeSum, base: int, first: dict[str, int]) -> tuple[Any, ...]:
        counts = (one.succeeded, one.failed) if self.policy.min_requests < _MANY else ()
        return (
            self.name(one.worker),
            one.sequence - first.setdefault(one.worker, one.sequence),
            one.epoch - base,
            self.time(one.at_ms),
            counts,
            min(one.run_failed, self.policy.consecutive),
            one.asks_probe,
            one.probe_result,
        )

    def window(self, window: BreakerWindow, base: int, first: dict[str, int]) -> tuple[Any, ...]:
        known = {name: number for name, number in window.seen.items() if name in first}
        seen = sorted((self.name(name), number - first[name]) for name, number in known.items())
        runs = sorted(min(run, self.policy.consecutive) for run in window.runs.values())
        second = self._world.now() // 1000
        buckets = tuple(
            (at - second, good, bad) for at, good, bad in window.buckets if at > second - self.policy.window_s
        )
        counted = buckets if self.policy.min_requests < _MANY else ()
        return self.record(window.record, base), tuple(seen), tuple(runs), counted


def _call(epoch: int | None, newest: int) -> str:
    """A probe of a decision that is answered already is a call like any other."""
    if epoch is None:
        return ""
    return "probe" if epoch and epoch == newest else "call"


def key_of(world: BreakerWorld) -> bytes:
    """16 bytes. Equal for worlds that cannot be told apart."""
    names = _Names(world)
    for caller in world.callers:
        names.name(caller.name)
    unread = world.sums[_first_unread(world) :]
    end = len(world.sums)
    tallies = [caller.view._tally("mailgun") for caller in world.callers]
    window = world.window()
    epochs = [one.epoch for one in unread] + [tally.record.epoch for tally in tallies] + [window.record.epoch]
    base = min(epochs)
    records = [window.record, world.record, *(tally.record for tally in tallies)]
    running = {record.epoch for record in records if record.state is BreakerState.HALF_OPEN}
    first: dict[str, int] = {}
    for caller, tally in zip(world.callers, tallies, strict=True):
        first[caller.name] = tally.sequence
    sums = tuple(names.sum(one, base, first) for one in unread)
    repeated = tuple(names.sum(one, base, first) for one in world.sums[-2:]) if world.sums_may_repeat else ()
    callers = tuple(
        (
            names.record(tally.record, base),
            min(tally.run_failed, world.scenario.policy.consecutive),
            (tally.succeeded, tally.failed) if names.policy.min_requests < _MANY else (),
            max(0, tally.shut_until_ms - world.now()),
            max(-1_000, tally.asked_ms - world.now()),
            tally.asks,
            tally.probe_spent == tally.record.epoch,
            tally.probe_result,
            tally.changed,
            _call(caller.call, tally.record.epoch),
            tuple(names.record(record, base) for record in world.decisions[caller.read :]),
        )
        for caller, tally in zip(world.callers, tallies, strict=True)
    )
    kept = world.row()
    units = tuple((unit.offset - end, len(unit.emitted)) for unit in world.units)
    key = (
        world.faults,
        world.failing,
        [point - end for point in world.points] if world.owner_may_die else [],
        world.position - end,
        world.covered - end,
        world.covers - end if world.owner_may_die else 0,
        sums,
        repeated,
        callers,
        names.window(window, base, first),
        None if kept is None or not world.owner_may_die else names.window(kept, base, first),
        names.record(world.record, base),
        units,
        tuple(sorted(epoch - base for epoch in world.begun if epoch in running)),
        tuple(sorted(epoch - base for epoch in world.succeeded if epoch in running)),
    )
    return blake2b(repr(key).encode(), digest_size=16).digest()
