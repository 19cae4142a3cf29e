"""What worker and ingress tell on standard error: their own words, and of their libraries only what is wrong.

``STREAMS_LOG`` names the level of our own words (``INFO`` by default). With ``DEBUG`` the libraries speak as well.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from streams.cli.failure import UsageFailure

VARIABLE = "STREAMS_LOG"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to_stderr(environment: Mapping[str, str]) -> None:
    """Begin to log. Raises UsageFailure for a level that does not exist."""
    level = environment.get(VARIABLE, "INFO").upper()
    if level not in _LEVELS:
        raise UsageFailure(f"{VARIABLE}={environment[VARIABLE]} is no level; take one of {', '.join(_LEVELS)}")
    foreign = level if level in ("DEBUG", "ERROR", "CRITICAL") else "WARNING"
    logging.basicConfig(level=foreign, format=_FORMAT, stream=sys.stderr)
    logging.getLogger("streams").setLevel(level)
