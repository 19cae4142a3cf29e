"""The protocol of every adapter, and those few that only some have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast, runtime_checkable

from streams.core.event import Reason
from streams.core.outcome import BatchOutcome
from streams.providers.base.asking import Finding, Question
from streams.providers.base.inbound import CertificateNeeded, Inbound, Reading, Unreadable, Verdict
from streams.providers.base.outbound import Batch, Exchange, HttpRequest, HttpResponse, Limits, NoResponse

CERTIFICATE_DEADLINE_S = 5.0


async def judge(provider: Provider, inbound: Inbound, exchange: Exchange, now_ms: int) -> Verdict:
    """:meth:`Provider.verify`, with a missing certificate fetched once.

    What is still ``CertificateNeeded`` afterwards could not be fetched: answer 503, the sender keeps the event.
    """
    verdict = provider.verify(inbound, now_ms)
    if not isinstance(verdict, CertificateNeeded) or verdict.retry_at_ms > now_ms:
        return verdict
    answer = await exchange(HttpRequest("GET", verdict.url), CERTIFICATE_DEADLINE_S)
    provider.learn_certificate(verdict.url, answer, now_ms)
    return provider.verify(inbound, now_ms)


@runtime_checkable
class Refuses(Protocol):
    """A provider whose call cannot carry everything that a message may be made of (files, headers, …)."""

    def refusal(self, batch: Batch) -> Reason | None:
        """Why a batch of one cannot be carried at all, None if it can; asked before anything is written or called."""


@dataclass(frozen=True, slots=True)
class WebhookAnswers:
    """Statuses that a provider understands, by what became of its webhook; "not now" is 503 with ``Retry-After``."""

    stored: int = 200
    forged: int = 403
    malformed: int = 400
    too_large: int = 413

    def refusal(self, result: str) -> int:
        """The status for a refusal's result (bad_signature, stale, malformed)."""
        return self.malformed if result == "malformed" else self.forged


_USUAL_ANSWERS = WebhookAnswers()


def webhook_answers_of(provider: object) -> WebhookAnswers | None:
    """The adapter's attribute ``webhook_answers``, None for one that sends no webhooks; without it the usual ones."""
    return cast(WebhookAnswers | None, getattr(provider, "webhook_answers", _USUAL_ANSWERS))


def may_forget_our_id(provider: object) -> bool:
    """The adapter's attribute ``may_forget_our_id``: whether some of its events may not echo our message id, so that
    its own ids have to be remembered. No, if it has none.
    """
    return bool(getattr(provider, "may_forget_our_id", False))


@runtime_checkable
class SharesProof(Protocol):
    """A provider that knows whether its webhooks could be another configured provider's just as well."""

    def proves_alike(self, other: object) -> bool:
        """Whether what proves a webhook here (a signing key, a topic) proves it for ``other`` too."""


class Provider(Protocol):
    """One configured provider account, ready to build requests. Constructed from its own frozen ``Config``."""

    name: str
    type: str

    @property
    def limits(self) -> Limits: ...

    def fits(self, batch: Batch) -> str:
        """Empty if this batch may go out in one call, else the reason why its entries must go one by one."""

    def build_request(self, batch: Batch, now_ms: int) -> HttpRequest:
        """The one call that carries the batch (signed where the provider wants signatures)."""

    def read_response(self, batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
        """One outcome per entry, or the order to split."""

    async def find(self, question: Question, exchange: Exchange, now_ms: int) -> Finding:
        """Ask the provider whether it took an attempt."""

    @property
    def can_find(self) -> bool:
        """Whether :meth:`find` can ask at all (SES is answered by its Send event instead)."""

    @property
    def visibility_delay_s(self) -> float:
        """How long after a call its trace may still be missing: before that, absence proves nothing."""

    def verify(self, inbound: Inbound, now_ms: int) -> Verdict:
        """Judge an inbound webhook by signature, window and shape."""

    def learn_certificate(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> None:
        """Take in what came of a :class:`CertificateNeeded`, good or bad."""

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        """Sort a stored payload into sightings."""


@runtime_checkable
class ReportedByOthers(Protocol):
    """A provider without webhooks of its own, whose service may report by another configured provider's."""

    def is_reported_by(self, type_: str, name: str) -> bool:
        """Whether what the provider ``name`` of type ``type_`` reports may be about mail handed over here."""


@runtime_checkable
class Dialogue(Protocol):
    """A provider whose protocol is no single request and answer (SMTP): it holds its own connections.

    Its ``build_request`` and ``read_response`` are never called; everything else of :class:`Provider` applies.
    """

    async def send(self, batch: Batch, deadline_s: float, now_ms: int) -> BatchOutcome:
        """Hand the batch over within ``deadline_s`` in total: one outcome per entry, or the order to split.

        Never raises for the network's sake. ``Uncertain`` from the moment on in which the provider may have taken an
        entry; what was not begun is ``Deferred``.
        """

    async def aclose(self) -> None:
        """Close idle connections, and those in use when their call ends; a later ``send`` opens new ones."""


def dialogue_of(provider: object) -> Dialogue | None:
    """The provider if it is to be called by :class:`Dialogue`; asked before every call, decided once per class."""
    return cast(Dialogue, provider) if _is_dialogue(cast(Any, type(provider))) else None


@cache
def _is_dialogue(kind: Any) -> bool:
    return issubclass(kind, Dialogue)
