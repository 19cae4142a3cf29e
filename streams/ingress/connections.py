"""Connections of the ingress: those whose headers do not arrive are ended, and there are never too many.

Rules:

1. Time runs from the first byte of a request until its headers are complete; what has not begun may wait as long as a
   connection is kept (a proxy opens connections ahead). A body has its own time, see :mod:`streams.ingress.body`.
2. No timer per request: all connections are looked at every now and then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from aiohttp.web import RequestHandler, Server

_QUIET_S = 1.0

log = logging.getLogger(__name__)


class Connections(Server):
    """A server of aiohttp with these limits. :meth:`watch` must run beside it."""

    def __init__(self, *args: Any, headers_timeout_s: float, most: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.most = most
        self._headers_timeout_s = headers_timeout_s
        self._quiet_until = 0.0

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)

    async def watch(self) -> None:
        """End what is too slow, until cancelled."""
        while True:
            await asyncio.sleep(min(1.0, self._headers_timeout_s / 4))
            self.end_slow(self._loop.time())

    def end_slow(self, now_s: float) -> None:
        """End connections that began a request too long ago and still wait for its headers."""
        for connection in self.connections:
            since_s = connection.waits_since_s if isinstance(connection, Connection) else 0.0
            if since_s and now_s - since_s > self._headers_timeout_s:
                self._say("a connection ended: its headers did not arrive within %g s", self._headers_timeout_s)
                connection.force_close()

    def is_full(self) -> bool:
        """Whether there are more connections than there may be; says so now and then."""
        if len(self._connections) <= self.most:
            return False
        self._say("a connection was not taken: there are %d already", self.most)
        return True

    def _say(self, text: str, number: float) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_S
            log.warning(text, number)


class Connection(RequestHandler):
    """``waits_since_s`` is when the first byte of a request came whose headers are not complete, else 0 (loop time)."""

    __slots__ = ("_server", "waits_since_s")

    def __init__(self, server: Connections, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self.waits_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._server.is_full():
            self.force_close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        waiter = self._waiter  # there while no request is being handled, done as soon as headers are complete
        handling = waiter is None or waiter.done()
        if handling and self._request_count:  # before the first request, data may be faster than whoever waits for it
            self.waits_since_s = 0.0
        elif not self.waits_since_s:
            self.waits_since_s = self._loop.time()
