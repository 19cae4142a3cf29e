"""Whether what providers have reported so far is known here: only then is their silence worth anything (rule 4)."""

from __future__ import annotations

from collections.abc import Sequence

from streams.engine import Backlog
from streams.topics import LOOKUPS, Topics


class WebhookBacklog:
    """``types`` are those of the providers whose webhooks are read; ``backlog`` asks Kafka, and is the caller's."""

    def __init__(self, topics: Topics, types: Sequence[str], backlog: Backlog) -> None:
        self._topics = topics
        self._types = types
        self._backlog = backlog

    async def is_read(self, provider_type: str) -> bool:
        """Webhooks become receipts at once, or by way of lookups. Of a type without webhooks any other may tell."""
        types = (provider_type,) if provider_type in self._types else self._types
        names = [*(self._topics.webhooks(type_) for type_ in types), self._topics.name(LOOKUPS)]
        return all([await self._backlog.is_worked_off(name) for name in names])
