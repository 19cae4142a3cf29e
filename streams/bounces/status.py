"""Delivery status notifications: ``message/delivery-status`` into one verdict per recipient (RFC 3464).

Rules:

1. ``Action`` says what became of the mail; where it is missing or unknown, the class of ``Status`` does.
2. ``Diagnostic-Code`` says why, and ``Status`` only where that is silent: MTAs write ``5.0.0`` beside ``550 5.1.1``.
   Failed with a temporary code is a retry that expired: soft.
3. ``Original-Recipient`` is the address that we know; ``Final-Recipient`` may be where an alias led.
4. One mail of ours has one recipient. A report about several is about a list's members: none of them is our recipient's
   death.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from streams.bounces.mail import Part, decoded, groups, readable, walk
from streams.bounces.verdict import Kind, Verdict
from streams.core.classification import Classification, classify, parse_enhanced_code, parse_reply_code
from streams.core.event import BounceType, Reason, ReasonKind

STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")

ACTIONS: Mapping[str, Kind] = {
    "failed": Kind.FAILED,
    "failure": Kind.FAILED,
    "expired": Kind.FAILED,
    "delayed": Kind.DELAYED,
    "delivered": Kind.DELIVERED,
    "relayed": Kind.RELAYED,
    "expanded": Kind.EXPANDED,
    "deliverable": Kind.RELAYED,
}
"""RFC 3464 §2.3.3, and words that MTAs use instead."""

_BY_CLASS: Mapping[str, Kind] = {"5": Kind.FAILED, "4": Kind.DELAYED, "2": Kind.DELIVERED}
_STATUS = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})(?!\d)")
_TYPED = re.compile(r"\s*[A-Za-z][\w.-]{0,40}\s*;\s*(.*)", re.DOTALL)
_HEX = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_DETAIL = 300
_LATEST_MS = 253_402_300_799_000


def status_parts(mail: Part) -> tuple[Part, ...]:
    """The machine-readable parts, wherever a forwarder has put them."""
    return tuple(part for part in walk(mail) if part.type in STATUS_TYPES)


def read_status(part: Part) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """The verdicts in a status part, and the words in it that nobody knows."""
    verdicts, unknown = [], []
    for fields in groups(_body(part)):
        if not {"final-recipient", "original-recipient", "action", "status"} & fields.keys():
            continue
        if not {"final-recipient", "original-recipient"} & fields.keys() and "reporting-mta" in fields:
            continue
        verdict, word = _recipient(fields)
        verdicts.append(verdict)
        if word:
            unknown.append(word)
    return _of_several(_once(verdicts)), tuple(unknown)


def why(found: Classification, code: int, enhanced: str, said: str) -> Reason:
    """The reason of a classified reply."""
    return Reason(found.kind, str(code) if code else "", enhanced, one_line(said))


def one_line(text: str) -> str:
    """Text for a person, short and without anything that a terminal would obey."""
    line = " ".join(text[:2_000].split())[:_DETAIL]
    return line if line.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in line)


def date_ms(value: str) -> int:
    """RFC 5322 date-time as epoch milliseconds, 0 if it is none."""
    try:
        moment = parsedate_to_datetime(value[:100])
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        found = round(moment.timestamp() * 1000)
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return 0
    return found if 0 < found < _LATEST_MS else 0


def address_of(value: str) -> str:
    """The address of ``rfc822; a@example.net``, also in brackets, or as ``utf-8`` (RFC 6533 §3)."""
    typed = _TYPED.match(value)
    written = readable((typed[1] if typed else value).strip())
    written = _HEX.sub(_unescaped, written)
    if "<" in written:
        written = written.partition("<")[2].partition(">")[0]
    written = written.strip().strip("<>'\"").strip()
    return written[:320] if "@" in written and not re.search(r"\s", written) else ""


def _unescaped(match: re.Match[str]) -> str:
    point = int(match[1], 16)
    return chr(point) if point < 0x11_0000 and not 0xD800 <= point < 0xE000 else "\ufffd"


def _body(part: Part) -> bytes:
    """Header fields, whatever the part's own charset or wrapping."""
    return part.children[0].body if part.children else decoded(part).encode("utf-8", "replace")


def _recipient(fields: Mapping[str, str]) -> tuple[Verdict, str]:
    status = _STATUS.match(fields.get("status", ""))
    code = f"{int(status[1])}.{int(status[2])}.{int(status[3])}" if status else ""
    word = re.split(r"[\s(;]", fields.get("action", "").strip().lower(), maxsplit=1)[0][:40]
    kind = ACTIONS.get(word) or _BY_CLASS.get(code[:1], Kind.UNKNOWN)
    address = address_of(fields.get("original-recipient", "")) or address_of(fields.get("final-recipient", ""))
    verdict = Verdict(kind, address, occurred_ms=date_ms(fields.get("last-attempt-date", "")))
    if kind in (Kind.FAILED, Kind.DELAYED):
        comment = fields.get("status", "").partition("(")[2].rpartition(")")[0]
        verdict = _judged(verdict, code, fields.get("diagnostic-code", "") or comment, expired=word == "expired")
    return verdict, f"action:{word}" if word and word not in ACTIONS else ""


def _judged(verdict: Verdict, status: str, diagnostic: str, *, expired: bool) -> Verdict:
    typed = _TYPED.match(diagnostic)
    said = readable(typed[1] if typed else diagnostic)
    reply = parse_reply_code(said)
    told = parse_enhanced_code(said)
    if told and reply and told[0] != str(reply)[0]:
        code = told  # the reply code says what becomes of it, the enhanced code why (see classification)
    else:
        code = told or ("" if reply and status.endswith(".0.0") else status)
    found = classify(reply, code, said)
    if not reply and status.startswith("4"):
        found = classify(400, code, said)  # given up after retries: never hard
    if found.kind is ReasonKind.UNKNOWN and (expired or (verdict.kind is Kind.FAILED and status.startswith("4"))):
        found = Classification(ReasonKind.EXPIRED, BounceType.SOFT)
    reason = why(found, reply, code or status, said)
    if verdict.kind is Kind.DELAYED:
        return replace(verdict, reason=reason)
    return replace(verdict, reason=reason, bounce_type=found.bounce_type, suppress=found.suppress)


def _once(verdicts: list[Verdict]) -> list[Verdict]:
    """Without a recipient that is told twice in the same words."""
    return list({(v.kind, v.recipient.lower(), v.reason): v for v in verdicts}.values())


def _of_several(verdicts: list[Verdict]) -> tuple[Verdict, ...]:
    if len({verdict.recipient.lower() for verdict in verdicts}) > 1:
        return tuple(replace(verdict, suppress=False) for verdict in verdicts)
    return tuple(verdicts)
