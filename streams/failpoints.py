"""Places where a test may end or freeze the process: named, and free of cost when no name is set.

``STREAMS_FAILPOINT=name`` in the environment of a worker ends the process with SIGKILL the first time it comes by that
place, ``name:n`` the n-th time; ``name:n:stop`` freezes it there with SIGSTOP, once. The places are the steps between
which a crash makes a difference (see the tests that walk through them).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

NAMES = (
    "intake.before_produce",
    "intake.after_produce",
    "dispatch.before_ledger",
    "dispatch.ahead_of_record",
    "dispatch.after_ledger",
    "dispatch.before_call",
    "dispatch.after_answer",
    "dispatch.before_result",
    "dispatch.after_result",
    "dispatch.after_receipt",
    "track.before_events",
    "track.after_events",
    "unit.acknowledged",
    "commit.before",
    "commit.after",
)
OF_ALERTS = ("alerts.after_row", "alerts.after_request")
"""Only a worker with somebody to alert comes by these."""


def failpoint(name: str) -> None:
    """A test may end the process here; ordinarily nothing happens."""
    _reached(name)


def arm(setting: str) -> None:
    """Set one failpoint by ``name``, ``name:n`` or ``name:n:stop``, or none by the empty text.

    An unknown name, or other words behind it, raise ValueError.
    """
    global _reached
    if not setting:
        _reached = _off
        return
    name, nth, what = (*setting.split(":", 2), "", "")[:3]
    if name not in (known := (*NAMES, *OF_ALERTS)):
        raise ValueError(f"no failpoint {name!r}; there are: {', '.join(known)}")
    if what not in ("", "stop"):
        raise ValueError(f"a failpoint ends the process, or with 'stop' freezes it; not {what!r}")
    _reached = _armed(name, int(nth or 1), signal.SIGSTOP if what else signal.SIGKILL)


def _off(name: str) -> None:
    """No failpoint is set."""


def _armed(wanted: str, nth: int, number: signal.Signals) -> Callable[[str], None]:
    left = nth

    def reached(name: str) -> None:
        nonlocal left
        if name == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), number)

    return reached


_reached: Callable[[str], None] = _off
