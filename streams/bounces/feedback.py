"""Feedback reports: ``message/feedback-report`` into a verdict (RFC 5965, RFC 6591).

The recipient is often blacked out; then only the id in the returned headers says who complained.
"""

from __future__ import annotations

from collections.abc import Mapping

from streams.bounces.mail import Part, decoded, groups, walk
from streams.bounces.status import address_of, date_ms
from streams.bounces.verdict import Kind, Verdict
from streams.core.event import Reason, ReasonKind

FEEDBACK_TYPE = "message/feedback-report"

TYPES: Mapping[str, Kind] = {
    "abuse": Kind.COMPLAINT,
    "opt-out": Kind.UNSUBSCRIBE,
    "opt-out-list": Kind.UNSUBSCRIBE,
    "not-spam": Kind.NOT_SPAM,
    "fraud": Kind.REPORT,
    "virus": Kind.REPORT,
    "other": Kind.REPORT,
    "auth-failure": Kind.REPORT,
}
_REASONS = {Kind.COMPLAINT: ReasonKind.COMPLAINT, Kind.UNSUBSCRIBE: ReasonKind.UNSUBSCRIBE}


def feedback_part(mail: Part) -> Part | None:
    """The machine-readable part, if there is one."""
    return next((part for part in walk(mail) if part.type == FEEDBACK_TYPE), None)


def read_feedback(part: Part) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict, and the feedback type if nobody knows it. One mail of ours has one recipient: the first counts."""
    fields: dict[str, str] = {}
    for group in groups(decoded(part).encode("utf-8", "replace")):
        fields = {**group, **fields}
    word = fields.get("feedback-type", "").partition("(")[0].partition(";")[0].strip().lower()[:40]
    kind = TYPES.get(word, Kind.UNKNOWN)
    address = address_of(fields.get("original-rcpt-to", "")) or address_of(fields.get("removal-recipient", ""))
    occurred_ms = date_ms(fields.get("arrival-date", "") or fields.get("received-date", ""))
    reason = Reason(_REASONS[kind], word) if kind in _REASONS else None
    verdict = Verdict(kind, address, reason, None, kind in _REASONS, occurred_ms)
    return verdict, () if word in TYPES else (f"feedback-type:{word}",)
