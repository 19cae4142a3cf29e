"""Walks through every state that a world can reach, nearest first, and says what is wrong with any of them.

A world is a machine with moves. It is explored by going on from where it stands, or by starting anew and repeating
the moves that led there; what it looks like (its key) tells states apart. Rules:

1. The search is breadth first, so the trace of a violation is a shortest one.
2. A move is *fair* if it happens sooner or later when nothing is broken: Kafka acknowledges, a worker reads, time
   passes. Faults are moves that need not happen; the world limits how many there are.
3. Whatever the world notes in ``wrong`` is a violation, found when the move that led to it is made.
4. A state from which no fair moves lead to an end is a violation as well: somebody waits there for ever. Where every
   state has such a way, whoever keeps making fair moves at random arrives (the graph is finite).
5. If a limit stops the search, states that were not expanded count as well behaved, and the report says so.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

_LIVE = 300
"""Worlds of the frontier that are kept as they stand; the others are repeated from the start."""


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that may happen now; ``label`` is unique among the moves of a state."""

    label: str
    act: Callable[[], None]
    fair: bool = True


class World(Protocol):
    """What can be explored. The same labels in the same order always lead to the same state."""

    wrong: list[str]

    def moves(self) -> Iterable[Move]: ...
    def key(self) -> Hashable: ...

    def ended(self) -> bool:
        """Whether everything has come to a good end."""

    def close(self) -> None: ...


@dataclass(slots=True)
class _Node:
    parent: int
    label: str
    depth: int
    ended: bool = False
    fair: list[int] = field(default_factory=list)
    expanded: bool = False
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong, and the shortest way there that was found."""

    what: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        steps = "\n".join(f"  {number:2}. {label}" for number, label in enumerate(self.trace, 1))
        return f"{self.what}\n{steps}"


@dataclass(frozen=True, slots=True)
class Report:
    """``complete``: no limit stopped the search. ``ends`` counts the states in which everything had ended."""

    name: str
    states: int
    transitions: int
    depth: int
    ends: int
    seconds: float
    complete: bool
    violation: Violation | None = None

    def __str__(self) -> str:
        whole = "all of them" if self.complete else "stopped at a limit"
        line = (
            f"{self.name}: {self.states:,} states ({whole}), {self.transitions:,} transitions, depth {self.depth}, "
            f"{self.ends} ends, {self.seconds:.1f} s"
        )
        return line if self.violation is None else f"{line}\nVIOLATION: {self.violation}"


class Explorer:
    """Explores the worlds that ``start`` makes."""

    def __init__(self, name: str, start: Callable[[], World], *, most: int = 1_000_000, seconds: float = 0.0) -> None:
        self._name = name
        self._start = start
        self._most = most
        self._seconds = seconds
        self._nodes: list[_Node] = []
        self._known: dict[Hashable, int] = {}
        self._transitions = 0
        self._live: dict[int, World] = {}

    def run(self) -> Report:
        """Until everything was seen, something is wrong, or a limit is reached."""
        began_s = time.process_time()
        violation, complete = self._search(began_s)
        for world in self._live.values():
            world.close()
        if violation is None:
            violation = self._stuck()
        return Report(
            self._name,
            len(self._nodes),
            self._transitions,
            max(node.depth for node in self._nodes),
            sum(node.ended for node in self._nodes),
            time.process_time() - began_s,
            complete,
            violation,
        )

    def _search(self, began_s: float) -> tuple[Violation | None, bool]:
        first = self._start()
        queue = deque([self._add(first, -1, "")])
        if first.wrong:
            return Violation("; ".join(first.wrong), ()), False
        while queue:
            if len(self._nodes) >= self._most or (self._seconds and time.process_time() - began_s > self._seconds):
                return None, False
            number = queue.popleft()
            world = self._live.pop(number, None) or self._again(number)
            moves = list(world.moves())
            assert len({move.label for move in moves}) == len(moves), [move.label for move in moves]
            node = self._nodes[number]
            node.expanded = True
            for at, move in enumerate(moves):
                here = world if at == len(moves) - 1 else self._again(number)
                self._go(here, move.label)
                self._transitions += 1
                if here.wrong:
                    return Violation("; ".join(here.wrong), (*self._trace(number), move.label)), False
                known = len(self._nodes)
                target = self._add(here, number, move.label)
                if target == known:
                    queue.append(target)
                if move.fair:
                    node.fair.append(target)
            if not moves:
                world.close()
        return None, True

    def _add(self, world: World, parent: int, label: str) -> int:
        """The number of the world's state; a new one is kept as it stands, if there is room."""
        key = world.key()
        number = self._known.get(key)
        if number is not None:
            world.close()
            return number
        number = self._known[key] = len(self._nodes)
        depth = self._nodes[parent].depth + 1 if parent >= 0 else 0
        self._nodes.append(_Node(parent, label, depth, world.ended()))
        if len(self._live) < _LIVE:
            self._live[number] = world
        else:
            world.close()
        return number

    def _again(self, number: int) -> World:
        world = self._start()
        for label in self._trace(number):
            self._go(world, label)
        return world

    @staticmethod
    def _go(world: World, label: str) -> None:
        for move in world.moves():
            if move.label == label:
                move.act()
                return
        raise AssertionError(f"{label!r} is not possible here: the world is not deterministic")

    def _trace(self, number: int) -> tuple[str, ...]:
        labels: list[str] = []
        while number > 0:
            labels.append(self._nodes[number].label)
            number = self._nodes[number].parent
        return tuple(reversed(labels))

    def _stuck(self) -> Violation | None:
        """A state nearest to the start from which no fair moves lead to an end."""
        before: list[list[int]] = [[] for _ in self._nodes]
        for number, node in enumerate(self._nodes):
            for target in node.fair:
                before[target].append(number)
        arrives = [node.ended or not node.expanded for node in self._nodes]
        found = deque(number for number, well in enumerate(arrives) if well)
        while found:
            for number in before[found.popleft()]:
                if not arrives[number]:
                    arrives[number] = True
                    found.append(number)
        stuck = [number for number, well in enumerate(arrives) if not well]
        if not stuck:
            return None
        nearest = min(stuck, key=lambda number: self._nodes[number].depth)
        return Violation("from here nothing leads to an end any more", self._trace(nearest))


def explore(name: str, start: Callable[[], World], *, most: int = 1_000_000, seconds: float = 0.0) -> Report:
    """See :class:`Explorer`. ``seconds`` are of this process's CPU; 0 is no limit."""
    return Explorer(name, start, most=most, seconds=seconds).run()
