"""The one place where bytes travel to HTTP providers, and where the network's failures become values.

Rules:

1. :class:`HttpExchange` never raises for the network's sake: an answer is :class:`HttpResponse`, anything else
   :class:`NoResponse`.
2. ``sent`` is False only if no byte of the request can have left: no connection was made. The transport's own names
   are not trusted for that (it calls a connection lost after the request ``ConnectTimeout``); the cause decides.
3. One total deadline per exchange, no redirects, no cookies, no retries, bounded answers: also of what a compressed one
   unfolds to, layer upon layer. Compression is not asked for; gzip and zlib are read all the same, anything else is
   left as it came.
4. What has no answer when its time is over is torn off, not closed: a large request would otherwise wait in its socket
   for a peer that has stopped reading, and arrive after everybody has given the message up.
   Nor does it begin then: a process that stood still while it waited for a connection sends nothing any more.
5. The transport is asked directly: the client around it would keep cookies and follow, log and merge, at the price of
   more than the exchange itself.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from functools import lru_cache
from types import TracebackType
from typing import Self

import aiohttp
import httpx
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from httpx_aiohttp import AiohttpTransport

from streams.providers.base import HttpRequest, HttpResponse, NoResponse

_KEEPALIVE_S = 20.0
_DETAIL_LIMIT = 200
_HEADERS = (("accept-encoding", "identity"), ("user-agent", "streams-mail"))
_FOLDED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
_RESET = struct.pack("ii", 1, 0)  # linger for no time: what is unsent is dropped

NOT_SENT_CAUSES: tuple[type[BaseException], ...] = (
    aiohttp.ClientConnectorError,  # refused, unreachable, no such name, TLS
    aiohttp.ConnectionTimeoutError,  # no connection and none free in time
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
)
"""Failures of the client underneath that happen before the first byte of a request."""

NOT_SENT: dict[type[Exception], bool] = {
    httpx.ConnectError: True,
    httpx.ConnectTimeout: True,
    httpx.PoolTimeout: True,
    httpx.InvalidURL: True,
    httpx.UnsupportedProtocol: True,
    httpx.LocalProtocolError: False,
    httpx.RemoteProtocolError: False,
    httpx.ProtocolError: False,
    httpx.ReadTimeout: False,
    httpx.WriteTimeout: False,
    httpx.TimeoutException: False,
    httpx.ReadError: False,
    httpx.WriteError: False,
    httpx.CloseError: False,
    httpx.NetworkError: False,
    httpx.ProxyError: False,
    httpx.TransportError: False,
    httpx.DecodingError: False,
    httpx.TooManyRedirects: False,
    httpx.RequestError: False,
    httpx.HTTPStatusError: False,
    httpx.HTTPError: False,
    httpx.CookieConflict: False,
    httpx.StreamConsumed: False,
    httpx.StreamClosed: False,
    httpx.ResponseNotRead: False,
    httpx.RequestNotRead: False,
    httpx.StreamError: False,
}
"""Every exception of the client: whether certainly nothing was sent (where the cause does not tell)."""

_url = lru_cache(maxsize=256)(httpx.URL)  # a provider has few, and taking one apart costs a tenth of an exchange

_FOREIGN: tuple[type[Exception], ...] = (*NOT_SENT, aiohttp.ClientError, OSError, zlib.error)


_carriers: ContextVar[list[asyncio.Transport]] = ContextVar("carriers")
"""The connections that the exchange of this task was given."""
_ends_s: ContextVar[float] = ContextVar("ends_s")
"""When its time is over, monotonic. Not the loop's clock: that stands until all that is ready has run."""


class _Connector(aiohttp.TCPConnector):
    """Tells which connection it gives, and gives none when the time is over: timers come late to whom stood still."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  aiohttp's own signature
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        if time.monotonic() >= _ends_s.get():
            connection.release()
            raise aiohttp.ConnectionTimeoutError("the time was over before a connection was there")
        if (transport := connection.transport) is not None:
            _carriers.get().append(transport)
        return connection


def _tear_off(carriers: Iterable[asyncio.Transport]) -> None:
    """Drop what the client has closed but may still be sending, in our memory or the kernel's; a pooled one stays."""
    for transport in carriers:
        if transport.is_closing():
            sock = transport.get_extra_info("socket")
            if sock is not None and sock.fileno() >= 0:  # not if the peer has ended it already
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()


class HttpExchange:
    """An :class:`~streams.providers.base.Exchange` over one pool, bound to the loop of its first call.

    ``max_connections`` is for all hosts together; ``connect_timeout_s`` bounds waiting for a connection within the
    total deadline; an answer above ``max_response_bytes`` is no answer.
    """

    def __init__(
        self,
        *,
        max_connections: int = 128,
        connect_timeout_s: float = 10.0,
        max_response_bytes: int = 8 * 1024 * 1024,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._limits = httpx.Limits(max_connections=max_connections, keepalive_expiry=_KEEPALIVE_S)
        self._connect_timeout_s = connect_timeout_s
        self._max_response_bytes = max_response_bytes
        self._verify = verify
        self._transport: AiohttpTransport | None = None

    async def __call__(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        """Perform one exchange within ``deadline_s`` seconds, name resolution and reading included."""
        answer: HttpResponse | NoResponse | None = None
        carriers: list[asyncio.Transport] = []
        token, end = _carriers.set(carriers), _ends_s.set(time.monotonic() + deadline_s)
        try:
            answer = await self._bounded(request, deadline_s)
            return answer
        finally:
            _carriers.reset(token)
            _ends_s.reset(end)
            if not isinstance(answer, HttpResponse):
                _tear_off(carriers)

    async def _bounded(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        try:
            async with asyncio.timeout(deadline_s):
                return await self._exchange(request, deadline_s)
        except TimeoutError:
            return NoResponse(sent=True, detail=f"no answer within {deadline_s:g} s", timeout=True)
        except _FOREIGN as exc:
            return translate(exc)
        except UnicodeError as exc:  # a host or a header that cannot be written; it is not repeated, it may be a key
            return NoResponse(sent=False, detail=f"{type(exc).__name__}: the request cannot be written")
        except ValueError as exc:  # the client refuses it, or what came back: nobody knows
            return NoResponse(sent=True, detail=f"{type(exc).__name__}: the client refused the exchange")

    async def _exchange(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        transport = self._transport or self._open()
        wait_s = min(self._connect_timeout_s, deadline_s * 0.9)
        built = httpx.Request(
            request.method,
            _url(request.url),
            headers=[*_HEADERS, *request.headers],
            content=request.body,
            extensions={"timeout": {"connect": wait_s, "pool": wait_s, "read": None, "write": None}},
        )
        response = await transport.handle_async_request(built)
        try:
            body = await self._read(response)
        finally:
            await response.aclose()
        if body is None:
            return NoResponse(sent=True, detail=f"answer above {self._max_response_bytes} bytes")
        return HttpResponse(response.status_code, {k.lower(): v for k, v in response.headers.items()}, body)

    async def _read(self, response: httpx.Response) -> bytes | None:
        """The body, None if it is too large. Not httpx's own reading: that unfolds without a bound."""
        folded = response.headers.get("content-encoding", "").strip().lower() in _FOLDED
        unfold = zlib.decompressobj(_GZIP_OR_ZLIB) if folded else None
        chunks: list[bytes] = []
        left = self._max_response_bytes
        async for raw in response.aiter_raw():
            chunk = raw if unfold is None else unfold.decompress(raw, left + 1)
            left -= len(chunk)
            if left < 0:
                return None
            chunks.append(chunk)
        if unfold is not None and chunks and not unfold.eof:
            raise zlib.error("the compressed answer has no end")
        return b"".join(chunks)

    def _open(self) -> AiohttpTransport:
        limits, verify = self._limits, httpx.create_ssl_context(verify=self._verify, trust_env=False)

        def session() -> aiohttp.ClientSession:
            connector = _Connector(limit=limits.max_connections or 0, keepalive_timeout=_KEEPALIVE_S, ssl=verify)
            return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())

        self._transport = AiohttpTransport(client=session, limits=limits, verify=verify)
        return self._transport

    async def aclose(self) -> None:
        """Close the pool; a later call opens a new one."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def translate(exc: BaseException) -> NoResponse:
    """What a failure of the HTTP client means for the question "may it have been sent?"."""
    cause = exc if isinstance(exc, aiohttp.ClientError) else exc.__cause__
    if isinstance(cause, aiohttp.ClientError | OSError):
        not_sent = isinstance(cause, NOT_SENT_CAUSES)
    else:
        not_sent = next((NOT_SENT[c] for c in type(exc).__mro__ if c in NOT_SENT), False)
    timeout = isinstance(cause, TimeoutError) or (cause is None and isinstance(exc, httpx.TimeoutException))
    detail = f"{type(cause or exc).__name__}: {cause or exc}"[:_DETAIL_LIMIT]
    return NoResponse(sent=not not_sent, detail=detail, timeout=timeout)
