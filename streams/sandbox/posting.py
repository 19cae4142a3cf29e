"""A small HTTP/1.1 client for webhooks: prepared bytes out, a status code back, connections kept open.

A general client costs more CPU per request than the receiver of the request; this one is a protocol of one page. It
knows http and https, Basic credentials in the URL, Content-Length and chunked answers, and one deadline per
exchange.
"""

from __future__ import annotations

import asyncio
import ssl
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote, urlsplit

_MAX_ANSWER: Final = 1 << 20


class PostError(Exception):
    """No answer: refused, cut off, too late or not HTTP. The receiver may or may not have read the request."""


class _ConnectionLost(PostError):
    """The receiver hung up without a word: expected of a connection that had been idle."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to post, parsed once. `head` is the constant part of the request's header block."""

    host: str
    port: int
    tls: bool
    head: bytes

    @classmethod
    def parse(cls, url: str) -> Target:
        """Raises ValueError for anything that is not an http(s) URL with a host."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http(s) URL: {url!r}")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if parts.port is not None:
            host += f":{port}"
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Accept: */*"]
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines.append("Authorization: Basic " + b64encode(pair.encode()).decode())
        return cls(parts.hostname, port, tls, "\r\n".join(lines).encode() + b"\r\n")


class _Connection(asyncio.Protocol):
    """One exchange at a time."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[int] | None = None
        self._transport: asyncio.Transport | None = None
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are not subclasses
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            kind = PostError if self._buffer else _ConnectionLost
            self._answer.set_exception(kind(f"connection lost: {exc or 'closed by the receiver'}"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is None or self._answer.done():  # nothing was asked: not HTTP as we speak it
            self.close()
            return
        try:
            status = self._complete()
        except (ValueError, IndexError):
            self._answer.set_exception(PostError("the answer is not HTTP/1.1"))
            self.close()
            return
        if status is not None:
            self._buffer = b""
            self._answer.set_result(status)

    def _complete(self) -> int | None:
        """The status when the whole answer has arrived."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or len(self._buffer) > _MAX_ANSWER:
            if len(self._buffer) > _MAX_ANSWER:
                raise ValueError("answer too large")
            return None
        head = self._buffer[:end].lower()
        status = int(head[9:12])
        if b"\r\nconnection: close" in head or head.startswith(b"http/1.0"):
            self.usable = False
        body = len(self._buffer) - end - 4
        marker = head.find(b"\r\ncontent-length:")
        if marker >= 0:
            return status if body >= int(head[marker + 17 :].split(b"\r\n", 1)[0]) else None
        if b"\r\ntransfer-encoding:" in head:
            return status if self._buffer.endswith(b"0\r\n\r\n") else None
        if status not in (204, 304):
            self.usable = False  # the body ends with the connection: do not read it
        return status

    async def exchange(self, request: bytes, timeout_s: float) -> int:
        loop = asyncio.get_running_loop()
        assert self._transport is not None
        answer: asyncio.Future[int] = loop.create_future()
        self._answer = answer
        timer = loop.call_later(timeout_s, self._too_late, answer)
        self._transport.write(request)
        try:
            return await answer
        finally:
            timer.cancel()
            self._answer = None
            if not self.usable or not answer.done() or answer.cancelled():
                self.close()

    def _too_late(self, answer: asyncio.Future[int]) -> None:
        self.usable = False
        if not answer.done():
            answer.set_exception(PostError("no answer in time"))

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()


class Poster:
    """Idle connections by origin. Not more than the callers' concurrency are ever open."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int, bool], list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._tls: ssl.SSLContext | None = None

    async def post(self, target: Target, headers: bytes, body: bytes, timeout_s: float) -> int:
        """Posts `body` and returns the status. Raises PostError. `headers` are whole lines, each with its CRLF."""
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (target.head, headers, len(body), body)
        idle = self._idle.setdefault((target.host, target.port, target.tls), [])
        while idle:
            connection = idle.pop()
            if connection.usable:
                with suppress(_ConnectionLost):  # hung up while idle: once more, on a new connection
                    return await self._exchange(connection, idle, request, timeout_s)
                break
        return await self._exchange(await self._connect(target, timeout_s), idle, request, timeout_s)

    async def _exchange(
        self, connection: _Connection, idle: list[_Connection], request: bytes, timeout_s: float
    ) -> int:
        try:
            status = await connection.exchange(request, timeout_s)
        finally:
            if not connection.usable:
                self._open.discard(connection)
        if connection.usable:
            idle.append(connection)
        return status

    async def _connect(self, target: Target, timeout_s: float) -> _Connection:
        if target.tls and self._tls is None:
            self._tls = ssl.create_default_context()
        context = self._tls if target.tls else None
        try:
            async with asyncio.timeout(timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Connection, target.host, target.port, ssl=context
                )
        except (OSError, TimeoutError) as error:
            raise PostError(f"no connection: {error}") from error
        self._open.add(connection)
        return connection

    def close(self) -> None:
        """Closes every connection."""
        for connection in list(self._open):
            connection.close()
        self._open.clear()
        self._idle.clear()
