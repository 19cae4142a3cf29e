"""Giving way: whoever works through a long run of records lets the other agents have their turn now and then.

A campaign must not hold up a password reset: a message passes the event loop some twenty times on its way to the
provider, and each time it may meet a piece of somebody else's work.
"""

from __future__ import annotations

STEPS_OF_50_US = 10
STEPS_OF_5_US = 60
"""How many steps make a turn of some third of a millisecond or half of one."""


class Turn:
    """One's own turn. ``over`` after each step: true when it is others' turn (then: ``await asyncio.sleep(0)``)."""

    __slots__ = ("_left", "_steps")

    def __init__(self, steps: int = STEPS_OF_50_US) -> None:
        self._steps = self._left = steps

    def over(self, steps: int = 1) -> bool:
        """One step more was done, or one that is as long as several."""
        self._left -= steps
        if self._left > 0:
            return False
        self._left = self._steps
        return True
