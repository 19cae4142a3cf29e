"""What one transaction carries, and the commands that carry it. Pure.

Rules:

1. A command is one line without control characters, whatever the addresses are.
2. A message goes out with CRLF line ends only and dots doubled (RFC 5321 §4.5.2); a bare CR or LF inside would let one
   message end in another's middle.
3. Extensions are used where the server offers them; what needs one that it does not offer is refused here, before
   anything is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from streams.core.event import Reason, ReasonKind
from streams.core.outcome import Rejected, Scope

MAX_LINE = 998
"""Octets of a text line without its CRLF (RFC 5321 §4.5.3.1.6)."""

_BARE = re.compile(rb"\r\n|\n|\r")
_DOT = re.compile(rb"^\.", re.MULTILINE)
_LONG = re.compile(rb"[^\r\n]{%d}" % (MAX_LINE + 1))
_NOT_IN_PATH = re.compile(r"[\x00-\x20\x7f<>]")
_QUOTED_LOCAL = re.compile(r'"(?:[^"\\\x00-\x1f\x7f]|\\[ -~])*"')


@dataclass(frozen=True, slots=True)
class Envelope:
    """One recipient's transaction. ``sender`` empty is the null return path.

    ``content`` is the message as it was made, ``message_id`` its Message-ID without brackets (or empty). ``token`` is
    what a delivery report repeats as the envelope's id (RFC 3461), ASCII without blanks.
    """

    sender: str
    recipient: str
    content: bytes
    message_id: str = ""
    token: str = ""

    @property
    def needs_utf8(self) -> bool:
        """Whether only SMTPUTF8 (RFC 6531) can carry the addresses."""
        return not (self.sender.isascii() and self.recipient.isascii())


def refusal(envelope: Envelope, offers: Mapping[str, str]) -> Rejected | None:
    """Why this server cannot be given the message at all, or None."""
    for address in (envelope.sender, envelope.recipient):
        if address and not is_path(address):
            reason = Reason(ReasonKind.INVALID_ADDRESS, detail="the address cannot stand in an SMTP command")
            return Rejected(reason, Scope.RECIPIENT if address == envelope.recipient else Scope.MESSAGE)
    if envelope.needs_utf8 and "smtputf8" not in offers:
        detail = "the server does not offer SMTPUTF8, which an address beyond ASCII needs"
        return Rejected(Reason(ReasonKind.INVALID_ADDRESS, detail=detail), Scope.RECIPIENT)
    if not envelope.content.isascii() and "8bitmime" not in offers:
        detail = "the message has 8-bit text and the server does not offer 8BITMIME"
        return Rejected(Reason(ReasonKind.INVALID_REQUEST, detail=detail))
    limit = offers.get("size", "")
    if limit.isascii() and limit.isdigit() and 0 < int(limit[:18]) < len(envelope.content):
        detail = f"the message has {len(envelope.content)} bytes, the server takes {limit}"
        return Rejected(Reason(ReasonKind.MESSAGE_TOO_LARGE, detail=detail))
    return None


def is_path(address: str) -> bool:
    """Whether an address can stand between the brackets of ``MAIL FROM:<…>``."""
    local, at, domain = address.rpartition("@")
    if not (at and local and domain) or _NOT_IN_PATH.search(domain):
        return False
    return bool(_QUOTED_LOCAL.fullmatch(local)) or not _NOT_IN_PATH.search(local)


def long_line(content: bytes) -> bool:
    """Whether a line is longer than SMTP carries."""
    return _LONG.search(content) is not None


def commands(envelope: Envelope, offers: Mapping[str, str], size: int) -> tuple[bytes, bytes, bytes]:
    """MAIL, RCPT and DATA, each with its CRLF. ``size`` is what will be transmitted, undoubled."""
    mail = f"MAIL FROM:<{envelope.sender}>"
    if "size" in offers:
        mail += f" SIZE={size}"
    if "8bitmime" in offers and not envelope.content.isascii():
        mail += " BODY=8BITMIME"
    if envelope.needs_utf8:
        mail += " SMTPUTF8"
    if "dsn" in offers and envelope.token:
        mail += f" RET=HDRS ENVID={envelope.token}"
    return f"{mail}\r\n".encode(), f"RCPT TO:<{envelope.recipient}>\r\n".encode(), b"DATA\r\n"


def stuffed(content: bytes) -> bytes:
    """The content as it follows DATA, up to and without the final dot."""
    if b"\n" in content.replace(b"\r\n", b"") or b"\r" in content.replace(b"\r\n", b""):
        content = _BARE.sub(b"\r\n", content)
    if not content.endswith(b"\r\n"):
        content += b"\r\n"
    if content.startswith(b".") or b"\n." in content:
        content = _DOT.sub(b"..", content)
    return content
