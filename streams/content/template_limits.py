"""What a render may cost, and how much a value weighs before anything is made of it.

Rules:

1. Whoever writes templates is not trusted with the worker's time or memory. What would become too large is refused
   before it is made; what takes time looks at the clock, which counts this thread's processor time alone.
2. Everything a render makes is added up, also what it throws away (``Limits.made``): many texts of moderate size are
   as bad as one large one.
3. A value's weight is about the number of characters it would be written with, everything in it included and counted
   as often as it occurs: ten thousand references to one text weigh ten thousand texts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, MappingView
from dataclasses import dataclass
from typing import Any

from jinja2 import Undefined
from jinja2.exceptions import SecurityError


@dataclass(frozen=True, slots=True)
class Limits:
    """What one message may cost to render: loop turns and calls, seconds of processor time, characters of any one
    text, and characters made in all (an element of a list counts as :data:`ELEMENT`).
    """

    steps: int = 100_000
    seconds: float = 0.5
    characters: int = 2_000_000
    made: int = 20_000_000


class LimitReached(SecurityError):
    """A render took too many steps, too long, or became too large."""


MAX_ELEMENTS = 100_000
"""Of any list that a template makes; Jinja2's own limit of ``range``."""
ELEMENT = 8
_OPAQUE = 64  # the weight of what has no text of its own: a macro, a namespace
_CONTAINERS: Any = (list, tuple, set, frozenset, Mapping, MappingView, range)
_EVERY = 64  # steps between two looks at the clock
_STEP = 512  # characters that take as long as a step


class Budget:
    """What is left of one render; :meth:`begin` starts another."""

    __slots__ = ("_clock", "_made", "_since", "_steps", "_until", "limits")

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.thread_time) -> None:
        self.limits = limits
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Nothing has been spent yet."""
        self._steps = self._since = self._made = 0
        self._until = 0.0  # the clock is first looked at after some steps: most renders take none

    def tick(self, weight: int = 0) -> None:
        """One step further, over a value of ``weight``; raises :class:`LimitReached`."""
        self._steps += 1
        if self._steps > self.limits.steps:
            raise LimitReached(f"the template takes more than {self.limits.steps} steps")
        self._since += 1 + weight // _STEP
        if self._since >= _EVERY:
            self._since = 0
            now = self._clock()
            self._until = self._until or now + self.limits.seconds
            if now > self._until:
                raise LimitReached(f"the template takes more than {self.limits.seconds:g} s")

    def check(self, size: int) -> None:
        """Raises :class:`LimitReached` if no text may be as long."""
        if size > self.limits.characters:
            raise LimitReached(f"the text becomes longer than {self.limits.characters} characters")

    def spend(self, size: int) -> None:
        """Something of this weight is about to be made; raises :class:`LimitReached`."""
        self.check(size)
        self._made += size
        if self._made > self.limits.made:
            raise LimitReached(f"the template makes more than {self.limits.made} characters in all")

    def elements(self, count: int) -> None:
        """A list of so many elements is about to be made; raises :class:`LimitReached`."""
        if count > MAX_ELEMENTS:
            raise LimitReached(f"a list becomes longer than {MAX_ELEMENTS} elements")
        self.spend(count * ELEMENT)

    def weight(self, value: Any, *, shown: bool = False) -> int:
        """The weight of ``value``; raises :class:`LimitReached` as soon as it is more than any text may have.

        ``shown``: it is about to become text, so what has no sensible one raises ``SecurityError``.
        """
        if isinstance(value, str):
            return len(value)
        size, waiting = 0, [value]
        while waiting:
            item = waiting.pop()
            if isinstance(item, str):
                size += len(item)
            elif item is None or isinstance(item, (bool, float, Undefined)):
                size += ELEMENT
            elif isinstance(item, int):
                size += ELEMENT + item.bit_length() // 3
            elif isinstance(item, _CONTAINERS):
                size += ELEMENT * (len(item) + 1)
                self.check(size)  # before its elements are looked at
                waiting.extend(() if isinstance(item, range) else item)
                if isinstance(item, Mapping):
                    waiting.extend(item.values())
            elif shown:
                raise SecurityError(f"a {type(item).__name__} cannot be shown")
            else:
                size += _OPAQUE
            self.check(size)
        return size
