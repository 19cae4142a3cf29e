"""What worker and ingress tell on standard error: their own words, and of their libraries only what is wrong.

``STREAMS_LOG`` names the level of our own words (``INFO`` by default). With ``DEBUG`` the libraries speak as well, but
for those that would tell passwords (see streams.settings.secret). What is told may repeat what strangers wrote: an
entry is one line, and nothing in it (or in a traceback) is an order. What is wrong is told once in ten seconds: a
broker that is away makes every client say so at every try.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from streams.cli.failure import UsageFailure

VARIABLE = "STREAMS_LOG"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_REPEATS_S = 10.0
_MOST = 1000
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to_stderr(environment: Mapping[str, str]) -> None:
    """Begin to log. Raises UsageFailure for a level that does not exist."""
    level = environment.get(VARIABLE, "INFO").upper()
    if level not in _LEVELS:
        raise UsageFailure(f"{VARIABLE}={environment[VARIABLE]} is no level; take one of {', '.join(_LEVELS)}")
    foreign = level if level in ("DEBUG", "ERROR", "CRITICAL") else "WARNING"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(_FORMAT))
    handler.addFilter(Repeats())
    logging.basicConfig(level=foreign, handlers=[handler])
    logging.getLogger("streams").setLevel(level)


class OneLine(logging.Formatter):
    """Writes line ends and other control characters as escapes; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return _escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        return "\n".join(_escaped(line) for line in super().formatException(ei).split("\n"))


class Repeats(logging.Filter):
    """Lets the same warning pass once in ten seconds, and then says how many there were; with tracebacks all pass."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[tuple[str, str], tuple[float, int]] = {}  # when last, and how many have not passed since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING or record.exc_info:
            return True
        now_s, text = self._clock(), record.getMessage()
        key = (record.name, text)
        told_s, more = self._told.pop(key, (float("-inf"), 0))
        if now_s - told_s < _REPEATS_S:
            self._told[key] = (told_s, more + 1)
            return False
        if more:
            record.msg, record.args = f"{text} ({more} more of this meanwhile)", ()
        while len(self._told) >= _MOST:
            del self._told[next(iter(self._told))]
        self._told[key] = (now_s, 0)
        return True


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
