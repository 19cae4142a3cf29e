"""Identities: who is the same message, the same mailbox, the same event.

Rules:

1. Every id is a deterministic function of what the sender gave us, so that a redelivered request, receipt or webhook
   meets its original instead of becoming a second one.
2. A ``message_id`` is ``<recipient key>-<request hash>``: its partition can be told from the id alone, and it carries
   no address in the clear. It fits an SES tag (``[A-Za-z0-9_-]``) and a Mailgun variable.
3. ``NORMALISER_VERSION`` and the partition count are frozen for the life of a deployment: changing either moves keys
   away from their state. Both are checked at start.
"""

from __future__ import annotations

import re
from contextlib import suppress
from hashlib import blake2b
from zlib import crc32

NORMALISER_VERSION = 1
"""Version of :func:`normalise_address`; stored with the topics and compared at start."""

_escaped = re.compile(r"\\(.)")
_dot_atom = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*").fullmatch  # RFC 5322
_KEY_CHARS = 20  # 100 bits in base32
_MESSAGE_ID = re.compile(rf"[a-z2-7]{{{_KEY_CHARS}}}-[a-z2-7]{{{_KEY_CHARS}}}")
_SEPARATOR = "\x1f"


def normalise_address(address: str) -> str:
    """The form of an address under which two spellings are one mailbox.

    Case is folded in both parts (no large mailbox host distinguishes it, and Mailgun drops case duplicates), the domain
    becomes its A-label. Quotes that are not needed go (RFC 5321 §4.1.2: ``"ann"`` and ``ann`` are one mailbox), or they
    would be a way around a suppression. Sub-addressing (``user+tag``) stays: it is a different address to the sender.
    """
    local, at, domain = address.strip().rpartition("@")
    if not at:
        return address.strip().lower()
    domain = domain.rstrip(".").lower()
    if not domain.isascii():
        with suppress(UnicodeError):  # validation refuses it elsewhere; identity still needs a stable text
            domain = domain.encode("idna").decode("ascii")
    if local[:1] == '"':
        local = _unquoted(local)
    return f"{local.lower()}@{domain}"


def _unquoted(local: str) -> str:
    bare = _escaped.sub(r"\1", local[1:-1])
    return bare if _dot_atom(bare) else f'"{bare}"'


def recipient_key(tenant: str, address: str, secret: bytes = b"") -> str:
    """20 lower-case base32 characters: the key of everything that is kept per tenant and mailbox.

    ``secret`` (at most 64 bytes) makes the hash a keyed one, so that an address cannot be confirmed by guessing.
    """
    return _digest(f"{tenant}{_SEPARATOR}{normalise_address(address)}", secret)


def message_id(tenant: str, idempotency_key: str, key_of_recipient: str) -> str:
    """``<recipient key>-<request hash>``, 41 characters of ``[a-z2-7-]``."""
    return f"{key_of_recipient}-{_digest(f'{tenant}{_SEPARATOR}{idempotency_key}', b'')}"


def recipient_key_of(message_id: str) -> str:
    """The recipient key inside a message id."""
    return message_id[:_KEY_CHARS]


def is_message_id(text: str) -> bool:
    """Whether ``text`` has the shape of one of our message ids (a provider echoes whatever it was given)."""
    return _MESSAGE_ID.fullmatch(text) is not None


def partition_of(message_id_or_key: str, partitions: int) -> int:
    """The partition of a message id or recipient key; every keyed topic and table uses this one function."""
    return crc32(message_id_or_key[:_KEY_CHARS].encode("ascii", "replace")) % partitions


def partition_of_text(text: str, partitions: int) -> int:
    """The partition of any other key (a provider name, a webhook token)."""
    return crc32(text.encode()) % partitions


def event_id(message_id: str, event_type: str, receipt_id: str) -> str:
    """32 hex characters, the same whenever the same receipt is folded into the same message."""
    return blake2b(f"{message_id}{_SEPARATOR}{event_type}{_SEPARATOR}{receipt_id}".encode(), digest_size=16).hexdigest()


def fingerprint(*parts: bytes) -> str:
    """32 hex characters over length-prefixed parts: equal content has an equal fingerprint."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _digest(text: str, secret: bytes) -> str:
    """The first 100 bits of the hash in base32, by table: the library's own takes three times as long."""
    bits = int.from_bytes(blake2b(text.encode(), digest_size=13, key=secret).digest(), "big") >> 4
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])


_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648 §6, in lower case
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_SHIFTS = tuple(range(90, -1, -10))
