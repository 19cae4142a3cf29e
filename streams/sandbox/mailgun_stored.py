"""Mailgun's stored messages: shown and sent again by their key, while they are kept.

A copy that is sent again keeps its variables, tags and subject, gets a new message id and goes to the addresses of the
form field `to`. Nothing is kept for it: the record is read back from the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from streams.sandbox.forms import Form
from streams.sandbox.ledger import Accepted, Ledger
from streams.sandbox.mailgun_events import storage_key
from streams.sandbox.mailgun_text import Refused, bare_addresses
from streams.sandbox.recent import Recent

_MOST: Final = 200_000
"""Records looked through for a key; older ones are no longer stored."""


class StoredMessages:
    """Of all domains. `keep_days` as the plan of the account."""

    def __init__(self, ledger: Ledger, recent: Recent, keep_days: float, now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._recent = recent
        self._keep_ms = int(keep_days * 86_400_000)
        self._now_ms = now_ms

    def find(self, domain: str, key: str) -> Accepted:
        """Raises Refused (404) for a message that is not stored (any more)."""
        now_ms = self._now_ms()
        for seen, record in enumerate(self._ledger.accepted_until("mailgun", now_ms)):
            if seen >= _MOST or record.accepted_ms < now_ms - self._keep_ms:
                break
            if record.domain == domain and storage_key(record) == key:
                return record
        raise Refused(404, "Message not found")

    def show(self, record: Accepted, accept: str) -> web.Response:
        """As JSON; `Accept: message/rfc2822` asks for the whole message as `body-mime`."""
        copy = self._recent.rendered(record.call_id, record.recipient) or {}
        shown: dict[str, Any] = {
            "sender": record.sender,
            "From": record.sender,
            "recipients": record.recipient,
            "To": ", ".join(copy.get("to", [record.recipient])),
            "Subject": record.subject,
            "Message-Id": f"<{record.provider_message_id}>",
            "X-Mailgun-Variables": msgspec.json.encode(record.variables).decode(),
        }
        if accept == "message/rfc2822":
            shown["body-mime"] = copy.get("mime") or _mime(record, copy)
        else:
            shown |= {"body-plain": copy.get("text", ""), "body-html": copy.get("html", ""), "attachments": []}
        return web.Response(body=msgspec.json.encode(shown), content_type="application/json")


def recipients(form: Form) -> list[str]:
    """To whom it is sent again. Raises Refused."""
    given = [value for value in form.all("to") if value.strip()]
    if not given:
        raise Refused(400, "to parameter is missing")
    return bare_addresses(given, "to")


def _mime(record: Accepted, copy: dict[str, Any]) -> str:
    return (
        f"From: {record.sender}\r\nTo: {record.recipient}\r\nSubject: {record.subject}\r\n"
        f"Message-Id: <{record.provider_message_id}>\r\n\r\n{copy.get('text') or copy.get('html') or ''}\r\n"
    )
