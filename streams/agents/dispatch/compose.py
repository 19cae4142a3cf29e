"""From messages that share a content to what one provider call carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streams.agents.contents import ContentStore
from streams.content.render import Compiler

from streams.agents.dispatch.flight import Flight
from streams.core.event import Reason
from streams.providers.base import Batch, Provider


@dataclass(slots=True)
class Composed:
    """``batch`` carries ``flights`` in order; the others take another way."""

    batch: Batch
    flights: list[Flight] = field(default_factory=list)
    refused: list[tuple[Flight, Reason]] = field(default_factory=list)
    one_by_one: list[Flight] = field(default_factory=list)
    """They cannot share a call and must stand in line again, each alone."""


class Composer:
    """Fetches contents, renders, and asks the adapter whether the result fits one call."""

    def __init__(
        self,
        contents: ContentStore,
        compiler: Compiler,
        providers: Mapping[str, Provider],
        body_limit: int = 26_214_400,
    ) -> None:
        self._contents = contents
        self._compiler = compiler
        self._providers = providers
        self._body_limit = body_limit

    async def compose(self, provider: str, flights: Sequence[Flight]) -> Composed:
        """One batch for ``flights``, which share a content hash; at least one part of the answer is non-empty."""
        raise AssertionError
