"""One file over HTTPS: bounded in time and size, and connected only to where the guard lets it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from streams.attachments.guard import Refused, Web, is_public, redirected

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 3
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class File:
    """What was fetched, and what the server says that it is."""

    data: bytes
    content_type: str


class NotPublic(OSError):
    """A name that leads nowhere that may be asked."""


class GuardedResolver(AbstractResolver):
    """Gives only addresses that may be connected to; the connection is made to just these."""

    def __init__(self, allow_hosts: Iterable[str], inner: AbstractResolver | None = None) -> None:
        self._allowed = {name.lower() for name in allow_hosts}
        self._inner = inner or aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises :class:`NotPublic` if nothing is left; a name with public and other addresses has the public ones."""
        found = await self._inner.resolve(host, port, family)
        name = host.rstrip(".").lower()
        if name in self._allowed or f"{name}:{port}" in self._allowed:
            return found
        public = [one for one in found if is_public(one["host"])]
        if not public:
            raise NotPublic(None, "the name has no public address")
        return public

    async def close(self) -> None:
        """Give the inner resolver back."""
        await self._inner.close()


class HttpsFiles:
    """Connections are not kept: files are rare, and an idle connection has been judged long ago."""

    def __init__(
        self,
        allow_hosts: Iterable[str] = (),
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._allow_hosts = tuple(allow_hosts)
        self._tls = tls
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, target: Web, max_bytes: int) -> File | Refused:
        """The file behind an URL, or why not. The caller bounds the time (cancellation is safe)."""
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                found = await self._get(target, max_bytes)
            except (NotPublic, aiohttp.ClientConnectorDNSError) as exc:
                return _unresolved(exc)
            except (aiohttp.InvalidURL, UnicodeError):
                return Refused("is no URL")
            except (aiohttp.ClientConnectorCertificateError, ssl.SSLError):
                return Refused("has a certificate that cannot be trusted")
            except (aiohttp.ClientError, OSError) as exc:
                if isinstance(exc.__cause__, NotPublic):
                    return _unresolved(exc.__cause__)
                return Refused(f"cannot be reached ({type(exc).__name__})", again=True)
            if not isinstance(found, str):
                return found
            then = redirected(target, found, self._allow_hosts)
            if isinstance(then, Refused):
                return Refused(f"redirects to what {then.why}")
            target = then
        return Refused(f"redirects more than {_MAX_REDIRECTS} times")

    async def close(self) -> None:
        """Give all connections back."""
        if self._session is not None:
            await self._session.close()

    async def _get(self, target: Web, max_bytes: int) -> File | Refused | str:
        """A file, a refusal, or where to go instead."""
        async with self._opened().get(target.url, allow_redirects=False) as answer:
            if not target.allowed and not _is_public_peer(answer):
                return Refused("leads to an address that is not public")
            if answer.status in _REDIRECTS and (place := answer.headers.get("Location")):
                return place
            if answer.status != 200:
                return Refused(f"was answered with HTTP {answer.status}", again=answer.status in _PASSING)
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                return Refused("was answered compressed, although that was not asked for")
            if (answer.content_length or 0) > max_bytes:
                return Refused(f"has more than {max_bytes} bytes")
            data = bytearray()
            async for chunk in answer.content.iter_chunked(_CHUNK):
                data += chunk
                if len(data) > max_bytes:
                    return Refused(f"has more than {max_bytes} bytes")
            return File(bytes(data), answer.headers.get("Content-Type", ""))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=GuardedResolver(self._allow_hosts, self._resolver),
                use_dns_cache=False,
                force_close=True,
                ssl=self._tls if self._tls is not None else True,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=False,  # a proxy would resolve names for us, unguarded
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity", "User-Agent": "streams-mail"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                max_line_size=8190,
                max_field_size=8190,
            )
        return self._session


def _is_public_peer(answer: aiohttp.ClientResponse) -> bool:
    """Once more, of the connection itself. None: the answer has been read, the connection is gone already."""
    transport: Any = answer.connection.transport if answer.connection is not None else None
    peer = transport.get_extra_info("peername") if transport is not None else None
    return peer is None or is_public(str(peer[0]))


def _unresolved(exc: BaseException) -> Refused:
    if isinstance(exc, NotPublic) or isinstance(getattr(exc, "os_error", None), NotPublic):
        return Refused("leads to an address that is not public")
    return Refused("names a host that cannot be found", again=True)
