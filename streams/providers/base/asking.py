"""What may be asked of a provider: about one attempt, about what its webhooks missed, for a stored message again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from streams.core.outcome import BatchOutcome
from streams.providers.base.lists import ListFailed
from streams.providers.base.outbound import Batch, Exchange, HttpRequest, HttpResponse, NoResponse


@dataclass(frozen=True, slots=True)
class Question:
    """Which attempt we are unsure about. ``sent_ms`` is when the call began."""

    message_id: str
    attempt: int
    recipient: str
    sent_ms: int


@dataclass(frozen=True, slots=True)
class Found:
    """The provider did take it."""

    provider_message_id: str
    occurred_ms: int


@dataclass(frozen=True, slots=True)
class NotFound:
    """The provider was asked properly and knows nothing of it (which counts only after its visibility delay)."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """The provider could not be asked or did not answer."""

    detail: str


Finding = Found | NotFound | CannotTell


@dataclass(frozen=True, slots=True)
class ToldEvent:
    """An event as its webhook would have brought it: ``payload`` reads the same and has the same sighting id."""

    key: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class EventsPage:
    """Events in the order of their time, all before ``until_ms`` told by now; ``next`` None is the end."""

    events: tuple[ToldEvent, ...]
    until_ms: int = 0
    next: HttpRequest | None = None


@runtime_checkable
class TellsEvents(Protocol):
    """A provider that can be asked for the events of a time span, so that lost webhooks can be made up for."""

    @property
    def events_source(self) -> str:
        """What is read: two configured providers with the same source are asked once. Empty: not to be asked."""

    @property
    def events_settle_s(self) -> float:
        """How old events are before all of them can be seen."""

    @property
    def events_pages_per_s(self) -> float:
        """How fast pages may be asked for."""

    def events_request(self, begin_ms: int, end_ms: int) -> HttpRequest:
        """The first page of a time span."""

    def read_events_page(self, answer: HttpResponse | NoResponse, now_ms: int) -> EventsPage | ListFailed:
        """One page, or why there is none."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The attempt whose final soft failure is to be answered: the provider's id for it, and when its call began."""

    provider_message_id: str
    sent_ms: int


@runtime_checkable
class Resends(Protocol):
    """A provider that stores messages and can send one again."""

    @property
    def resends(self) -> bool:
        """Whether it shall."""

    async def resend(
        self, batch: Batch, earlier: Earlier, exchange: Exchange, deadline_s: float, now_ms: int
    ) -> BatchOutcome | None:
        """Send the stored message again, to the one recipient of ``batch``; None if certainly nothing was sent, so that
        it has to be handed over anew.
        """


def resender_of(provider: object) -> Resends | None:
    """The provider if it can send stored messages again, and shall."""
    return provider if isinstance(provider, Resends) and provider.resends else None
