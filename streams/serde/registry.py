"""A Confluent-compatible schema registry: what its ids mean, and the ids of what we write.

Rules:

1. A schema id never changes its meaning, so an answer is kept for good; a definite "no such id" is kept for a while.
2. A registry that cannot be reached is :class:`RegistryUnavailable`, which is nobody's fault but the moment's: the
   caller waits and asks again, it never makes a dead letter of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final

import httpx

from streams.serde.records import Undecodable, confluent_prefix
from streams.serde.schemas import Parsed, parse_foreign, schema

_ACCEPT: Final = "application/vnd.schemaregistry.v1+json"
_UNKNOWN_FOR_S = 30.0
_MOST_UNKNOWN = 1000
_NOT_FOUND = 404


class RegistryUnavailable(Exception):
    """No usable answer; asking again later may help."""


class SchemaRegistry:
    """``client`` has the registry's address as its base URL, its credentials and a timeout."""

    def __init__(self, client: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._schemas: dict[int, Parsed] = {}
        self._unknown: dict[int, tuple[float, Undecodable]] = {}

    def known(self, schema_id: int) -> Parsed | Undecodable | None:
        """The schema of an id as far as it was asked for; see :class:`~streams.serde.records.SchemaCache`."""
        found = self._schemas.get(schema_id)
        if found is not None:
            return found
        until, why = self._unknown.get(schema_id, (0.0, None))
        return why if why is not None and self._clock() < until else None

    async def fetch(self, schema_id: int) -> None:
        """Ask for an id; afterwards :meth:`known` answers. Raises :class:`RegistryUnavailable`."""
        answer = await self._ask("GET", f"/schemas/ids/{schema_id}", expected=(200, _NOT_FOUND))
        if answer is None:
            self._forget(schema_id, f"the registry knows no schema {schema_id}")
        elif answer.get("schemaType", "AVRO") != "AVRO":
            self._forget(schema_id, f"schema {schema_id} is {answer['schemaType']}, not Avro")
        else:
            try:
                self._schemas[schema_id] = parse_foreign(answer["schema"])
            except Exception as exc:  # noqa: BLE001 - whatever the parser thinks of a stranger's schema
                self._forget(schema_id, f"schema {schema_id} cannot be read: {exc}"[:300])

    async def prefix_for(self, topic: str, name: str) -> bytes:
        """Register our schema for the values of ``topic``; what such values begin with. Raises like :meth:`fetch`."""
        body = {"schema": json.dumps(json.loads(schema(name).text))}
        answer = await self._ask("POST", f"/subjects/{topic}-value/versions", expected=(200,), body=body)
        assert answer is not None
        return confluent_prefix(int(answer["id"]))

    def _forget(self, schema_id: int, why: str) -> None:
        self._unknown.pop(schema_id, None)
        while len(self._unknown) >= _MOST_UNKNOWN:  # any four bytes are an id
            del self._unknown[next(iter(self._unknown))]
        self._unknown[schema_id] = (self._clock() + _UNKNOWN_FOR_S, Undecodable("unknown_schema", why))

    async def _ask(
        self, method: str, path: str, expected: tuple[int, ...], body: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        try:
            answer = await self._client.request(method, path, json=body, headers={"accept": _ACCEPT})
            if answer.status_code not in expected:
                raise RegistryUnavailable(f"{method} {path}: HTTP {answer.status_code} {answer.text[:200]}")
            if answer.status_code == _NOT_FOUND:
                return None
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise RegistryUnavailable(f"{method} {path}: {exc!r}") from exc
        return found
