"""Alibaba Cloud DirectMail: its send call, and its notifications from an MNS topic (push) or queue (pull).

    config      the keys of ``[providers.NAME]``
    signing     both signatures of Alibaba Cloud's RPC calls
    request     a message becomes one POST, or cannot be carried
    response    the answer becomes an outcome
    classic     the ``key=value`` notification
    events      what it reports, in our words
    vocabulary  its words and what they mean

Whether a push is authentic is judged in ``streams.providers._mns``; the queue is spoken to in
``streams.providers._mns_queue`` and polled by ``streams.pollers.mns``. DirectMail's SMTP is a provider of type
``smtp``. ``BatchSendMail`` is not used: its template and its list of receivers must be put into the console beforehand.
"""

from __future__ import annotations

from streams.core.event import Reason
from streams.core.outcome import BatchOutcome
from streams.providers import _mns
from streams.providers._mns_queue import Access
from streams.providers._sns import Certificates, load_pinned
from streams.providers._waiting import no_earlier
from streams.providers.base import (
    Batch,
    CannotTell,
    CertificateNeeded,
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
    Verified,
    WebhookAnswers,
)
from streams.providers.directmail import events, request, response
from streams.providers.directmail.config import Config

__all__ = ["Config", "DirectMail", "create"]


class DirectMail:
    """One DirectMail account in one region (see :class:`~streams.providers.base.Provider`)."""

    type = "directmail"
    can_find = False
    """DirectMail cannot be asked for a message; its notification, which repeats our id, settles a doubtful send."""
    webhook_answers = WebhookAnswers(stored=204)
    may_forget_our_id = True
    """Our Message-ID may not be kept."""

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config
        self.limits = Limits(request.MAX_RECIPIENTS, request.MAX_BYTES)
        self.visibility_delay_s = config.visibility_delay_s
        self._certificates = Certificates(load_pinned(config.pinned_certificates), _mns.usable)
        self._rules = _mns.Rules(
            frozenset(config.topics), config.push_secret, config.max_webhook_age_s, config.push_path
        )

    @property
    def queue(self) -> Access | None:
        """The queue to be polled, if there is one."""
        config = self.config
        if not config.mns_queue:
            return None
        key = (config.access_key_id, config.access_key_secret, config.security_token)
        return Access(config.mns_endpoint, config.mns_queue, *key)

    def prepare(self) -> None:
        """Raises ValueError if nothing can be sent for want of credentials."""
        if not self.config.access_key_id and not (self.config.topics or self.config.push_secret):
            raise ValueError(
                "access_key_id: there is none, so that nothing can be sent (an entry that only reads names topics)"
            )

    def fits(self, batch: Batch) -> str:
        return request.fits(batch)

    def refusal(self, batch: Batch) -> Reason | None:
        return request.refusal(batch)

    def build_request(self, batch: Batch, now_ms: int) -> HttpRequest:
        return request.build_request(self.config, batch, now_ms)

    def read_response(self, batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
        return no_earlier(response.read_response(batch, answer), answer, now_ms)

    async def find(self, question: Question, exchange: Exchange, now_ms: int) -> Finding:
        return CannotTell("DirectMail has no search; its notification settles it")

    def verify(self, inbound: Inbound, now_ms: int) -> Verdict:
        judged = _mns.verify(inbound, self._rules, self._certificates, now_ms)
        if isinstance(judged, Refused | CertificateNeeded):
            return judged
        return Verified(key=judged.message_id)

    def proves_alike(self, other: object) -> bool:
        """One of its topics, its secret or its queue is the other's too."""
        if not isinstance(other, DirectMail):
            return False
        mine, theirs = self.config, other.config
        return (
            not set(mine.topics).isdisjoint(theirs.topics)
            or bool(mine.push_secret and mine.push_secret == theirs.push_secret)
            or bool(mine.mns_queue and (mine.mns_endpoint, mine.mns_queue) == (theirs.mns_endpoint, theirs.mns_queue))
        )

    def learn_certificate(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> None:
        self._certificates.learn(url, answer, now_ms)

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        return events.read_events(payload, received_ms)


def create(name: str, config: Config) -> DirectMail:
    """The adapter for the provider ``name``."""
    return DirectMail(name, config)
