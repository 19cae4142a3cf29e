"""What lands in a bounce mailbox and is no bounce: auto-replies, read receipts, challenges, moderation (RFC 3834).

Asked only of mails without a status part: many MTAs mark their real bounces ``Auto-Submitted: auto-replied``.
"""

from __future__ import annotations

import re

from streams.bounces.mail import Part, walk
from streams.bounces.verdict import Form

_AUTO_SUBMITTED = re.compile(r"auto-(replied|generated|notified)", re.IGNORECASE)
_AUTO_HEADERS = ("x-autoreply", "x-autorespond", "x-autoresponse", "x-autoresponder", "x-mail-autoreply", "x-vacation")
_PRECEDENCE = ("auto_reply", "auto-reply")
_AWAY = re.compile(
    r"^\W*(re:\s*)?(automatic (reply|response)|auto(mated)?[ -]?(reply|response)|out[ -]of[ -](the[ -])?office|ooo\b"
    r"|away from|vacation"
    r"|abwesen(d|heit)|automatische antwort|r[ée]ponse automatique|absence du bureau|respuesta autom[áa]tica"
    r"|fuera de la oficina|risposta automatica|fuori sede|resposta autom[áa]tica|automatisch antwoord"
    r"|afwezig|automatyczna odpowied|автоответ|自动回复|自動返信|不在)",
    re.IGNORECASE,
)
_CHALLENGE = re.compile(
    r"(confirm|verify|prove) (that )?(you(r e-?mail| are| sent)|this (message|e-?mail)|you are (a )?(human|person))"
    r"|challenge[- ]response|one[- ]time confirmation|sender verification|please confirm your (message|e-?mail)",
    re.IGNORECASE,
)
_MODERATION = re.compile(
    r"awaits moderator|(is|been) held (for|until)|waiting for (approval|moderation)|moderator approval"
    r"|requires? (the )?(moderator|approval)",
    re.IGNORECASE,
)


def is_disposition(mail: Part) -> bool:
    """Whether it is a read receipt (RFC 8098)."""
    if mail.type == "multipart/report" and "disposition" in mail.parameters.get("report-type", "").lower():
        return True
    return any(part.type == "message/disposition-notification" for part in walk(mail))


def reply_form(mail: Part, text: str) -> Form | None:
    """Which kind of reply the mail is, None if it is none of these. ``text`` is the beginning of what it says."""
    subject = mail.header("subject")[:300]
    first = text[:2_000]
    if _CHALLENGE.search(subject) or (_CHALLENGE.search(first) and "whitelist" in first.lower()):
        return Form.CHALLENGE
    if _MODERATION.search(subject) or (mail.header("list-id") and _MODERATION.search(first)):
        return Form.MODERATION
    if _AUTO_SUBMITTED.search(mail.header("auto-submitted")) or any(mail.header(name) for name in _AUTO_HEADERS):
        return Form.AUTO_REPLY
    if mail.header("precedence").strip().lower() in _PRECEDENCE or _AWAY.search(subject):
        return Form.AUTO_REPLY
    suppressed = mail.header("x-auto-response-suppress").strip().lower()
    if suppressed and mail.header("in-reply-to") and mail.header("precedence").strip().lower() == "bulk":
        return Form.AUTO_REPLY
    return None
