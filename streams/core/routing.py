"""Which providers may carry a message, in which order.

A rule matches by tenant, stream, recipient domain and tag (an empty field matches all); the first matching rule
decides. Its first choice is drawn by weight, deterministically from the message id, so that a retry of the decision
gives the same answer; the rest follow in the rule's order as fallbacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from streams.core.message import Message


@dataclass(frozen=True, slots=True)
class RouteRule:
    """``providers`` in fallback order; ``weights`` (same names) draw the first choice, without them the order does."""

    providers: tuple[str, ...]
    weights: Mapping[str, float] = field(default_factory=dict)
    tenant: str = ""
    stream: str = ""
    domain: str = ""
    tag: str = ""

    def matches(self, message: Message) -> bool:
        """Whether every named field agrees with the message."""
        return (
            (not self.tenant or self.tenant == message.tenant)
            and (not self.stream or self.stream == message.stream)
            and (not self.domain or _in_domain(message.recipient.email.rpartition("@")[2].lower(), self.domain))
            and (not self.tag or self.tag in message.tags)
        )


def route(message: Message, rules: Sequence[RouteRule], default: Sequence[str]) -> tuple[str, ...]:
    """Provider names in the order in which they should be tried; a provider named by the request stands alone."""
    if message.provider:
        return (message.provider,)
    for rule in rules:
        if rule.matches(message):
            return _drawn(rule, message.message_id)
    return tuple(default)


def _in_domain(domain: str, pattern: str) -> bool:
    """``example.org`` is itself alone, ``*.example.org`` every domain below it."""
    return domain.endswith(pattern[1:]) if pattern.startswith("*.") else domain == pattern


def _drawn(rule: RouteRule, message_id: str) -> tuple[str, ...]:
    weights = [(name, rule.weights.get(name, 0.0)) for name in rule.providers]
    total = sum(weight for _, weight in weights)
    if total <= 0:
        return rule.providers
    point = crc32(message_id.encode()) / 2**32 * total
    for name, weight in weights:
        if point < weight:
            return (name, *(other for other in rule.providers if other != name))
        point -= weight
    return rule.providers
