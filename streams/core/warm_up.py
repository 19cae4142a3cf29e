"""Warm-up: a new account or address may send only so much a day, and more each day, until it is known.

Rules:

1. The cap of a day (UTC) is the first day's, times the growth for every day since; after the plan's last day there is
   none. Before its first day nothing may be sent at all.
2. A cap is divided over the partitions without remainder, so that each partition keeps to its part alone and the sum is
   exactly the cap, whoever owns which partition.
"""

from __future__ import annotations

from dataclasses import dataclass

_DAY_MS = 86_400_000
_NO_CAP = 10**12  # growth soon leaves what a number can hold


@dataclass(frozen=True, slots=True)
class WarmUp:
    """``start_day`` counts from 1970-01-01 (UTC). ``overflow`` is the provider that takes what exceeds the cap; empty
    for the next one of the message's route.
    """

    start_day: int
    first: int
    growth: float
    days: int
    overflow: str = ""

    def cap(self, now_ms: int) -> int | None:
        """Messages allowed on the day of ``now_ms``, None without limit."""
        passed = now_ms // _DAY_MS - self.start_day
        if passed < 0:
            return 0
        if passed >= self.days:
            return None
        try:
            return min(int(self.first * self.growth**passed), _NO_CAP)
        except OverflowError:
            return _NO_CAP

    def part(self, now_ms: int, partition: int, partitions: int) -> int | None:
        """The cap of one partition on that day."""
        cap = self.cap(now_ms)
        return None if cap is None else cap * (partition + 1) // partitions - cap * partition // partitions


def day_of(now_ms: int) -> int:
    """The day, counted from 1970-01-01 (UTC)."""
    return now_ms // _DAY_MS


def next_day_ms(now_ms: int) -> int:
    """When the next day begins."""
    return (now_ms // _DAY_MS + 1) * _DAY_MS
