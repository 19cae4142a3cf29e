"""Spreads and ratios. Pure.

Rules:

1. A ratio is taken inside a round, never between the best of one side and the worst of the other.
2. The median decides whether a target is met; the whole spread is shown.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """Several readings of one thing."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(min(values), statistics.median(values), max(values))


@dataclass(frozen=True, slots=True)
class Target:
    """What a ratio must reach (``at_least``) or must not exceed."""

    value: float
    at_least: bool = True

    def met(self, ratio: float) -> bool:
        """Whether a ratio is good enough."""
        return ratio >= self.value if self.at_least else ratio <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


@dataclass(frozen=True, slots=True)
class Reading:
    """One run of one side. ``value`` is in the comparison's unit; ``busy`` is what others used meanwhile, in
    processors (0.7 is 70 % of one), by name.
    """

    value: float
    work: int = 0
    cpu_s: float = 0.0
    wall_s: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)
    threads: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours against a peer, round by round. ``unit`` says what the values are."""

    bench: str
    subject: str
    peer: str
    unit: str
    ours: tuple[Reading, ...]
    theirs: tuple[Reading, ...]
    target: Target | None
    """None: told for orientation."""
    broker: str
    note: str = ""

    @property
    def ratios(self) -> tuple[float, ...]:
        """Ours over theirs, one per round."""
        return tuple(o.value / t.value for o, t in zip(self.ours, self.theirs, strict=True) if t.value)

    @property
    def met(self) -> bool:
        """Whether the median ratio reaches the target."""
        return bool(self.ratios) and (self.target is None or self.target.met(Spread.of(self.ratios).median))

    @property
    def busiest(self) -> float:
        """The largest share of a processor that anything else needed in any round."""
        return max((share for r in (*self.ours, *self.theirs) for share in r.busy.values()), default=0.0)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` (0..1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
