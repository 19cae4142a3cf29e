"""Mail files (``.eml``, RFC 5322) for ``streams send --eml``: who sends, who receives, or why the file is refused.

Rules:

1. The bytes are sent as they are, so that signed mail stays signed; reading them changes nothing.
2. A file is refused with a sentence, never with an exception: whatever the bytes are, the answer is a value.
3. Refused is what cannot be delivered (no sender, no recipient) and what a recipient would not see as it was meant
   (broken headers, a broken or cut-off multipart). Everything else is none of our business.
"""

from __future__ import annotations

import email
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email import errors as defects
from email.header import decode_header, make_header
from email.message import Message as Mail
from email.policy import compat32
from email.utils import getaddresses

from streams.core.address import address_fault
from streams.core.ids import normalise_address
from streams.core.message import Mailbox

MAX_BYTES = 25 * 1024 * 1024
"""Above this no provider takes a mail."""

_DEFECTS: dict[type[defects.MessageDefect], str] = {
    defects.FirstHeaderLineIsContinuationDefect: "the first line of the headers is indented, as if it went on",
    defects.MisplacedEnvelopeHeaderDefect: "a line beginning with 'From ' stands in the middle of the headers",
    defects.MissingHeaderBodySeparatorDefect: "a line among the headers is none (no empty line after them?)",
    defects.NoBoundaryInMultipartDefect: "it says multipart, but names no boundary",
    defects.StartBoundaryNotFoundDefect: "it says multipart, but its boundary never appears",
    defects.CloseBoundaryNotFoundDefect: "its last boundary is missing (the file is cut off?)",
    defects.MultipartInvariantViolationDefect: "it says multipart, but has no parts",
    defects.InvalidMultipartContentTransferEncodingDefect: "a multipart has a transfer encoding, which is not allowed",
}


@dataclass(frozen=True, slots=True)
class MailFile:
    """A mail that can be sent: the envelope as we understood it, and the untouched bytes."""

    sender: Mailbox
    recipients: tuple[Mailbox, ...]
    mime: bytes
    subject: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a file cannot be sent."""

    reason: str


def read_mail(raw: bytes, sender: str = "", recipients: Sequence[str] = ()) -> MailFile | Refused:
    """The mail in ``raw``; ``sender`` and ``recipients`` replace those of its headers as the envelope."""
    if not raw.strip():
        return Refused("the file is empty")
    if len(raw) > MAX_BYTES:
        return Refused(f"{len(raw)} bytes are too large (at most {MAX_BYTES})")
    if b"\0" in raw:
        return Refused("it contains NUL bytes: not a mail")
    try:
        mail = email.message_from_bytes(raw, policy=compat32)
    except (ValueError, LookupError, RecursionError, AttributeError, IndexError, TypeError) as exc:
        return Refused(f"it cannot be parsed as a mail ({type(exc).__name__})")
    if not mail.keys():
        return Refused("it has no headers: not a mail")
    problem = _structure(mail)
    if problem:
        return Refused(problem)
    return _envelope(mail, raw, sender, recipients)


def _structure(mail: Mail) -> str:
    try:
        found = [type(defect) for part in mail.walk() for defect in part.defects]
    except RecursionError:
        return "its parts are nested too deep"
    return next((_DEFECTS[kind] for kind in _DEFECTS if kind in found), "")


def _envelope(mail: Mail, raw: bytes, sender: str, recipients: Sequence[str]) -> MailFile | Refused:
    named = {"From": [sender] if sender else _values(mail, "From"), "To": list(recipients)}
    if not sender and len(named["From"]) > 1:
        return Refused("it has more than one From header; name the sender with --from")
    if not recipients:
        if _values(mail, "Bcc"):
            return Refused("it has a Bcc header, which every recipient would see; remove it, or name them with --to")
        named["To"] = [*_values(mail, "To"), *_values(mail, "Cc")]
    senders = _mailboxes(named["From"])
    if isinstance(senders, Refused):
        return Refused(f"From: {senders.reason}")
    if not senders:
        return Refused("it has no sender: no address in From; name one with --from")
    to = _mailboxes(named["To"])
    if isinstance(to, Refused):
        return Refused(f"To: {to.reason}")
    if not to:
        return Refused("it has no recipient: no address in To or Cc; name one with --to")
    subject = " ".join(_text(next(iter(_values(mail, "Subject")), "")).split())
    return MailFile(senders[0], to, raw, subject)


def _values(mail: Mail, name: str) -> list[str]:
    return [str(value) for value in mail.get_all(name, [])]


def _mailboxes(values: Iterable[str]) -> tuple[Mailbox, ...] | Refused:
    """Each address once, in the order of the header."""
    found: dict[str, Mailbox] = {}
    for name, address in getaddresses([" ".join(value.split()) for value in values]):
        if not address:
            continue  # an empty group (`undisclosed-recipients:;`)
        if fault := address_fault(address):
            return Refused(f"{address!r} {fault}")
        found.setdefault(normalise_address(address), Mailbox(address, _text(name)))
    return tuple(found.values())


def _text(value: str) -> str:
    try:
        return str(make_header(decode_header(value)))
    except (LookupError, ValueError, UnicodeError):
        return value
