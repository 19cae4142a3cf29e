"""Late records of a former owner in a changelog: our rows are logged again over them.

A worker that was cut off may have records under way which reach the changelog after another worker has restored
from it and writes. The new owner notices: its own record does not land where its last one ended. It reads what
lies between and logs its own rows of those keys again, so that the log ends with the truth. Where it writes nothing
more, it looks at the log's end: every few seconds, and once more before it gives partitions away or stops, when it also
waits for repairs under way. Else the next owner would restore the late record.

The worker that was cut off sees the same gap. So nobody repairs before the group has answered a heartbeat that
was sent after the gap was seen: a former owner never gets that answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import aiokafka
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.engine.errors import PartitionLost
from streams.engine.log_reading import ends_of, log_consumer, read_range
from streams.engine.tickets import acked

if TYPE_CHECKING:
    from streams.engine.app import EngineApp
    from streams.engine.tables import BytesTable

_POLL_S = 0.05
LOOK_EVERY_S = 5.0
_SETTLE_S = 3.0
"""A handover waits no longer than this: the group may not answer a heartbeat any more."""
_logger = logging.getLogger(__name__)


class Repairs:
    """The repairs under way. `done` counts the finished ones."""

    def __init__(self, app: EngineApp) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends: aiokafka.AIOKafkaConsumer | None = None
        self._asking = asyncio.Lock()
        self.done = 0

    def begin(self, table: BytesTable, partition: int, begin: int, end: int) -> None:
        """Somebody else wrote the offsets `begin` to `end` (exclusive) of the table's changelog."""
        _logger.warning("%s[%s] has records %s to %s of another writer", table.changelog, partition, begin, end - 1)
        task = asyncio.get_running_loop().create_task(self._repair(table, partition, begin, end))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def _repair(self, table: BytesTable, partition: int, begin: int, end: int) -> None:
        seen_s, generation = time.monotonic(), self._app.generation()
        consumer = log_consumer(self._app.settings)
        try:
            await consumer.start()
            records = await read_range(consumer, TopicPartition(table.changelog, partition), begin, end)
        finally:
            await consumer.stop()
        while (self._app.fence.answered_s or 0.0) <= seen_s:  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(_POLL_S)
        if self._app.generation() != generation:
            return  # restored again meanwhile, or gone
        try:
            await acked(table.relog(partition, dict.fromkeys(record.key for record in records)))
        except PartitionLost:
            return
        self.done += 1

    async def look(self) -> None:
        """Begin repairs where somebody else wrote last; a broker that does not answer is asked another time."""
        watched = {
            TopicPartition(table.changelog, number): (table, number, end)
            for table in self._app.bytes_tables
            for number, end in table.log_ends()
        }
        if not watched:
            return
        try:
            async with self._asking:
                ends = await ends_of(await self._connected(), list(watched))
        except (KafkaError, TimeoutError) as exc:
            _logger.info("The ends of the changelogs could not be asked for: %r", exc)
            return
        for place, (table, number, before) in watched.items():
            table.check_end(number, before, ends[place])

    async def _connected(self) -> aiokafka.AIOKafkaConsumer:
        if self._ends is None:
            consumer = log_consumer(self._app.settings)
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._ends = consumer
        return self._ends

    async def settle(self, limit_s: float) -> None:
        """Before partitions go: look once more, and wait for the repairs, at most so long."""
        try:
            async with asyncio.timeout(min(limit_s, _SETTLE_S)):
                await self.look()
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            if self._tasks:
                _logger.warning("%s repairs of changelogs did not end in time", len(self._tasks))

    async def stop(self) -> None:
        """Give the connection back."""
        self.cancel()
        if self._ends is not None:
            await self._ends.stop()
            self._ends = None

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._app.fail(f"a changelog could not be repaired: {error!r}", error)

    def cancel(self) -> None:
        """The partitions are taken away, or the worker stops."""
        for task in self._tasks:
            task.cancel()
