"""The tokens in our links: which message, and where to; sealed, so that nobody can read, change or make one.

Rules:

1. A token is one byte that names the key, then AES-SIV (RFC 5297, 256 bit) of what it says, as unpadded base64url:
   encrypted and authenticated, and the same whenever it is made again. Opening compares in constant time.
2. What a token is for is authenticated with it: an open is no unsubscription, whoever moves it.
3. Several keys open, the first seals. A key is derived from its secret; its byte only saves needless tries.
4. A click has two tokens: who clicked (the recipient's own, a slot of a batch) and where to (shared by the batch). The
   second opens only under the content that the first names, so neither can be paired with another's.
5. Whatever is not exactly what we made is None; nothing here raises for what strangers send.
"""

from __future__ import annotations

import hmac
import struct
from base64 import b32encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

MAX_TOKEN = 4_096  # characters; a URL of MAX_URL needs fewer
MIN_SECRET = 16  # bytes
_DERIVE = b"streams/tracking/1"
_FIXED = struct.Struct(">25sHI8s")  # message id, attempt, made (epoch seconds), content
_TO_INT = str.maketrans("abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdefghijklmnopqrstuv")  # faster than base64
_BINDER = 8
_LARGEST = (1 << 32) - 1


class Purpose(StrEnum):
    """What a token is for: also the path under ``/t/``."""

    OPEN = "o"
    CLICK = "c"
    UNSUBSCRIBE = "u"


@dataclass(frozen=True, slots=True)
class Origin:
    """Which message a link came with. ``made_ms`` is when it was composed, right before it was handed over."""

    message_id: str
    attempt: int
    made_ms: int
    provider: str = ""
    list_id: str = ""
    content: bytes = bytes(_BINDER)
    """What its links are bound to, see :func:`binder_of`."""


class Keyring:
    """All keys of a deployment, the one that seals first. ``secrets`` have at least :data:`MIN_SECRET` bytes."""

    __slots__ = ("_keys", "_seals")

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or any(len(secret) < MIN_SECRET for secret in secrets):
            raise ValueError(f"a key needs at least {MIN_SECRET} bytes")
        self._keys: dict[int, list[AESSIV]] = {}
        for secret in secrets:
            number, key = _derived(secret)
            self._keys.setdefault(number, []).append(key)
        number, self_seals = _derived(secrets[0])
        self._seals = (bytes((number,)), self_seals)

    def seal(self, data: bytes, *context: bytes) -> str:
        """A token that says ``data``; it opens under the same context alone."""
        number, key = self._seals
        return urlsafe_b64encode(number + key.encrypt(data, [*context])).decode("ascii").rstrip("=")

    def open(self, token: str, *context: bytes) -> bytes | None:
        """What a token says, None if it is none of ours."""
        if not 0 < len(token) <= MAX_TOKEN or not token.isascii():
            return None
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            return None
        if not raw or urlsafe_b64encode(raw).rstrip(b"=") != token.encode("ascii"):
            return None  # one token has one spelling
        for key in self._keys.get(raw[0], ()):
            try:
                return key.decrypt(raw[1:], list(context))
            except (InvalidTag, ValueError):
                continue
        return None


def packed(message_id: str, attempt: int, made_ms: int, provider: str, content: bytes) -> bytes:
    """What all tokens of a recipient say, so that it is put together once. The message id must be one of ours."""
    number = int(message_id.replace("-", "", 1).translate(_TO_INT), 32)
    who = provider.encode()[:255]
    made_s = min(max(made_ms // 1000, 0), _LARGEST)
    fixed = _FIXED.pack(number.to_bytes(25, "big"), min(max(attempt, 0), 0xFFFF), made_s, content)
    return fixed + bytes((len(who),)) + who


def seal_packed(ring: Keyring, purpose: Purpose, data: bytes, list_id: str = "") -> str:
    """The recipient's token for a purpose, of what :func:`packed` gave."""
    return ring.seal(data + list_id.encode() if list_id else data, purpose.encode())


def seal_origin(ring: Keyring, purpose: Purpose, origin: Origin) -> str:
    """The recipient's token for a purpose. The message id must be one of ours."""
    data = packed(origin.message_id, origin.attempt, origin.made_ms, origin.provider, origin.content)
    return seal_packed(ring, purpose, data, origin.list_id)


def open_origin(ring: Keyring, purpose: Purpose, token: str) -> Origin | None:
    """Which message a token of this purpose came with."""
    data = ring.open(token, purpose.encode())
    if data is None or len(data) <= _FIXED.size:
        return None
    ids, attempt, made_s, content = _FIXED.unpack_from(data)
    end = _FIXED.size + 1 + data[_FIXED.size]
    text = b32encode(ids).decode("ascii").lower()
    try:
        provider, list_id = data[_FIXED.size + 1 : end].decode(), data[end:].decode()
    except UnicodeDecodeError:
        return None
    return Origin(f"{text[:20]}-{text[20:]}", attempt, made_s * 1000, provider, list_id, content)


def binder_of(content_hash: str) -> bytes:
    """What ties the links of a content to the recipients of that content."""
    return blake2b(content_hash.encode(), digest_size=_BINDER).digest()


def seal_link(ring: Keyring, url: str, binder: bytes) -> str:
    """The shared half of a click: where to."""
    return ring.seal(url.encode(), b"link", binder)


def open_click(ring: Keyring, token: str) -> tuple[Origin, str] | None:
    """Who clicked, and where they wanted to, of ``<who>.<where>``."""
    who, dot, where = token.partition(".")
    if not dot:
        return None
    origin = open_origin(ring, Purpose.CLICK, who)
    url = ring.open(where, b"link", origin.content) if origin else None
    return (origin, url.decode("utf-8", "replace")) if origin and url else None


def _derived(secret: bytes) -> tuple[int, AESSIV]:
    """The key's byte and the key: 64 bytes, of which AES-SIV takes half for each of its two parts."""
    key = hmac.digest(secret, _DERIVE, "sha512")
    return hmac.digest(secret, _DERIVE + b"/number", "sha512")[0], AESSIV(key)
