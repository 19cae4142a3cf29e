"""What went out today, by lane and partition: a warm-up's cap knows it also after a restart."""

from __future__ import annotations

from collections import Counter

from streams.core.ledger import AttemptRow, LedgerState
from streams.core.warm_up import day_of

_HANDED_OVER = frozenset({LedgerState.SENDING, LedgerState.SENT, LedgerState.UNCERTAIN, LedgerState.HELD})


class SentToday:
    """Counted from the rows of recovered partitions; :class:`.allowance.Allowance` goes on counting from there."""

    def __init__(self) -> None:
        self._of: dict[str, Counter[int]] = {}
        self._day = 0

    def of(self, lane: str) -> Counter[int]:
        """Messages by partition; the lane's own, to be counted on."""
        return self._of.setdefault(lane, Counter())

    def recall(self, partition: int, row: AttemptRow, lane: str, now_ms: int) -> None:
        """A row found after a recovery."""
        if (day := day_of(now_ms)) != self._day:
            self._day = day
            for counts in self._of.values():
                counts.clear()
        if day_of(row.sent_ms) == day and row.state in _HANDED_OVER:
            self.of(lane)[partition] += 1

    def drop(self, partition: int) -> None:
        """The partition went to another worker, and its counts with it."""
        for counts in self._of.values():
            counts.pop(partition, None)
