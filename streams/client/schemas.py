"""Schemas of a registry, asked for as they are met: events may be in Confluent's wire format."""

from __future__ import annotations

import asyncio
from typing import Any

from streams.client.errors import ClientError


class Schemas:
    """``url`` is the registry's, empty for none. See :class:`~streams.serde.records.SchemaCache`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._known: Any = None

    def known(self, schema_id: int) -> Any:
        return None if self._known is None else self._known.known(schema_id)

    def fetch(self, schema_id: int) -> bool:
        """Ask for a schema; whether it is worth trying again. Raises ClientError."""
        if not self._url:
            raise ClientError("the events are in Confluent's wire format: give the client a schema_registry")
        import httpx

        from streams.serde.registry import RegistryUnavailable, SchemaRegistry

        async def ask() -> None:
            async with httpx.AsyncClient(base_url=self._url, timeout=10.0) as http:
                registry = SchemaRegistry(http)
                await registry.fetch(schema_id)
                self._known = registry

        try:
            asyncio.run(ask())
        except RegistryUnavailable as exc:
            raise ClientError(str(exc)) from exc
        return True
