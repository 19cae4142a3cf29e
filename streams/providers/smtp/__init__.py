"""Any SMTP server that takes mail for us: a company's relay, or a service's SMTP entrance.

config      the keys of ``[providers.NAME]``
message     an entry as one transaction

The protocol itself is in ``streams.providers._smtp``. SMTP has no events: what becomes of a message is told by bounces
(the bounce mailbox), or by the webhooks of the service whose server it is.
"""

from __future__ import annotations

import re

from streams.core.outcome import BatchOutcome, Outcome
from streams.providers._smtp.carrying import Job
from streams.providers._smtp.dialogue import Named, hand_over, own_message_id
from streams.providers._smtp.envelope import Envelope
from streams.providers._smtp.pool import Pool
from streams.providers._smtp.wire import Reply
from streams.providers.base import (
    Batch,
    CannotTell,
    Exchange,
    Finding,
    HttpRequest,
    HttpResponse,
    Inbound,
    Limits,
    NoResponse,
    Question,
    Reading,
    Refused,
    Unreadable,
    Verdict,
)
from streams.providers.smtp.config import Config, Service
from streams.providers.smtp.message import envelope_of

__all__ = ["Config", "Smtp", "create"]

MAX_RECIPIENTS = 10
"""Transactions of one call. Nobody can be asked about a doubtful one, so few are under way when a worker ends."""
MAX_BYTES = 50_000_000

_ENVELOPE_ID = re.compile(r"###envid=(\d{1,30})")
_SES_ID = re.compile(r"^ok\s+([0-9A-Za-z-]{16,})$", re.IGNORECASE)


class Smtp:
    """One account at one server (see :class:`~streams.providers.base.Dialogue`)."""

    type = "smtp"
    can_find = False
    """There is nobody to ask; a bounce or an event of the service settles a doubtful send, or ``on_uncertain``."""
    webhook_answers = None

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config
        self.limits = Limits(MAX_RECIPIENTS, MAX_BYTES)
        self.visibility_delay_s = config.visibility_delay_s
        self.pool = Pool(config.server)
        self._named = _NAMED[config.known_service]

    def change(self, config: Config) -> None:
        """From now on use these credentials; transactions under way end with the old ones."""
        self.config = config
        self.visibility_delay_s = config.visibility_delay_s
        self._named = _NAMED[config.known_service]
        self.pool.change(config.server)

    async def send(self, batch: Batch, deadline_s: float, now_ms: int) -> BatchOutcome:
        jobs: list[Job] = []
        refused: dict[int, Outcome] = {}
        own_sender = bool(self.config.return_path) and self.config.known_service is Service.PLAIN
        for number, entry in enumerate(batch.entries):
            envelope = envelope_of(self.config, batch, entry, now_ms)
            if isinstance(envelope, Envelope):
                jobs.append(Job(number, envelope, batch.sender.email, own_sender))
            else:
                refused[number] = envelope
        outcomes = await hand_over(self.pool, jobs, deadline_s, self._named) if jobs else {}
        return tuple((refused.get(number) or outcomes[number]) for number in range(len(batch.entries)))

    async def aclose(self) -> None:
        self.pool.close()

    def is_reported_by(self, type_: str, name: str) -> bool:
        """Whether webhooks of the provider ``name`` tell about mail that was handed over here."""
        if self.config.reported_by:
            return name == self.config.reported_by
        return type_ == self.config.known_service.value

    def fits(self, batch: Batch) -> str:
        if len(batch.entries) > MAX_RECIPIENTS:
            return f"more than {MAX_RECIPIENTS} recipients"
        if len(batch.entries) > 1 and (batch.mime or batch.visible_to or batch.visible_cc):
            return "the message is one recipient's own"
        return ""

    def build_request(self, batch: Batch, now_ms: int) -> HttpRequest:
        raise AssertionError("SMTP is spoken by send()")

    def read_response(self, batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
        raise AssertionError("SMTP is spoken by send()")

    async def find(self, question: Question, exchange: Exchange, now_ms: int) -> Finding:
        return CannotTell("SMTP has no search; a bounce or an event settles it")

    def verify(self, inbound: Inbound, now_ms: int) -> Verdict:
        return Refused("malformed", "an SMTP server sends no webhooks")

    def learn_certificate(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> None:
        """There is none."""

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        return Unreadable("an SMTP server sends no webhooks; bounces are read from the mailbox")


def create(name: str, config: Config) -> Smtp:
    """The adapter for the provider ``name``."""
    return Smtp(name, config)


def _ses_id(reply: Reply, envelope: Envelope) -> str:
    """SES names its own id in the last reply, and puts it in place of our Message-ID."""
    found = _SES_ID.search(reply.text)
    return found[1] if found else envelope.message_id


def _directmail_id(reply: Reply, envelope: Envelope) -> str:
    found = _ENVELOPE_ID.search(reply.text)
    return found[1] if found else envelope.message_id


_NAMED: dict[Service, Named] = {
    Service.AUTO: own_message_id,
    Service.PLAIN: own_message_id,
    Service.MAILGUN: own_message_id,
    Service.SES: _ses_id,
    Service.DIRECTMAIL: _directmail_id,
}
