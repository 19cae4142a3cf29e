"""The shape of what composing gives: which flights share the call, and which take another way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streams.agents.dispatch.flight import Flight
from streams.core.event import Reason
from streams.providers.base import Batch


@dataclass(slots=True)
class Composed:
    """``batch`` carries ``flights``, in order; it is None when nobody is left to be carried."""

    batch: Batch | None = None
    flights: list[Flight] = field(default_factory=list)
    refused: list[tuple[Flight, Reason]] = field(default_factory=list)
    one_by_one: list[Flight] = field(default_factory=list)
    """They cannot share a call and must stand in line again, each alone."""


class Composes(Protocol):
    """Turns flights that share a content hash into what one call carries."""

    async def compose(self, lane: str, flights: Sequence[Flight]) -> Composed: ...
