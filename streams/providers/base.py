"""What every provider adapter speaks, and nothing that only one of them needs.

An adapter is pure where the provider has an HTTP API: it builds a request from a batch, reads the response into one
outcome per entry, verifies an inbound webhook and parses it into sightings. Rules:

1. An adapter never performs I/O; the exchange is injected, so a fake is a function.
2. One outcome per entry, in the order of the batch, or :class:`~streams.core.outcome.Split`.
3. An entry's ``message_id`` and ``attempt`` are given to the provider in whatever it echoes, so that its events find
   home.
4. Text of the sender that the provider would interpret (``%recipient.``, ``{{``) is neutralised or refused by ``fits``.
5. A vendor's vocabulary lives in module-level tables; what is not in the table becomes ``UNKNOWN`` and is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Protocol, cast, runtime_checkable

from streams.core.event import Automated, BounceType, Reason
from streams.core.message import Attachment, Mailbox
from streams.core.outcome import BatchOutcome
from streams.core.receipt import ReceiptKind
from streams.core.value import value

# ---------------------------------------------------------------------------------------------- outbound


@dataclass(frozen=True, slots=True)
class Slot:
    """A hole in a pattern that each recipient fills with the variable ``name`` (``[A-Za-z0-9_]``, HTML-safe
    already).
    """

    name: str


Pattern = tuple[str | Slot, ...]
"""A text with holes. A finished text is a pattern of one string; an absent part is the empty tuple."""


def fill(pattern: Pattern, variables: Mapping[str, str]) -> str:
    """The finished text for one recipient."""
    return "".join(part if isinstance(part, str) else variables.get(part.name, "") for part in pattern)


@value
class Entry:
    """One recipient of a batch. ``variables`` fill the slots of the batch's patterns."""

    message_id: str
    attempt: int
    recipient: Mailbox
    variables: Mapping[str, str] = field(default_factory=dict)


@value
class Batch:
    """What one provider call carries: shared parts, and an entry per recipient (no address twice, case-insensitively).

    ``mime``, when set, is a whole message sent as it is (then there is exactly one entry). ``headers`` holds the
    sender's own headers including ``List-Unsubscribe``; ``message_id_header`` is set only for single sends.
    """

    sender: Mailbox
    entries: tuple[Entry, ...]
    subject: Pattern = ()
    text: Pattern = ()
    html: Pattern = ()
    mime: bytes = b""
    reply_to: tuple[Mailbox, ...] = ()
    visible_to: tuple[Mailbox, ...] = ()
    visible_cc: tuple[Mailbox, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    track_opens: bool | None = None
    track_clicks: bool | None = None
    deliver_at_ms: int = 0
    """The sender's ``send_at``; ahead only where the provider keeps messages until then (``schedules_ahead_s``)."""
    personal_headers: tuple[tuple[str, Pattern], ...] = ()
    """Headers with slots, only in batches of several entries: ``fits`` refuses what cannot carry them. (A batch of one
    has them in ``headers``, filled.)"""
    stream: str = ""
    """``transactional`` or ``bulk``: a provider may keep them apart (a configuration set, a pool of addresses)."""


@value
class HttpRequest:
    """A request to be exchanged; ``body`` is complete. ``url`` is absolute. Neither key nor content shows in a
    traceback.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


@value
class HttpResponse:
    """A complete answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class NoResponse:
    """No complete answer was read. ``sent`` is False only if certainly not one byte of the request left us."""

    sent: bool
    detail: str
    timeout: bool = False


class Exchange(Protocol):
    """Performs one HTTP exchange under one total deadline; never raises for the network's sake."""

    async def __call__(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one call may carry (`max_bytes` of body)."""

    max_recipients: int
    max_bytes: int


# ---------------------------------------------------------------------------------------------- reconciliation


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


# ---------------------------------------------------------------------------------------------- quotas


@dataclass(frozen=True, slots=True)
class Quota:
    """What an account may send. ``max_24h`` is -1 for unlimited; rates are recipients per second, 0 if unknown.

    ``enforcement`` is the provider's own word for the account's standing.
    """

    max_send_rate: float
    max_24h: float
    sent_24h: float
    sending_enabled: bool
    enforcement: str


@runtime_checkable
class TellsQuota(Protocol):
    """A provider whose account can be asked for its limits."""

    def quota_request(self, now_ms: int) -> HttpRequest:
        """Ask for the account's quotas."""

    def read_quota(self, answer: HttpResponse | NoResponse) -> Quota | None:
        """The quotas, None if the answer has none."""


# ---------------------------------------------------------------------------------------------- sending again


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


# ---------------------------------------------------------------------------------------------- gaps


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


# ---------------------------------------------------------------------------------------------- suppression lists


class ListName(StrEnum):
    """A list that a provider keeps by itself, in our words."""

    BOUNCE = "bounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    ALLOW = "allow"
    """Not a suppression: addresses and domains whose bounces never bring them onto the bounce list."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a provider's list.

    ``address`` is an address, or a whole domain written ``@example.com`` (allow-list only). ``since_ms`` is 0 where
    nobody knows. ``tags`` are the provider's names of what was unsubscribed from; empty is everything. ``by_hand``
    marks an entry that a person or our own push made (where the provider lets us write that down): it is no bounce.
    """

    name: ListName
    address: str
    since_ms: int = 0
    detail: str = ""
    tags: tuple[str, ...] = ()
    by_hand: bool = False


@dataclass(frozen=True, slots=True)
class ListPage:
    """Entries of one page, and the request for the next one; None is the end. Exchange ``next`` soon: it is signed."""

    entries: tuple[Listed, ...]
    next: HttpRequest | None = None


@dataclass(frozen=True, slots=True)
class ListFailed:
    """The provider did not list or change. ``wait_s`` is how long it asks us to wait; None if asking again is useless
    before a person acts (``detail`` says what).
    """

    detail: str
    wait_s: float | None = None


@runtime_checkable
class SyncsSuppressions(Protocol):
    """A provider whose own suppression lists can be read and changed. Pure: builds requests, reads answers."""

    @property
    def reads_lists(self) -> tuple[ListName, ...]:
        """Which lists it can tell."""

    @property
    def writes_lists(self) -> tuple[ListName, ...]:
        """Which lists our own entries may be pushed to (a list that would stop more than we mean is left out)."""

    def list_request(self, name: ListName, since_ms: int, now_ms: int) -> HttpRequest:
        """Ask for the first page of a list; entries from before ``since_ms`` need not be told (0: all)."""

    def read_list(
        self, name: ListName, since_ms: int, answer: HttpResponse | NoResponse, now_ms: int
    ) -> ListPage | ListFailed:
        """One page; entries from before ``since_ms`` (where the provider tells times) are left out."""

    def add_requests(self, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
        """The calls that put these entries onto their lists, as few as the provider allows; repeating is harmless."""

    def remove_requests(self, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
        """The calls that take these entries off their lists; one that is not there is no error."""

    def read_change(self, answer: HttpResponse | NoResponse, now_ms: int) -> ListFailed | None:
        """None if the change was carried out (or there was nothing to remove)."""


@runtime_checkable
class TellsExpiry(Protocol):
    """A provider whose credentials end at a known time."""

    def expires_ms(self) -> int:
        """When they do, in epoch milliseconds; 0 if that is not known."""


# ---------------------------------------------------------------------------------------------- inbound


@dataclass(frozen=True, slots=True)
class Inbound:
    """A webhook as it arrived; header names in lower case, body undecoded. ``path`` has its query (MNS signs it)."""

    headers: Mapping[str, str]
    body: bytes
    content_type: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """Authentic. ``token`` is what must not be seen with another body (empty if the signature covers the body)."""

    token: str = ""
    key: str = ""
    """What to key the stored payload by (a token or a provider's event id)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not to be stored. ``result`` is a label of ``streams_ingress_requests_total``: bad_signature, stale,
    malformed.
    """

    result: str
    detail: str


@dataclass(frozen=True, slots=True)
class CertificateNeeded:
    """Not judged yet: the certificate at ``url`` (which passed every rule) is not at hand.

    :func:`judge` fetches it. While a recent failure is remembered ``retry_at_ms`` lies ahead and nothing is fetched:
    the sender gets "not now".
    """

    url: str
    retry_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Confirm:
    """An authentic offer to subscribe an allowed topic. ``request`` accepts it; a 2xx answer makes it final."""

    topic_arn: str
    token: str
    region: str
    request: HttpRequest


Verdict = Verified | Refused | CertificateNeeded | Confirm
"""What may be said of an inbound webhook."""

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


@value
class Sighting:
    """One thing a provider reported about one recipient of one message, in our words.

    ``message_id`` is ours if the provider echoed it, else empty (then ``provider_message_id`` and ``recipient`` must
    find it). ``sighting_id`` is the content-derived identity (rule: two deliveries of one fact have the same id).
    """

    kind: ReceiptKind
    sighting_id: str
    occurred_ms: int
    message_id: str = ""
    attempt: int = 0
    provider_message_id: str = ""
    recipient: str = ""
    reason: Reason | None = None
    bounce_type: BounceType | None = None
    suppress: bool = False
    url: str = ""
    ip: str = ""
    user_agent: str = ""
    automated: Automated = Automated.NONE
    provider: str = ""
    """Which provider had sent it, where somebody else reports (our own tracking); empty if the provider itself does."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A payload that is authentic or not, but that nobody can read: a dead letter with this reason."""

    detail: str


@dataclass(frozen=True, slots=True)
class Reading:
    """All sightings of one payload, and the vendor words we did not know (counted, never dropped silently)."""

    sightings: tuple[Sighting, ...] = ()
    unknown_words: tuple[str, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Checked:
    """What an adapter found out about its account; ``advice`` says what to do, empty where all is well."""

    what: str
    detail: str
    advice: str = ""


@runtime_checkable
class ChecksItself(Protocol):
    """A provider that `streams doctor` can ask about its account. Nothing is sent, nothing is changed."""

    async def check(self, exchange: Exchange, now_ms: int) -> Sequence[Checked]:
        """Every finding, the good ones too."""


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


# ---------------------------------------------------------------------------------------------- dialogues


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
