"""Replies of remote mail hosts, sorted into kinds of reason, kinds of bounce, and whether the address is dead.

Rules:

1. The reply code says what becomes of this attempt (4xx is never hard and never suppresses); the enhanced code and the
   text say why (RFC 3463; large hosts document the same enhanced code under both classes).
2. Knowledge lies in tables, read in this order: words that overrule their code, the enhanced code, words that explain a
   vague code, the vague code itself, the bare reply code. The first match decides.
3. What no table knows is ``UNKNOWN`` and suppresses nothing: guessing costs an address.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from streams.core.event import BounceType, ReasonKind

_TEXT_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Classification:
    """What a reply means. ``suppress``: mail to this address must stop."""

    kind: ReasonKind
    bounce_type: BounceType
    suppress: bool = False


def parse_reply_code(text: str) -> int:
    """The SMTP reply code a reply or an RFC 3464 diagnostic (``smtp; 550 …``) begins with, or 0."""
    match = _REPLY_CODE.match(text)
    return int(match[1]) if match else 0


def parse_enhanced_code(text: str) -> str:
    """The first enhanced status code (RFC 3463) in a reply, also in brackets or after ``#``; empty if there is none.

    A part of an IP address or of a version number is not taken for one.
    """
    match = _ENHANCED_CODE.search(text[:_TEXT_LIMIT])
    return f"{int(match[1])}.{int(match[2])}.{int(match[3])}" if match else ""


def classify(reply_code: int, enhanced_code: str, text: str) -> Classification:
    """Sort one remote reply.

    ``reply_code`` 0 and ``enhanced_code`` empty mean unknown; both are then sought in ``text``.
    """
    text = " ".join(text[:_TEXT_LIMIT].split())
    reply_code = reply_code or parse_reply_code(text)
    enhanced_code = parse_enhanced_code(enhanced_code) or parse_enhanced_code(text)
    found = (
        _overruling(enhanced_code, text)
        or _telling(enhanced_code)
        or _first(_WORDS, text)
        or _vague(enhanced_code)
        or _REPLY_CODES.get(reply_code)
        or _UNKNOWN
    )
    temporary = reply_code // 100 == 4 if reply_code else enhanced_code.startswith("4")
    return _softened(found) if temporary else found


def _softened(found: Classification) -> Classification:
    bounce = BounceType.BLOCK if found.bounce_type is BounceType.BLOCK else BounceType.SOFT
    return Classification(found.kind, bounce)


def _overruling(code: str, text: str) -> Classification | None:
    subject_detail = code[2:]
    for codes, pattern, verdict in _OVERRULING:
        if subject_detail in codes and pattern.search(text):
            return verdict
    return None


def _telling(code: str) -> Classification | None:
    if not code or code[2:] in _VAGUE:
        return None
    return _EXACT.get(code) or _DETAILS.get(code[2:]) or _by_range(code)


def _by_range(code: str) -> Classification | None:
    subject, _, detail = code[2:].partition(".")
    for wanted, low, high, verdict in _RANGES:
        if subject == wanted and low <= int(detail) <= high:
            return verdict
    return None


def _vague(code: str) -> Classification | None:
    return (_VAGUE.get(code[2:]) or _SUBJECTS.get(code[2:].partition(".")[0])) if code else None


def _first(rows: tuple[tuple[re.Pattern[str], Classification], ...], text: str) -> Classification | None:
    for pattern, verdict in rows:
        if pattern.search(text):
            return verdict
    return None


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_REPLY_CODE = re.compile(r"\s*(?:[A-Za-z][\w-]*;\s*)?([245]\d\d)(?=[\s-]|$)", re.ASCII)
_ENHANCED_CODE = re.compile(r"(?<![\w.])([245])\.(\d{1,3})\.(\d{1,3})(?!\w|\.\d)", re.ASCII)

_K, _B = ReasonKind, BounceType

_UNKNOWN = Classification(_K.UNKNOWN, _B.UNKNOWN)
_NO_MAILBOX = Classification(_K.BAD_MAILBOX, _B.HARD, suppress=True)
_MAYBE_NO_MAILBOX = Classification(_K.BAD_MAILBOX, _B.HARD)  # usually unknown, but one refusal is no proof
_NO_DOMAIN = Classification(_K.BAD_DOMAIN, _B.HARD, suppress=True)
_DISABLED = Classification(_K.MAILBOX_DISABLED, _B.HARD, suppress=True)
_FULL = Classification(_K.MAILBOX_FULL, _B.SOFT)
_TOO_LARGE = Classification(_K.MESSAGE_TOO_LARGE, _B.SOFT)
_RATE = Classification(_K.RATE_LIMITED, _B.SOFT)
_RATE_BLOCK = Classification(_K.RATE_LIMITED, _B.BLOCK)
_GREYLIST = Classification(_K.GREYLISTED, _B.BLOCK)
_SPAM = Classification(_K.SPAM, _B.BLOCK)
_REPUTATION = Classification(_K.REPUTATION, _B.BLOCK)
_AUTHENTICATION = Classification(_K.AUTHENTICATION, _B.BLOCK)
_POLICY = Classification(_K.POLICY, _B.BLOCK)
_CONTENT = Classification(_K.CONTENT, _B.BLOCK)
_SENDER = Classification(_K.CONFIGURATION, _B.BLOCK)
_LOOP = Classification(_K.CONFIGURATION, _B.SOFT)
_NETWORK = Classification(_K.NETWORK, _B.SOFT)
_EXPIRED = Classification(_K.EXPIRED, _B.SOFT)
_PROTOCOL = Classification(_K.INVALID_REQUEST, _B.UNKNOWN)

# Words that overrule the code in front of them: (subject.detail values, words, verdict).
_OVERRULING: tuple[tuple[frozenset[str], re.Pattern[str], Classification], ...] = (
    (frozenset({"2.1", "7.1"}), _words(r"too quickly|at a rate|rate limit"), _RATE),  # Gmail: one code, two meanings
    (frozenset({"3.4", "5.3", "2.2", "1.1", ""}), _words(r"too many recipients"), _RATE),  # RFC 5321 §4.5.3.1.10
    (frozenset({"4.5", "7.1"}), _words(r"daily .{0,20}limit|relay limit|sending limit"), _RATE),
    (frozenset({"7.0", "7.1"}), _words(r"greylist|graylist"), _GREYLIST),
    (frozenset({"1.10"}), _words(r"resolver\.adr|recipientnotfound"), _NO_MAILBOX),  # Microsoft 365
)

# Codes whose meaning does not depend on the class digit, as subject.detail.
_DETAILS: dict[str, Classification] = {
    "1.0": _NO_MAILBOX,
    "1.1": _NO_MAILBOX,
    "1.2": _NO_DOMAIN,
    "1.3": _NO_MAILBOX,
    "1.4": _NO_MAILBOX,
    "1.6": _NO_MAILBOX,
    "1.7": _SENDER,
    "1.8": _SENDER,
    "1.10": _NO_DOMAIN,  # null MX, RFC 7505
    "2.1": _DISABLED,
    "2.2": _FULL,
    "2.3": _TOO_LARGE,
    "3.4": _TOO_LARGE,
    "4.1": _NETWORK,
    "4.2": _NETWORK,
    "4.4": _NO_DOMAIN,
    "4.5": _NETWORK,
    "4.6": _LOOP,
    "4.7": _EXPIRED,
    "7.9": _AUTHENTICATION,
    "7.28": _RATE_BLOCK,
    "7.40": _AUTHENTICATION,
    "7.515": _AUTHENTICATION,
    "7.705": _RATE_BLOCK,
    "7.708": _RATE_BLOCK,
}

# Codes whose meaning does depend on it.
_EXACT: dict[str, Classification] = {
    "4.2.1": _RATE,  # mailbox busy, or receiving too quickly
    "5.4.1": _MAYBE_NO_MAILBOX,  # Microsoft's directory edge block
    "5.4.5": _RATE,  # Gmail: the sender's daily quota
}

# (subject, first detail, last detail): families of codes.
_RANGES: tuple[tuple[str, int, int, Classification], ...] = (
    ("7", 20, 27, _AUTHENTICATION),  # RFC 7372; Gmail uses 27 for SPF
    ("7", 29, 32, _AUTHENTICATION),  # Gmail: TLS, DKIM, DMARC, alignment
    ("7", 606, 649, _REPUTATION),  # Microsoft 365: banned sending address
)

# Codes that say little: words are asked first.
_VAGUE: dict[str, Classification] = {
    "0.0": _UNKNOWN,
    "1.0": _NO_MAILBOX,
    "2.0": _UNKNOWN,
    "3.0": _NETWORK,
    "4.0": _NETWORK,
    "5.0": _UNKNOWN,
    "6.0": _CONTENT,
    "7.0": _POLICY,
    "7.1": _POLICY,
}

# The subject alone, when the detail is new to us.
_SUBJECTS: dict[str, Classification] = {
    "1": _NO_MAILBOX,
    "2": _UNKNOWN,
    "3": _NETWORK,
    "4": _NETWORK,
    "5": _PROTOCOL,
    "6": _CONTENT,
    "7": _POLICY,
}

_REPLY_CODES: dict[int, Classification] = {
    421: _NETWORK,
    432: _NETWORK,
    451: _NETWORK,
    452: _FULL,
    521: _NO_DOMAIN,  # RFC 7504: the host takes no mail
    551: _MAYBE_NO_MAILBOX,
    552: _FULL,
    556: _NO_DOMAIN,
}

# Words, most telling first.
_WORDS: tuple[tuple[re.Pattern[str], Classification], ...] = (
    (_words(r"\bS20\d{8}\b|resolver\.adr|recip(ient)?notfound"), _NO_MAILBOX),  # Microsoft
    (_words(r"delivery error: dd|doesn'?t have a yahoo"), _NO_MAILBOX),
    (_words(r"\[?\bTSS(09|11)\b|permanently deferred"), _REPUTATION),  # Yahoo
    (_words(r"\bTSS?\d\d\b"), _RATE),
    (_words(r"\bPH\d\d\b"), _CONTENT),
    (_words(r"\bRP-00\d\b"), _RATE),  # Outlook.com
    (_words(r"\bSC-001\b"), _SPAM),
    (_words(r"\b(SC-00[2-4]|DY-00\d|OU-00\d)\b|\bS31[45]0\b"), _REPUTATION),
    (_words(r"greylist|graylist"), _GREYLIST),
    (
        _words(r"too old|delivery time expired|message expired|retry (timeout|time) exceeded|retries exhausted"),
        _EXPIRED,
    ),
    (_words(r"virus|malware|security (issue|threat)|executable|attachment type"), _CONTENT),
    (
        _words(r"\bdmarc\b|\bspf\b|\bdkim\b|unauthenticated|sender authentication|authentication policy"),
        _AUTHENTICATION,
    ),
    (
        _words(r"black ?list|block ?list|spamhaus|barracuda|\bdnsbl\b|\brbl\b|blocked using|reputation|banned"),
        _REPUTATION,
    ),
    (_words(r"\bspam|unsolicited|\bjunk\b|content rejected|nature of the content"), _SPAM),
    (_words(r"unusual rate|rate.?limit|too quickly|too many (connections|messages|recipients)|throttl"), _RATE),
    (_words(r"concurren\w+ (connection|limit)|relay limit|sending limit|daily quota"), _RATE),
    (_words(r"unresolvable (from|sender)|(from|sender) domain.{0,30}(resolv|not found|not exist|n't exist)"), _SENDER),
    (
        _words(r"domain.{0,20}(not found|n[o']t exist|unknown)|recipient domain|null mx|nxdomain"),
        _NO_DOMAIN,
    ),
    (_words(r"host (or domain name )?not found|unrouteable (domain|mail domain)|does ?n[o']t accept mail"), _NO_DOMAIN),
    (_words(r"too (large|big)|size limit|exceeds.{0,30}message size|message size exceed"), _TOO_LARGE),
    (
        _words(
            r"mailbox (is )?full|over ?quota|disk quota|quota ?exceeded|exceeded.{0,20}quota|out of storage|storage"
        ),
        _FULL,
    ),
    (_words(r"inactive|(account|mailbox|user|address).{0,20}(disabled|suspended|deactivated|closed)"), _DISABLED),
    (_words(r"(user|recipient|address|mailbox|account) (is )?unknown|unknown (user|recipient|address)"), _NO_MAILBOX),
    (
        _words(r"no such (user|recipient|mailbox|address|person)|no mailbox|not (a )?(valid|known) (user|mailbox)"),
        _NO_MAILBOX,
    ),
    (_words(r"(user|recipient|address|mailbox|account).{0,40}(not found|not exist|n't exist)"), _NO_MAILBOX),
    (_words(r"invalid (recipient|mailbox|user)|not a valid RFC|recipient address rejected: undeliv"), _NO_MAILBOX),
    (_words(r"relay(ing)? (access )?denied|policy|not authori[sz]ed|access denied|rejected by|prohibited"), _POLICY),
    (
        _words(r"connection (refused|timed out|lost|reset)|no route|timed? ?out|could not connect|lost connection"),
        _NETWORK,
    ),
    (_words(r"temporarily unavailable|try (again )?later|service unavailable|resources"), _NETWORK),
)
