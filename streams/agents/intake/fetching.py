"""Fetching attachments beside intake's own way: a bounded number of requests at once, each finished by itself.

Rules:

1. A request under way keeps its record's offset; if the process ends, the record is delivered again.
2. Beyond the bound intake waits: what waits here is held in memory.
3. A request whose partition went elsewhere emits nothing more; the new owner does it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol

from streams.agents.intake.items import Item
from streams.agents.intake.run import Run
from streams.agents.ports import BatchPort, EnginePort, Headers, TicketPort, acked
from streams.core.event import ReasonKind
from streams.core.fanout import share
from streams.core.message import Attachment
from streams.serde.internal import pack


class FetchesFiles(Protocol):
    """Gets files by URL (``streams.attachments``)."""

    async def fetch(self, attachments: Sequence[Attachment]) -> tuple[Attachment, ...] | str: ...
    async def close(self) -> None: ...


class Fetches(Protocol):
    """What intake needs: files, and somebody who works on a request while intake goes on."""

    async def fetch(self, attachments: Sequence[Attachment]) -> tuple[Attachment, ...] | str: ...
    async def start(self, work: Coroutine[Any, Any, None]) -> None: ...


def set_aside(items: list[Item]) -> tuple[list[Item], list[Item]]:
    """The requests that can go on at once, and those that something must be fetched for."""
    if not any(item.request.attachments for item in items):
        return items, []
    aside = [item for item in items if any(one.url for one in item.request.attachments)]
    return [item for item in items if item not in aside], aside


async def fill(run: Run, item: Item) -> bool:
    """Give the content of a request its files; False if it was refused. What was asked for, not what was found, is its
    identity: the same request again is a repeat even if the file has changed.
    """
    assert item.shared is not None
    found = await run.intake.fetching.fetch(item.request.attachments)
    if isinstance(found, str):
        run.cannot(item, ReasonKind.ATTACHMENT, "attachments", found)
        return False
    filled = share(replace(item.shared.content, attachments=found), pack)
    item.shared = replace(filled, identity=item.shared.identity)
    return True


class NoFetcher:
    """Refuses every attachment by URL: better than mail without its attachment."""

    async def fetch(self, attachments: Sequence[Attachment]) -> tuple[Attachment, ...] | str:
        """A sentence."""
        return "attachments by URL are not fetched here; put the bytes into data"

    async def start(self, work: Coroutine[Any, Any, None]) -> None:
        """At once."""
        await work


class Fetching:
    """``crash`` ends the process: a request that raised must not be lost behind a committed offset."""

    def __init__(self, files: FetchesFiles, at_once: int, crash: Callable[[BaseException], None]) -> None:
        self._files = files
        self._slots = asyncio.Semaphore(at_once)
        self._crash = crash
        self._tasks: set[asyncio.Task[None]] = set()

    async def fetch(self, attachments: Sequence[Attachment]) -> tuple[Attachment, ...] | str:
        """See :class:`FetchesFiles`."""
        return await self._files.fetch(attachments)

    async def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin as soon as there is a free place."""
        await self._slots.acquire()
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Give up what is under way: its records are delivered again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._files.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._crash(error)


class LooseUnit:
    """Emits like a unit of work, without its place in the line of the partition's batches."""

    def __init__(self, app: EnginePort, batch: BatchPort) -> None:
        self._app = app
        self._batch = batch
        self._tickets: list[TicketPort] = []

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Emit now, unless the partition is somebody else's."""
        if not self._batch.stale:
            self._tickets.append(self._app.emit(topic, partition, key, value, headers or []))

    def place(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> None:
        """Emit like any other: who waited for a file can wait for its record."""
        self.emit(topic, partition, key, value, headers)

    async def acked(self) -> None:
        """Everything emitted is safe."""
        await acked(self._tickets)

    def put(self, table: Any, key: bytes, value: bytes) -> None:
        raise AssertionError("intake has no table")

    def delete(self, table: Any, key: bytes) -> None:
        raise AssertionError("intake has no table")

    def finish(self) -> None:
        raise AssertionError("whoever made it waits for it")

    async def room(self) -> None:
        raise AssertionError("whoever made it waits for it")
