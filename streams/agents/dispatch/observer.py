"""What dispatch tells about itself; metrics listen."""

from __future__ import annotations

from typing import Protocol


class DispatchObserver(Protocol):
    """All calls are cheap and synchronous; provider names are configured names."""

    def attempts(self, provider: str, result: str, count: int) -> None:
        """``result`` is an :class:`~streams.core.outcome.AttemptResult`."""

    def call(self, provider: str, seconds: float, batch_size: int) -> None:
        """One provider call took this long."""

    def stage(self, stage: str, seconds: float) -> None:
        """One batch spent so long in a stage: route (a run of records), suppress, render, record (a call's)."""

    def in_flight(self, provider: str, calls: int) -> None:
        """Calls under way now."""

    def handed_over(self, stream: str, seconds: float, count: int) -> None:
        """Request timestamp to acceptance by the provider."""

    def requests(self, stream: str, result: str, count: int) -> None:
        """``result``: accepted, duplicate, conflict, suppressed, expired."""

    def failover(self, wanted: str, taken: str) -> None:
        """The first choice was shut, another provider carried the message."""

    def reconciled(self, provider: str, result: str) -> None:
        """``result``: found, not_found, unknown."""

    def dead_letter(self, topic: str, reason: str) -> None:
        """A record could not be used."""

    def credentials(self, provider: str, result: str) -> None:
        """Changed secrets of an account there: read, or failed (the old ones stay in use)."""

    def scheduled(self, kind: str, count: int, oldest_due_ms: int | None) -> None:
        """Parked rows of this process. ``kind``: retry, send_at."""


class Silent:
    """Tells nobody."""

    def attempts(self, provider: str, result: str, count: int) -> None: ...
    def call(self, provider: str, seconds: float, batch_size: int) -> None: ...
    def stage(self, stage: str, seconds: float) -> None: ...
    def in_flight(self, provider: str, calls: int) -> None: ...
    def handed_over(self, stream: str, seconds: float, count: int) -> None: ...
    def requests(self, stream: str, result: str, count: int) -> None: ...
    def failover(self, wanted: str, taken: str) -> None: ...
    def reconciled(self, provider: str, result: str) -> None: ...
    def dead_letter(self, topic: str, reason: str) -> None: ...
    def credentials(self, provider: str, result: str) -> None: ...
    def scheduled(self, kind: str, count: int, oldest_due_ms: int | None) -> None: ...
