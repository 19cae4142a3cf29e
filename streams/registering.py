"""With a schema registry, what a worker writes begins with the registry's ids."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from streams.configured import topics_of
from streams.engine import EngineFailure
from streams.serde.registry import SchemaRegistry
from streams.settings import Settings
from streams.topics import AUDIT_LOG, DELIVERY_EVENTS


@dataclass(frozen=True, slots=True)
class Registered:
    """The registry, and the prefixes of what we write."""

    registry: SchemaRegistry
    events: bytes
    audit: bytes


async def register_schemas(settings: Settings, running: AsyncExitStack) -> Registered | None:
    """Ask the registry; None where none is configured. Its client ends with ``running``. Raises EngineFailure."""
    kafka = settings.kafka
    if not kafka.schema_registry:
        return None
    import httpx

    from streams.serde.registry import RegistryUnavailable

    secret = kafka.schema_registry_password
    auth = (kafka.schema_registry_user, secret.reveal() if secret else "") if kafka.schema_registry_user else None
    topics = topics_of(settings)
    client = httpx.AsyncClient(base_url=kafka.schema_registry, auth=auth, timeout=10.0)
    running.push_async_callback(client.aclose)
    registry = SchemaRegistry(client)
    try:
        events = await registry.prefix_for(topics.name(DELIVERY_EVENTS), "DeliveryEvent")
        audit = await registry.prefix_for(topics.name(AUDIT_LOG), "AuditRecord")
    except RegistryUnavailable as exc:
        raise EngineFailure(f"[kafka] schema_registry {kafka.schema_registry}: {exc}") from exc
    return Registered(registry, events, audit)
