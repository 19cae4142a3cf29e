"""Building requests: checked as intake checks them, before anything is produced.

    asked = request("order-4711", to="ann@example.com", sender="shop@example.com", subject="Hi", text="Hello")
    asked.message_ids()                       # known already: {"ann@example.com": "vmxs…-a2e2…"}
    producer.send(asked.topic, asked.value, key=asked.key)

Rules:

1. Whatever intake would refuse raises :class:`InvalidRequest` here, naming the field; one bad recipient among many too.
2. The same arguments give the same bytes, the same key and the same message ids.
3. The record's key is the recipient's address, so that requests to one person stay in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parseaddr
from mimetypes import guess_type
from pathlib import Path
from typing import Any, Literal, Required, TypedDict, Unpack

from streams.client.errors import InvalidRequest
from streams.core.ids import fingerprint, message_id, normalise_address, recipient_key
from streams.core.message import Attachment
from streams.core.request import Invalid, SendRequest, read_request
from streams.serde.public import decode_request, encode_request
from streams.topics import SEND_REQUESTS, SEND_REQUESTS_BULK

Address = str | Mapping[str, Any]
"""``ann@example.com``, ``Ann <ann@example.com>``, or ``{"email": …, "name": …, "data": …}``."""

Moment = datetime | int
"""A time with its zone, or epoch milliseconds."""

_MAX_KEY = 255
_ADDRESSES = ("cc", "bcc", "reply_to")
_MOMENTS = ("send_at", "expires_at")


class Fields(TypedDict, total=False):
    """What a request may say besides its idempotency key. ``sender`` is the schema's ``from``; the rest has the
    schema's own names (see ``schemas/SendRequest.avsc``)."""

    to: Required[Address | Iterable[Address]]
    sender: Address | None
    cc: Address | Iterable[Address]
    bcc: Address | Iterable[Address]
    reply_to: Address | Iterable[Address]
    subject: str
    text: str
    html: str
    template_id: str
    data: Mapping[str, Any]
    mime: bytes
    headers: Mapping[str, str]
    tags: Sequence[str]
    metadata: Mapping[str, str]
    attachments: Sequence[Attachment | Mapping[str, Any]]
    tracking: Mapping[str, bool | None]
    list_id: str
    provider: str
    send_at: Moment | None
    expires_at: Moment | None
    retry_policy: str
    on_uncertain: Literal["hold", "resend"]
    tenant: str
    stream: Literal["transactional", "bulk"]


@dataclass(frozen=True, slots=True)
class Request:
    """A request that intake will take. ``addresses`` are those of its messages, each mailbox once."""

    idempotency_key: str
    tenant: str
    stream: str
    addresses: tuple[str, ...]
    value: bytes = field(repr=False)
    key: bytes
    parsed: SendRequest = field(repr=False)

    @property
    def topic(self) -> str:
        """Where it belongs, without a prefix."""
        return SEND_REQUESTS_BULK if self.stream == "bulk" else SEND_REQUESTS

    def message_ids(self, address_secret: bytes = b"") -> dict[str, str]:
        """The id of the message to each address; ``address_secret`` is the deployment's, if it has one."""
        tenant, key = self.tenant, self.idempotency_key
        return {a: message_id(tenant, key, recipient_key(tenant, a, address_secret)) for a in self.addresses}


def request(idempotency_key: str, **fields: Unpack[Fields]) -> Request:
    """A checked request. Raises :class:`InvalidRequest`."""
    record = _record(idempotency_key, fields)
    try:
        value = encode_request(record)
    except ValueError as exc:
        raise InvalidRequest(str(exc)) from exc
    decoded = decode_request(value)
    if not isinstance(decoded, dict):
        raise InvalidRequest(str(getattr(decoded, "detail", decoded)))
    found = read_request(decoded)
    if isinstance(found, Invalid):
        raise InvalidRequest(found.reason.detail, found.field)
    if found.refused:
        raise InvalidRequest(found.refused[0].reason.detail, found.refused[0].reason.code)
    addresses = _addresses(found)
    return Request(
        found.idempotency_key,
        found.tenant,
        found.stream.value,
        addresses,
        value,
        normalise_address(addresses[0]).encode(),
        found,
    )


def send_request(idempotency_key: str, **fields: Unpack[Fields]) -> bytes:
    """An encoded ``SendRequest``, for a producer of one's own. Raises :class:`InvalidRequest`."""
    return request(idempotency_key, **fields).value


def idempotency_key(*parts: object) -> str:
    """A key for what is meant: ``idempotency_key("order", 4711, "shipped")`` is ``order/4711/shipped``.

    Different parts never give the same key: what would be ambiguous or too long becomes a hash of the parts.
    """
    texts = [str(part) for part in parts]
    if not texts or not all(texts):
        raise InvalidRequest("an idempotency key needs parts, none of them empty", "idempotency_key")
    joined = "/".join(texts)
    if len(joined) > _MAX_KEY or not joined.isprintable() or any("/" in text or "#" in text for text in texts):
        return f"key#{fingerprint(*(text.encode() for text in texts))}"
    return joined


def attachment(
    source: Path | str | bytes, filename: str = "", content_type: str = "", content_id: str = ""
) -> Attachment:
    """A file (or bytes with a ``filename``) to go along; with ``content_id`` for ``<img src="cid:…">`` in the HTML."""
    if isinstance(source, bytes):
        if not filename:
            raise InvalidRequest("bytes need a filename", "attachments")
        data = source
    else:
        data, filename = Path(source).read_bytes(), filename or Path(source).name
    return Attachment(filename, content_type or _type_of(filename), data, content_id=content_id)


def attachment_url(url: str, filename: str, content_type: str = "", content_id: str = "") -> Attachment:
    """A file that intake fetches when the request is taken in (https, or s3 where the deployment allows it)."""
    return Attachment(filename, content_type or _type_of(filename), url=url, content_id=content_id)


def _type_of(filename: str) -> str:
    return guess_type(filename)[0] or "application/octet-stream"


def _record(key: str, fields: Fields) -> dict[str, Any]:
    record: dict[str, Any] = {"idempotency_key": key, **fields}
    record["recipients"] = _mailboxes(record.pop("to", ()))
    sender = record.pop("sender", None)
    if sender is not None:
        record["from"] = _mailbox(sender)
    for name in _ADDRESSES:
        if name in record:
            record[name] = _mailboxes(record[name])
    for name in _MOMENTS:
        if record.get(name) is not None:
            record[name] = _epoch_ms(name, record[name])
    if "attachments" in record:
        record["attachments"] = [_of_attachment(one) for one in record["attachments"]]
    return record


def _mailboxes(given: Address | Iterable[Address]) -> list[dict[str, Any]]:
    return [_mailbox(address) for address in ([given] if isinstance(given, (str, Mapping)) else given)]


def _mailbox(address: Address) -> dict[str, Any]:
    if isinstance(address, Mapping):
        return dict(address)
    name, email = parseaddr(address) if "<" in address else ("", address)
    return {"email": email, "name": name}


def _epoch_ms(name: str, when: Any) -> Any:
    if not isinstance(when, datetime):
        return when
    if when.tzinfo is None:
        raise InvalidRequest(f"{name} has no time zone: say which 08:00 is meant", name)
    return round(when.timestamp() * 1000)


def _of_attachment(given: Attachment | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return dict(given)
    return {
        "filename": given.filename,
        "content_type": given.content_type,
        "data": None if given.url else given.data,
        "url": given.url or None,
        "content_id": given.content_id or None,
    }


def _addresses(found: SendRequest) -> tuple[str, ...]:
    """Every mailbox once, in the order of first mention: these are the messages."""
    mailboxes = [*(recipient.mailbox for recipient in found.recipients), *found.cc, *found.bcc]
    first: dict[str, str] = {}
    for mailbox in mailboxes:
        first.setdefault(normalise_address(mailbox.email), mailbox.email)
    return tuple(first.values())
