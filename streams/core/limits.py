"""Token buckets: how fast a lane may hand messages over.

The fleet-wide rate of a provider account is shared by partition ownership: a worker that owns 3 of 12 partitions has a
quarter of it. A newly assigned share starts empty, so that a rebalance never bursts.
"""

from __future__ import annotations

from dataclasses import dataclass


class TokenBucket:
    """``rate`` tokens per second, at most ``burst`` saved up. A rate of 0 means unlimited. Not thread-safe."""

    __slots__ = ("_at_ms", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now_ms: int, tokens: float = 0.0) -> None:
        self.rate = rate
        self.burst = max(burst, 1.0)
        self._tokens = tokens
        self._at_ms = now_ms

    def reshare(self, rate: float, burst: float, now_ms: int) -> None:
        """Change the share; what was saved up beyond the new burst is lost, nothing is granted."""
        self._refill(now_ms)
        self.rate, self.burst = rate, max(burst, 1.0)
        self._tokens = min(self._tokens, self.burst)

    def empty(self) -> None:
        """What was saved up is gone; a debt stays."""
        self._tokens = min(self._tokens, 0.0)

    def available(self, now_ms: int) -> int:
        """How many whole tokens could be taken now."""
        if not self.rate:
            return 1 << 30
        self._refill(now_ms)
        return max(0, int(self._tokens))  # none in debt

    def take(self, count: int, now_ms: int) -> float:
        """Take ``count`` tokens and answer 0, or take none and answer the seconds until there are enough.

        A count above the burst is granted when the bucket is full, and leaves a debt, so that a large batch is possible
        and the average rate still holds.
        """
        if not self.rate:
            return 0.0
        self._refill(now_ms)
        needed = min(float(count), self.burst)
        if self._tokens >= needed:
            self._tokens -= count
            return 0.0
        return (needed - self._tokens) / self.rate

    def owe(self, count: int, now_ms: int) -> None:
        """``count`` tokens were spent whether there were so many or not."""
        if self.rate:
            self._refill(now_ms)
            self._tokens -= count

    def _refill(self, now_ms: int) -> None:
        passed_ms = now_ms - self._at_ms
        if passed_ms > 0:
            self._tokens = min(self.burst, self._tokens + self.rate * passed_ms / 1000)
        self._at_ms = now_ms


class Turns:
    """Turns at an even pace: whoever comes too early is told when its turn is, and need not ask again.

    ``rate`` is turns per second; up to ``burst_s`` seconds' worth may go at once after a pause.
    """

    __slots__ = ("_next_ms", "burst_s", "rate")

    def __init__(self, rate: float, burst_s: float = 1.0) -> None:
        self.rate = rate
        self.burst_s = burst_s
        self._next_ms = 0.0

    def next_ms(self, now_ms: int) -> int:
        """Take a turn and answer its time; not later than ``now_ms`` means at once."""
        if not self.rate:
            return now_ms
        turn_ms = max(self._next_ms, now_ms - 1000 * self.burst_s)
        self._next_ms = turn_ms + 1000 / self.rate
        return int(turn_ms)


@dataclass(frozen=True, slots=True)
class RecipientLimit:
    """At most ``messages`` of a tenant to an address within ``window_s``, for these streams."""

    messages: int
    window_s: float
    streams: frozenset[str]
    reject: bool = False

    @property
    def window_ms(self) -> int:
        """The window in milliseconds."""
        return int(self.window_s * 1000)
