"""What intake is told by whoever builds the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.core.request import Retention
from streams.serde.public import MAX_BYTES
from streams.topics import Topics

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Door:
    """Who may be spoken for by requests in a topic. ``bulk``: whatever comes through it is bulk."""

    name: str
    tenants: frozenset[str]
    bulk: bool = False


@dataclass(frozen=True, slots=True)
class IntakeConfig:
    """``partitions`` is the deployment's count; ``secret`` keys recipient keys (empty: guessing can confirm them).

    ``doors`` are by full name of the topic; a topic without one takes requests for every tenant. A single message
    carries its content inline up to ``max_inline_bytes`` of encoding.
    """

    topics: Topics
    partitions: int
    secret: bytes = b""
    retention: Retention = field(default_factory=lambda: Retention(30 * _DAY_MS, _DAY_MS))
    max_inline_bytes: int = 64 * 1024
    max_request_bytes: int = MAX_BYTES
    doors: Mapping[str, Door] = field(default_factory=dict)
    audit_prefix: bytes | None = None
