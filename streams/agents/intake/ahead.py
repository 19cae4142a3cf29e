"""Whom intake tells of a message at once: dispatch, if it is in the same process and reads the same partition."""

from __future__ import annotations

from typing import Protocol

from streams.agents.ports import PlacedPort
from streams.core.message import Message


class TakesAhead(Protocol):
    """Takes messages in before their records can be read (``streams.agents.dispatch.ahead``)."""

    def takes(self, partition: int) -> bool:
        """Whether there is any use in telling of messages in this partition."""

    def take(self, message: Message, partition: int, placed: PlacedPort, size_bytes: int = 0) -> None:
        """A message that has just been emitted, as a record of that size."""

    def send_off(self) -> None:
        """That was all for now."""


class NobodyAhead:
    """Everybody waits for the record."""

    def takes(self, partition: int) -> bool:
        """Never."""
        return False

    def take(self, message: Message, partition: int, placed: PlacedPort, size_bytes: int = 0) -> None:
        """Nothing is lost by that: the record comes."""

    def send_off(self) -> None:
        """Nothing to send."""
