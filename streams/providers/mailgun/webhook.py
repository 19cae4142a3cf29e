"""Whether an inbound webhook comes from Mailgun.

Rules:

1. HMAC-SHA256 over timestamp and token with the account's signing key, compared in constant time. Several keys are
   tried while one is being rotated; a subaccount's webhook may prove itself by its parent's key.
2. Mailgun repeats a webhook for 8 hours with the same signature block: a narrow window would throw its retries away.
3. The signature does not cover the event: the token is handed on, and whoever stores decides what a repeat of it means.
4. Of a JSON body only the signature block is decoded here; the rest is read, and refused if a key is repeated in it,
   when it becomes sightings.
"""

from __future__ import annotations

import hmac
import re

import msgspec

from streams.providers._payload import epoch_ms
from streams.providers.base import Refused, Verified
from streams.providers.mailgun.events import form_fields

MAX_FUTURE_MS = 5 * 60 * 1000


class _Block(msgspec.Struct):
    """The signature block. JSON may hold the timestamp as a number: then its digits were signed."""

    timestamp: str | int = ""
    token: str = ""
    signature: str = ""
    parent: str = msgspec.field(name="parent-signature", default="")


class _Body(msgspec.Struct):
    signature: _Block


def verify(body: bytes, keys: tuple[str, ...], max_age_s: float, now_ms: int) -> Verified | Refused:
    """Judge a webhook body, JSON or the form of before 2018."""
    block = _signature_block(body)
    if block is None:
        return Refused("malformed", "no signature block")
    timestamp, token = str(block.timestamp), block.token
    if not (_DIGITS.fullmatch(timestamp) and _TOKEN.fullmatch(token) and _HEX.fullmatch(block.signature)):
        return Refused("malformed", "timestamp, token or signature is missing or has a wrong shape")
    signatures = [one for one in (block.signature, block.parent) if _HEX.fullmatch(one)]
    if not _signed(f"{timestamp}{token}", signatures, keys):
        return Refused("bad_signature", "no signing key fits")
    age_ms = now_ms - epoch_ms(timestamp)
    if age_ms > max_age_s * 1000 or age_ms < -MAX_FUTURE_MS:
        return Refused("stale", f"signed {age_ms // 1000} s ago")
    return Verified(token=token, key=token)


def _signed(signed_text: str, signatures: list[str], keys: tuple[str, ...]) -> bool:
    found = False
    for key in keys:
        if not key:
            continue
        expected = hmac.digest(key.encode(), signed_text.encode(), "sha256").hex()
        for signature in signatures:
            found |= hmac.compare_digest(expected, signature)
    return found


def _signature_block(body: bytes) -> _Block | None:
    if body.lstrip()[:1] == b"{":
        try:
            return _JSON.decode(body).signature
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
    fields = dict(form_fields(body) or ())  # the last value of a name: a sender's variable stands before the real one
    return _Block(fields.get("timestamp", ""), fields.get("token", ""), fields.get("signature", "")) if fields else None


_JSON = msgspec.json.Decoder(_Body)
_DIGITS = re.compile(r"\d{1,16}", re.ASCII)
_TOKEN = re.compile(r"[!-~]{1,128}")
_HEX = re.compile(r"[0-9a-f]{64}")
