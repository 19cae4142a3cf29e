"""An SMTP server that takes mail and delivers none: implicit TLS and STARTTLS, logins, the sandbox's ledger and fates.

`250` means durable, as everywhere in the sandbox. What becomes of a message comes back as mail to its return path, into
a Maildir. `suppressionlist@…` is refused at RCPT (550 5.1.1), `reject@…` after its final dot (554).
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import ssl
from collections.abc import Callable
from email.parser import BytesHeaderParser
from email.policy import default as default_policy
from email.utils import parseaddr
from pathlib import Path
from typing import Any, Final

from aiosmtpd.smtp import Envelope

from streams.sandbox.config import SmtpConfig
from streams.sandbox.faults import REQUEST_KINDS, Fault, Faults
from streams.sandbox.imap import Imap
from streams.sandbox.ledger import Accepted, Ledger
from streams.sandbox.outcomes import Draw, Outcome
from streams.sandbox.recent import Recent
from streams.sandbox.smtp_maildir import Maildir, Returns
from streams.sandbox.smtp_reports import smtp_plan
from streams.sandbox.smtp_session import SmtpSession
from streams.sandbox.smtp_tls import certificate

_IDS: Final = re.compile(r"([^@.\s]+)(?:\.(\d{1,4})(?:\.[^@\s]*)?)?")
_PAIR: Final = re.compile(r"([A-Za-z0-9_-]+)=([A-Za-z0-9_-]+)")


class Smtp:
    """The server. `port` is the one with TLS from the start, `starttls_port` the other; both are known after start."""

    provider = "smtp"

    def __init__(self, config: SmtpConfig, host: str, folder: Path, ledger: Ledger, draw: Draw, recent: Recent,
                 faults: Faults, *, identity_variable: str, unit_ms: float, now_ms: Callable[[], int],
                 pending: Callable[[int], None], hold: Callable[[float], Any]) -> None:  # fmt: skip
        self._config = config
        self._host = host
        self._ledger = ledger
        self._draw = draw
        self._recent = recent
        self._faults = faults
        self._identity_variable = identity_variable
        self._now_ms = now_ms
        self._hold = hold
        self._servers: list[asyncio.Server] = []
        self._sessions: set[SmtpSession] = set()
        self.users: dict[str, str] = dict(config.users)
        self.maildir = config.maildir or folder / "maildir"
        self.certificate, self._context = certificate(folder, config.host_name)
        self.reporter = Returns(ledger, Maildir(self.maildir), config.host_name, unit_ms, now_ms, pending)
        self.port = config.port
        self.starttls_port = config.starttls_port
        self.imap = self._imap(now_ms() // 1000)

    def _imap(self, validity: int) -> Imap | None:
        if self._config.imap_port is None:
            return None
        return Imap(self.maildir, self._host, self._config.imap_port, self._context, self.users, validity)

    # -- life

    async def start(self) -> None:
        """Listen on both ports, and on IMAP's."""
        self.port = await self._listen(self.port, self._context)
        self.starttls_port = await self._listen(self.starttls_port, None)
        if self.imap is not None:
            await self.imap.start()

    async def _listen(self, port: int, context: ssl.SSLContext | None) -> int:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: self._session(context is not None), self._host, port, ssl=context, backlog=1024
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def _session(self, encrypted: bool) -> SmtpSession:
        config = self._config
        session = SmtpSession(
            self, None if encrypted else self._context, host=config.host_name, max_size=config.max_size,
            pipelining=config.pipelining, auth=bool(self.users), loop=asyncio.get_running_loop(),
        )  # fmt: skip
        self._sessions = {known for known in self._sessions if known.transport is not None}
        self._sessions.add(session)
        return session

    async def stop(self) -> None:
        """Stop for good; what was to be reported is taken up by the next start."""
        self.reporter.stop()
        await self.stop_listening()

    async def stop_listening(self) -> None:
        """Hang up; `start` listens again, at the same ports."""
        for server in self._servers:
            server.close()
        self.hang_up()
        for server in self._servers:
            await server.wait_closed()
        self._servers = []
        if self.imap is not None:
            await self.imap.stop()

    def hang_up(self) -> None:
        """Cut every session."""
        for session in self._sessions:
            transport: Any = session.transport
            if transport is not None and not transport.is_closing():
                transport.abort()

    # -- what sessions ask

    def hit(self, user: str, stage: str) -> Fault | None:
        """The fault that strikes here, counted."""
        return self._faults.hit("smtp", user, True, REQUEST_KINDS, stage)

    def knows(self, user: str, password: str) -> bool:
        """Whether these credentials are right."""
        known = self.users.get(user)
        return known is not None and secrets.compare_digest(known.encode(), password.encode())

    def refuses(self, recipient: str) -> str:
        """The refusal of a recipient, empty for none."""
        if recipient.partition("@")[0].partition("+")[0].lower() == Outcome.SUPPRESSIONLIST:
            return f"550 5.1.1 <{recipient}>: Recipient address rejected: user unknown"
        return ""

    async def hold(self, seconds: float) -> None:
        """Sleep, but not longer than the sandbox lives."""
        await self._hold(seconds)

    async def take(self, envelope: Envelope, user: str) -> str:
        """Accept a message; durable when this returns."""
        content = envelope.original_content or b""
        records = self._records(envelope, content, user)
        if any(record.plan.outcome == Outcome.REJECT for record in records):
            return "554 5.7.1 Message refused: content not accepted"
        call_id = records[0].call_id
        self._recent.add(call_id, len(content), lambda recipient: _copy(envelope, content, recipient))
        self._ledger.accept(records)
        await self._ledger.committed()
        for record in records:
            self.reporter.schedule(record)
        return f"250 2.0.0 Ok: queued as {call_id}"

    def _records(self, envelope: Envelope, content: bytes, user: str) -> list[Accepted]:
        head = BytesHeaderParser(policy=default_policy).parsebytes(content[:65_536])
        message_id = str(head.get("message-id", "")).strip().strip("<>")
        variables = _variables(head, message_id)
        tags = [str(value) for value in head.get_all("x-mailgun-tag", [])]
        call_id = secrets.token_hex(8).upper()
        everyone = list(dict.fromkeys(envelope.rcpt_tos))
        now_ms = self._now_ms()
        records = []
        for recipient in everyone:
            key = str(variables.get(self._identity_variable, recipient))
            plan = smtp_plan(self._draw.outcome(recipient, key))
            records.append(
                Accepted(
                    "smtp", message_id or call_id, recipient, variables, tags, now_ms, call_id,
                    str(head.get("subject", "")), len(content), plan, parseaddr(str(head.get("from", "")))[1], 0,
                    str(head.get("x-ses-configuration-set", "")), everyone if len(everyone) > 1 else None, user,
                    envelope.mail_from or "",
                )
            )  # fmt: skip
        return records

    # -- a restart

    def suppress(self, record: Accepted) -> None:
        """A mail server keeps no list."""

    def report(self, record: Accepted, done: frozenset[int]) -> None:
        """Take up what was not reported before a restart."""
        if not done:
            self.reporter.schedule(record)


def _variables(head: Any, message_id: str) -> dict[str, Any]:
    """What identifies a message: a service's own header, or the Message-ID (`id`, or `id.number…` for a resend)."""
    found: dict[str, Any] = {}
    local = _IDS.fullmatch(message_id.rpartition("@")[0])
    if local is not None:
        found = {"message_id": local[1]} | ({"attempt": local[2]} if local[2] else {})
    found |= dict(_PAIR.findall(str(head.get("x-ses-message-tags", ""))))
    try:
        given = json.loads(str(head.get("x-mailgun-variables", "{}")))
    except ValueError:
        given = {}
    return found | given if isinstance(given, dict) else found


def _copy(envelope: Envelope, content: bytes, recipient: str) -> dict[str, Any] | None:
    if recipient.lower() not in (one.lower() for one in envelope.rcpt_tos):
        return None
    return {"from": envelope.mail_from, "to": envelope.rcpt_tos, "mime": content.decode("utf-8", "replace")}
