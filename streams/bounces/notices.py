"""Bounces in words only: qmail, exim, sendmail, Exchange, Domino, GroupWise, and hosts that say it in their language.

About half of all bounces have no status part (RFC 3464). Rules:

1. A mail is a notice because of a header or a sentence that its sender's software always writes (``MARKS``), or
   because a mailer daemon says in its subject that something was not delivered (``SUBJECTS``). Else it is none.
2. The copy of our mail is cut off first: its words are not the host's.
3. The recipient is where that kind of notice has it. Why is what the remote host said; if no reply is quoted, the words
   beside the address. What these do not tell stays unknown.
"""

from __future__ import annotations

import re

from streams.bounces.mail import Part, walk
from streams.bounces.notice_words import DELAYED, DELAYED_SUBJECT, EXPIRED, MARKS, REASONS, SENDERS, SUBJECTS
from streams.bounces.origin import ADDRESS, is_embedded
from streams.bounces.status import date_ms, why
from streams.bounces.verdict import Kind, Verdict
from streams.core.classification import Classification, classify, parse_enhanced_code, parse_reply_code
from streams.core.event import BounceType, ReasonKind
from streams.core.verp import trace

_MAX_TEXT = 65_536
_MAX_RECIPIENTS = 50
_EXCERPT = 1_500


_COPY = re.compile(
    r"(?im)^[ \t>*]{0,8}("
    r"-{2,80}[ \t]{0,8}(below this line is a copy|this is a copy of|enclosed is a copy|original message|unsent message"
    r"|returned|message header|the header of|forwarded|urspr\w+ nachricht|message d'origine)"
    r"|return-path:|received: from|original message headers?:?$"
    r")"
)
_QUOTED = re.compile(r"(?m)^[ \t]?>(?!>>).*\n?")  # what a person quotes; sendmail writes ">>> RCPT"

# Where a notice names its recipients, most telling first. The group is the address, as far as it can be one.
_BARE = r"[^\s<>()\[\]:;,\"]{1,80}@[^\s<>()\[\]:;,\"]{1,253}?"
_ADDR = rf"<?({_BARE})>?"
_PLACES = (
    re.compile(rf"(?m)^[ \t]{{0,40}}<({_BARE})>(?: \(expanded from [^)\n]{{0,200}}\))?:"),  # qmail, Postfix, Courier
    re.compile(
        r"(?im)(?:failed|reached|recipients?|following|errors|delivered to|address(?:es)?)[^\n]{0,80}:?[ \t-]{0,20}\n"
        rf"(?:[ \t]{{0,20}}\r?\n){{0,3}}[ \t'*-]{{0,40}}{_ADDR}'?[ \t]{{0,20}}(?:\r?\n|\(|on \d|:|-|\Z)"
    ),
    re.compile(rf"(?im)(?:your )?(?:message|e-?mail)\s{{1,3}}to\s{{1,3}}{_ADDR}\s{{1,3}}(?:could|can|was|has)"),
    re.compile(rf"(?i)deliver(?:ed)?(?: (?:your|the|this) (?:message|e-?mail))? to:?\s{{1,3}}{_ADDR}(?:[\s.,]|\Z)"),
    re.compile(rf"(?i)rcpt to:[ ]?{_ADDR}[\s>;)]"),
    re.compile(rf"(?m)^[ \t]{{0,40}}{_ADDR}[ \t]{{0,40}}$"),
)  # fmt: skip

_DAEMON = re.compile(r"(?i)(mailer-daemon|postmaster|abuse)@")
_REPLY = re.compile(
    r"(?:^|said:|says:|was:|replied:|returned|respon\w+:|reply:|error:|reason:|;|<<<|:|\(|'|\"|#)\s{0,4}['\"<(]?"
    r"((?:[45]\d\d[ -]{1,2}(?=[#\[(<]?\d?[A-Za-z\d<\[(])|[45]\.\d{1,3}\.\d{1,3}\s)[^\n]{0,400}(?:\n[^\n]{1,400}){0,2})",
    re.IGNORECASE | re.MULTILINE,
)


def says(mail: Part) -> str:
    """What the mail itself says: its own texts, without a copy of ours."""
    pieces = []
    for part in _own(mail):
        if part.body and (part.type.startswith("text/") or part is mail):
            pieces.append(part.text()[:_MAX_TEXT])
            if sum(map(len, pieces)) >= _MAX_TEXT:
                break
    text = "\n".join(pieces).replace("\r\n", "\n").replace("\xa0", " ").replace("’", "'")[:_MAX_TEXT]
    text = _QUOTED.sub("", text)
    copy = _COPY.search(text)
    return text[: copy.start()] if copy and copy.start() > 0 else text


def is_notice(mail: Part, text: str) -> bool:
    """Whether its software says that it is a bounce (or a delay)."""
    return bool(mail.all("x-failed-recipients") or MARKS.search(text))


def is_daemons_notice(mail: Part) -> bool:
    """Whether a mailer daemon says so in the subject."""
    sender = f"{mail.header('from')} {mail.header('sender')}"[:600]
    empty_path = "<>" in mail.all("return-path")
    return bool((empty_path or SENDERS.search(sender)) and SUBJECTS.search(mail.header("subject")[:300]))


def read_notice(mail: Part, text: str, fallback: str = "") -> tuple[Verdict, ...]:
    """One verdict per recipient; ``fallback`` is the recipient if the text names none."""
    delayed = bool(DELAYED.search(text) or DELAYED_SUBJECT.search(mail.header("subject")[:300]))
    listed = tuple(a for value in mail.all("x-failed-recipients") for a in ADDRESS.findall(value))
    addresses = tuple(dict.fromkeys(listed))[:_MAX_RECIPIENTS] or _named(text) or ((fallback,) if fallback else ("",))
    occurred_ms = date_ms(mail.header("date"))
    found = []
    for address in addresses:
        excerpt = _beside(text, address, addresses)
        kind = Kind.DELAYED if delayed and not listed else Kind.FAILED
        verdict, code, enhanced, said = _reply(excerpt) or _reply(text) or _unquoted(excerpt, text)
        reason = why(verdict, code, enhanced, said)
        if kind is Kind.DELAYED:
            found.append(Verdict(kind, address, reason, occurred_ms=occurred_ms))
        else:
            suppress = verdict.suppress and len(addresses) == 1
            found.append(Verdict(kind, address, reason, verdict.bounce_type, suppress, occurred_ms))
    return tuple(found)


def _own(mail: Part) -> list[Part]:
    """The parts that are not inside a returned mail."""
    inside: set[int] = set()
    own = []
    for part in walk(mail):
        if id(part) in inside or is_embedded(part):
            inside.update(id(child) for child in part.children)
            continue
        own.append(part)
    return own


def _named(text: str) -> tuple[str, ...]:
    for place in _PLACES:
        found = []
        for match in place.finditer(text):
            address = ADDRESS.search(match[1].strip("'\"."))
            if address and not _DAEMON.match(address[0]):
                found.append(address[0])
            if len(found) == _MAX_RECIPIENTS:
                break
        if found:
            return tuple(dict.fromkeys(found))
    told = {address for address in ADDRESS.findall(text) if not _DAEMON.match(address) and trace(address) is None}
    return tuple(told) if len(told) == 1 else ()


def _beside(text: str, address: str, addresses: tuple[str, ...]) -> str:
    """The words from one address to the next."""
    start = text.lower().find(address.lower()) if address else 0
    if start < 0:
        return text[:_EXCERPT]
    end = min((at for other in addresses if other != address and (at := text.find(other, start + 1)) > 0), default=None)
    return text[start : min(end or len(text), start + _EXCERPT)]


def _reply(text: str) -> tuple[Classification, int, str, str] | None:
    """The remote host's reply, where one is quoted: the most telling of the first few."""
    first = None
    for match in list(_REPLY.finditer(text))[:8]:
        said = match[1]
        code, enhanced = parse_reply_code(said), parse_enhanced_code(said)
        found = classify(code, enhanced, said), code, enhanced, said
        if found[0].kind is not ReasonKind.UNKNOWN:
            return found
        first = first or found
    return first


def _unquoted(excerpt: str, text: str) -> tuple[Classification, int, str, str]:
    """What the words beside the address say; a status code among them counts."""
    if EXPIRED.search(excerpt) or (excerpt and EXPIRED.search(text)):
        return Classification(ReasonKind.EXPIRED, BounceType.SOFT), 0, parse_enhanced_code(excerpt), excerpt
    bare = ADDRESS.sub(" ", excerpt)
    found = classify(0, "", bare)
    for pattern, verdict in REASONS:
        if found.kind is ReasonKind.UNKNOWN and pattern.search(bare):
            found = verdict
    return found, 0, parse_enhanced_code(bare), bare
