"""How far a restore is: told to the observer after every fetch, and to people every few seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_EVERY_S = 3.0
_logger = logging.getLogger(__name__)


class Progress:
    """Of one restore. ``tell`` is the observer; ``clock`` gives seconds. A short restore says nothing in the log."""

    def __init__(self, tell: Callable[[int, int], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._began_s = self._said_s = clock()

    def __call__(self, done: int, total: int) -> None:
        """``done`` of ``total`` offsets are behind us; compaction has left holes between them."""
        self._tell(done, total)
        now_s = self._clock()
        if done >= total or now_s - self._said_s < _EVERY_S:
            return
        self._said_s = now_s
        left = f"{(total - done) * (now_s - self._began_s) / done:.0f} s left" if done else "nothing has arrived yet"
        _logger.info("Restored %s of %s records, %s", f"{done:,}", f"{total:,}", left)
