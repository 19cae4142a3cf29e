"""Wires kept for the next transaction.

Rules:

1. A wire is used by one transaction at a time, at most ``max_messages`` times and for ``max_age_s``; unused it is
   closed after ``idle_s``, before most servers would.
2. How many there are at once is decided by whoever sends (the lane's concurrency); the pool only keeps them.
3. Changing the server (new credentials, another host) or closing lets transactions under way end on their old wires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from streams.providers._smtp.opening import open_wire
from streams.providers._smtp.server import Server
from streams.providers._smtp.wire import Wire

Opens = Callable[[Server], Awaitable[Wire]]


class Pool:
    """Bound to the loop of its first use. ``opened`` counts connections made."""

    def __init__(self, server: Server, opens: Opens = open_wire) -> None:
        self.server = server
        self.opened = 0
        self._opens = opens
        self._idle: list[Wire] = []  # the one used last is last
        self._generation = 0
        self._reaper: asyncio.TimerHandle | None = None

    def change(self, server: Server) -> None:
        """From now on connect there, and so; what is idle is closed."""
        if server != self.server:
            self.server = server
            self.close()

    async def fresh(self) -> Wire:
        """A new connection; raises NotOpened."""
        generation = self._generation
        wire = await self._opens(self.server)
        wire.generation = generation
        self.opened += 1
        return wire

    def kept(self) -> Wire | None:
        """An idle wire that may carry another transaction, the one used last first."""
        now_s = asyncio.get_running_loop().time()
        while self._idle:
            wire = self._idle.pop()
            if self._may_go_on(wire, now_s) and now_s - wire.used_s < self.server.idle_s:
                return wire
            wire.close(politely=True)
        return None

    def keep(self, wire: Wire) -> None:
        """The transaction has ended well; keep the wire, if it may be used again."""
        now_s = asyncio.get_running_loop().time()
        wire.used_s = now_s
        if not self._may_go_on(wire, now_s):
            wire.close(politely=True)
            return
        self._idle.append(wire)
        if self._reaper is None:
            self._reap_in(self.server.idle_s)

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        self._generation += 1
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        idle, self._idle = self._idle, []
        for wire in idle:
            wire.close(politely=True)

    def _may_go_on(self, wire: Wire, now_s: float) -> bool:
        return (
            wire.is_fit
            and wire.generation == self._generation
            and wire.messages < self.server.max_messages
            and now_s - wire.opened_s < self.server.max_age_s
        )

    def _reap_in(self, seconds: float) -> None:
        self._reaper = asyncio.get_running_loop().call_later(seconds, self._reap)

    def _reap(self) -> None:
        self._reaper = None
        now_s = asyncio.get_running_loop().time()
        old = [wire for wire in self._idle if now_s - wire.used_s >= self.server.idle_s or not wire.is_fit]
        self._idle = [wire for wire in self._idle if wire not in old]
        for wire in old:
            wire.close(politely=True)
        if self._idle:
            self._reap_in(max(0.1, self.server.idle_s - (now_s - min(wire.used_s for wire in self._idle))))
