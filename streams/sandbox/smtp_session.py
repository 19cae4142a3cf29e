"""One SMTP session of the sandbox: aiosmtpd's protocol, with login, PIPELINING, and faults at every stage."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from typing import Any, Protocol, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from streams.sandbox.faults import Fault, Kind

logging.getLogger("mail.log").setLevel(logging.ERROR)  # aiosmtpd tells every command

_DEFAULTS = {
    "greeting": "421 4.3.2 Service not available",
    "login": "454 4.7.0 Temporary authentication failure",
    "throttle": "454 Throttling failure: Maximum sending rate exceeded.",
}


_auth_parameter = re.compile(r"\s+AUTH=\S+", re.IGNORECASE)


class Owner(Protocol):
    """What a session asks of the sandbox."""

    def hit(self, user: str, stage: str) -> Fault | None: ...
    def knows(self, user: str, password: str) -> bool: ...
    def refuses(self, recipient: str) -> str: ...
    async def take(self, envelope: Envelope, user: str) -> str: ...
    async def hold(self, seconds: float) -> None: ...


class SmtpSession(SMTP):
    """`context` None: the connection is encrypted from its first byte (or never will be)."""

    def __init__(self, owner: Owner, context: ssl.SSLContext | None, *, host: str, max_size: int, pipelining: bool,
                 auth: bool, loop: asyncio.AbstractEventLoop) -> None:  # fmt: skip
        self._owner = owner
        self._pipelining = pipelining
        self._greeted = False
        self._slow_s = 0.0
        super().__init__(
            _Hooks(self),
            hostname=host,
            ident="Sandbox",
            data_size_limit=max_size,
            enable_SMTPUTF8=True,
            tls_context=context,
            require_starttls=context is not None,
            auth_require_tls=context is not None,
            authenticator=self._judge,
            loop=loop,
        )
        self._auth_required = auth  # as an argument it warns of the clear, which the other port never speaks

    @property
    def user(self) -> str:
        """Who has logged in, empty if nobody."""
        found = self.session.auth_data if self.session is not None else None
        return found.login.decode("utf-8", "replace") if isinstance(found, LoginPassword) else ""

    async def strike(self, stage: str) -> str | None:
        """A fault's answer instead of the right one at a stage before acceptance; None for most commands."""
        fault = self._owner.hit(self.user, stage)
        return None if fault is None else await self.before(fault, stage)

    async def before(self, fault: Fault, stage: str) -> str | None:
        """What a fault does instead of the right answer."""
        match fault.kind:
            case Kind.STATUS:
                text = _DEFAULTS.get(stage, "451 4.3.0 Try again later")
                return f"{fault.status or text[:3]} {fault.body or text[4:]}"
            case Kind.THROTTLE:
                return fault.body or _DEFAULTS["throttle"]
            case Kind.SLOW:
                self._slow_s = fault.hold_s
            case Kind.TIMEOUT_BEFORE | Kind.TIMEOUT_AFTER:
                await self._owner.hold(fault.hold_s)
                await self.cut()
            case Kind.RESET_BEFORE | Kind.RESET_AFTER:
                await self.cut()
        return None

    async def cut(self) -> None:
        """A reset; the session's task ends with it."""
        transport = cast("asyncio.Transport | None", self.transport)
        if transport is not None:
            transport.abort()
        await asyncio.get_running_loop().create_future()

    async def push(self, status: Any) -> None:
        if not self._greeted:
            self._greeted = True
            struck = await self.strike("greeting")
            if struck is not None:
                await super().push(struck)
                cast("asyncio.Transport", self.transport).close()
                await asyncio.get_running_loop().create_future()
        if not self._slow_s:
            await super().push(status)
            return
        line = (status if isinstance(status, bytes) else str(status).encode()) + b"\r\n"
        slow_s, self._slow_s = self._slow_s, 0.0
        for byte in line:
            await self._owner.hold(slow_s / len(line))
            self._writer.write(bytes((byte,)))

    async def smtp_MAIL(self, arg: str | None) -> None:  # noqa: N802
        """As aiosmtpd does, but with the parameter that whoever offers AUTH has to take (RFC 4954, section 5)."""
        await super().smtp_MAIL(arg if arg is None else _auth_parameter.sub("", arg))

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        struck = await self.strike("data")
        if struck is not None:
            await self.push(struck)
            return
        await super().smtp_DATA(arg)

    def _judge(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, login: Any) -> AuthResult:
        if not isinstance(login, LoginPassword):
            return AuthResult(success=False, handled=False, message="504 5.5.4 Mechanism not known")
        user, password = (part.decode("utf-8", "replace") for part in (login.login, login.password))
        fault = self._owner.hit(user, "login")
        if fault is not None:
            text = _DEFAULTS["login"]
            return AuthResult(
                success=False, handled=False, message=f"{fault.status or text[:3]} {fault.body or text[4:]}"
            )
        if not self._owner.knows(user, password):
            return AuthResult(success=False, handled=False, message="535 5.7.8 Authentication credentials invalid")
        return AuthResult(success=True, auth_data=login)


class _Hooks:
    """What aiosmtpd asks about commands."""

    def __init__(self, session: SmtpSession) -> None:
        self._session = session

    async def handle_EHLO(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        own = self._session
        offers = ["250-PIPELINING"] if own._pipelining else []  # noqa: SLF001
        return [*responses[:-1], *offers, "250-ENHANCEDSTATUSCODES", responses[-1]]

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        struck = await self._session.strike("mail")
        if struck is not None:
            return struck
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Ok"

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        struck = await self._session.strike("rcpt") or self._session._owner.refuses(address)  # noqa: SLF001
        if struck:
            return struck
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        own = self._session
        fault = own._owner.hit(own.user, "end")  # noqa: SLF001
        if fault is not None and fault.kind not in _AFTER:
            struck = await own.before(fault, "end")
            if struck is not None:
                return struck
        answer = await own._owner.take(envelope, own.user)  # noqa: SLF001
        if fault is not None and fault.kind in _AFTER:
            if fault.kind is Kind.STATUS_AFTER:
                return f"{fault.status or 451} {fault.body or '4.3.0 Try again later'}"
            await own.before(fault, "end")
        return answer


_AFTER = frozenset({Kind.STATUS_AFTER, Kind.TIMEOUT_AFTER, Kind.RESET_AFTER})
