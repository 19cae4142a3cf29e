"""A message of ours, a keyring, and a clock for the tests of tracking."""

from __future__ import annotations

from streams.core.ids import message_id, recipient_key
from streams.tracking.tokens import Keyring, Origin

OLD, NEW, FOREIGN = b"the key of last year", b"the key of this year", b"somebody else's key!"
MESSAGE_ID = message_id("shop", "order-1", recipient_key("shop", "ann@example.net"))
NOW_MS = 1_700_000_000_000


def ring(*secrets: bytes) -> Keyring:
    return Keyring(secrets or (NEW,))


def origin(**changes: object) -> Origin:
    fields: dict[str, object] = {"message_id": MESSAGE_ID, "attempt": 1, "made_ms": NOW_MS, "provider": "mailgun"}
    return Origin(**(fields | changes))  # type: ignore[arg-type]
