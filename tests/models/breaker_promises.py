"""What must hold in a breaker world, asked where it could break: at a call, its end, a fold and a decision.

1. A probe is begun within a lease of its own, and one lease begins no second one.
2. The window is what folding every sum once, in order, gives: after repeats, redeliveries and changes of the owner.
3. One epoch is one decision. A breaker closes only because a probe has succeeded.
4. Who has seen ``consecutive`` failures in a row does not call, and the agent that is told of them opens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.agents.breaker_view import Door
from streams.core import breaker as core
from streams.core.breaker import BreakerRecord, BreakerState, BreakerWindow
from tests.models.breaker_scenario import NAME

if TYPE_CHECKING:
    from tests.models.breaker_world import BreakerWorld, Caller

_fold = core.fold
"""As it was before anybody changed it for a test."""


def begun(world: BreakerWorld, name: str, caller: Caller, epoch: int) -> None:
    """A call begins; ``epoch`` is 0 if it is no probe."""
    tally = caller.view._tally(NAME)
    if epoch:
        if world.now() >= world.leases.get(epoch, 0):
            world.wrong.append(f"{name} begins a probe without a lease: it has run out")
        if epoch in world.begun:
            world.wrong.append(f"{name} begins a second probe of one lease")
    elif tally.run_failed >= world.scenario.policy.consecutive and world.now() < tally.shut_until_ms:
        world.wrong.append(f"{name} calls after {tally.run_failed} failures in a row")


def failed(world: BreakerWorld, name: str, caller: Caller) -> None:
    """A call has failed, and the worker's view knows."""
    run = caller.view._tally(NAME).run_failed
    if run >= world.scenario.policy.consecutive and caller.view.door(NAME, world.now()) is Door.OPEN:
        world.wrong.append(f"{name}'s door is open after {run} failures in a row")


def folded(world: BreakerWorld, before: BreakerWindow, offset: int) -> None:
    """The agent has folded the sum at this offset."""
    expected, counted = BreakerWindow(BreakerRecord(NAME)), set()
    for outcome in world.sums[: world.covered]:
        if (outcome.worker, outcome.sequence) not in counted:
            counted.add((outcome.worker, outcome.sequence))
            expected = _fold(expected, outcome, world.scenario.policy)
    after, outcome = world.window(), world.sums[offset]
    if after != expected:
        world.wrong.append(f"a sum was not counted exactly once: {_told(after)}, not {_told(expected)}")
    fresh = before.seen.get(outcome.worker, -1) < outcome.sequence and outcome.epoch >= before.record.epoch
    many = outcome.run_failed >= world.scenario.policy.consecutive
    if before.record.state is BreakerState.CLOSED and fresh and many and after.record.state is BreakerState.CLOSED:
        world.wrong.append(f"{outcome.run_failed} failures in a row do not open it")


def published(world: BreakerWorld, record: BreakerRecord) -> None:
    """A decision is about to be on Kafka."""
    for earlier in world.decisions:
        if earlier.epoch == record.epoch and earlier != record:
            world.wrong.append(f"epoch {record.epoch} is two decisions: {earlier.state.value}, {record.state.value}")
    if record.state is BreakerState.CLOSED and record.epoch - 1 not in world.succeeded:
        world.wrong.append("it closes although no probe has succeeded")


def _told(window: BreakerWindow) -> str:
    counts = f"{sum(bad for _, _, bad in window.buckets)} failed of {sum(g + b for _, g, b in window.buckets)}"
    return f"{window.record.state.value} (epoch {window.record.epoch}, {counts}, runs {window.runs})"
