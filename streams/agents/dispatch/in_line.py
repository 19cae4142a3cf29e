"""Who stands in line before a gate that works waits on purpose, however long: to the engine that is no stall.

Transactional mail goes first, and a rate may be low: a campaign behind either of them may not finish anything for many
minutes. A gate that begins no call at all tells nothing, so the engine notices it as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch

EVERY_S: Final = 5.0
"""Well below what the engine's patience may be."""


class InLine:
    """Works on the desk of a :class:`Dispatch`; ``look`` is called again and again."""

    def __init__(self, desk: Dispatch) -> None:
        self._desk = desk
        self._looked_ms = desk.clock()

    def look(self) -> None:
        """At most every `EVERY_S`: tell which partitions have mail before a gate that has begun a call since."""
        now_ms = self._desk.clock()
        since_ms = self._looked_ms
        if 0 <= now_ms - since_ms < 1000 * EVERY_S:  # a clock may jump back
            return
        self._looked_ms = now_ms
        waiting = {
            (flight.message.stream, flight.partition)
            for gate in self._desk.lanes
            if gate.used_ms >= since_ms
            for flight in gate.waiting()
        }
        for stream in {stream for stream, _ in waiting}:
            if self._desk.under_way.is_full(stream):  # then whole partitions may wait to be taken in
                waiting |= {(stream, partition) for partition in range(self._desk.config.partitions)}
        for stream, partition in waiting:
            self._desk.app.waits(self._desk.config.topics.outbound(stream), partition)
