"""The compacted topics that every worker reads to their ends before it starts, and who is told of a change afterwards.

They are read as topics and not as tables because every process needs all of them, whatever partitions it owns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streams.engine import CompactedReader, EngineApp
from streams.engine.reader import OnChange
from streams.topics import BREAKERS, CONTROLS, QUOTAS, SUPPRESSION_RULES, TEMPLATES, TENANTS, Topics

Told = Callable[[bytes, bytes | None], None]
"""A key and its new value; None where it is gone."""


def compacted_readers(app: EngineApp, topics: Topics, told: Mapping[str, Told]) -> dict[str, CompactedReader]:
    """A reader for each of these topics, by name; ``told`` are those who hear of changes, in the order of the log."""
    return {
        name: CompactedReader(app.settings, topics.name(name), _hearing(told[name]) if name in told else None, app.fail)
        for name in (BREAKERS, CONTROLS, QUOTAS, SUPPRESSION_RULES, TEMPLATES, TENANTS)
    }


def _hearing(told: Told) -> OnChange:
    """Nobody who is told has to wait for anything; a reader would."""

    async def hear(key: bytes, value: bytes | None) -> None:
        told(key, value)

    return hear
