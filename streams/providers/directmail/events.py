"""What DirectMail reports about a message, in our words.

The same facts come in two languages (the classic text, EventBridge's CloudEvents) and in several wrappings: bare, in an
MNS topic's envelope (XML or JSON), in an MNS queue's message, each perhaps in base64. Rules:

1. The identity of a sighting is made of content (message, recipient, what happened), because queues deliver twice and
   both languages may be switched on.
2. Our id comes from ``X-Notify-Message-ID`` or from our own ``Message-ID`` (``msg_id``); else ``env_id`` is looked up.
3. Classic times name no zone: when the queue got the notification counts, and where no queue tells, when we did.
4. ``failed_type`` decides; the remote host's words only where it says nothing. What no table knows is ``UNKNOWN``,
   counted, and suppresses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from streams.core import verp
from streams.core.classification import classify, parse_enhanced_code, parse_reply_code
from streams.core.event import BounceType, Reason, ReasonKind
from streams.core.ids import fingerprint, is_message_id, normalise_address
from streams.core.receipt import ReceiptKind
from streams.providers import _mns
from streams.providers._payload import address, detail, iso_ms, json_object, mapping, no_brackets, text, whole_number
from streams.providers.base import Reading, Sighting, Unreadable
from streams.providers.directmail import classic
from streams.providers.directmail.vocabulary import EVENTS, FAILED_TYPES, PROVEN_DEAD, STATUSES, UNKNOWN, Verdict

_MAX_WRAPPINGS = 4
_MAX_MESSAGES = 16
_LONGEST = 8_192
_CHINA = timezone(timedelta(hours=8))
_IDS = ("x-notify-message-id", "x-user-notify-message-id")


@dataclass(frozen=True, slots=True)
class _Note:
    """One notification out of its wrappings: field names as the classic text has them. ``told_ms`` is the trusted
    clock.
    """

    about: str
    fields: Mapping[str, object]
    our_id: str
    told_ms: int
    word: str
    fallback_id: str


def read_events(payload: bytes, received_ms: int) -> Reading | Unreadable:
    """All sightings in one payload, whichever way it came."""
    try:
        written = payload.decode("utf-8")
    except UnicodeDecodeError:
        return Unreadable("not UTF-8")
    return _unwrap(written, received_ms, "", 0)


def _unwrap(written: str, told_ms: int, outer_id: str, depth: int) -> Reading | Unreadable:
    written = written.strip("\ufeff \t\r\n")
    if depth > _MAX_WRAPPINGS:
        return Unreadable("wrapped too often")
    if written.startswith("<"):
        return _xml(written, told_ms, depth)
    if written.startswith("{"):
        return _json(written, told_ms, outer_id, depth)
    found = classic.fields(written)
    if found is not None:
        return _read_classic(found, told_ms, outer_id)
    decoded = _from_base64(written)
    if decoded:
        return _unwrap(decoded, told_ms, outer_id, depth + 1)
    return Unreadable("neither key=value nor JSON nor an MNS message")


def _xml(written: str, told_ms: int, depth: int) -> Reading | Unreadable:
    messages = _mns.messages(written)
    if messages is None:
        return Unreadable("XML, but no MNS message")
    readings = [_message(message, told_ms, depth) for message in messages[:_MAX_MESSAGES]]
    for reading in readings:
        if isinstance(reading, Unreadable):
            return reading
    good = [reading for reading in readings if isinstance(reading, Reading)]
    return Reading(
        tuple(sighting for reading in good for sighting in reading.sightings),
        tuple(dict.fromkeys(word for reading in good for word in reading.unknown_words)),
    )


def _message(message: Mapping[str, object], told_ms: int, depth: int) -> Reading | Unreadable:
    """What lies in a topic's envelope or in a queue's message; the queue's clock is trusted."""
    body = message.get("Message", message.get("MessageBody"))
    if not isinstance(body, str):
        return Unreadable("an MNS message without a body")
    when = message.get("PublishTime", message.get("EnqueueTime"))
    published_ms = whole_number(when, 253_402_300_799_000)
    return _unwrap(body, published_ms or told_ms, text(message.get("MessageId"), 128), depth + 1)


def _json(written: str, told_ms: int, outer_id: str, depth: int) -> Reading | Unreadable:
    body = json_object(written)
    if body is None:
        return Unreadable("not a JSON object, or a key is repeated in it")
    if isinstance(body.get("data"), dict):
        return _read_cloud_event(body, told_ms)
    if "TopicName" in body or "MessageBody" in body:
        return _message(body, told_ms, depth)
    return Unreadable("JSON, but neither an event of DirectMail nor an MNS message")


def _from_base64(written: str) -> str:
    """The text in strict base64 that looks like a notification; empty if it is none."""
    decoded = _mns.from_base64(written)
    return decoded if decoded[:1] in ("{", "<") or classic.fields(decoded) is not None else ""


# ---------------------------------------------------------------------------------------------- the two languages


def _read_classic(found: Mapping[str, str], told_ms: int, outer_id: str) -> Reading | Unreadable:
    word = text(found.get("event"), 64)
    about = EVENTS.get(word) or EVENTS.get(word.lower())
    if about is None and not word and ("failed_type" in found or "status" in found):
        about = "deliver"
    return _read(
        _Note(about or "", found, found.get("X-Notify-Message-ID", ""), told_ms, word, outer_id), about is not None
    )


def _read_cloud_event(body: Mapping[str, object], told_ms: int) -> Reading | Unreadable:
    word = text(body.get("type"), 64)
    about = EVENTS.get(word)
    data = mapping(body["data"])
    headers = {str(name).lower(): value for name, value in mapping(data.get("header")).items()}
    headers |= {name: data[key] for key in data for name in _IDS if str(key).lower() == name}
    our_id = next((found for name in _IDS if (found := text(headers.get(name), 512))), "")
    times = (body.get("time"), body.get("aliyunpublishtime"))
    when = next((iso_ms(time) for time in times if _names_zone(time)), 0)
    note = _Note(about or "", data, our_id, when or told_ms, word, text(body.get("id"), 128))
    return _read(note, about is not None)


def _names_zone(time: object) -> bool:
    written = text(time, 40)
    return bool(written) and (written[-1] in "zZ" or bool(re.search(r"[+-]\d\d:?\d\d\Z", written)))


# ---------------------------------------------------------------------------------------------- one notification


def _read(note: _Note, known: bool) -> Reading | Unreadable:
    if not known:
        return Reading(unknown_words=(f"event:{note.word}",)) if note.word else Unreadable("no event, no status")
    match note.about:
        case "deliver":
            return _delivery(note)
        case "complaint":
            reason = Reason(ReasonKind.COMPLAINT, note.word, "", detail(note.fields.get("err_msg")))
            return Reading((_sighting(note, ReceiptKind.COMPLAINED, reason, suppress=True),))
        case "unsubscribe":
            reason = Reason(ReasonKind.UNSUBSCRIBE, note.word)
            return Reading((_sighting(note, ReceiptKind.UNSUBSCRIBED, reason, suppress=True),))
        case "open":
            return Reading((_sighting(note, ReceiptKind.OPENED, None, moment=_operated(note)),))
        case "click":
            url = text(note.fields.get("url"), _LONGEST)
            moment = f"{_operated(note)}\n{url}"
            return Reading((_sighting(note, ReceiptKind.CLICKED, None, moment=moment, url=url),))
        case _:
            return Reading()


def _delivery(note: _Note) -> Reading:
    verdict, unknown = _verdict(note)
    failed_type = text(note.fields.get("failed_type"), 64)
    said, code = _said(note)
    if verdict.receipt is ReceiptKind.DELIVERED:
        return Reading((_sighting(note, ReceiptKind.DELIVERED, None),), unknown)
    enhanced = parse_enhanced_code(said)
    bounce_type, suppress, kind = verdict.bounce_type, verdict.suppress, verdict.kind
    if verdict.refine and (code or said):
        found = classify(code, enhanced, said)
        if found.kind is not ReasonKind.UNKNOWN:
            kind, bounce_type = found.kind, found.bounce_type
            suppress = found.suppress and found.kind in PROVEN_DEAD
    shown = failed_type or text(note.fields.get("err_code"), 64)
    reason = Reason(kind, shown, enhanced, detail(said))
    return Reading((_sighting(note, verdict.receipt, reason, bounce_type, suppress=suppress),), unknown)


def _verdict(note: _Note) -> tuple[Verdict, tuple[str, ...]]:
    """By ``failed_type``; by ``status`` where there is none; with the word that no table knows."""
    failed_type, status = text(note.fields.get("failed_type"), 64).strip(), text(note.fields.get("status"), 16).strip()
    if failed_type:
        found = FAILED_TYPES.get(failed_type)
        return (found, ()) if found else (UNKNOWN, (f"failed_type:{failed_type}",))
    if status in STATUSES:
        return STATUSES[status], ()
    if note.word.endswith((":Succeed", ":SendSuccessfully")) or text(note.fields.get("err_code"), 8) == "250":
        return FAILED_TYPES["SendOk"], ()
    return UNKNOWN, (f"status:{status}",) if status else ()


def _said(note: _Note) -> tuple[str, int]:
    """The remote host's words, and its reply code; an internal code (such as 524) is no reply."""
    said = text(note.fields.get("err_msg"))
    code = parse_reply_code(said)
    if not code:
        code = whole_number(note.fields.get("err_code"), 599)
        code = code if code // 100 in (4, 5) and code != 524 else 0  # 524: DNS failure
    return said, code


def _ours(echoed: str, msg_id: str) -> tuple[str, int]:
    """(message id, attempt) out of what DirectMail repeats; empty and 0 if nothing of it is ours."""
    trace = verp.trace(echoed) or verp.trace(msg_id)
    if trace is not None:
        return trace.message_id, trace.attempt
    bare = echoed.strip()
    return (bare, 0) if is_message_id(bare) else ("", 0)


def _operated(note: _Note) -> str:
    """When somebody opened or clicked, so that both languages say the same: only to tell one act from another."""
    written = text(note.fields.get("operate_time") or note.fields.get("deliver_time"), 40).strip()
    if not written:
        return str(note.told_ms)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        return written
    zone = _CHINA if text(note.fields.get("region"), 32).startswith("cn-") else UTC
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return str(int(moment.timestamp()))


def _sighting(
    note: _Note,
    kind: ReceiptKind,
    reason: Reason | None,
    bounce_type: BounceType | None = None,
    *,
    suppress: bool = False,
    moment: str = "",
    url: str = "",
) -> Sighting:
    fields = note.fields
    env_id = text(fields.get("env_id"), 128).strip()
    msg_id = no_brackets(fields.get("msg_id") or fields.get("msgid"))
    recipient = address(text(fields.get("rcpt"), 998).strip())
    message_id, attempt = _ours(note.our_id, msg_id)
    parts = (env_id or msg_id or note.fallback_id, normalise_address(recipient), kind.value)
    facts = (reason.code if reason else "", moment)
    return Sighting(
        kind=kind,
        sighting_id=fingerprint(*(part.encode("utf-8", "replace") for part in (*parts, *facts))),
        occurred_ms=note.told_ms,
        message_id=message_id,
        attempt=attempt,
        provider_message_id=env_id or msg_id,
        recipient=recipient,
        reason=reason,
        bounce_type=bounce_type,
        suppress=suppress,
        url=url,
        ip=text(fields.get("ip"), 64),
        user_agent=text(fields.get("user_agent") or fields.get("ua"), 512),
    )
