"""Giving way: whoever works through a long run of records lets the other agents have their turn now and then.

A campaign must not hold up a password reset: a message passes the event loop some twenty times on its way to the
provider, and each time it may meet a piece of somebody else's work.
"""

from __future__ import annotations

_STEPS = 20  # each some 50 µs


class Turn:
    """One's own turn. ``over`` after each step: true when it is others' turn (then: ``await asyncio.sleep(0)``)."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps = 0

    def over(self) -> bool:
        """One step more was done."""
        self._steps = (self._steps + 1) % _STEPS
        return not self._steps
