"""What may stand in an address and in a header: syntax only, no lookup.

Rules:

1. A fault is text for a person; no fault is the empty string.
2. Nothing that ends a line, and no other control character, ever reaches a header (RFC 5322 §2.2; also the separators
   that Python's own line splitting honours).
3. Addresses are RFC 5321 mailboxes with a domain name; letters beyond ASCII are fine (RFC 6531, RFC 5890).
"""

from __future__ import annotations

import re

MAX_ADDRESS = 254  # RFC 5321 §4.5.3.1.3, less the angle brackets
MAX_LOCAL = 64  # §4.5.3.1.1
MAX_NAME = 320
MAX_HEADER_VALUE = 4096

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_plain = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])").fullmatch
_unicode_local = re.compile(
    r"[^\x00-\x20\x7f-\xa0\"(),:;<>@\[\\\]\s.]+(?:\.[^\x00-\x20\x7f-\xa0\"(),:;<>@\[\\\]\s.]+)*"
)
_quoted_local = re.compile(r'"(?:[ !#-\[\]-~]|\\[ -~])*"')
_domain = re.compile(rf"(?:{_LABEL}\.)+[A-Za-z](?:[A-Za-z0-9-]{{0,61}}[A-Za-z0-9])")
_control = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search
_header_name = re.compile(r"[!-9;-~]{1,76}").fullmatch

RESERVED_HEADERS = frozenset(
    {
        *("authentication-results", "bcc", "cc", "date", "delivered-to", "dkim-signature", "from", "message-id"),
        *("mime-version", "received", "reply-to", "return-path", "sender", "subject", "to"),
    }
)
"""Headers (lower case) that we or the provider write; a sender may not."""
_RESERVED_PREFIXES = ("content-", "resent-", "arc-", "x-mailgun-", "x-ses-", "x-streams-")


def address_fault(address: str) -> str:
    """Why ``address`` is no mailbox that mail can be sent to."""
    if len(address) <= MAX_LOCAL and _plain(address):
        return ""
    local, at, domain = address.rpartition("@")
    if not at or not local or not domain:
        return "is not an address: it needs one part before and one after the @"
    if _control(address):
        return "contains a control character"
    if not _local_is_fine(local):
        return "has a part before the @ that is not allowed there"
    try:
        ascii_domain = domain.encode("idna").decode("ascii") if not domain.isascii() else domain
    except UnicodeError:
        return "has a domain that is no domain name"
    if not _domain.fullmatch(ascii_domain):
        return "has a domain that is no domain name"
    if len(local.encode()) > MAX_LOCAL or len(local.encode()) + 1 + len(ascii_domain) > MAX_ADDRESS:
        return f"is too long: at most {MAX_LOCAL} bytes before the @ and {MAX_ADDRESS} in all"
    return ""


def line_fault(text: str, longest: int = MAX_HEADER_VALUE) -> str:
    """Why ``text`` cannot stand in a header (a display name, a subject, a value)."""
    if text.isascii() and text.isprintable() and len(text) <= longest:
        return ""
    if _control(text):
        return "contains a line break or another control character"
    return f"is longer than {longest} characters" if len(text) > longest else ""


def header_fault(name: str) -> str:
    """Why a sender may not set a header of this name."""
    if not _header_name(name):
        return "is no header name (letters, digits and hyphens, at most 76)"
    lower = name.lower()
    if lower in RESERVED_HEADERS or lower.startswith(_RESERVED_PREFIXES):
        return "is a header that is written for you and may not be set"
    return ""


def _local_is_fine(local: str) -> bool:
    if local[0] == '"':
        return _quoted_local.fullmatch(local) is not None
    return _unicode_local.fullmatch(local) is not None
