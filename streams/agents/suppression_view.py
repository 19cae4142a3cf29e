"""What one process knows of the compacted topic ``suppression-rules``: addresses for everybody, and domains.

A record that nobody can read changes nothing and is logged: it must not stop a worker, and it must not lift what was
suppressed before.
"""

from __future__ import annotations

import logging

import msgspec

from streams.core.event import Reason
from streams.core.message import Message
from streams.core.suppression import REASON_OF
from streams.core.suppression_rules import RuleBook, SuppressionRule

log = logging.getLogger(__name__)

_decode = msgspec.json.Decoder(SuppressionRule).decode
_encode = msgspec.json.Encoder().encode

SYNC = "sync/"
"""Keys of the marks up to which providers' lists have been compared; they are no rules."""


def encode_rule(rule: SuppressionRule) -> bytes:
    """The value of a record."""
    return _encode(rule)


def read_rule(value: bytes) -> SuppressionRule | None:
    """The rule in a record; None for what is none."""
    try:
        rule = _decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return rule if bool(rule.address) != bool(rule.pattern) else None


class SuppressionView:
    """One per process; empty, it costs one look at ``has_rules``."""

    def __init__(self) -> None:
        self.has_rules = False
        self._book = RuleBook()

    def __len__(self) -> int:
        return len(self._book)

    def read(self, key: bytes, value: bytes | None) -> None:
        """A record of the topic, in the order of the log."""
        if key.startswith(SYNC.encode()):
            return
        if not value:
            self._book.put(key, None)
        elif (rule := read_rule(value)) is not None:
            self._book.put(key, rule)
        else:
            log.error("a record of suppression-rules cannot be read and changes nothing: %r", key[:80])
        self.has_rules = len(self._book) > 0

    def blocked(self, message: Message, now_ms: int) -> Reason | None:
        """Why this message may not be sent, or None."""
        found = self._book.blocks(message.tenant, message.recipient.email, message.stream.value, now_ms)
        if found is None:
            return None
        return Reason(REASON_OF[found.kind], detail=f"the address is suppressed: {found.kind.value} ({found.scope})")
