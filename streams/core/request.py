"""A send request, checked once and completely, so that nothing behind intake has to doubt it.

Rules:

1. :func:`read_request` takes a record in the schema's shape and gives a :class:`SendRequest`, or :class:`Invalid` with
   the field and a sentence for a person. It never raises on what somebody wrote.
2. One bad recipient among many is that message's fault alone: it is in ``refused``, the others go out. With copies it
   is the request's fault, since they share their visible headers.
3. There is exactly one form of content: a template, inline parts, or a whole MIME message.
4. Inline content is literal text. Only a template is ever interpolated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.core.address import MAX_NAME, address_fault, line_fault
from streams.core.event import Reason, ReasonKind
from streams.core.message import Attachment, Mailbox, OnUncertain, Stream
from streams.core.request_fields import (
    Fault,
    attachments,
    data_of,
    headers,
    idempotency_key,
    mailbox,
    mailboxes,
    matching,
    metadata,
    named,
    one_of,
    tags,
)
from streams.core.value import value


@value
class Recipient:
    """Whom to send to, and what the template says to them alone."""

    mailbox: Mailbox
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RefusedRecipient:
    """A recipient that cannot be sent to, whatever stood there."""

    email: str
    reason: Reason


@value
class SendRequest:
    """A valid request. ``sender`` is None where the tenant's default is meant; times are epoch ms, 0 for none."""

    idempotency_key: str
    tenant: str
    stream: Stream
    sender: Mailbox | None
    recipients: tuple[Recipient, ...]
    refused: tuple[RefusedRecipient, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    template_id: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    subject: str = ""
    text: str = ""
    html: str = ""
    mime: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    attachments: tuple[Attachment, ...] = ()
    track_opens: bool | None = None
    track_clicks: bool | None = None
    list_id: str = ""
    provider: str = ""
    send_at_ms: int = 0
    expires_at_ms: int = 0
    retry_policy: str = ""
    on_uncertain: OnUncertain = OnUncertain.HOLD


@dataclass(frozen=True, slots=True)
class Invalid:
    """Nothing of the request can be sent. ``field`` is a path like ``cc[1].email``."""

    reason: Reason
    field: str


@dataclass(frozen=True, slots=True)
class Retention:
    """For how long the ledger remembers, in ms, and the margin we keep from its end."""

    ledger_ms: int
    margin_ms: int


DEFAULT_TENANT = "default"
"""Whose a request is that names none."""
MAX_RECIPIENTS = 1000
MAX_BYTES = 25 * 1024 * 1024
"""Bodies and inline attachments together; the largest message any provider takes."""
_MAX_SUBJECT = 998
_MAX_HEAD = 256 * 1024

_end_of_head = re.compile(rb"\r?\n\r?\n").search
_order_to_provider = re.compile(rb"(?:\A|[\r\n])(x-mailgun-|x-ses-)", re.IGNORECASE).search
"""A header field that Mailgun or SES obeys: variables, tags, recipients. Such a variable could name the message of
somebody else, whose state the events would then change."""

is_template_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}").fullmatch
_list_id = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}").fullmatch


def read_request(record: Mapping[str, Any]) -> SendRequest | Invalid:
    """The request in a record of the ``SendRequest`` schema's shape (see ``serde.public.decode_request``)."""
    try:
        return _read(record)
    except Fault as fault:
        return Invalid(Reason(fault.kind, code=fault.where, detail=_sentence(fault.where, fault.what)), fault.where)


def times_fault(request: SendRequest, requested_ms: int, now_ms: int, retention: Retention) -> Invalid | None:
    """Whether a request is too old to be sent, or wants to be sent later than anything is remembered."""
    horizon = retention.ledger_ms - retention.margin_ms
    if requested_ms < now_ms - horizon:
        return _invalid("", "the request is older than messages are remembered and is not sent", ReasonKind.EXPIRED)
    for name, when in (("send_at", request.send_at_ms), ("expires_at", request.expires_at_ms)):
        if when > now_ms + horizon:
            return _invalid(name, f"lies further ahead than messages are kept ({horizon / 86_400_000:g} days)")
    return None


def _invalid(where: str, what: str, kind: ReasonKind = ReasonKind.INVALID_REQUEST) -> Invalid:
    return Invalid(Reason(kind, code=where, detail=_sentence(where, what)), where)


def _sentence(where: str, what: str) -> str:
    return f"{where} {what}" if where else what


def _read(record: Mapping[str, Any]) -> SendRequest:
    copies = bool(record.get("cc") or record.get("bcc"))
    recipients, refused = _recipients(record.get("recipients") or (), copies)
    mime = record.get("mime") or b""
    tracking = record.get("tracking") or {}
    request = SendRequest(
        idempotency_key=idempotency_key(record.get("idempotency_key")),
        tenant=named(record, "tenant") or DEFAULT_TENANT,
        stream=one_of(record, "stream", Stream, Stream.TRANSACTIONAL),
        sender=mailbox(record["from"], "from") if record.get("from") else None,
        recipients=recipients,
        refused=refused,
        cc=mailboxes(record, "cc"),
        bcc=mailboxes(record, "bcc"),
        reply_to=mailboxes(record, "reply_to"),
        template_id=record.get("template_id") or "",
        data=data_of(record.get("data") or {}, "data"),
        subject=record.get("subject") or "",
        text=record.get("text") or "",
        html=record.get("html") or "",
        mime=mime,
        headers=headers(record.get("headers") or {}),
        tags=tags(record.get("tags") or ()),
        metadata=metadata(record.get("metadata") or {}),
        attachments=attachments(record.get("attachments") or ()),
        track_opens=tracking.get("opens"),
        track_clicks=tracking.get("clicks"),
        list_id=matching(record, "list_id", _list_id, "is no list id (letters, digits, dots and hyphens)"),
        provider=named(record, "provider"),
        send_at_ms=record.get("send_at") or 0,
        expires_at_ms=record.get("expires_at") or 0,
        retry_policy=named(record, "retry_policy"),
        on_uncertain=one_of(record, "on_uncertain", OnUncertain, OnUncertain.HOLD),
    )
    _check_content(request)
    _check_times(request)
    return request


def _recipients(
    given: Sequence[Mapping[str, Any]], copies: bool
) -> tuple[tuple[Recipient, ...], tuple[RefusedRecipient, ...]]:
    if not given:
        raise Fault("recipients", "is empty: a request needs at least one recipient")
    if len(given) > MAX_RECIPIENTS:
        raise Fault("recipients", f"has {len(given)} entries, at most {MAX_RECIPIENTS} are allowed")
    if copies and len(given) > 1:
        raise Fault("recipients", "has several entries; cc and bcc are only possible with a single recipient")
    good: list[Recipient] = []
    refused: list[RefusedRecipient] = []
    for index, entry in enumerate(given):
        try:
            email, name = entry["email"], entry.get("name") or ""
            fault = address_fault(email)
            if fault or (name and line_fault(name, MAX_NAME)):
                mailbox(entry, f"recipients[{index}]")
            data = entry.get("data")
            good.append(Recipient(Mailbox(email, name), data_of(data, f"recipients[{index}].data") if data else {}))
        except Fault as wrong:
            if copies:
                raise
            reason = Reason(wrong.kind, code=wrong.where, detail=_sentence(wrong.where, wrong.what))
            refused.append(RefusedRecipient(entry["email"], reason))
    return tuple(good), tuple(refused)


# ------------------------------------------------------------------------------------------- content


def _check_content(request: SendRequest) -> None:
    inline = bool(request.text or request.html)
    forms = [n for n, given in (("template_id", request.template_id), ("mime", request.mime)) if given]
    if inline or (request.subject and not forms):
        forms.append("text or html")
    if len(forms) > 1 or (request.subject and "text or html" not in forms):
        named = ", ".join(dict.fromkeys([*forms, *(["subject"] if request.subject else [])]))
        raise Fault("", f"the request has more than one form of content ({named}); exactly one is allowed")
    if not forms:
        raise Fault("", "the request has no content: give template_id, or subject with text or html, or mime")
    if request.template_id and not is_template_id(request.template_id):
        raise Fault("template_id", "is no template id (letters, digits, dots, hyphens, underscores and slashes)")
    if forms == ["text or html"]:
        _check_inline(request, inline)
    if request.mime:
        _check_mime(request)
    if request.data and not request.template_id:
        raise Fault("data", "is only possible with template_id; inline text is never interpolated")
    size = len(request.mime) + len(request.text) + len(request.html) + sum(len(a.data) for a in request.attachments)
    if size > MAX_BYTES:
        raise Fault("", f"the content has {size} bytes, at most {MAX_BYTES} are allowed", ReasonKind.MESSAGE_TOO_LARGE)


def _check_inline(request: SendRequest, inline: bool) -> None:
    if not inline:
        raise Fault("text", "is missing: a subject needs text or html")
    if not request.subject:
        raise Fault("subject", "is missing")
    if fault := line_fault(request.subject, _MAX_SUBJECT):
        raise Fault("subject", fault)


def _check_mime(request: SendRequest) -> None:
    for name in ("headers", "attachments", "reply_to", "list_id"):
        if getattr(request, name):
            raise Fault(name, "is not possible with mime, which is sent as it is")
    end = _end_of_head(request.mime, 0, _MAX_HEAD)
    head = request.mime[: end.start() if end else _MAX_HEAD]
    if b":" not in head.replace(b"\r", b"\n").partition(b"\n")[0]:
        raise Fault("mime", "does not begin with a header field")
    if end is None:
        raise Fault("mime", f"has no empty line between header and body (in its first {_MAX_HEAD} bytes)")
    if order := _order_to_provider(head):
        raise Fault("mime", f"has a header {order[1].decode('ascii')}…, which only we may set")


def _check_times(request: SendRequest) -> None:
    if request.send_at_ms < 0 or request.expires_at_ms < 0:
        raise Fault("send_at" if request.send_at_ms < 0 else "expires_at", "lies before 1970")
    if request.expires_at_ms and request.expires_at_ms <= request.send_at_ms:
        raise Fault("expires_at", "lies before send_at")
