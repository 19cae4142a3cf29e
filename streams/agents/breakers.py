"""The agent that decides: folds the workers' sums per provider and publishes a record whenever a breaker changes.

One agent owns a provider's key, so there is one decision for the fleet. The window lives in a table and survives the
move to another worker; sums that are redelivered count once (:mod:`streams.core.breaker`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from streams.agents.ports import BatchPort, EnginePort, TablePort, UnitFactory, UnitPort
from streams.core.breaker import BreakerPolicy, BreakerRecord, BreakerWindow, OutcomeSum, fold
from streams.serde.internal import Malformed, packer, unpack, unpacker

log = logging.getLogger(__name__)

_write = packer(BreakerWindow)
_read = unpacker(BreakerWindow)


class BreakersObserver(Protocol):
    """Metrics; called once per change."""

    def breaker_changed(self, provider: str, to: str) -> None: ...


class SilentBreakers:
    """Tells nobody."""

    def breaker_changed(self, provider: str, to: str) -> None: ...


@dataclass(slots=True)
class Breakers:
    """``topic`` is the compacted topic that every process reads; it has one partition."""

    app: EnginePort
    windows: TablePort
    topic: str
    unit: UnitFactory
    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    observer: BreakersObserver = field(default_factory=SilentBreakers)

    async def handle(self, batch: BatchPort) -> None:
        """Fold a run of sums; publish what changed, then keep the windows, then let the offset go."""
        unit = self.unit(self.app, batch)
        open_windows: dict[str, BreakerWindow] = {}
        for record in batch.records:
            outcome = unpack(record.value or b"")
            if not isinstance(outcome, OutcomeSum):
                detail = outcome.detail if isinstance(outcome, Malformed) else type(outcome).__name__
                log.warning("an outcome sum could not be read and was left out: %s", detail)
                continue
            before = open_windows.get(outcome.provider) or self._window(batch.partition, outcome.provider)
            after = fold(before, outcome, self.policy)
            open_windows[outcome.provider] = after
            if after.record.epoch != before.record.epoch:
                self._publish(unit, before.record, after.record)
        for provider, window in open_windows.items():
            unit.put(self.windows, provider.encode(), _write(window))
        await unit.room()
        unit.finish()

    def _window(self, partition: int, provider: str) -> BreakerWindow:
        kept = self.windows.get(partition, provider.encode())
        window = _read(kept) if kept else None
        if isinstance(window, BreakerWindow):
            return window
        return BreakerWindow(BreakerRecord(provider))

    def _publish(self, unit: UnitPort, before: BreakerRecord, after: BreakerRecord) -> None:
        log.warning("breaker of %s: %s -> %s (%s)", after.provider, before.state.value, after.state.value, after.reason)
        if after.state is not before.state:
            self.observer.breaker_changed(after.provider, after.state.value)
        unit.emit(self.topic, 0, after.provider.encode(), msgspec.json.encode(after))
