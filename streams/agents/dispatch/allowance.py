"""How much of a warm-up day's cap is left, per partition; what has been sent today is known from the ledger.

A place is taken when a message stands in line and given back if it is not handed over after all.
"""

from __future__ import annotations

from collections import Counter

from streams.core.warm_up import WarmUp, day_of, next_day_ms


class Allowance:
    """Of one lane. Partitions keep to their own parts, so a rebalance cannot grant anything twice."""

    __slots__ = ("_day", "_partitions", "_taken", "plan")

    def __init__(self, plan: WarmUp, partitions: int, taken: Counter[int], now_ms: int) -> None:
        self.plan = plan
        self._partitions = partitions
        self._taken = taken
        self._day = day_of(now_ms)

    def take(self, partition: int, now_ms: int) -> bool:
        """One place of today's, if there is one left."""
        if (day := day_of(now_ms)) != self._day:
            self._day = day
            self._taken.clear()
        part = self.plan.part(now_ms, partition, self._partitions)
        if part is None:
            return True
        if self._taken[partition] >= part:
            return False
        self._taken[partition] += 1
        return True

    def give_back(self, partition: int) -> None:
        """The message did not go out after all."""
        if self._taken[partition]:
            self._taken[partition] -= 1

    def again_ms(self, now_ms: int) -> int:
        """When the next places come."""
        return next_day_ms(now_ms)
