"""How long to gather records before the next step: hardly at all while few come, longer as the traffic grows.

A step (a poll of the reader, a produce request, a batch for an agent) costs about the same for one record as for
fifty. At a few hundred records a second nobody needs company, and whoever waits for it is late; at thousands a few
milliseconds save much of what a record costs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_WINDOW_S = 0.05


class Pace:
    """Between `shortest_s` and `longest_s` in proportion to the rate: the latter from `full_per_s` records a second."""

    def __init__(
        self, shortest_s: float, longest_s: float, full_per_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shortest_s = shortest_s
        self._span_s = max(0.0, longest_s - shortest_s)
        self._full_per_s = full_per_s
        self._clock = clock
        self._began_s = clock()
        self._count = 0
        self.per_s = 0.0
        """Records per second, smoothed over a few windows."""
        self.wait_s = shortest_s

    def came(self, records: int) -> None:
        """So many more."""
        self._count += records
        elapsed_s = self._clock() - self._began_s
        if elapsed_s >= _WINDOW_S:
            kept = 0.5 if elapsed_s < 4 * _WINDOW_S else 0.0  # after a pause the past says nothing
            self.per_s = kept * self.per_s + (1 - kept) * self._count / elapsed_s
            self.wait_s = self._shortest_s + self._span_s * min(1.0, self.per_s / self._full_per_s)
            self._count = 0
            self._began_s += elapsed_s
