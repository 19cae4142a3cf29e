"""An engine in memory: records what agents emit and write, and acknowledges at once or when told to.

engine = FakeEngine()                     # acknowledges everything at once
engine = FakeEngine(automatic=False)      # ... only at engine.acknowledge() or engine.acknowledge("receipts")
batch = FakeBatch("send-requests", 0, [record(b"value")])
engine.on("receipts")                     # the emitted records of one topic
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from streams.agents.ports import Headers
from streams.engine.errors import RecordTooLarge


class FakeTicket:
    """Resolves when the fake engine acknowledges."""

    def __init__(self, topic: str, offset: int = -1) -> None:
        self.topic = topic
        self.offset = offset
        self.done = False
        self.error: BaseException | None = None
        self._callbacks: list[Callable[[FakeTicket], None]] = []

    def add_done_callback(self, callback: Callable[[Any], None], /) -> None:
        if self.done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def resolve(self, error: BaseException | None = None) -> None:
        if self.done:
            return
        self.done, self.error = True, error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def __await__(self) -> Generator[Any, None, None]:
        if not self.done:
            import asyncio

            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._callbacks.append(lambda _: None if waiter.done() else waiter.set_result(None))
            yield from waiter.__await__()
        if self.error is not None:
            raise self.error


@dataclass(slots=True)
class FakePlaced:
    """``says`` is False of a broker that acknowledges without an offset."""

    ticket: FakeTicket
    near: bool = True
    says: bool = True

    @property
    def offset(self) -> int | None:
        return self.ticket.offset if self.says and self.ticket.done and self.ticket.error is None else None


@dataclass(frozen=True, slots=True)
class Record:
    """A consumed record, in the shape of the driver's."""

    value: bytes | None
    key: bytes | None = None
    offset: int = 0
    timestamp: int = 0
    headers: Sequence[tuple[str, bytes]] = ()


def record(
    value: bytes | None,
    key: bytes | None = None,
    offset: int = 0,
    timestamp: int = 0,
    headers: Sequence[tuple[str, bytes]] = (),
) -> Record:
    return Record(value, key, offset, timestamp, headers)


@dataclass(frozen=True, slots=True)
class Emitted:
    """A record as an agent emitted it; ``seq`` orders emits and table writes of one engine."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    offset: int
    seq: int


@dataclass(eq=False)
class FakeBatch:
    """A run of records; ``done`` when the last reference is released."""

    topic: str
    partition: int
    records: Sequence[Any]
    generation: int = 1
    stale: bool = False
    references: int = 1
    abandoned: bool = False

    def abandon(self) -> None:
        self.abandoned = True

    def forget(self) -> None:
        self.records = ()

    def __len__(self) -> int:
        return len(self.records)

    @property
    def done(self) -> bool:
        return self.references == 0

    def retain(self, n: int = 1) -> None:
        assert self.references > 0, "a batch that is done cannot be retained"
        self.references += n

    def release(self, n: int = 1) -> None:
        self.references -= n
        assert self.references >= 0, "a batch was released more often than retained"


@dataclass
class FakeTable:
    """Rows per partition; every write is also noted in ``engine.writes``."""

    engine: FakeEngine
    name: str
    rows: dict[int, dict[bytes, bytes]] = field(default_factory=dict)

    def get(self, partition: int, key: bytes) -> bytes | None:
        return self.rows.get(partition, {}).get(key)

    def put(self, partition: int, key: bytes, value: bytes) -> FakeTicket:
        self.rows.setdefault(partition, {})[key] = value
        return self.engine.wrote(self.name, partition, key, value)

    def delete(self, partition: int, key: bytes) -> FakeTicket:
        self.rows.get(partition, {}).pop(key, None)
        return self.engine.wrote(self.name, partition, key, None)

    def items(self, partition: int) -> list[tuple[bytes, bytes]]:
        return list(self.rows.get(partition, {}).items())


class FakeEngine:
    """``emitted`` and ``writes`` keep everything in order; ``owned`` limits :meth:`owns` (None: everything).

    ``waited`` is what was said to wait its turn.
    """

    def __init__(self, *, automatic: bool = True, max_record_bytes: int = 900 * 1024) -> None:
        self.automatic = automatic
        self.max_record_bytes = max_record_bytes
        self.emitted: list[Emitted] = []
        self.writes: list[Emitted] = []
        self.tables: dict[str, FakeTable] = {}
        self.owned: set[tuple[str, int]] | None = None
        self.current_generation = 1
        self.heartbeat_s = 0.0
        self.patience_s = 60.0
        self.waited: list[tuple[str, int]] = []
        self.ready_callbacks: list[Callable[..., Any]] = []
        self.lost_callbacks: list[Callable[..., Any]] = []
        self._open: list[FakeTicket] = []
        self._ends: dict[tuple[str, int], int] = {}
        self._seq = 0

    # -- the engine's side of the ports

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> FakeTicket:
        return self._keep(self.emitted, topic, partition, key, value, tuple(headers or ()))

    def place(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> FakePlaced:
        return FakePlaced(self.emit(topic, partition, key, value, headers))

    async def store(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> int:
        ticket = self.emit(topic, partition, key, value, headers)
        await ticket
        return ticket.offset

    async def room(self) -> None:
        """There is always room."""

    def owns(self, topic: str, partition: int) -> bool:
        return self.owned is None or (topic, partition) in self.owned

    def generation(self) -> int:
        return self.current_generation

    def heartbeat_age_s(self) -> float:
        return self.heartbeat_s

    def handover_s(self) -> float:
        return self.patience_s

    def waits(self, topic: str, partition: int) -> None:
        self.waited.append((topic, partition))

    def may_write(self) -> bool:
        return True

    def on_partition_ready(self, callback: Callable[..., Any], /) -> None:
        self.ready_callbacks.append(callback)

    def on_partition_lost(self, callback: Callable[..., Any], /) -> None:
        self.lost_callbacks.append(callback)

    # -- the test's side

    def table(self, name: str) -> FakeTable:
        return self.tables.setdefault(name, FakeTable(self, name))

    def on(self, topic: str) -> list[Emitted]:
        return [e for e in self.emitted if e.topic == topic]

    def acknowledge(self, topic: str | None = None, error: BaseException | None = None) -> int:
        """Resolve what is open (of one topic or table); returns how many."""
        due = [t for t in self._open if topic is None or t.topic == topic]
        self._open = [t for t in self._open if t not in due]
        for ticket in due:
            ticket.resolve(error)
        return len(due)

    @property
    def unacknowledged(self) -> int:
        return len(self._open)

    def wrote(self, table: str, partition: int, key: bytes, value: bytes | None) -> FakeTicket:
        return self._keep(self.writes, table, partition, key, value, ())

    def _keep(
        self,
        where: list[Emitted],
        topic: str,
        partition: int,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...],
    ) -> FakeTicket:
        size = len(key or b"") + len(value or b"") + sum(len(n) + len(v) + 10 for n, v in headers)
        if size > self.max_record_bytes:
            raise RecordTooLarge(topic, size, self.max_record_bytes)
        offset = self._ends.get((topic, partition), 0)
        self._ends[(topic, partition)] = offset + 1
        self._seq += 1
        where.append(Emitted(topic, partition, key, value, headers, offset, self._seq))
        ticket = FakeTicket(topic, offset)
        if self.automatic:
            ticket.resolve()
        else:
            self._open.append(ticket)
        return ticket


class FakeUnit:
    """Events acknowledged, then rows logged and acknowledged, then the batch released. Reads see writes at once."""

    def __init__(self, app: Any, batch: Any) -> None:
        self._app = app
        self._batch = batch
        self._tickets: set[Any] = set()
        self._writes: dict[tuple[str, bytes], tuple[FakeTable, bytes | None]] = {}
        self._finished = False
        self._logged = False
        self.released = False

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        self._wait_for(self._app.emit(topic, partition, key, value, headers or []))

    def place(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> FakePlaced:
        placed: FakePlaced = self._app.place(topic, partition, key, value, headers or [])
        self._wait_for(placed.ticket)
        return placed

    def put(self, table: FakeTable, key: bytes, value: bytes) -> None:
        table.rows.setdefault(self._batch.partition, {})[key] = value
        self._writes[(table.name, key)] = (table, value)

    def delete(self, table: FakeTable, key: bytes) -> None:
        table.rows.get(self._batch.partition, {}).pop(key, None)
        self._writes[(table.name, key)] = (table, None)

    def finish(self) -> None:
        assert not self._finished, "a unit is finished once"
        self._finished = True
        self._advance()

    async def room(self) -> None:
        return None

    def _wait_for(self, ticket: Any) -> None:
        if not ticket.done:
            self._tickets.add(ticket)
            ticket.add_done_callback(self._acked)

    def _acked(self, ticket: Any) -> None:
        if ticket.error is None:
            self._tickets.discard(ticket)
            self._advance()

    def _advance(self) -> None:
        if not self._finished or self._tickets or self.released:
            return
        if not self._logged:
            self._logged = True
            for (_, key), (table, value) in self._writes.items():
                self._wait_for(self._app.wrote(table.name, self._batch.partition, key, value))
        if not self._tickets and not self.released:
            self.released = True
            self._batch.release()


class FakeReader:
    """A compacted topic. ``later`` appears only when somebody reads to the current end."""

    def __init__(self, rows: dict[bytes, bytes] | None = None, later: dict[bytes, bytes] | None = None) -> None:
        self.rows = dict(rows or {})
        self.later = dict(later or {})
        self.reads_to_end = 0
        self.callbacks: list[Callable[[bytes, bytes | None], Any]] = []

    def get(self, key: bytes, /) -> bytes | None:
        return self.rows.get(key)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return list(self.rows.items())

    async def caught_up(self) -> None:
        self.reads_to_end += 1
        self.rows.update(self.later)

    def on_change(self, callback: Callable[[bytes, bytes | None], Any], /) -> None:
        self.callbacks.append(callback)

    def set(self, key: bytes, value: bytes | None) -> None:
        """What arriving records do."""
        if value is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = value
        for callback in self.callbacks:
            callback(key, value)
