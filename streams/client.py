"""Building requests in Python, for programs that produce to ``send-requests`` themselves.

    from streams.client import send_request
    value = send_request("order-4711", to="ann@example.com", sender="shop@example.com", subject="Hi", text="Hello")
    producer.send("send-requests", value, key=b"ann@example.com")

The value is checked completely before it is encoded: what intake would refuse raises :class:`InvalidRequest` here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from email.utils import parseaddr
from typing import Any

from streams.core.request import Invalid, read_request
from streams.serde.public import decode_request, encode_request

Address = str | Mapping[str, Any]
"""``ann@example.com``, ``Ann <ann@example.com>``, or ``{"email": …, "name": …, "data": …}``."""


class InvalidRequest(ValueError):
    """``field`` names what is wrong with the request."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(detail)
        self.field = field


def send_request(
    idempotency_key: str, *, to: Address | Iterable[Address], sender: Address | None = None, **fields: Any
) -> bytes:
    """An encoded ``SendRequest``; ``fields`` are the schema's own. Raises :class:`InvalidRequest`."""
    several = [to] if isinstance(to, (str, Mapping)) else list(to)
    record: dict[str, Any] = {
        "idempotency_key": idempotency_key,
        "recipients": [_mailbox(address) for address in several],
        **fields,
    }
    for name in ("cc", "bcc", "reply_to"):
        if name in fields:
            record[name] = [_mailbox(address) for address in fields[name]]
    if sender is not None:
        record["from"] = _mailbox(sender)
    try:
        value = encode_request(record)
    except ValueError as exc:
        raise InvalidRequest(str(exc), "") from exc
    decoded = decode_request(value)
    assert isinstance(decoded, dict)
    found = read_request(decoded)
    if isinstance(found, Invalid):
        raise InvalidRequest(found.reason.detail, found.field)
    if found.refused:
        raise InvalidRequest(found.refused[0].reason.detail, found.refused[0].reason.code)
    return value


def _mailbox(address: Address) -> dict[str, Any]:
    if isinstance(address, Mapping):
        return dict(address)
    name, email = parseaddr(address) if "<" in address else ("", address)
    return {"email": email, "name": name}
