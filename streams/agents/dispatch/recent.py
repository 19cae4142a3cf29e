"""Messages at rest that will be wanted soon, so that they need not be read from Kafka again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from streams.core.message import Message
from streams.serde.internal import pack

_OBJECTS_BYTES = 1_500
"""What a message costs besides what was written of it."""


def size_of(message: Message) -> int:
    """The bytes of its record."""
    return len(pack(message))


class Recent:
    """The last ones, as many as fit into so many bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[str, tuple[Message, int]] = OrderedDict()

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def keep(self, message: Message, size_bytes: int = 0) -> None:
        """``size_bytes`` of its record, if it is known."""
        self.take(message.message_id)
        cost = _OBJECTS_BYTES + (size_bytes or size_of(message))
        self._kept[message.message_id] = (message, cost)
        self._bytes += cost
        while self._bytes > self._most_bytes:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone

    def take(self, message_id: str) -> Message | None:
        """The message, which is not kept any longer; None if it is not here."""
        message, cost = self._kept.pop(message_id, (None, 0))
        self._bytes -= cost
        return message
