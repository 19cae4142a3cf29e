"""Every topic: its name, its key, its lifetime. Names of public topics are part of the contract.

Rules:

1. All keyed topics and all tables have one partition count, so that what belongs together is assigned together.
2. We create topics ourselves; a topic found with another count is an error at start, never a surprise later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to be; ``keyed`` ones have the deployment's partition count, the others one partition."""

    name: str
    keyed: bool = True
    config: Mapping[str, str] = field(default_factory=dict)


def _kept(days: float, **extra: str) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(int(days * _DAY_MS)), **extra}


_COMPACT = {"cleanup.policy": "compact"}

SEND_REQUESTS = "send-requests"
SEND_REQUESTS_BULK = "send-requests.bulk"
WEBHOOKS = "webhooks."  # followed by the provider's type
DELIVERY_EVENTS = "delivery-events"
DEAD_LETTERS = "dead-letters"
AUDIT_LOG = "audit-log"
TEMPLATES = "templates"
TENANTS = "tenants"

OUTBOUND = "outbound"
OUTBOUND_BULK = "outbound.bulk"
CONTENTS = "contents"
RECEIPTS = "receipts"
LOOKUPS = "lookups"
PROVIDER_OUTCOMES = "provider-outcomes"
BREAKERS = "breakers"
CONTROLS = "controls"
QUOTAS = "quotas"
SUPPRESSION_RULES = "suppression-rules"
ALERTS = "alerts"
CLOCK = "clock"

WEBHOOK_TYPES = ("mailgun", "ses", "directmail", "bounces", "tracking")
"""Those that every deployment has; types of outside modules come with the configuration."""
OWN_TYPES = frozenset({"bounces", "tracking"})
"""What we find out ourselves, about messages of whichever provider."""

HURRIED = frozenset({OUTBOUND, OUTBOUND_BULK, CONTENTS, BREAKERS, QUOTAS})
"""A message waits for these on its way to a provider, or other workers do. All else may gather company for a moment."""

FILLED_BY = "filled_by"
"""Header of a payload that was fetched from the provider because its webhook may be lost; it names the source."""


_DOOR = SEND_REQUESTS + "."
_topic_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}").fullmatch


def events_topic_fault(name: str) -> str:
    """Why the events of a tenant cannot go to a topic of this name as well (without the prefix); empty if they can."""
    if not _topic_name(name):
        return "is no topic name (letters, digits, dots, hyphens and underscores, at most 200)"
    ours = {spec.name for spec in Topics().specs()}
    if name in ours or name.startswith((WEBHOOKS, _DOOR)) or name.endswith("-changelog"):
        return "is a topic of the system itself"
    return ""


def door_topic_fault(name: str) -> str:
    """Why requests cannot be taken from a topic of this name (without the prefix); empty if they can."""
    if name != SEND_REQUESTS and not (_topic_name(name) and name.startswith(_DOOR) and name != _DOOR):
        return f"must be {SEND_REQUESTS}, {SEND_REQUESTS_BULK}, or {_DOOR} and a name of its own, not {name!r}"
    return ""


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic names under an optional prefix, and what each must look like.

    ``ledger_days`` is how long a message can still be asked about, retried or told from a duplicate; requests and
    contents live at least that long, so nothing is ever resent from a record whose ledger row is gone.
    ``further_types`` are provider types beside :data:`WEBHOOK_TYPES`, ``doors`` topics of requests beside the two.
    """

    prefix: str = ""
    ledger_days: float = 30.0
    further_types: tuple[str, ...] = ()
    doors: tuple[str, ...] = ()

    def name(self, topic: str) -> str:
        """The full name of one of this module's topics."""
        return self.prefix + topic

    def webhooks(self, provider_type: str) -> str:
        """The topic of raw payloads of one provider type."""
        return f"{self.prefix}{WEBHOOKS}{provider_type}"

    def outbound(self, stream: str) -> str:
        """The dispatch topic of a stream."""
        return self.name(OUTBOUND_BULK if stream == "bulk" else OUTBOUND)

    def specs(self) -> tuple[TopicSpec, ...]:
        """All topics of a deployment, except the tables' changelogs (the engine knows those)."""
        long = _kept(self.ledger_days + 1)
        week = _kept(7)
        big = {"max.message.bytes": "26214400"}
        keyed: list[tuple[str, Mapping[str, str]]] = [
            (SEND_REQUESTS, week | big),
            (SEND_REQUESTS_BULK, week | big),
            *((door, week | big) for door in self.doors),
            *((WEBHOOKS + kind, week) for kind in dict.fromkeys((*WEBHOOK_TYPES, *self.further_types))),
            (DELIVERY_EVENTS, long),
            (OUTBOUND, long | big),
            (OUTBOUND_BULK, long | big),
            (CONTENTS, long | big),
            (RECEIPTS, week),
            (LOOKUPS, week),
            (PROVIDER_OUTCOMES, _kept(1)),
            (ALERTS, week),
        ]
        single: list[tuple[str, Mapping[str, str]]] = [
            (DEAD_LETTERS, _kept(30) | big),
            (AUDIT_LOG, _kept(365)),
            (TEMPLATES, _COMPACT | big),
            (TENANTS, _COMPACT),
            (BREAKERS, _COMPACT),
            (CONTROLS, _COMPACT),
            (QUOTAS, _kept(1 / 24)),
            (CLOCK, _kept(1 / 24) | {"message.timestamp.type": "LogAppendTime"}),
            (SUPPRESSION_RULES, _COMPACT),
        ]
        return tuple(TopicSpec(self.name(n), True, c) for n, c in keyed) + tuple(
            TopicSpec(self.name(n), False, c) for n, c in single
        )
