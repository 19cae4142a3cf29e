"""A request that is on Kafka, and what may be asked about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.core.event import DeliveryEvent, EventType

if TYPE_CHECKING:
    from streams.client.sending import Client


@dataclass(frozen=True, slots=True)
class Sent:
    """A request on Kafka. ``message_ids`` maps each address to its message's id; ``at_ms`` is when it was asked."""

    idempotency_key: str
    tenant: str
    message_ids: Mapping[str, str]
    topic: str
    partition: int
    offset: int
    at_ms: int
    _client: Client = field(repr=False, compare=False)

    @property
    def message_id(self) -> str:
        """The id of the only message; of several ask ``message_ids``."""
        (only,) = self.message_ids.values()
        return only

    def wait_for(self, *types: EventType | str, timeout_s: float = 30.0) -> DeliveryEvent:
        """See :meth:`Client.wait_for`; for the only message."""
        return self._client.wait_for(self.message_id, *types, timeout_s=timeout_s)

    async def wait_for_async(self, *types: EventType | str, timeout_s: float = 30.0) -> DeliveryEvent:
        """See :meth:`Client.wait_for_async`; for the only message."""
        return await self._client.wait_for_async(self.message_id, *types, timeout_s=timeout_s)

    def events(self) -> list[DeliveryEvent]:
        """All events of all messages of the request so far, each message's in order."""
        return [event for identity in self.message_ids.values() for event in self._client.events(identity)]
