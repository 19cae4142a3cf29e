"""Mailgun: its messages API, its webhooks, its events API. Facts: Mailgun's OpenAPI description and webhook guide.

config      the keys of ``[providers.NAME]``
request     a batch becomes one POST
response    the answer becomes one outcome per recipient
search      did it take an attempt?
resend      a stored message goes out again
gaps        its events of a time span, in case webhooks were lost
lists       its own suppression lists, both ways
hosts       who may be given the API key
webhook     is it from Mailgun?
events      what it reports, in our words
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from streams.core.outcome import BatchOutcome
from streams.providers.base import (
    Batch,
    Earlier,
    EventsPage,
    Exchange,
    Finding,
    HttpRequest,
    HttpResponse,
    Inbound,
    Limits,
    Listed,
    ListFailed,
    ListName,
    ListPage,
    NoResponse,
    Question,
    Reading,
    Unreadable,
    Verdict,
    WebhookAnswers,
)
from streams.providers.mailgun import events, gaps, lists, request, resend, response, search, webhook
from streams.providers.mailgun.config import Config

__all__ = ["Config", "Mailgun", "create"]

MAX_RECIPIENTS = 1000
MAX_BYTES = 25_000_000


class Mailgun:
    """One Mailgun account and domain (see :class:`~streams.providers.base.Provider`)."""

    type = "mailgun"
    can_find = True
    webhook_answers = WebhookAnswers(forged=406, malformed=406, too_large=406)
    """Mailgun stops at 200 and 406 and repeats after anything else for eight hours."""

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config
        self.limits = Limits(MAX_RECIPIENTS, MAX_BYTES)
        self.visibility_delay_s = config.visibility_delay_s
        self.schedules_ahead_s = config.schedule_ahead_s
        self.resends = config.resend_stored
        self.may_forget_our_id = config.resend_stored  # nobody promises that a stored message keeps its variables
        self.events_source = gaps.source(config) if config.fill_gaps else ""
        self.events_settle_s = config.visibility_delay_s
        self.events_pages_per_s = config.gap_pages_per_s
        self.reads_lists = tuple(ListName)
        self.writes_lists = tuple(name for name in ListName if _may_push(name, config))
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

    def proves_alike(self, other: object) -> bool:
        """The same signing key (an account has one), or the same domain."""
        return isinstance(other, Mailgun) and (
            gaps.source(self.config) == gaps.source(other.config)
            or not set(self.config.signing_keys).isdisjoint(other.config.signing_keys)
        )

    def learn_certificate(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> None:
        """Mailgun signs with a shared key: there is nothing to learn."""

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        return events.read_events(payload, received_ms)

    async def resend(
        self, batch: Batch, earlier: Earlier, exchange: Exchange, deadline_s: float, now_ms: int
    ) -> BatchOutcome | None:
        return await resend.resend(self.config, self._reading, batch, earlier, exchange, deadline_s, now_ms)

    # -- gaps (see TellsEvents)

    def events_request(self, begin_ms: int, end_ms: int) -> HttpRequest:
        return gaps.events_request(self.config, self._reading, begin_ms, end_ms)

    def read_events_page(self, answer: HttpResponse | NoResponse, now_ms: int) -> EventsPage | ListFailed:
        return gaps.read_page(self.config, self._reading, answer, now_ms)

    # -- suppression lists (see SyncsSuppressions)

    def list_request(self, name: ListName, since_ms: int, now_ms: int) -> HttpRequest:
        return lists.list_request(self.config, self._reading, name)

    def read_list(
        self, name: ListName, since_ms: int, answer: HttpResponse | NoResponse, now_ms: int
    ) -> ListPage | ListFailed:
        return lists.read_list(self.config, self._reading, name, since_ms, answer, now_ms)

    def add_requests(self, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
        return lists.add_requests(self.config, self._reading, entries, now_ms)

    def remove_requests(self, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
        return lists.remove_requests(self.config, self._reading, entries)

    def read_change(self, answer: HttpResponse | NoResponse, now_ms: int) -> ListFailed | None:
        return lists.read_change(answer, now_ms)


def create(name: str, config: Config) -> Mailgun:
    """The adapter for the provider ``name``."""
    return Mailgun(name, config)


def _may_push(name: ListName, config: Config) -> bool:
    return name is not ListName.UNSUBSCRIBE or config.push_unsubscribes


def _basic(key: str) -> str:
    return "Basic " + b64encode(f"api:{key}".encode()).decode("ascii")
