"""What agents need from the engine, as protocols: the engine fits them, and so does a fake in memory.

Rules:

1. Agents know these shapes, never the engine's classes; whoever builds the worker hands the real ones in.
2. Nothing here has behaviour except :func:`acked`, which waits for any tickets.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Protocol

Headers = list[tuple[str, bytes]]
"""Kafka record headers, in order; a name may repeat."""


class TicketPort(Protocol):
    """The promise that a record will be on all in-sync replicas. Awaiting one that failed raises."""

    done: bool

    def add_done_callback(self, callback: Callable[[Any], None], /) -> None: ...

    def __await__(self) -> Generator[Any, None, None]: ...


class PlacedPort(Protocol):
    """A record on its way. ``near``: this worker reads its partition and will be given it without a fetch."""

    @property
    def ticket(self) -> TicketPort: ...
    @property
    def near(self) -> bool: ...

    @property
    def offset(self) -> int | None:
        """None until it is acknowledged, and where the broker did not say."""


class RecordPort(Protocol):
    """One consumed record; ``timestamp`` in epoch milliseconds."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class OffsetPort(Protocol):
    """A source offset that waits for a piece of work."""

    def release(self) -> None:
        """The work is done."""

    def abandon(self) -> None:
        """It will not be done here: never wait for it, never commit it, redelivery is wanted."""


class BatchPort(Protocol):
    """A run of records of one partition. It begins with one reference; its offsets commit when the last is gone."""

    topic: str
    partition: int
    generation: int

    @property
    def records(self) -> Sequence[Any]: ...
    @property
    def stale(self) -> bool: ...
    def forget(self) -> None:
        """Nobody will look at the records any more."""

    def retain(self, n: int = 1) -> None: ...
    def release(self, n: int = 1) -> None: ...

    def abandon(self) -> None:
        """This run will not be finished here: never wait for it, never commit it, redelivery is wanted."""


class TablePort(Protocol):
    """A table of bytes, co-partitioned with the topics. Reads see writes at once; tickets tell when they are safe."""

    name: str

    def get(self, partition: int, key: bytes) -> bytes | None: ...
    def put(self, partition: int, key: bytes, value: bytes) -> TicketPort: ...
    def delete(self, partition: int, key: bytes) -> TicketPort: ...
    def items(self, partition: int) -> Iterable[tuple[bytes, bytes]]: ...


class UnitPort(Protocol):
    """Ordered work for one batch: events acknowledged, then table rows acknowledged, then the offset."""

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ...
    ) -> None: ...

    def place(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ...
    ) -> PlacedPort | None:
        """Emit, and tell the record's offset later; None where nobody can or nothing was emitted."""

    def put(self, table: Any, key: bytes, value: bytes) -> None: ...
    def delete(self, table: Any, key: bytes) -> None: ...
    def finish(self) -> None: ...
    async def room(self) -> None: ...


class EnginePort(Protocol):
    """The running worker, as far as agents are concerned."""

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ...
    ) -> TicketPort:
        """Append a record; raises ``RecordTooLarge`` (a ``ValueError``) beyond the engine's limit."""

    async def store(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ...
    ) -> int:
        """Emit, wait for the acknowledgement, and tell the record's offset (-1 if the broker did not say)."""

    async def room(self) -> None:
        """Wait while too much is emitted and not acknowledged."""

    def owns(self, topic: str, partition: int) -> bool: ...
    def generation(self) -> int: ...
    def heartbeat_age_s(self) -> float: ...
    def handover_s(self) -> float:
        """How long work of partitions that are being given away may still take."""

    def waits(self, topic: str, partition: int) -> None:
        """What lies there waits its turn on purpose: that nothing of it ends is no stall."""

    def on_partition_ready(self, callback: Callable[..., Any], /) -> None: ...
    def on_partition_lost(self, callback: Callable[..., Any], /) -> None: ...


class ReaderPort(Protocol):
    """A compacted topic as this process has read it."""

    def get(self, key: bytes, /) -> bytes | None: ...
    def items(self) -> Iterable[tuple[bytes, bytes]] | Iterator[tuple[bytes, bytes]]: ...

    async def caught_up(self) -> None:
        """Return when everything written before this call has been read."""


UnitFactory = Callable[[Any, Any], UnitPort]
"""Opens a unit for (engine, batch)."""


async def acked(tickets: Iterable[TicketPort]) -> None:
    """Wait until all of them are acknowledged; raises what the first failed one raises."""
    for ticket in dict.fromkeys(tickets):
        await ticket
