"""Changes of suppressions as records: who wants one changed writes a record, and nobody but track writes its table.

a tenant's mailbox    ->  receipts            keyed and partitioned by the recipient key; track folds it
everybody, or a domain -> suppression-rules   compacted; every process reads it
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import msgspec

from streams.agents.suppression_view import SYNC, encode_rule
from streams.core.ids import partition_of
from streams.core.suppression import SuppressionChange
from streams.core.suppression_rules import SuppressionRule, rule_key
from streams.serde.internal import pack
from streams.topics import RECEIPTS, SUPPRESSION_RULES, Topics


@dataclass(frozen=True, slots=True)
class Order:
    """A record to be written; ``partition`` -1 where there is only one. ``value`` None is a tombstone."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None


def order_of(wish: SuppressionChange | SuppressionRule, topics: Topics, partitions: int, secret: bytes = b"") -> Order:
    """The record that carries a wish."""
    if isinstance(wish, SuppressionRule):
        return Order(topics.name(SUPPRESSION_RULES), 0, rule_key(wish, secret), encode_rule(wish))
    key = wish.recipient_key
    return Order(topics.name(RECEIPTS), partition_of(key, partitions), key.encode(), pack(wish))


def lifting(rule: SuppressionRule, now_ms: int, actor: str, topics: Topics, secret: bytes = b"") -> Order:
    """The record that takes a rule back: a domain's is deleted, an address's remembers when it was lifted."""
    order = order_of(replace(rule, lifted_ms=now_ms, actor=actor), topics, 1, secret)
    return replace(order, value=None) if rule.pattern else order


def mark_of(name: str, at_ms: int, topics: Topics) -> Order:
    """The record that says until when the lists of a provider (or ``PROVIDER/ACCOUNT``) have been compared."""
    return Order(
        topics.name(SUPPRESSION_RULES), 0, f"{SYNC}{name}".encode(), msgspec.json.encode({"at_ms": max(0, at_ms)})
    )


def read_mark(value: bytes | None) -> int:
    """That time; 0 for none, which compares everything."""
    try:
        found = msgspec.json.decode(value or b"{}", type=dict[str, int]).get("at_ms", 0)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0
    return max(0, found)
