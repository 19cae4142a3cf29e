"""Since when the oldest message waits that is not handed over; what is scheduled counts from its own time on."""

from __future__ import annotations

from heapq import heappop, heappush

from streams.core.message import Stream


class Ages:
    """Parked messages of this process by the time from which they were wanted."""

    __slots__ = ("_heaps", "_since")

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, int]] = {}
        self._heaps: dict[Stream, list[tuple[int, str]]] = {stream: [] for stream in Stream}

    def __len__(self) -> int:
        return len(self._since)

    def add(self, message_id: str, partition: int, stream: Stream, since_ms: int) -> None:
        """It rests, and is not handed over."""
        known = self._since.get(message_id)
        if known is None or known[0] != since_ms:
            heappush(self._heaps[stream], (since_ms, message_id))
        self._since[message_id] = (since_ms, partition)

    def remove(self, message_id: str) -> None:
        """It moves again, or has come to its end."""
        self._since.pop(message_id, None)

    def drop(self, partition: int) -> None:
        """The partition went to another worker."""
        self._since = {name: held for name, held in self._since.items() if held[1] != partition}

    def oldest_ms(self, stream: Stream) -> int | None:
        """The earliest time from which somebody was wanted; None if nobody waits."""
        heap = self._heaps[stream]
        while heap:
            since_ms, message_id = heap[0]
            if self._since.get(message_id, (None,))[0] == since_ms:
                return since_ms
            heappop(heap)
        return None
