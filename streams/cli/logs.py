"""What worker and ingress tell on standard error: their own words, and of their libraries only what is wrong.

``STREAMS_LOG`` names the level of our own words (``INFO`` by default). With ``DEBUG`` the libraries speak as well, but
for those that would tell passwords. What is told may repeat what strangers wrote: an entry is one line, and nothing in
it (or in a traceback) is an order.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from streams.cli.failure import UsageFailure

VARIABLE = "STREAMS_LOG"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_INDISCREET = ("aiokafka.conn", "botocore")
"""At DEBUG they tell secrets: the request to log in, with the password; headers with session tokens, and what Secrets
Manager answers."""
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to_stderr(environment: Mapping[str, str]) -> None:
    """Begin to log. Raises UsageFailure for a level that does not exist."""
    level = environment.get(VARIABLE, "INFO").upper()
    if level not in _LEVELS:
        raise UsageFailure(f"{VARIABLE}={environment[VARIABLE]} is no level; take one of {', '.join(_LEVELS)}")
    foreign = level if level in ("DEBUG", "ERROR", "CRITICAL") else "WARNING"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(_FORMAT))
    logging.basicConfig(level=foreign, handlers=[handler])
    logging.getLogger("streams").setLevel(level)
    for name in _INDISCREET if foreign == "DEBUG" else ():
        logging.getLogger(name).setLevel("INFO")


class OneLine(logging.Formatter):
    """Writes line ends and other control characters as escapes; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        return _escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        return "\n".join(_escaped(line) for line in super().formatException(ei).split("\n"))


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
