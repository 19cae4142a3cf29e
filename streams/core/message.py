"""One message for one recipient, and the content that many messages may share.

Rules:

1. One envelope recipient per message, always: a copy recipient is a message of its own with the same visible headers.
2. Content lies in Kafka once. A message either carries it inline (a single message of modest size) or names the record
   that does; equal content has an equal ``content_hash``, which is what provider batches are formed by.
3. Personal data stays beside the content, never inside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from streams.core.value import value


class Stream(StrEnum):
    """The two priorities; each has its own topic, lanes and concurrency."""

    TRANSACTIONAL = "transactional"
    BULK = "bulk"


class OnUncertain(StrEnum):
    """What to do when nobody can tell whether a provider took a message."""

    HOLD = "hold"
    RESEND = "resend"


class Role(StrEnum):
    """Which recipient list of the request the message came from."""

    TO = "to"
    CC = "cc"
    BCC = "bcc"


@value
class Mailbox:
    """An address (RFC 5322 addr-spec) and a display name, both as the sender wrote them."""

    email: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """Inline bytes, or an ``https``/``s3`` URL that intake fetches; exactly one of ``data`` and ``url``."""

    filename: str
    content_type: str
    data: bytes = b""
    url: str = ""
    content_id: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A template pinned at intake, so that a later version cannot change a message under way (Jinja2 source)."""

    template_id: str
    version: str
    subject: str
    text: str = ""
    html: str = ""


@value
class Content:
    """What all messages of a request share. Either ``mime``, or ``template``, or ``subject`` with ``text``/``html``.

    ``visible_to`` and ``visible_cc`` are set only where the header must show others than the envelope recipient.
    ``data`` is what all recipients of a template share; a message's own ``data`` goes over it.
    """

    sender: Mailbox
    subject: str = ""
    text: str = ""
    html: str = ""
    mime: bytes = b""
    template: Template | None = None
    reply_to: tuple[Mailbox, ...] = ()
    visible_to: tuple[Mailbox, ...] = ()
    visible_cc: tuple[Mailbox, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    track_opens: bool | None = None
    track_clicks: bool | None = None
    list_id: str = ""
    data: dict[str, Any] = field(default_factory=dict)


@value
class RecordRef:
    """Where a record lies in Kafka."""

    topic: str
    partition: int
    offset: int


@value
class Message:
    """One send to one recipient, as intake hands it to dispatch.

    ``content`` is inline or ``content_ref`` names its record. ``fingerprint`` tells an exact repeat from a conflict.
    ``requested_ms`` is the timestamp of the request's record; ``accepted_ms`` intake's clock.
    """

    message_id: str
    tenant: str
    stream: Stream
    idempotency_key: str
    recipient: Mailbox
    content_hash: str
    fingerprint: str
    requested_ms: int
    accepted_ms: int
    content: Content | None = None
    content_ref: RecordRef | None = None
    role: Role = Role.TO
    data: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    provider: str = ""
    send_at_ms: int = 0
    expires_at_ms: int = 0
    retry_policy: str = ""
    on_uncertain: OnUncertain = OnUncertain.HOLD
    traceparent: str = ""
    list_id: str = ""
