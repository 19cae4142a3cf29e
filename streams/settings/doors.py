"""Doors: topics for requests of certain tenants alone; see :mod:`streams.settings.model` for the rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.settings.keys import key, required

MAX_DOORS = 64
"""Every door is a topic that each worker reads, and a metric label."""


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """A topic for requests of certain tenants alone. Kafka's ACLs say who may write it (docs/kafka-security.md)."""

    name: str = field(metadata={"hidden": True})
    topic: str = required(
        "The topic, without `[kafka] prefix`: `send-requests.` and a name of its own. Or `send-requests` or "
        "`send-requests.bulk`: then that one takes these tenants only.",
        "send-requests.shop",
    )
    tenants: tuple[str, ...] = required("Tenants that requests in this topic may name.", '["shop"]')
    bulk: bool = key(False, "Whatever comes through it is bulk, as in `send-requests.bulk`.")
