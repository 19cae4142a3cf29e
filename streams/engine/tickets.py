"""Tickets: the promise that a record will be acknowledged, one object for all records of a record batch.

Rules:
1. A ticket resolves once; whoever waits for it may be cancelled without harm to the others.
2. A ticket that fails with ProduceError means that the process is ending: nobody needs to handle it, only not to
   go on. One that fails with PartitionLost was a table write that was given up with its partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from streams.engine.errors import EngineError


class Ticket:
    """Await it to know that the record is on all in-sync replicas; raises ProduceError or PartitionLost otherwise."""

    __slots__ = ("_callbacks", "base_offset", "done", "error", "records")

    def __init__(self) -> None:
        self.done = False
        self.error: EngineError | None = None
        self.base_offset: int | None = None
        """Offset of the first record of the record batch, when the broker told it."""
        self.records = 0
        """Number of records in the record batch, known when it is done."""
        self._callbacks: list[Callable[[Ticket], None]] = []

    def add_done_callback(self, callback: Callable[[Ticket], None]) -> None:
        """Called once, also when the ticket fails; at once when it is done already."""
        if self.done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def resolve(self, base_offset: int | None, records: int, error: EngineError | None = None) -> None:
        """The producer's side."""
        if self.done:
            return
        self.done = True
        self.base_offset = base_offset
        self.records = records
        self.error = error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def follow(self, other: Ticket) -> None:
        """Resolve like `other`, which is done."""
        self.resolve(other.base_offset, other.records, other.error)

    def __await__(self) -> Generator[Any, None, None]:
        if not self.done:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._callbacks.append(lambda _: None if waiter.done() else waiter.set_result(None))
            yield from waiter.__await__()
        if self.error is not None:
            raise self.error


@dataclass(frozen=True, slots=True)
class Placed:
    """One record on its way. `near`: this worker reads the partition, and its consumer gets the record from here."""

    ticket: Ticket
    index: int
    near: bool

    @property
    def offset(self) -> int | None:
        """Where the record lies; None before it is acknowledged, and when the broker did not say: an idempotent
        repeat of a record batch that it had already.
        """
        base_offset = self.ticket.base_offset
        return None if base_offset is None else base_offset + self.index


async def acked(tickets: Iterable[Ticket]) -> None:
    """Wait until all of them are acknowledged; repeats cost nothing. Raises the first error."""
    for ticket in dict.fromkeys(tickets):
        await ticket
