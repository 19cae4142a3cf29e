"""What Mailgun reports about a message, in our words (webhooks, items of its events API, and the form of before 2018).

Rules:

1. Everything but ``event``, ``id`` and ``timestamp`` may be missing.
2. The signature of a webhook does not cover ``event-data``: of its content only our own ``message_id`` (by shape), the
   attempt and what it reports are used, never a URL to call or an account to act for.
3. A word that no table knows is reported in ``unknown_words``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from streams.core.classification import classify, parse_enhanced_code
from streams.core.event import Automated, BounceType, Reason, ReasonKind
from streams.core.ids import fingerprint, is_message_id
from streams.core.receipt import ReceiptKind
from streams.providers._payload import (
    address,
    detail,
    epoch_ms,
    json_object,
    mapping,
    no_brackets,
    sequence,
    text,
    whole_number,
)
from streams.providers.base import Reading, Sighting, Unreadable

_DAY_MS = 86_400_000
_MAX_ATTEMPT = 1_000_000
_MAX_FIELDS = 1000

KINDS: Mapping[str, ReceiptKind] = {
    "accepted": ReceiptKind.PROVIDER_SENT,
    "delivered": ReceiptKind.DELIVERED,
    "failed": ReceiptKind.BOUNCED,  # or deferred, or suppressed: see _failed
    "rejected": ReceiptKind.PROVIDER_REJECTED,
    "opened": ReceiptKind.OPENED,
    "clicked": ReceiptKind.CLICKED,
    "unsubscribed": ReceiptKind.UNSUBSCRIBED,
    "complained": ReceiptKind.COMPLAINED,
}

IGNORED = frozenset({"stored", "email_validation", "list_member_uploaded", "list_member_upload_error", "list_uploaded"})
"""Events that concern no message of ours."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a failure is to be read."""

    receipt: ReceiptKind
    kind: ReasonKind
    bounce_type: BounceType | None = None
    suppress: bool = False


_BEFORE, _OUT = ReceiptKind.PROVIDER_SUPPRESSED, ReceiptKind.BOUNCED

BY_REASON: Mapping[str, Verdict | None] = {
    "suppress-bounce": Verdict(_BEFORE, ReasonKind.SUPPRESSED_BOUNCE, suppress=True),
    "suppress-complaint": Verdict(_BEFORE, ReasonKind.SUPPRESSED_COMPLAINT, suppress=True),
    "suppress-unsubscribe": Verdict(_BEFORE, ReasonKind.SUPPRESSED_UNSUBSCRIBE),
    "old": Verdict(_OUT, ReasonKind.EXPIRED, BounceType.SOFT),
    "greylisted": Verdict(_OUT, ReasonKind.GREYLISTED, BounceType.BLOCK),
    "espblock": Verdict(_OUT, ReasonKind.REPUTATION, BounceType.BLOCK),
    "blacklisted": Verdict(_OUT, ReasonKind.REPUTATION, BounceType.BLOCK),
    "spam": Verdict(_OUT, ReasonKind.SPAM, BounceType.BLOCK),
    # these only say that it failed: code and text tell more
    "": None,
    "bounce": None,
    "delayed-bounce": None,
    "generic": None,
    "hardfail": None,
}

BY_CODE: Mapping[int, Verdict] = {
    605: Verdict(_BEFORE, ReasonKind.SUPPRESSED_BOUNCE, suppress=True),
    606: Verdict(_BEFORE, ReasonKind.SUPPRESSED_UNSUBSCRIBE),
    607: Verdict(_BEFORE, ReasonKind.SUPPRESSED_COMPLAINT, suppress=True),
    498: Verdict(_OUT, ReasonKind.NETWORK, BounceType.SOFT),  # no MX
    499: Verdict(_OUT, ReasonKind.NETWORK, BounceType.SOFT),  # connect failed or timed out
}
_INTERNAL = Verdict(_OUT, ReasonKind.PROVIDER_ERROR, BounceType.SOFT)  # any other 6xx

AUTOMATED: Mapping[str, Automated] = {
    "": Automated.NONE,
    "apple": Automated.PROXY,
    "gmail": Automated.PROXY,
    "generic": Automated.SCANNER,
}

LEGACY_EVENTS: Mapping[str, str] = {"dropped": "failed", "bounced": "failed"}
"""Names of before 2018 that mean a permanent failure; the others have kept theirs."""


def read_events(payload: bytes, received_ms: int) -> Reading | Unreadable:
    """The sighting in one webhook, or in one item of the events API."""
    if payload.lstrip()[:1] != b"{":
        return _read_legacy(payload, received_ms)
    body = json_object(payload)
    if body is None:
        return Unreadable("not a JSON object, or a key is repeated in it")
    event = body.get("event-data", body)
    if not isinstance(event, dict) or not text(event.get("event")):
        return Unreadable("no event-data with an event")
    return read_event(event, received_ms)


def read_event(event: Mapping[str, Any], received_ms: int) -> Reading:
    """The sighting in one ``event-data`` object."""
    name = text(event.get("event"), 64).lower()
    if name in IGNORED:
        return Reading()
    kind = KINDS.get(name)
    if kind is None:
        return Reading(unknown_words=(f"event:{name}",))
    told = _tell(name, kind, event)
    occurred_ms = epoch_ms(event.get("timestamp"))
    variables = mapping(event.get("user-variables"))
    echoed = text(variables.get("message_id"), 64)
    headers = mapping(mapping(event.get("message")).get("headers"))
    client = mapping(event.get("client-info"))
    sighting = Sighting(
        kind=told.kind,
        sighting_id=_identity(event, name, occurred_ms),
        occurred_ms=occurred_ms or received_ms,
        message_id=echoed if is_message_id(echoed) else "",
        attempt=whole_number(variables.get("attempt"), _MAX_ATTEMPT),
        provider_message_id=no_brackets(headers.get("message-id")),
        recipient=address(event.get("recipient")) or address(headers.get("to")),
        reason=told.reason,
        bounce_type=told.bounce_type,
        suppress=told.suppress,
        url=text(event.get("url")),
        ip=text(event.get("ip"), 64),
        user_agent=text(client.get("user-agent"), 512),
        automated=told.automated,
    )
    return Reading((sighting,), tuple(told.unknown))


@dataclass(slots=True)
class _Told:
    kind: ReceiptKind
    reason: Reason | None = None
    bounce_type: BounceType | None = None
    suppress: bool = False
    automated: Automated = Automated.NONE
    unknown: list[str] = field(default_factory=list)


def _tell(name: str, kind: ReceiptKind, event: Mapping[str, Any]) -> _Told:
    told = _Told(kind)
    match name:
        case "failed":
            _failed(told, event)
        case "rejected":
            reject = mapping(event.get("reject"))
            told.reason = Reason(
                ReasonKind.POLICY, "rejected", "", detail(reject.get("reason"), reject.get("description"))
            )
        case "complained":
            told.suppress = True
            told.reason = Reason(ReasonKind.COMPLAINT, name)
        case "unsubscribed":
            told.suppress = True  # of bulk mail: see core.suppression
            told.reason = Reason(ReasonKind.UNSUBSCRIBE, name)
        case "opened" | "clicked":
            _automated(told, mapping(event.get("client-info")))
    return told


def _failed(told: _Told, event: Mapping[str, Any]) -> None:
    status = mapping(event.get("delivery-status"))
    word = text(event.get("reason"), 64).lower()
    said = text(status.get("message")) or text(status.get("description"))
    code = whole_number(status.get("code"), 999)
    enhanced = (
        parse_enhanced_code(text(status.get("enhanced-code")))
        or parse_enhanced_code(text(status.get("bounce-code")))
        or parse_enhanced_code(text(status.get("code")))
        or parse_enhanced_code(said)
    )
    verdict = BY_REASON.get(word) or BY_CODE.get(code) or (_INTERNAL if code >= 600 else None)
    if word not in BY_REASON:
        told.unknown.append(f"reason:{word}")
    if verdict is None:
        found = classify(code if 200 <= code < 600 else 0, enhanced, said)
        verdict = Verdict(ReceiptKind.BOUNCED, found.kind, found.bounce_type, found.suppress)
    told.reason = Reason(verdict.kind, str(code) if code else word, enhanced, detail(said, word))
    severity = text(event.get("severity"), 32).lower()
    if severity not in {"temporary", "permanent"}:
        told.unknown.append(f"severity:{severity}")
    if severity == "temporary" or (severity != "permanent" and 400 <= code < 500):
        told.kind = ReceiptKind.DEFERRED
        return
    told.kind, told.bounce_type, told.suppress = verdict.receipt, verdict.bounce_type, verdict.suppress


def _automated(told: _Told, client: Mapping[str, Any]) -> None:
    bot = text(client.get("bot"), 64).lower()
    if bot not in AUTOMATED:
        told.unknown.append(f"bot:{bot}")
    told.automated = AUTOMATED.get(bot, Automated.SCANNER)
    if not bot and text(client.get("client-type"), 64).lower() == "robot":
        told.automated = Automated.SCANNER


def _identity(event: Mapping[str, Any], name: str, occurred_ms: int) -> str:
    given = text(event.get("id"), 128)
    if given:
        return f"{given}.{occurred_ms // _DAY_MS}"  # an id is unique only within a day
    headers = mapping(mapping(event.get("message")).get("headers"))
    facts = (name, str(occurred_ms), no_brackets(headers.get("message-id")), text(event.get("recipient")))
    return fingerprint(*(fact.encode() for fact in (*facts, text(event.get("url")))))


def _read_legacy(payload: bytes, received_ms: int) -> Reading | Unreadable:
    form = form_fields(payload)
    first = dict(reversed(form or []))
    if not first.get("event"):
        return Unreadable("neither JSON nor a form with an event")
    return read_event(_modern(first), received_ms)


def form_fields(payload: bytes) -> list[tuple[str, str]] | None:
    """The fields of an urlencoded form in their order, None if it is too large to be one."""
    try:
        return parse_qsl(payload.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        return None


def _modern(form: Mapping[str, str]) -> dict[str, Any]:
    """A form of before 2018 as ``event-data``."""
    name = form["event"].lower()
    variables = {key: form[key] for key in ("message_id", "attempt") if key in form} or _header_variables(form)
    return {
        "event": LEGACY_EVENTS.get(name, name),
        "severity": "permanent",
        "reason": form.get("reason", ""),
        "timestamp": form.get("timestamp", ""),
        "recipient": form.get("recipient", ""),
        "url": form.get("url", ""),
        "ip": form.get("ip", ""),
        "client-info": {"user-agent": form.get("user-agent", ""), "client-type": form.get("client-type", "")},
        "delivery-status": {
            "code": form.get("code", ""),
            "message": form.get("error", "") or form.get("notification", ""),
            "description": form.get("description", ""),
        },
        "message": {"headers": {"message-id": form.get("Message-Id") or form.get("message-id", "")}},
        "user-variables": variables,
    }


def _header_variables(form: Mapping[str, str]) -> Mapping[str, Any]:
    try:
        headers = json.loads(form.get("message-headers", "[]"))
    except (ValueError, RecursionError):
        return {}
    for header in sequence(headers):
        if isinstance(header, list) and len(header) == 2 and text(header[0]).lower() == "x-mailgun-variables":
            return json_object(text(header[1], 16_384)) or {}
    return {}
