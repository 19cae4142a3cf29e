"""Which providers may carry a message, in which order.

A rule matches by tenant, stream, recipient domain and tag (an empty field matches all); the first matching rule
decides. Its first choice is drawn by weight, deterministically from the message id, so that a retry of the decision
gives the same answer; the rest follow in the rule's order as fallbacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
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


_FIRST_SHARE = 0.05


def ramp_share(since_ms: int, ramp_s: float) -> float:
    """The share of its traffic that a provider gets so long after its breaker has closed: 5 % at first, then evenly
    more.
    """
    if ramp_s <= 0 or since_ms >= 1000 * ramp_s:
        return 1.0
    return _FIRST_SHARE + (1 - _FIRST_SHARE) * max(0, since_ms) / (1000 * ramp_s)


def is_within(share: float, message_id: str) -> bool:
    """Whether a message is among this share of all; who is within a share is within every larger one.

    Another hash than that of the weights, or a small share would be all of one weight.
    """
    return int.from_bytes(blake2b(message_id.encode(), digest_size=4).digest(), "big") < share * 2**32


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
