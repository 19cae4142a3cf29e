"""A connection after login: lines go out, replies come in, in order.

Rules:

1. A reply is what RFC 5321 §4.2.1 calls one: lines with the same code, the last without a hyphen. What cannot be read
   as one ends the connection: nobody could say any more which answer belongs to which command.
2. Bounded: a line of 8 KiB, a reply of 64 KiB and 200 replies nobody waits for are too much.
3. Losing the connection is :class:`WireLost` for whoever waits, and for everybody after.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

_MAX_LINE = 8_192
_MAX_REPLY = 65_536
_MAX_WAITING = 200


@dataclass(frozen=True, slots=True)
class Reply:
    """``text`` has the lines joined by a blank, without their codes."""

    code: int
    text: str


class WireLost(ConnectionError):
    """The connection is gone; the text says how."""


class Wire(asyncio.Protocol):
    """Owned by one transaction at a time. ``offers``: EHLO keywords in lower case, with their parameters.
    ``dirty``: an envelope was refused and must be reset before the next.
    """

    def __init__(self, transport: asyncio.Transport, offers: Mapping[str, str], now_s: float) -> None:
        self.offers = offers
        self.opened_s = now_s
        self.used_s = now_s
        self.messages = 0
        self.generation = 0
        self.dirty = False
        self._transport = transport
        self._replies: deque[Reply] = deque()
        self._rest = b""
        self._texts: list[str] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._lost = ""

    @property
    def is_fit(self) -> bool:
        """Whether a next transaction may begin: connected, and nothing has been said that nobody asked for."""
        return not self._lost and not self._replies and not self._rest and not self._transport.is_closing()

    def write(self, data: bytes) -> None:
        """Hand bytes to the transport; raises WireLost."""
        if self._lost:
            raise WireLost(self._lost)
        self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the transport has passed on most of what it was given; raises WireLost."""
        if self._lost:
            raise WireLost(self._lost)
        if self._writable is not None:
            await self._writable

    async def reply(self) -> Reply:
        """The next reply; raises WireLost once there will be none."""
        while not self._replies:
            if self._lost:
                raise WireLost(self._lost)
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._replies.popleft()

    def close(self, *, politely: bool) -> None:
        """Hang up; ``politely`` says QUIT first, which is right only between transactions."""
        if not self._lost:
            self._lost = "closed by us"
            if politely and not self._transport.is_closing():
                self._transport.write(b"QUIT\r\n")
                self._transport.close()
            else:
                self._transport.abort()

    # ------------------------------------------------------------------ asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line)
        if len(self._rest) > _MAX_LINE:
            self._give_up("a line without end")
        elif len(self._replies) > _MAX_WAITING:
            self._give_up("replies nobody asked for")
        if self._replies:
            self._wake()

    def _line(self, line: bytes) -> None:
        code, separator = line[:3], line[3:4]
        if not (code.isdigit() and b"200" <= code <= b"599" and separator.strip() in (b"", b"-")):
            self._give_up("an answer that is no SMTP reply")
            return
        text = line[4:].decode("utf-8", "replace").strip()
        self._size += len(text) + 1
        if self._size > _MAX_REPLY:
            self._give_up("a reply without end")
        elif separator == b"-":
            self._texts.append(text)
        else:
            self._replies.append(Reply(int(code), " ".join((*self._texts, text)).strip()))
            self._texts.clear()
            self._size = 0

    def eof_received(self) -> None:
        self._end("the server closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"connection lost: {exc}" if exc else "the server closed the connection")

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def _give_up(self, why: str) -> None:
        self._end(why)
        self._transport.abort()

    def _end(self, why: str) -> None:
        self._lost = self._lost or why
        self._wake()
        if self._writable is not None and not self._writable.done():
            self._writable.set_exception(WireLost(self._lost))
            self._writable.exception()  # told to whoever waits, and to nobody else

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def take_over(transport: asyncio.BaseTransport, offers: Mapping[str, str], now_s: float) -> Wire:
    """A wire on a connection that somebody else has opened and logged in on."""
    own = cast(asyncio.Transport, transport)  # uvloop's transports are not subclasses
    wire = Wire(own, offers, now_s)
    own.set_protocol(wire)
    return wire
