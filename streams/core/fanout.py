"""From a request to its messages: one per recipient, all sharing one content.

Rules:

1. Every recipient, copy and blind copy is a message of its own. The same mailbox twice is one message; the first
   mention wins, the others are counted.
2. What a sender wrote decides the ``fingerprint`` (an exact repeat has the same), what will be sent decides the
   ``content_hash`` (equal content is one provider batch). They differ where a template has changed between a request
   and its redelivery: that is still the same request.
3. Template data of a single recipient travels with the message, so that equal mails of many requests share their
   content; data shared by several recipients lies in the content once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from streams.core import ids
from streams.core.locale import base_id
from streams.core.message import Content, Mailbox, Message, RecordRef, Role, Template
from streams.core.request import Recipient, SendRequest
from streams.core.tenant import Tenant
from streams.core.value import value

Encode = Callable[[Any], bytes]
"""Deterministic bytes of any value of a request: equal values have equal bytes."""


@value
class Shared:
    """A request's content as all its messages share it: ``body`` is its encoding, ``identity`` what was asked for."""

    content: Content
    body: bytes
    content_hash: str
    identity: bytes


@dataclass(frozen=True, slots=True)
class Fanout:
    """The messages of a request, and how many mentions of a mailbox were one too many."""

    messages: tuple[Message, ...]
    duplicates: int


def content_of(request: SendRequest, template: Template | None = None, tenant: Tenant | None = None) -> Content | None:
    """What the messages of a request share; None if neither the request nor its tenant names a sender."""
    sender = request.sender or (tenant.sender if tenant else None)
    if sender is None:
        return None
    copies = bool(request.cc or request.bcc)
    opens, clicks = request.track_opens, request.track_clicks
    if tenant is not None:
        opens = tenant.track_opens if opens is None else opens
        clicks = tenant.track_clicks if clicks is None else clicks
    return Content(
        sender=sender,
        subject=request.subject,
        text=request.text,
        html=request.html,
        mime=request.mime,
        template=template,
        reply_to=request.reply_to or (tenant.reply_to if tenant and not request.mime else ()),
        visible_to=tuple(r.mailbox for r in request.recipients) if copies else (),
        visible_cc=request.cc,
        headers=request.headers,
        tags=request.tags,
        attachments=request.attachments,
        track_opens=opens,
        track_clicks=clicks,
        list_id=request.list_id,
        data=request.data if _shares_data(request) else {},
    )


def share(content: Content, encode: Callable[[Content], bytes]) -> Shared:
    """Encode a content once and name it."""
    body = encode(content)
    content_hash = ids.fingerprint(body)
    identity = content_hash
    if content.template is not None:
        identity = ids.fingerprint(
            encode(replace(content, template=Template(base_id(content.template.template_id), "", "")))
        )
    return Shared(content, body, content_hash, identity.encode("ascii"))


Part = tuple[str, Mailbox, str, Role, dict[str, Any]]
"""What is one message's own, in the order of :data:`PART`."""
PART = ("message_id", "recipient", "fingerprint", "role", "data")


def parts_of(request: SendRequest, shared: Shared, encode: Encode, secret: bytes = b"") -> Iterator[Part]:
    """One part per mailbox, in the order of first mention; worked out as it is asked for, since there may be many."""
    tenant = request.tenant
    suffix = ids.message_id(tenant, request.idempotency_key, "")
    own_data = {} if _shares_data(request) else request.data
    seen: set[str] = set()
    for role, recipient in _everybody(request):
        mailbox = recipient.mailbox
        message_id = ids.recipient_key(tenant, mailbox.email, secret) + suffix
        if message_id not in seen:
            seen.add(message_id)
            data = {**own_data, **recipient.data} if own_data else recipient.data
            fingerprint = ids.fingerprint(shared.identity, encode((mailbox.name, data)))
            yield message_id, mailbox, fingerprint, role, data


def mentions_of(request: SendRequest) -> int:
    """How often the request names somebody; more than its messages where a mailbox is named twice."""
    return len(request.recipients) + len(request.cc) + len(request.bcc)


def message_of(
    request: SendRequest,
    shared: Shared,
    part: Part,
    *,
    requested_ms: int,
    accepted_ms: int,
    content_ref: RecordRef | None = None,
    traceparent: str = "",
    tenant: Tenant | None = None,
) -> Message:
    """The message of one part; the content is inline unless ``content_ref`` names where it lies."""
    message_id, recipient, fingerprint, role, data = part
    return Message(
        message_id=message_id,
        tenant=request.tenant,
        stream=request.stream,
        idempotency_key=request.idempotency_key,
        recipient=recipient,
        content_hash=shared.content_hash,
        fingerprint=fingerprint,
        requested_ms=requested_ms,
        accepted_ms=accepted_ms,
        content=shared.content if content_ref is None else None,
        content_ref=content_ref,
        role=role,
        data=data,
        tags=request.tags,
        metadata=request.metadata,
        provider=request.provider or (tenant.provider if tenant else ""),
        send_at_ms=request.send_at_ms,
        expires_at_ms=request.expires_at_ms,
        retry_policy=request.retry_policy or (tenant.retry_policy if tenant else ""),
        on_uncertain=request.on_uncertain,
        traceparent=traceparent,
        list_id=request.list_id,
    )


def messages_of(
    request: SendRequest, shared: Shared, encode: Encode, *, requested_ms: int, accepted_ms: int, secret: bytes = b""
) -> Fanout:
    """All messages of a request with their content inline, and the count of repeated mentions."""
    parts = parts_of(request, shared, encode, secret)
    messages = tuple(
        message_of(request, shared, part, requested_ms=requested_ms, accepted_ms=accepted_ms) for part in parts
    )
    return Fanout(messages, mentions_of(request) - len(messages))


def _everybody(request: SendRequest) -> Iterator[tuple[Role, Recipient]]:
    for recipient in request.recipients:
        yield Role.TO, recipient
    if request.cc or request.bcc:
        data = request.recipients[0].data
        for mailbox in request.cc:
            yield Role.CC, Recipient(mailbox, data)
        for mailbox in request.bcc:
            yield Role.BCC, Recipient(mailbox, data)


def _shares_data(request: SendRequest) -> bool:
    return len(request.recipients) > 1
