"""Mailgun: its messages API, its webhooks, its events API. Facts: Mailgun's OpenAPI description and webhook guide.

config      the keys of ``[providers.NAME]``
request     a batch becomes one POST
response    the answer becomes one outcome per recipient
search      did it take an attempt?
webhook     is it from Mailgun?
events      what it reports, in our words
"""

from __future__ import annotations

from base64 import b64encode

from streams.core.outcome import BatchOutcome
from streams.providers.base import (
    Batch,
    Exchange,
    Finding,
    HttpRequest,
    HttpResponse,
    Inbound,
    Limits,
    NoResponse,
    Question,
    Reading,
    Unreadable,
    Verdict,
)
from streams.providers.mailgun import events, request, response, search, webhook
from streams.providers.mailgun.config import Config

__all__ = ["Config", "Mailgun", "create"]

MAX_RECIPIENTS = 1000
MAX_BYTES = 25_000_000


class Mailgun:
    """One Mailgun account and domain (see :class:`~streams.providers.base.Provider`)."""

    type = "mailgun"
    can_find = True

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config
        self.limits = Limits(MAX_RECIPIENTS, MAX_BYTES)
        self.visibility_delay_s = config.visibility_delay_s
        self._sending = _basic(config.api_key)
        self._reading = _basic(config.events_key or config.api_key)

    def fits(self, batch: Batch) -> str:
        return request.fits(batch, MAX_RECIPIENTS)

    def build_request(self, batch: Batch, now_ms: int) -> HttpRequest:
        return request.build_request(self.config, self._sending, batch, now_ms)

    def read_response(self, batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
        return response.read_response(batch, answer, now_ms)

    async def find(self, question: Question, exchange: Exchange, now_ms: int) -> Finding:
        return await search.find(self.config, self._reading, question, exchange, now_ms)

    def verify(self, inbound: Inbound, now_ms: int) -> Verdict:
        return webhook.verify(inbound.body, self.config.signing_keys, self.config.max_webhook_age_s, now_ms)

    def learn_certificate(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> None:
        """Mailgun signs with a shared key: there is nothing to learn."""

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        return events.read_events(payload, received_ms)


def create(name: str, config: Config) -> Mailgun:
    """The adapter for the provider ``name``."""
    return Mailgun(name, config)


def _basic(key: str) -> str:
    return "Basic " + b64encode(f"api:{key}".encode()).decode("ascii")
