"""From a name to a wire: connect, TLS, greeting, EHLO, login.

Rules:

1. What goes wrong is :class:`NotOpened` with the stage it went wrong at, and the server's reply where there is one.
2. Credentials go over an encrypted connection, unless the configuration itself says ``tls = "none"``.
3. One login per connection: a password that was refused is not tried again with another mechanism, since servers count
   failures. Only a refusal of the mechanism is (504, 534).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiosmtplib import SMTP
from aiosmtplib.errors import SMTPException, SMTPResponseException

from streams.providers._smtp.server import Server, Tls, own_name, tls_context
from streams.providers._smtp.stages import Stage
from streams.providers._smtp.wire import Reply, Wire, take_over

_OTHER_MECHANISM = frozenset({504, 534})
_DETAIL_LIMIT = 200


@dataclass(slots=True)
class NotOpened(Exception):
    """No connection. ``reply`` is None where the server gave none; then ``detail`` says what happened."""

    stage: Stage
    reply: Reply | None = None
    detail: str = ""
    timeout: bool = False


async def open_wire(server: Server) -> Wire:
    """Connect and log in within ``connect_timeout_s``; raises NotOpened."""
    client = SMTP(
        hostname=server.host,
        port=server.port,
        use_tls=server.tls is Tls.IMPLICIT,
        start_tls=False,
        tls_context=tls_context(server.ca_file) if server.tls is not Tls.NONE else None,
        local_hostname=server.helo or own_name(),
        timeout=server.connect_timeout_s,
    )
    opening = _Opening(client, server)
    try:
        async with asyncio.timeout(server.connect_timeout_s):
            await opening.run()
    except NotOpened:
        client.close()
        raise
    except SMTPResponseException as exc:
        client.close()
        raise NotOpened(opening.stage, Reply(exc.code, " ".join(exc.message.split()))) from exc
    except (SMTPException, OSError, UnicodeError) as exc:  # UnicodeError: a host or a greeting that is no name
        client.close()
        raise _unreachable(opening.stage, exc, server) from exc
    except BaseException:
        client.close()
        raise
    transport = client.transport
    if transport is None:
        raise NotOpened(opening.stage, detail="the server closed the connection")
    return take_over(transport, client.esmtp_extensions, asyncio.get_running_loop().time())


class _Opening:
    """The steps, and which one is under way."""

    def __init__(self, client: SMTP, server: Server) -> None:
        self.stage = Stage.CONNECT
        self._client = client
        self._server = server

    async def run(self) -> None:
        client, server = self._client, self._server
        await client.connect()
        self.stage = Stage.HELLO
        await self._hello()
        if server.tls is Tls.STARTTLS:
            self.stage = Stage.TLS
            if not client.supports_extension("starttls"):
                raise NotOpened(Stage.TLS, detail="the server offers no STARTTLS")
            await client.starttls()
            self.stage = Stage.HELLO
            await self._hello()
        if server.username:
            self.stage = Stage.LOGIN
            await self._login()

    async def _hello(self) -> None:
        try:
            await self._client.ehlo()
        except SMTPResponseException as exc:
            if exc.code not in (500, 502):
                raise
            await self._client.helo()

    async def _login(self) -> None:
        client, server = self._client, self._server
        offered = client.server_auth_methods
        order = ("cram-md5",) if server.tls is Tls.NONE else ()
        known: dict[str, Callable[[str, str], Awaitable[object]]] = {
            "plain": client.auth_plain,
            "login": client.auth_login,
            "cram-md5": client.auth_crammd5,
        }
        mechanisms = [name for name in (*order, *known) if name in offered]
        for number, name in enumerate(mechanisms, 1):
            try:
                await known[name](server.username, server.password)
            except SMTPResponseException as exc:
                if exc.code in _OTHER_MECHANISM and number < len(mechanisms):
                    continue
                raise
            return
        raise NotOpened(Stage.LOGIN, detail=f"the server offers no login that we know ({', '.join(offered) or 'none'})")


def _unreachable(stage: Stage, exc: Exception, server: Server) -> NotOpened:
    """A certificate that does not fit is a matter of configuration, everything else the network's."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NotOpened(Stage.TLS, detail=f"certificate: {cause.verify_message}"[:_DETAIL_LIMIT])
        if isinstance(cause, ssl.SSLError):
            return NotOpened(Stage.TLS, detail=f"TLS: {cause.reason or cause}"[:_DETAIL_LIMIT])
        cause = cause.__cause__
    detail = str(exc) or f"no connection within {server.connect_timeout_s:g} s"
    return NotOpened(stage, detail=" ".join(detail.split())[:_DETAIL_LIMIT], timeout=isinstance(exc, TimeoutError))
