"""An app without a broker: tickets are resolved by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from streams.engine import EngineSettings, Ticket
from streams.engine.batch import Assignment, Batch
from streams.engine.errors import ProduceError, RecordTooLarge
from streams.engine.observer import SilentObserver
from streams.engine.offsets import Tracker
from streams.engine.stores import MemoryStore, PartitionStore
from streams.engine.tables import BytesTable
from streams.engine.units import UnitLane


class FakeRecord:
    def __init__(self, offset: int, key: bytes = b"k", value: bytes | None = b"v") -> None:
        self.offset = offset
        self.key = key
        self.value = value


class FakeConsumer:
    def __init__(self) -> None:
        self.done: list[Batch] = []

    def on_batch_done(self, batch: Batch, advanced: bool) -> None:
        self.done.append(batch)


class FakeFence:
    """Open, until a test closes it."""

    def __init__(self) -> None:
        self.open = True
        self._waiting: list[Callable[[], None]] = []

    def when_open(self, callback: Callable[[], None]) -> None:
        self._waiting.append(callback)

    def reopen(self) -> None:
        self.open = True
        waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()


class FakeRepairs:
    def __init__(self) -> None:
        self.begun: list[tuple[int, int, int]] = []

    def begin(self, table: BytesTable, partition: int, begin: int, end: int) -> None:
        self.begun.append((partition, begin, end))


class FakeApp:
    """Records what is emitted; every record is a record batch of its own."""

    def __init__(self, **changes: Any) -> None:
        self.settings = EngineSettings(bootstrap="nowhere:1", app_id="fake", **changes)
        self.consumer = FakeConsumer()
        self.observer = SilentObserver()
        self.emitted: list[tuple[str, int, bytes | None, bytes | None]] = []
        self.tickets: list[Ticket] = []
        self.fence = FakeFence()
        self.repairs = FakeRepairs()

    def Table(self, *args: Any, **kwargs: Any) -> None:  # noqa: N802
        return None

    def topic(self, *args: Any, **kwargs: Any) -> None:
        return None

    def emit(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> Ticket:
        self.check_size(topic, key, value)
        self.emitted.append((topic, partition, key, value))
        self.tickets.append(Ticket())
        return self.tickets[-1]

    def check_size(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        size = len(key or b"") + len(value or b"")
        if size > self.settings.max_record_bytes:
            raise RecordTooLarge(topic, size, self.settings.max_record_bytes)

    # -- what a test does

    def ack(self, *numbers: int) -> None:
        """Acknowledge emitted records by number; without numbers, all."""
        for number in numbers or range(len(self.tickets)):
            topic, partition, *_ = self.emitted[number]
            earlier = [e for e in self.emitted[:number] if e[:2] == (topic, partition)]
            self.tickets[number].resolve(len(earlier), 1)

    def refuse(self, number: int) -> None:
        self.tickets[number].resolve(None, 0, ProduceError("refused"))

    def values(self, topic: str) -> list[bytes | None]:
        return [value for name, _, _, value in self.emitted if name == topic]

    def table(self, name: str = "rows", store: PartitionStore | None = None) -> BytesTable:
        """A table that owns partition 0."""
        table = BytesTable(self, name, 1, lambda *_: store or MemoryStore())  # type: ignore[arg-type]
        table.assign({0})
        table.ready()
        return table

    def assignment(self, topic: str = "in") -> Assignment:
        from faust.types import TP

        tracker = Tracker(None, 0.0)
        return Assignment(self.consumer, TP(topic, 0), 1, tracker, UnitLane(self))  # type: ignore[arg-type]


def batch_of(assignment: Assignment, *offsets: int) -> Batch:
    return Batch(assignment, [FakeRecord(offset) for offset in offsets])
