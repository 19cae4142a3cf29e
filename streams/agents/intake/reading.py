"""The first step: a record becomes a valid request, or a dead letter."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Protocol

from streams.agents.intake.doors import lets_in
from streams.agents.intake.items import Item
from streams.agents.intake.refusals import known_in, known_of
from streams.agents.intake.run import Run
from streams.agents.ports import RecordPort
from streams.core.event import ReasonKind
from streams.core.message import Stream
from streams.core.request import Invalid, read_request, times_fault
from streams.serde.public import NeedsSchema, SchemaCache, Undecodable, decode_request
from streams.serde.registry import RegistryUnavailable

log = logging.getLogger(__name__)

_REGISTRY_BACKOFF_S = 1.0


class Registry(SchemaCache, Protocol):
    """A schema registry that can be asked."""

    async def fetch(self, schema_id: int) -> None: ...


async def read(run: Run, record: RecordPort) -> Item | None:
    """Decode and validate one request; None if it was refused."""
    registry, max_bytes = run.intake.registry, run.config.max_request_bytes
    found = decode_request(record.value, registry, max_bytes=max_bytes)
    while isinstance(found, NeedsSchema):
        assert registry is not None
        await _learn(registry, found.schema_id)
        found = decode_request(record.value, registry, max_bytes=max_bytes)
    if isinstance(found, Undecodable):
        run.dead(record, found.reason, found.detail)
        return None
    if not lets_in(run, record, found):
        return None
    request = read_request(found)
    if isinstance(request, Invalid):
        run.refuse(record, request, known_in(found, run.bulk_door))
        return None
    if run.bulk_door and request.stream is not Stream.BULK:
        request = replace(request, stream=Stream.BULK)
    run.counts.requests[request.stream] += 1
    requested_ms = record.timestamp if record.timestamp >= 0 else run.now_ms
    late = times_fault(request, requested_ms, run.now_ms, run.config.retention)
    if late is None:
        return Item(record, request, requested_ms)
    if late.reason.kind is ReasonKind.EXPIRED:
        run.dead(record, "too_old", late.reason.detail)
    else:
        run.refuse(record, late, known_of(request))
    return None


async def _learn(registry: Registry, schema_id: int) -> None:
    """Ask the registry until it answers: a registry that is down is no reason to refuse a request."""
    while True:
        try:
            return await registry.fetch(schema_id)
        except RegistryUnavailable as exc:
            log.warning("the schema registry does not answer, trying again: %s", exc)
            await asyncio.sleep(_REGISTRY_BACKOFF_S)
