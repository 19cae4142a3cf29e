"""The world of one provider's circuit breaker: workers that call and report, the agent that decides, and time.

The views of the workers (``agents.breaker_view``) and the agent (``agents.breakers``, which folds by ``core.breaker``)
are the real ones. Decisions, then the window's row, then the offset go to Kafka one by one; the agent's owner may die
between any two of them, and the next one goes on from any offset that was safe. What the world makes sure of is in
:mod:`tests.models.breaker_promises`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from streams.agents.breaker_view import BreakerView, Door
from streams.core.breaker import BreakerRecord, BreakerState, BreakerWindow, OutcomeSum
from tests.models import breaker_promises as promises
from tests.models.breaker_agent import Unit, Windows, fold, window_in
from tests.models.breaker_scenario import FAILS, KILL, KILL_OWNER, NAME, NOT_USED, NOW, REPEAT, BreakerScenario
from tests.models.breaker_state import key_of
from tests.models.explorer import Move

_MOST_UNREAD = 2


@dataclass(slots=True, eq=False)
class Caller:
    """A worker: its view, the decisions that it has read, and its call under way (the probe's epoch, 0 for others)."""

    name: str
    view: BreakerView
    read: int = 0
    call: int | None = None


class BreakerWorld:
    """See the module."""

    def __init__(self, scenario: BreakerScenario) -> None:
        self.scenario = scenario
        self.wrong: list[str] = []
        self.faults = scenario.faults
        self._now_ms = NOW
        self.failing = True
        self.sums: list[OutcomeSum] = []
        self.decisions: list[BreakerRecord] = []
        self.rows: dict[bytes, bytes] = {}
        self.points = [0]
        """Offsets of the sums from which the agent's next owner may go on."""
        self.position = 0
        self.units: list[Unit] = []
        self.covers = self.covered = 0
        """How many sums are counted in the row on Kafka, and in the owner's window."""
        self.leases: dict[int, int] = {}
        """By epoch: until when its probe may begin."""
        self.begun: set[int] = set()
        self.succeeded: set[int] = set()
        self.born = 0
        self.callers = [self._born(name) for name in scenario.workers]
        self._own(0)

    def now(self) -> int:
        return self._now_ms

    def key(self) -> bytes:
        return key_of(self)

    def close(self) -> None: ...

    @property
    def owner_may_die(self) -> bool:
        return bool(self.faults) and KILL_OWNER in self.scenario.kinds

    @property
    def sums_may_repeat(self) -> bool:
        return bool(self.faults) and REPEAT in self.scenario.kinds

    @property
    def record(self) -> BreakerRecord:
        """The last decision."""
        return self.decisions[-1] if self.decisions else BreakerRecord(NAME)

    def ended(self) -> bool:
        if not self.scenario.heals:
            return self.record.state is not BreakerState.CLOSED
        return (
            not self.failing
            and self.position == len(self.sums)
            and not self.units
            and all(
                caller.call is None
                and caller.read == len(self.decisions)
                and caller.view.state(NAME) is BreakerState.CLOSED
                for caller in self.callers
            )
        )

    # ------------------------------------------------------------------ moves

    def moves(self) -> Iterator[Move]:
        for at, caller in enumerate(self.callers):
            yield from self._caller_moves(at, caller)
        if self.position < len(self.sums) and not self.units:
            yield Move(f"the agent folds {_words(self.sums[self.position])}", self._fold)
        if self.units:
            yield Move(self._next_step(), self._step)
        if self.failing and self.scenario.heals:
            yield Move("the provider is well again", partial(setattr, self, "failing", False))
        if not self._is_behind():
            yield Move("1 s passes", partial(setattr, self, "_now_ms", self._now_ms + 1_000))
        if self.faults:
            for kind, label, act in self._possible():
                if kind in self.scenario.kinds:
                    yield Move(label, partial(self._fault, act), fair=False)

    def _is_behind(self) -> bool:
        """Nobody is slower than that for ever: a sum unread for a second, two decisions unread."""
        unread = self.sums[self.position :]
        late = bool(unread) and self._now_ms - unread[0].at_ms >= 1_000
        return late or any(len(self.decisions) - caller.read >= 2 for caller in self.callers)

    def _caller_moves(self, at: int, caller: Caller) -> Iterator[Move]:
        name, view = f"w{at + 1}", caller.view
        if caller.call is None:
            yield Move(f"{name} has a message to send", partial(self._send, name, caller))
        else:
            what = f"{name}'s {'probe' if caller.call else 'call'}"
            yield Move(f"{what} {'fails' if self.failing else 'succeeds'}", partial(self._end, name, caller))
        if view._tally(NAME).changed and len(self.sums) - self.position < _MOST_UNREAD:
            yield Move(f"{name} reports", partial(self._report, caller))
        if caller.read < len(self.decisions):
            yield Move(f"{name} reads “{self.decisions[caller.read].state.value}”", partial(self._read, caller))

    def _possible(self) -> Iterator[tuple[str, str, Any]]:
        for at, caller in enumerate(self.callers):
            yield KILL, f"w{at + 1} is killed and starts again", partial(self._kill, at)
            if caller.call:
                yield NOT_USED, f"the message of w{at + 1}'s probe is not wanted any more", partial(self._drop, caller)
        for point in self.points:
            yield KILL_OWNER, f"the agent's owner dies, the next goes on from {point}", partial(self._own, point)
        for offset in range(max(0, len(self.sums) - 2), len(self.sums)):
            repeat = partial(self.sums.append, self.sums[offset])
            yield REPEAT, f"sum {offset} ({_words(self.sums[offset])}) comes again", repeat
        if not self.failing:
            yield FAILS, "the provider fails", partial(setattr, self, "failing", True)

    def _fault(self, act: Any) -> None:
        self.faults -= 1
        act()

    # ------------------------------------------------------------------ workers

    def _born(self, name: str) -> Caller:
        """A fresh process has another name, and knows every decision before it sends."""
        self.born += 1
        caller = Caller(f"{name}.{self.born}", BreakerView(f"{name}.{self.born}", self.scenario.policy))
        while caller.read < len(self.decisions):
            self._read(caller)
        return caller

    def _kill(self, at: int) -> None:
        self.callers[at] = self._born(self.scenario.workers[at])

    def _send(self, name: str, caller: Caller) -> None:
        door = caller.view.door(NAME, self._now_ms)
        if door is Door.SHUT:
            return
        epoch = caller.view.spend_probe(NAME) if door is Door.PROBE else 0
        caller.call = epoch
        promises.begun(self, name, caller, epoch)
        if epoch:
            self.begun.add(epoch)

    def _end(self, name: str, caller: Caller) -> None:
        epoch, caller.call = caller.call or 0, None
        if self.failing:
            caller.view.failed(NAME, self._now_ms, "503", epoch)
            promises.failed(self, name, caller)
        else:
            caller.view.succeeded(NAME, epoch)
            self.succeeded.add(epoch)

    def _drop(self, caller: Caller) -> None:
        """As when the message is cancelled while it stands in line: nobody tells the view."""
        caller.call = None

    def _report(self, caller: Caller) -> None:
        self.sums.extend(caller.view.sums(self._now_ms))

    def _read(self, caller: Caller) -> None:
        caller.view.read_breaker(NAME.encode(), msgspec.json.encode(self.decisions[caller.read]))
        caller.read += 1

    # ------------------------------------------------------------------ the agent

    def _own(self, point: int) -> None:
        """Another process owns the provider's key: what was not on Kafka is gone."""
        self.units, self.points, self.position = [], [point], point
        self.windows, self.covered = Windows(self.rows), self.covers

    def _fold(self) -> None:
        offset = self.position
        before = self.window()
        self.units.append(fold(self.windows, offset, self.sums[offset], self.scenario.policy))
        self.position += 1
        self.covered = max(self.covered, self.position)
        promises.folded(self, before, offset)
        if not self.owner_may_die:
            while self.units:  # when nobody can die in between, nobody sees the steps
                self._step()

    def window(self) -> BreakerWindow:
        """As the owner has it."""
        return window_in(self.windows.rows) or BreakerWindow(BreakerRecord(NAME))

    def row(self) -> BreakerWindow | None:
        """As it is on Kafka."""
        return window_in(self.rows)

    def _next_step(self) -> str:
        unit = self.units[0]
        return "Kafka takes the decision" if unit.emitted else f"Kafka takes the window after sum {unit.offset}"

    def _step(self) -> None:
        unit = self.units[0]
        if unit.emitted:
            self._publish(msgspec.json.decode(unit.emitted.pop(0), type=BreakerRecord))
            return
        if unit.row is not None:
            self.rows[NAME.encode()] = unit.row
            self.covers = max(self.covers, unit.offset + 1)
        self.points.append(unit.offset + 1)
        self.units.pop(0)

    def _publish(self, record: BreakerRecord) -> None:
        promises.published(self, record)
        if record.state is BreakerState.HALF_OPEN:
            self.leases[record.epoch] = record.lease_until_ms
        self.decisions.append(record)


def _words(outcome: OutcomeSum) -> str:
    said = [f"{outcome.failed} failed" if outcome.failed else "", f"{outcome.succeeded} went well"]
    said[1] = said[1] if outcome.succeeded else ""
    said += ["asks for the probe" if outcome.asks_probe else ""]
    said += [{1: "the probe succeeded", -1: "the probe failed"}.get(outcome.probe_result, "")]
    return f"“{outcome.worker.partition('.')[0]}: {', '.join(word for word in said if word) or 'nothing'}”"
