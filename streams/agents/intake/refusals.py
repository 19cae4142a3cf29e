"""Telling a sender that a request was refused, as far as the request says who that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from streams.core import ids
from streams.core.event import Reason
from streams.core.receipt import Facts, Receipt, ReceiptKind
from streams.core.request import DEFAULT_TENANT, MAX_RECIPIENTS, SendRequest
from streams.core.request_fields import is_name

_MAX_ADDRESS = 320  # of what an event shows; whatever stood there
_MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Known:
    """What is certain about a request, valid or not: enough to name its messages. ``facts`` lack the recipient."""

    facts: Facts
    emails: tuple[str, ...]


def known_of(request: SendRequest) -> Known:
    """What a valid request says of itself."""
    mailboxes = [r.mailbox.email for r in request.recipients] + [m.email for m in (*request.cc, *request.bcc)]
    emails = (*mailboxes, *(refused.email for refused in request.refused))
    facts = Facts(request.tenant, request.stream, request.idempotency_key, "", 0, request.tags, request.metadata)
    return Known(facts, emails)


def known_in(record: Mapping[str, Any], bulk: bool) -> Known | None:
    """What an invalid record still says: None without an idempotency key or anybody it was meant for, and where the
    tenant's name is none (of any length, and ids could be made with it that belong to others).
    """
    key, tenant = record.get("idempotency_key"), record.get("tenant") or DEFAULT_TENANT
    if not isinstance(key, str) or not key.strip() or len(key) > _MAX_KEY or not is_name(tenant):
        return None
    emails = tuple(_emails(record))[:MAX_RECIPIENTS]
    stream = "bulk" if bulk or record.get("stream") == "bulk" else "transactional"
    return Known(Facts(tenant, stream, key, "", 0), emails) if emails else None


def refusals(known: Known, emails: tuple[str, ...], reason: Reason, now_ms: int, secret: bytes) -> Iterator[Receipt]:
    """One receipt per mailbox. The same refusal again has the same id, so that it is folded once."""
    facts = known.facts
    cause = ids.fingerprint(reason.kind.encode(), reason.code.encode(), reason.detail.encode())
    for email in dict.fromkeys(emails):
        key = ids.recipient_key(facts.tenant, email, secret)
        yield Receipt(
            ids.message_id(facts.tenant, facts.idempotency_key, key),
            ReceiptKind.REJECTED,
            f"intake-{cause}",
            now_ms,
            reason=reason,
            facts=replace(facts, recipient=email[:_MAX_ADDRESS]),
        )


def _emails(record: Mapping[str, Any]) -> Iterator[str]:
    for name in ("recipients", "cc", "bcc"):
        for entry in record.get(name) or ():
            if entry["email"].strip():
                yield entry["email"]
