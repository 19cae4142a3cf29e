"""What is handed to a provider, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from streams.core.event import Reason, ReasonKind
from streams.core.message import Attachment, Mailbox
from streams.core.outcome import AttemptResult, Deferred, Outcome, Scope, Uncertain
from streams.core.value import value
from streams.providers._payload import detail


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


def unanswered(answer: NoResponse) -> Outcome:
    """What a missing answer means for every message of the call: what has not left us may go again, of what may have
    left nobody knows. Written once, since a provider that judged it otherwise would send twice.
    """
    if not answer.sent:
        reason = Reason(ReasonKind.NETWORK, "connect", "", detail(answer.detail))
        return Deferred(reason, Scope.PROVIDER, AttemptResult.CONNECT_ERROR)
    kind = ReasonKind.TIMEOUT if answer.timeout else ReasonKind.NETWORK
    return Uncertain(Reason(kind, "no answer", "", detail(answer.detail)), AttemptResult.TIMEOUT)


class Exchange(Protocol):
    """Performs one HTTP exchange under one total deadline; never raises for the network's sake."""

    async def __call__(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one call may carry (`max_bytes` of body)."""

    max_recipients: int
    max_bytes: int
