"""SIGHUP asks a process to read its secrets again, as daemons do. On a terminal it still means that nobody is there."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import suppress


def on_hangup(then: Callable[[], None]) -> None:
    """Call it inside the event loop. Outside of the main thread, and on a terminal, nothing changes."""
    if not sys.stderr.isatty():
        with suppress(ValueError, RuntimeError):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, then)


def no_hangup() -> None:
    """The loop is ending."""
    with suppress(ValueError, RuntimeError):
        asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
