"""The fence: no table row is logged while the group may have given our partitions to another worker.

It stands on heartbeats: an answered one proves that we were a member when it was sent, and the group waits for a
session before it forgets a member. Whoever finds the fence closed waits here until it opens; when the partitions
are really gone, the waiting work is dropped by whoever put it here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

_RETRY_S = 0.05


class Fence:
    """`answered` may be called from any thread; the rest belongs to the event loop."""

    def __init__(self, session_timeout_s: float) -> None:
        self._session_timeout_s = session_timeout_s
        self._closes_s = 0.0
        self._waiting: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.answered_s: float | None = None
        """When the last answered heartbeat (or join) was sent, monotonic; None before the first."""

    def answered(self, sent_s: float) -> None:
        self.answered_s = sent_s
        self._closes_s = sent_s + self._session_timeout_s

    @property
    def open(self) -> bool:
        return time.monotonic() < self._closes_s

    @property
    def age_s(self) -> float:
        """Seconds since the last answered heartbeat was sent; inf before the first."""
        return float("inf") if self.answered_s is None else time.monotonic() - self.answered_s

    def when_open(self, callback: Callable[[], None]) -> None:
        """Call back once, as soon as the fence is open; never at once."""
        self._waiting.append(callback)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_RETRY_S, self._look)

    def cancel(self) -> None:
        """The worker has stopped."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self.open:
            self._timer = asyncio.get_running_loop().call_later(_RETRY_S, self._look)
            return
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
