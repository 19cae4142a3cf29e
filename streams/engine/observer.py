"""What the engine tells the outside world; metrics are made of it elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from faust.types import TP


class EngineObserver(Protocol):
    """Called on the event loop, at most once per batch, commit or second: never per record. Must not block."""

    def on_logging(self) -> None:
        """What a unit of work emitted is acknowledged; its rows are about to be logged."""

    def on_committing(self) -> None:
        """Offsets are about to be committed: everything they stand for is acknowledged."""

    def on_commit(self, tp: TP, offset: int) -> None:
        """`offset` is the next one to be read."""

    def on_lag(self, tp: TP, records: int) -> None:
        """Records of a source partition that are not done: delivered or not even read; about once a second."""

    def on_rebalance(self, generation: int, partitions: Collection[TP]) -> None:
        """An assignment is ready: restored, callbacks done, delivery begins."""

    def on_restoring(self, done: int, total: int) -> None:
        """So many offsets of all changelogs are restored; `done` is `total` at the end."""

    def on_restore(self, table: str, entries: int, seconds: float) -> None:
        """`entries` changelog records of all partitions of `table` were applied."""

    def on_produce_error(self, topic: str, error: BaseException) -> None:
        """A record batch failed for good; the process is ending."""


class SilentObserver:
    """Takes no notes."""

    def on_logging(self) -> None:
        pass

    def on_committing(self) -> None:
        pass

    def on_commit(self, tp: TP, offset: int) -> None:
        pass

    def on_lag(self, tp: TP, records: int) -> None:
        pass

    def on_rebalance(self, generation: int, partitions: Collection[TP]) -> None:
        pass

    def on_restoring(self, done: int, total: int) -> None:
        pass

    def on_restore(self, table: str, entries: int, seconds: float) -> None:
        pass

    def on_produce_error(self, topic: str, error: BaseException) -> None:
        pass
