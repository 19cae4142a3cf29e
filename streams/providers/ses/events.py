"""What SES reports about a message, in our words.

The same objects come three ways: in an SNS envelope, bare (raw delivery, Firehose), in an EventBridge event; and in
two formats: event publishing has ``eventType``, identity notifications have ``notificationType`` and no tags.

Rules:

1. The identity of a sighting is made of content (message, kind, recipient, feedback id or time), because with both
   formats switched on everything is told twice.
2. A published bounce is final. ``Transient`` means this message failed and the address stays good.
3. AWS calls a policy block permanent: a 5.7.x diagnostic overrules it before an address is suppressed.
4. A word that no table knows is reported in ``unknown_words``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from streams.core.classification import classify, parse_enhanced_code, parse_reply_code
from streams.core.event import Automated, BounceType, Reason, ReasonKind
from streams.core.ids import fingerprint, is_message_id, normalise_address
from streams.core.receipt import ReceiptKind
from streams.providers._payload import address, detail, iso_ms, json_object, mapping, sequence, text, whole_number
from streams.providers.base import Reading, Sighting, Unreadable
from streams.providers.ses.vocabulary import (
    BOUNCES,
    COMPLAINTS,
    DELAYS,
    EVENTS,
    INFORMATION,
    NOT_HARD,
    BounceVerdict,
    automated,
)

_MAX_ATTEMPT = 1_000_000
_MAX_RECIPIENTS = 100
_VALIDATED = "EmailValidationSuppressed"
_FOR_A_PERSON = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})
"""Envelopes that say that a subscription is not as it should be."""
_ACTS = frozenset({ReceiptKind.OPENED, ReceiptKind.CLICKED})


def read_events(payload: bytes, received_ms: int, *, suppress_invalid: bool = False) -> Reading | Unreadable:
    """All sightings in one payload, whichever way it came."""
    body = json_object(payload)
    if body is None:
        return Unreadable("not a JSON object, or a key is repeated in it")
    if "Message" in body and "TopicArn" in body:
        if text(body.get("Type")) in _FOR_A_PERSON:
            return Reading(unknown_words=(f"sns:{body['Type']}",))
        inner = json_object(text(body["Message"], 1_048_576))
        if inner is None:
            return Reading()  # SES greets a new topic in plain words
        body = inner
    elif "detail-type" in body and isinstance(body.get("detail"), dict):
        if text(body["detail-type"]) in INFORMATION:
            return Reading()
        body = body["detail"]
    return _read(body, received_ms, suppress_invalid=suppress_invalid)


@dataclass(frozen=True, slots=True)
class _About:
    """What every sighting of one payload shares."""

    kind: ReceiptKind
    mail: Mapping[str, Any]
    event: Mapping[str, Any]
    occurred_ms: int
    identity: str
    suppress_invalid: bool


def _read(body: Mapping[str, Any], received_ms: int, *, suppress_invalid: bool) -> Reading | Unreadable:
    word = text(body.get("eventType"), 64) or text(body.get("notificationType"), 64)
    if not word:
        return Unreadable("neither eventType nor notificationType")
    if word not in EVENTS:
        return Reading(unknown_words=(f"event:{word}",))
    kind, key = EVENTS[word]
    mail, event = mapping(body.get("mail")), mapping(body.get(key))
    if not text(mail.get("messageId")):
        return Unreadable("no mail.messageId")
    when = event.get("timestamp") or mail.get("timestamp")
    identity = text(event.get("feedbackId")) or text(when) or word
    about = _About(kind, mail, event, iso_ms(when) or received_ms, identity, suppress_invalid)
    unknown: list[str] = []
    sightings = tuple(_told(about, word, unknown))
    return Reading(sightings, tuple(dict.fromkeys(unknown)))


def _told(about: _About, word: str, unknown: list[str]) -> Iterator[Sighting]:
    event = about.event
    match word:
        case "Bounce":
            yield from _bounced(about, unknown)
        case "Complaint":
            yield from _complained(about, unknown)
        case "DeliveryDelay":
            yield from _delayed(about, unknown)
        case "Delivery":
            recipients = [text(r, 998) for r in sequence(event.get("recipients"))] or _destination(about)
            yield from (_sighting(about, r) for r in recipients[:_MAX_RECIPIENTS])
        case "Reject":
            reason = Reason(ReasonKind.CONTENT, word, "", detail(event.get("reason")))
            yield from (_sighting(about, r, reason) for r in _destination(about))
        case "Rendering Failure":
            reason = Reason(ReasonKind.RENDERING, word, "", detail(event.get("errorMessage")))
            yield from (_sighting(about, r, reason) for r in _destination(about))
        case "Subscription":
            if _opted_out(event):
                reason = Reason(ReasonKind.UNSUBSCRIBE, text(event.get("source"), 64), "", "")
                yield _sighting(about, _only(about), reason, suppress=True)  # of bulk mail: see core.suppression
        case "Open" | "Click":  # they name no recipient
            yield _sighting(about, _only(about))
        case _:
            yield from (_sighting(about, r) for r in _destination(about))


def _bounced(about: _About, unknown: list[str]) -> Iterator[Sighting]:
    event = about.event
    major, minor = text(event.get("bounceType"), 64), text(event.get("bounceSubType"), 64)
    verdict = BOUNCES.get((major, minor))
    if verdict is None:
        unknown.append(f"bounce:{major}/{minor}")
        verdict = BOUNCES.get((major, "General")) or BOUNCES["Undetermined", "Undetermined"]
    for who, status, said in _recipients(about, "bouncedRecipients"):
        code, enhanced = _codes(status, said)
        found = _refined(verdict, code, enhanced, said)
        suppress = found.suppress or (about.suppress_invalid and minor == _VALIDATED)
        reason = Reason(found.kind, f"{major}/{minor}", enhanced, detail(said))
        yield _sighting(about, who, reason, found.bounce_type, suppress=suppress, kind=found.receipt)


def _refined(verdict: BounceVerdict, code: int, enhanced: str, said: str) -> BounceVerdict:
    """What the recipient's own diagnostic adds to AWS's word; an empty one adds nothing."""
    if not verdict.refine or not (code or enhanced or said):
        return verdict
    found = classify(code, enhanced, said)
    if found.kind is ReasonKind.UNKNOWN:
        return verdict
    if found.bounce_type is BounceType.BLOCK:
        return BounceVerdict(verdict.receipt, found.kind, BounceType.BLOCK)
    if verdict.bounce_type is BounceType.HARD and found.kind not in NOT_HARD:
        kind = found.kind if found.bounce_type is BounceType.HARD else verdict.kind
        return BounceVerdict(verdict.receipt, kind, verdict.bounce_type, verdict.suppress)
    return BounceVerdict(verdict.receipt, found.kind, BounceType.SOFT)


def _complained(about: _About, unknown: list[str]) -> Iterator[Sighting]:
    event = about.event
    word = text(event.get("complaintFeedbackType"), 64).lower()
    if word not in COMPLAINTS:
        unknown.append(f"complaint:{word}")
    verdict = COMPLAINTS.get(word, COMPLAINTS[""])
    if verdict is None:  # not-spam: a complaint is taken back
        return
    sub = text(event.get("complaintSubType"), 64)
    for who, _, _ in _recipients(about, "complainedRecipients"):
        if "SuppressionList" in sub:
            reason = Reason(ReasonKind.SUPPRESSED_COMPLAINT, sub, "", "")
            yield _sighting(about, who, reason, suppress=True, kind=ReceiptKind.PROVIDER_SUPPRESSED)
        else:
            reason = Reason(verdict.kind, word or "complaint", "", detail(event.get("userAgent")))
            yield _sighting(about, who, reason, suppress=verdict.suppress)


def _delayed(about: _About, unknown: list[str]) -> Iterator[Sighting]:
    word = text(about.event.get("delayType"), 64)
    if word not in DELAYS:
        unknown.append(f"delay:{word}")
    for who, status, said in _recipients(about, "delayedRecipients"):
        code, enhanced = _codes(status, said)
        kind = DELAYS.get(word, ReasonKind.UNKNOWN)
        if kind is ReasonKind.UNKNOWN:
            kind = classify(code, enhanced, said).kind
        yield _sighting(about, who, Reason(kind, word, enhanced, detail(said)))


def _recipients(about: _About, key: str) -> Iterable[tuple[str, str, str]]:
    """Address, status and diagnostic of each recipient; the message's own where SES names none."""
    listed = [mapping(item) for item in sequence(about.event.get(key))][:_MAX_RECIPIENTS]
    found = [(address(r.get("emailAddress")), text(r.get("status"), 32), text(r.get("diagnosticCode"))) for r in listed]
    return found or [(who, "", "") for who in _destination(about)]


def _codes(status: str, said: str) -> tuple[int, str]:
    """Reply code and enhanced code; the diagnostic is more exact than the status (RFC 3464)."""
    return parse_reply_code(said), parse_enhanced_code(said) or parse_enhanced_code(status)


def _opted_out(event: Mapping[str, Any]) -> bool:
    preferences = mapping(event.get("newTopicPreferences"))
    topics = [mapping(topic) for topic in sequence(preferences.get("topicSubscriptionStatus"))]
    return preferences.get("unsubscribeAll") is True or any(t.get("subscriptionStatus") == "OptOut" for t in topics)


def _destination(about: _About) -> list[str]:
    return [text(who, 998) for who in sequence(about.mail.get("destination"))][:_MAX_RECIPIENTS] or [""]


def _only(about: _About) -> str:
    destination = _destination(about)
    return destination[0] if len(destination) == 1 else ""


def _tag(about: _About, name: str) -> str:
    values = sequence(mapping(about.mail.get("tags")).get(name))
    return text(values[0], 64) if values else ""


def _sighting(
    about: _About,
    recipient: str,
    reason: Reason | None = None,
    bounce_type: BounceType | None = None,
    *,
    suppress: bool = False,
    kind: ReceiptKind | None = None,
) -> Sighting:
    provider_message_id = text(about.mail.get("messageId"), 256)
    who = address(recipient)
    echoed = _tag(about, "message_id")
    url = text(about.event.get("link"))
    agent = text(about.event.get("userAgent"), 512) if about.kind in _ACTS else ""
    facts = (provider_message_id, about.kind.value, normalise_address(who) if who else "", about.identity, url)
    return Sighting(
        kind=kind or about.kind,
        sighting_id=fingerprint(*(fact.encode() for fact in facts)),
        occurred_ms=about.occurred_ms,
        message_id=echoed if is_message_id(echoed) else "",
        attempt=whole_number(_tag(about, "attempt"), _MAX_ATTEMPT),
        provider_message_id=provider_message_id,
        recipient=who,
        reason=reason,
        bounce_type=bounce_type,
        suppress=suppress,
        url=url,
        ip=text(about.event.get("ipAddress"), 64),
        user_agent=agent,
        automated=automated(agent) if agent else Automated.NONE,
    )
