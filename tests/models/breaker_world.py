"""The world of one provider's circuit breaker: workers that call and report, the agent that decides, and time.

The views of the workers (``agents.breaker_view``) and the agent (``agents.breakers``, which folds by ``core.breaker``)
are the real ones. Decisions, then the window's row, then the offset go to Kafka one by one; the agent's owner may die
between any two of them, and the next one goes on from any offset that was safe. What the world makes sure of:

1. A probe is begun within a lease of its own, and one lease begins no second one.
2. The window is what folding every sum once, in order, gives: after repeats, redeliveries and changes of the owner.
3. One epoch is one decision. A breaker closes only because a probe has succeeded.
4. Who has seen ``consecutive`` failures in a row does not call, and the agent that is told of them opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from streams.agents.breaker_view import BreakerView, Door
from streams.agents.breakers import Breakers
from streams.core import breaker as core
from streams.core.breaker import BreakerPolicy, BreakerRecord, BreakerState, BreakerWindow, OutcomeSum
from streams.serde.internal import pack, unpacker
from tests.models.breaker_state import key_of
from tests.models.explorer import Move
from tests.models.log import Rec

NOW = 1_700_000_000_000
NAME = "mailgun"
KILL, KILL_OWNER, REPEAT, NOT_USED, FAILS = "kill", "kill owner", "repeat", "not used", "fails"
_MOST_UNREAD = 2
POLICY = BreakerPolicy(window_s=30, min_requests=1_000, consecutive=2, open_s=1, max_open_s=2, probe_lease_s=2)
_read_window = unpacker(BreakerWindow)
_fold = core.fold
"""As it was before anybody changed it for a test."""


@dataclass(frozen=True, slots=True)
class BreakerScenario:
    """How many faults there may be, of which kinds, among which workers, under which policy."""

    name: str
    faults: int = 1
    kinds: frozenset[str] = frozenset({KILL, KILL_OWNER, REPEAT, NOT_USED, FAILS})
    workers: tuple[str, ...] = ("w1", "w2")
    heals: bool = True
    """Else the provider stays down, and the end is a breaker that is not closed."""
    policy: BreakerPolicy = POLICY


@dataclass(slots=True, eq=False)
class Caller:
    """A worker: its view, the decisions that it has read, and its call under way (the probe's epoch, 0 for others)."""

    name: str
    view: BreakerView
    read: int = 0
    call: int | None = None


@dataclass(slots=True)
class Unit:
    """The work on one sum, in the order of :class:`streams.agents.ports.UnitPort`: emitted, kept, committed."""

    offset: int
    emitted: list[bytes]
    row: bytes | None = None

    def emit(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> None:
        assert value is not None
        self.emitted.append(value)

    def put(self, table: Any, key: bytes, value: bytes) -> None:
        self.row = table.rows[key] = value

    def finish(self) -> None: ...
    async def room(self) -> None: ...


class Windows:
    """The agent's table as its owner sees it."""

    name = "breaker_windows"

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows = dict(rows)

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get(key)


@dataclass(slots=True)
class _Batch:
    topic: str
    partition: int
    records: list[Rec]


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
        if epoch:
            if self._now_ms >= self.leases.get(epoch, 0):
                self.wrong.append(f"{name} begins a probe without a lease: it has run out")
            if epoch in self.begun:
                self.wrong.append(f"{name} begins a second probe of one lease")
            self.begun.add(epoch)
        elif caller.view._tally(NAME).run_failed >= self.scenario.policy.consecutive and self._is_shut(caller):
            self.wrong.append(f"{name} calls after {caller.view._tally(NAME).run_failed} failures in a row")

    def _is_shut(self, caller: Caller) -> bool:
        return self._now_ms < caller.view._tally(NAME).shut_until_ms

    def _end(self, name: str, caller: Caller) -> None:
        epoch, caller.call = caller.call or 0, None
        if self.failing:
            caller.view.failed(NAME, self._now_ms, "503", epoch)
            run = caller.view._tally(NAME).run_failed
            if run >= self.scenario.policy.consecutive and caller.view.door(NAME, self._now_ms) is Door.OPEN:
                self.wrong.append(f"{name}'s door is open after {run} failures in a row")
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
        unit = Unit(offset, [])
        agent = Breakers(
            None,  # type: ignore[arg-type]
            self.windows,  # type: ignore[arg-type]
            "breakers",
            lambda app, batch: unit,
            self.scenario.policy,
        )
        batch = _Batch("provider-outcomes", 0, [Rec(offset, NAME.encode(), pack(self.sums[offset]))])
        try:
            agent.handle(batch).send(None)  # type: ignore[arg-type]
        except StopIteration:
            pass
        else:
            raise AssertionError("the agent waits for something")
        self.units.append(unit)
        self.position += 1
        self.covered = max(self.covered, self.position)
        self._check(before, offset)
        if not self.owner_may_die:
            while self.units:  # when nobody can die in between, nobody sees the steps
                self._step()

    def window(self) -> BreakerWindow:
        """As the owner has it."""
        kept = self.windows.rows.get(NAME.encode())
        window = BreakerWindow(BreakerRecord(NAME)) if kept is None else _read_window(kept)
        assert isinstance(window, BreakerWindow)
        return window

    def row(self) -> BreakerWindow | None:
        """As it is on Kafka."""
        kept = self.rows.get(NAME.encode())
        window = None if kept is None else _read_window(kept)
        assert window is None or isinstance(window, BreakerWindow)
        return window

    def _check(self, before: BreakerWindow, offset: int) -> None:
        expected, counted = BreakerWindow(BreakerRecord(NAME)), set()
        for outcome in self.sums[: self.covered]:
            if (outcome.worker, outcome.sequence) not in counted:
                counted.add((outcome.worker, outcome.sequence))
                expected = _fold(expected, outcome, self.scenario.policy)
        after, outcome = self.window(), self.sums[offset]
        if after != expected:
            self.wrong.append(f"a sum was not counted exactly once: {_told(after)}, not {_told(expected)}")
        fresh = before.seen.get(outcome.worker, -1) < outcome.sequence and outcome.epoch >= before.record.epoch
        many = outcome.run_failed >= self.scenario.policy.consecutive
        if before.record.state is BreakerState.CLOSED and fresh and many and after.record.state is BreakerState.CLOSED:
            self.wrong.append(f"{outcome.run_failed} failures in a row do not open it")

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
        for earlier in self.decisions:
            if earlier.epoch == record.epoch and earlier != record:
                self.wrong.append(f"epoch {record.epoch} is two decisions: {earlier.state.value}, {record.state.value}")
        if record.state is BreakerState.CLOSED and record.epoch - 1 not in self.succeeded:
            self.wrong.append("it closes although no probe has succeeded")
        if record.state is BreakerState.HALF_OPEN:
            self.leases[record.epoch] = record.lease_until_ms
        self.decisions.append(record)


def _words(outcome: OutcomeSum) -> str:
    said = [f"{outcome.failed} failed" if outcome.failed else "", f"{outcome.succeeded} went well"]
    said[1] = said[1] if outcome.succeeded else ""
    said += ["asks for the probe" if outcome.asks_probe else ""]
    said += [{1: "the probe succeeded", -1: "the probe failed"}.get(outcome.probe_result, "")]
    return f"“{outcome.worker.partition('.')[0]}: {', '.join(word for word in said if word) or 'nothing'}”"


def _told(window: BreakerWindow) -> str:
    counts = f"{sum(bad for _, _, bad in window.buckets)} failed of {sum(g + b for _, g, b in window.buckets)}"
    return f"{window.record.state.value} (epoch {window.record.epoch}, {counts}, runs {window.runs})"
