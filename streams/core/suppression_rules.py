"""Suppressions that are not one tenant's mailbox: an address for everybody, and whole domains.

They lie in the compacted topic ``suppression-rules``, which every process reads to its end before the first send (rule
21 of the design). Rules:

1. A key is ``everywhere/<hash of the address>`` or ``domain/<tenant>/<pattern>`` (an empty tenant is everybody). A
   tombstone takes the rule back.
2. A pattern is a domain (``example.com``) or all domains below one (``*.example.com``, without the domain itself), as
   A-labels in lower case.
3. Looking a message up costs a few dictionary look-ups, however many rules there are, and nothing if there are none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from streams.core.ids import normalise_address, recipient_key
from streams.core.suppression import SuppressionKind, stops_mail

_ADDRESS, _DOMAIN = "everywhere", "domain"
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?"
_is_domain = re.compile(rf"(?:\*\.)?(?:{_LABEL}\.)*{_LABEL}").fullmatch


@dataclass(frozen=True, slots=True)
class SuppressionRule:
    """The value of a record, as JSON. Exactly one of ``address`` and ``pattern`` is set."""

    kind: SuppressionKind
    since_ms: int
    tenant: str = ""
    """Only this tenant's mail; empty for everybody's (an address is always everybody's)."""
    address: str = ""
    pattern: str = ""
    until_ms: int = 0
    lifted_ms: int = 0
    """An address that was lifted stays for a while as a record: an old entry of a provider's list has to meet it."""
    actor: str = ""
    note: str = ""


def domain_pattern(text: str) -> str:
    """The normal form of ``example.com``, ``@example.com`` or ``*.example.com``; empty if it is none."""
    text = text.strip().removeprefix("@").rstrip(".").lower()
    if not text.isascii():
        try:
            star, bare = ("*.", text[2:]) if text.startswith("*.") else ("", text)
            text = star + bare.encode("idna").decode("ascii")
        except UnicodeError:
            return ""
    return text if len(text) <= 255 and _is_domain(text) else ""


def rule_key(rule: SuppressionRule, secret: bytes = b"") -> bytes:
    """The Kafka key: no address in the clear."""
    if rule.pattern:
        return f"{_DOMAIN}/{rule.tenant}/{rule.pattern}".encode()
    return f"{_ADDRESS}/{recipient_key('', rule.address, secret)}".encode()


@dataclass(frozen=True, slots=True)
class RuleFound:
    """The rule that stops a message."""

    kind: SuppressionKind
    scope: str
    """For people: ``everywhere``, or the pattern."""


class RuleBook:
    """All rules of the deployment, by what they are looked up with."""

    def __init__(self) -> None:
        self._by_key: dict[bytes, SuppressionRule] = {}
        self._addresses: dict[str, SuppressionRule] = {}
        self._patterns: dict[tuple[str, str], SuppressionRule] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def put(self, key: bytes, rule: SuppressionRule | None) -> None:
        """Take in what the topic says of a key; None takes it back."""
        before = self._by_key.pop(key, None)
        if before is not None:
            self._addresses.pop(normalise_address(before.address), None)
            self._patterns.pop((before.tenant, before.pattern), None)
        if rule is None or rule.lifted_ms >= rule.since_ms:
            return
        self._by_key[key] = rule
        if rule.pattern:
            self._patterns[rule.tenant, rule.pattern] = rule
        else:
            self._addresses[normalise_address(rule.address)] = rule

    def blocks(self, tenant: str, address: str, stream: str, now_ms: int) -> RuleFound | None:
        """Why a message may not be sent, or None."""
        if not self._by_key:
            return None
        address = normalise_address(address)
        rule = self._addresses.get(address)
        if rule is not None and _holds(rule, stream, now_ms):
            return RuleFound(rule.kind, "everywhere")
        if not self._patterns:
            return None
        for pattern in _patterns_of(address.rpartition("@")[2]):
            for owner in ("", tenant):
                rule = self._patterns.get((owner, pattern))
                if rule is not None and _holds(rule, stream, now_ms):
                    return RuleFound(rule.kind, pattern)
        return None


def _holds(rule: SuppressionRule, stream: str, now_ms: int) -> bool:
    return stops_mail(rule.kind, stream) and not 0 < rule.until_ms <= now_ms


def _patterns_of(domain: str) -> Iterator[str]:
    """The domain itself, then everything that it lies below."""
    yield domain
    _, dot, rest = domain.partition(".")
    while dot:
        yield f"*.{rest}"
        _, dot, rest = rest.partition(".")
