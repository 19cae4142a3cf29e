"""Messages held behind a closed door or an account's trouble: who they are, so that they go when that is over.

They lie in the ledger with a due time; this index lives in memory and is rebuilt from the rows after a recovery.
Without it everybody would have to be woken again and again only to find the door still shut.
"""

from __future__ import annotations

from collections import Counter

from streams.core.accounts import lane_of
from streams.core.event import ReasonKind
from streams.core.ledger import AttemptRow, LedgerState

ACCOUNT_TROUBLE = frozenset({ReasonKind.CREDENTIALS, ReasonKind.ACCOUNT})


class Holds:
    """Message ids by lane."""

    __slots__ = ("_by_lane", "_hastened", "_lane_of")

    def __init__(self) -> None:
        self._lane_of: dict[str, tuple[str, int]] = {}
        self._by_lane: dict[str, dict[str, int]] = {}
        self._hastened: set[str] = set()

    def __len__(self) -> int:
        return len(self._lane_of)

    def add(self, message_id: str, partition: int, lane: str) -> None:
        """It waits for this lane."""
        hastened = message_id in self._hastened
        self.remove(message_id)
        if hastened:
            self._hastened.add(message_id)
        self._lane_of[message_id] = (lane, partition)
        self._by_lane.setdefault(lane, {})[message_id] = partition

    def note(self, message_id: str, partition: int, row: AttemptRow) -> None:
        """A row has come to rest or was found after a recovery: it counts if an account's trouble parked it."""
        if lane := self.trouble_of(row):
            self.add(message_id, partition, lane)

    @staticmethod
    def trouble_of(row: AttemptRow) -> str:
        """The lane whose account's trouble parked the row; empty if it was nothing of that kind."""
        troubled = row.state is LedgerState.PARKED and row.reason is not None and row.reason.kind in ACCOUNT_TROUBLE
        return lane_of(row.provider, row.account) if troubled else ""

    def remove(self, message_id: str) -> None:
        """It moves again, or is no more."""
        self._hastened.discard(message_id)
        held = self._lane_of.pop(message_id, None)
        if held is not None:
            lane = self._by_lane[held[0]]
            del lane[message_id]
            if not lane:
                del self._by_lane[held[0]]

    def wake(self, lane: str | None = None) -> list[tuple[int, str]]:
        """Everybody who waits for the lane (None: for any), as partition and id; they may go before they are due."""
        lanes = list(self._by_lane) if lane is None else [lane]
        woken = [(home, name) for one in lanes for name, home in self._by_lane.get(one, {}).items()]
        self._hastened.update(name for _, name in woken)
        return woken

    def hasten(self, message_id: str) -> None:
        """It may go before it is due."""
        self._hastened.add(message_id)

    def is_hastened(self, message_id: str) -> bool:
        """Whether it has been woken, and has not moved yet."""
        return message_id in self._hastened

    def hastened(self, message_id: str) -> bool:
        """Whether it was woken before it is due; told once."""
        if message_id in self._hastened:
            self._hastened.discard(message_id)
            return True
        return False

    def drop(self, partition: int) -> None:
        """The partition went to another worker."""
        for message_id in [name for name, (_, home) in self._lane_of.items() if home == partition]:
            self.remove(message_id)

    def counts(self) -> Counter[str]:
        """How many are held, by provider."""
        counts: Counter[str] = Counter()
        for lane, held in self._by_lane.items():
            counts[lane.partition("/")[0]] += len(held)
        return counts
