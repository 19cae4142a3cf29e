"""What a poller fetches from: a queue or a mailbox that hands items out and takes them away when it is told to.

Rules:

1. An item that is not ``done`` comes again, by the source's own rule: nothing is taken away before Kafka has it.
2. An item may come twice. What that means is decided behind Kafka, in normalise, as for webhooks.
3. Foreign exceptions are translated in the source: a source that cannot be asked raises :class:`SourceUnavailable`.
4. A payload is stored as it came. ``verified`` says how we know who wrote it; ``0`` that we do not (a dead letter).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class SourceUnavailable(Exception):
    """The source could not be asked, or did not do what it was asked. The text is for a person, without secrets."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to be stored.

    ``headers`` are Kafka headers besides ``provider``, ``account`` and ``received_at``; ``verified`` must be one of
    them. ``key`` may be empty. ``handle`` is the source's own. ``sent_ms`` is when the source got it (0: unknown);
    ``times`` how often it was handed out, this time included (0: unknown).
    """

    payload: bytes
    key: bytes
    headers: tuple[tuple[str, bytes], ...]
    handle: Any
    sent_ms: int = 0
    times: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What lies in the source, -1 where it cannot tell. ``dead`` is what its dead-letter queue holds."""

    items: int
    dead: int = -1


class Source(Protocol):
    """One queue or mailbox. Its methods are called from one event loop; receives may overlap, see ``concurrency``."""

    @property
    def name(self) -> str:
        """Unique among the sources; what a person asks for, and a metric label."""

    @property
    def provider(self) -> str:
        """The header ``provider``: whose reader in normalise reads the payload."""

    @property
    def account(self) -> str:
        """The header ``account``; empty for the provider's main one."""

    @property
    def topic(self) -> str:
        """The full name of the Kafka topic."""

    @property
    def concurrency(self) -> int:
        """How many receives may be under way at once (a mailbox: 1)."""

    @property
    def batch(self) -> int:
        """Most items that one receive brings: one that brings so many says that there is more."""

    @property
    def extend_every_s(self) -> float:
        """How often `extend` must be called for items that are not done yet; 0 for never."""

    @property
    def stop_wait_s(self) -> float:
        """How long a receive under way is waited for when we stop, before it is cancelled; 0 if it may be at once."""

    async def receive(self) -> Sequence[Item]:
        """Wait for items (long poll); empty if none came. Raises SourceUnavailable."""

    async def done(self, items: Sequence[Item]) -> None:
        """Kafka has them: take them away. Raises SourceUnavailable; then some may come again."""

    async def extend(self, items: Sequence[Item]) -> None:
        """Storing takes long: keep them for us. Raises SourceUnavailable."""

    async def release(self, items: Sequence[Item]) -> None:
        """They could not be stored and we leave: give them back at once. Raises SourceUnavailable."""

    async def waiting(self) -> Waiting | None:
        """How much is left, None if that is not known. Raises SourceUnavailable."""

    async def aclose(self) -> None:
        """Give connections back. Called once, when nothing is under way."""
