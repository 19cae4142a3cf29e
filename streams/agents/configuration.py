"""Templates and tenants as this process has read them from their compacted topics.

Rules:

1. What is missing may only be late: read the topic to its current end before anybody is told that it does not exist.
2. A record that cannot be read counts as missing and is logged once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from streams.agents.ports import ReaderPort
from streams.core.message import Template
from streams.core.tenant import Tenant
from streams.serde.public import decode_template, decode_tenant

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(slots=True)
class Configured(Generic[T]):
    """Decoded records of one topic by key; decoded anew only when the bytes have changed."""

    reader: ReaderPort
    decode: Callable[[bytes], object]
    kind: type[T]
    fallback: Mapping[str, T] = field(default_factory=dict)
    """What the settings say; a record of the topic goes over it."""
    _decoded: dict[str, tuple[bytes, T | None]] = field(default_factory=dict)

    def get(self, name: str) -> T | None:
        """The record called ``name``, as far as the topic has been read."""
        value = self.reader.get(name.encode())
        if value is None:
            self._decoded.pop(name, None)
            return self.fallback.get(name)
        known = self._decoded.get(name)
        if known is None or known[0] is not value:
            known = self._decoded[name] = (value, self._read(name, value))
        return known[1] if known[1] is not None else self.fallback.get(name)

    async def caught_up(self) -> None:
        """Return when everything written before this call has been read."""
        await self.reader.caught_up()

    def _read(self, name: str, value: bytes) -> T | None:
        found = self.decode(value)
        if isinstance(found, self.kind):
            return found
        log.warning("the %s %s cannot be read and is left out: %s", self.kind.__name__.lower(), name, found)
        return None


def templates(reader: ReaderPort) -> Configured[Template]:
    """The topic ``templates``."""
    return Configured(reader, decode_template, Template)


def tenants(reader: ReaderPort, configured: Mapping[str, Tenant] | None = None) -> Configured[Tenant]:
    """The topic ``tenants`` over the settings' own tenants."""
    return Configured(reader, decode_tenant, Tenant, configured or {})
