"""Variable envelope return paths: an address for bounces that says which message and which attempt came back.

``b+<message id>.<attempt>[.<mac>]@bounces.example.com`` (facts: RFC 3464 bounces go to the envelope sender). Rules:

1. Lower case throughout, and read case-insensitively: hosts fold local parts, and a message id has no upper case.
2. At most 64 octets of local part (RFC 5321 §4.5.3.1.1), or nothing is made.
3. What stands before the message id is not read: forwarders rewrite it (``prvs=``, ``SRS0=``), some drop ``b+``.
4. The mac proves that the address is ours: 50 bits of HMAC-SHA-256, since anybody can send a bounce. With several keys
   the first signs and all verify, so that a key can be changed.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

from streams.core.ids import is_message_id

MAX_LOCAL_PART = 64

_LONGEST_TEXT = 131_072
_MOST_TOKENS = 64
_MAC_CHARS = 10
_MAX_ATTEMPT = 9_999
_OURS = re.compile(
    r"(?<![a-z2-7])([a-z2-7]{20}-[a-z2-7]{20})\.([1-9]\d{0,3})(?:\.([a-z2-7]{10}))?(?=[@=>\s]|$)",
    re.ASCII | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Trace:
    """Which attempt an address or a Message-ID belongs to. ``signed``: a key of ours vouches for it."""

    message_id: str
    attempt: int
    signed: bool = False


def return_path(domain: str, message_id: str, attempt: int, key: bytes = b"") -> str:
    """The envelope sender of one attempt.

    ``domain`` is where bounces are received (``bounces.example.com``), or a whole mailbox with sub-addressing
    (``back@example.com`` gives ``back+…@example.com``). Raises ValueError if ``message_id`` is not of our shape, the
    attempt is not 1 to 9,999, or the local part would be too long.
    """
    mailbox, at, host = domain.rpartition("@")
    local = f"{mailbox if at else 'b'}+{_token(message_id, attempt, key)}"
    if len(local) > MAX_LOCAL_PART:
        raise ValueError(f"a return path at {domain} would have {len(local)} octets before the @, at most 64 are safe")
    return f"{local}@{host}"


def message_id_header(domain: str, message_id: str, attempt: int, key: bytes = b"") -> str:
    """A Message-ID that :func:`trace` reads out of a returned header, where the envelope sender is not ours."""
    return f"<{_token(message_id, attempt, key)}@{domain}>"


def parse(address: str) -> tuple[str, int] | None:
    """(message id, attempt) of a return path or Message-ID of ours, whoever made it; None if it is none."""
    found = trace(address)
    return (found.message_id, found.attempt) if found else None


def trace(text: str, keys: Sequence[bytes] = ()) -> Trace | None:
    """The first token of ours in ``text`` (an address, a header's value); a signed one before an unsigned one.

    A wrong mac is no proof, but no reason to forget the id either: ``signed`` is False then.
    """
    best: Trace | None = None
    for match in islice(_OURS.finditer(text[:_LONGEST_TEXT]), _MOST_TOKENS):
        message_id, attempt = match[1].lower(), int(match[2])
        if not is_message_id(message_id):
            continue
        signed = any(hmac.compare_digest(_mac(message_id, attempt, key), (match[3] or "").lower()) for key in keys)
        if signed:
            return Trace(message_id, attempt, signed=True)
        best = best or Trace(message_id, attempt)
    return best


def _token(message_id: str, attempt: int, key: bytes) -> str:
    if not is_message_id(message_id):
        raise ValueError(f"{message_id!r} is not one of our message ids")
    if not 1 <= attempt <= _MAX_ATTEMPT:
        raise ValueError(f"attempt {attempt} is not between 1 and {_MAX_ATTEMPT}")
    return f"{message_id}.{attempt}.{_mac(message_id, attempt, key)}" if key else f"{message_id}.{attempt}"


def _mac(message_id: str, attempt: int, key: bytes) -> str:
    digest = hmac.digest(key, f"{message_id}.{attempt}".encode(), sha256)
    return b32encode(digest)[:_MAC_CHARS].decode("ascii").lower()
