"""How much is ours and does not rest: beyond a limit, of messages or of bytes, the stream that is full waits.

What was taken in ahead of its record, and what was woken from the ledger, is held by nobody else: so it is counted
here, and not where records are delivered.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from streams.agents.dispatch.flight import Flight
from streams.core.message import Stream

_FOR_THE_WOKEN = 1.1
"""What rested in the ledger has waited longer than what comes new: that much more of it may be under way."""


class UnderWay:
    """Messages of one process, and the bytes of their records, by stream."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._messages: Counter[Stream] = Counter()
        self._bytes: Counter[Stream] = Counter()
        self._landed = asyncio.Event()

    def add(self, flight: Flight) -> None:
        """It begins."""
        stream = flight.message.stream
        self._messages[stream] += 1
        self._bytes[stream] += flight.size_bytes

    def remove(self, flight: Flight) -> None:
        """It rests, or is another's now."""
        stream = flight.message.stream
        self._messages[stream] -= 1
        self._bytes[stream] -= flight.size_bytes
        self._landed.set()

    def is_full(self, stream: Stream, share: float = 1.0) -> bool:
        """Whether that share of what may be under way is."""
        return self._messages[stream] >= self._most * share or self._bytes[stream] >= self._most_bytes * share

    def room_to_wake(self, stream: Stream) -> int:
        """So many messages may be woken, unless they are large."""
        if self.is_full(stream, _FOR_THE_WOKEN):
            return 0
        return int(self._most * _FOR_THE_WOKEN) - self._messages[stream] or 1

    async def room(self, stream: Stream) -> None:
        """Wait until the stream is not full."""
        while self.is_full(stream):
            self._landed.clear()
            await self._landed.wait()
