"""What time it is for the whole fleet: the broker's clock, carried on by the time that passes here.

Rules:

1. A machine's own wall clock decides nothing once the broker's has been heard: workers whose clocks are minutes apart
   agree about leases, due times and expiry, and a wall clock that is set back or forth changes nothing.
2. A reading that the time since the last one explains, within what a reading can tell, moves nothing. Only a step that
   is larger than that does: forward or back.
3. Until the first reading, and where the broker does not tell its time, the wall clock is all there is.
"""

from __future__ import annotations

from collections.abc import Callable

STEP_MS = 250
"""Differences below this are the reading's own inaccuracy, or nothing that anybody decides by."""


class FleetClock:
    """``wall_ms`` gives epoch milliseconds of this machine, ``passed_s`` a time that only goes forward."""

    def __init__(self, wall_ms: Callable[[], int], passed_s: Callable[[], float]) -> None:
        self._wall_ms = wall_ms
        self._passed_s = passed_s
        self._origin_ms: float | None = None

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        origin_ms = self._origin_ms
        return self._wall_ms() if origin_ms is None else int(origin_ms + self._passed_s() * 1000)

    def heard(self, broker_ms: int, asked_s: float, answered_s: float) -> float:
        """The broker's clock showed ``broker_ms`` at some moment between the two, given in ``passed_s``.

        Answers by how much the fleet's time moved, in milliseconds; 0 for a reading that agrees.
        """
        origin_ms = broker_ms - 500 * (asked_s + answered_s)
        vague_ms = STEP_MS + 500 * (answered_s - asked_s)
        before_ms = self._origin_ms
        if before_ms is not None and abs(origin_ms - before_ms) <= vague_ms:
            return 0.0
        self._origin_ms = origin_ms
        return 0.0 if before_ms is None else origin_ms - before_ms

    @property
    def is_known(self) -> bool:
        """Whether the broker's clock has been heard."""
        return self._origin_ms is not None

    @property
    def wall_ahead_s(self) -> float:
        """By how much this machine's wall clock is ahead of the fleet's; negative if it is behind."""
        return (self._wall_ms() - self.now_ms()) / 1000
