"""Late records of a former owner in a changelog: our rows are logged again over them.

A worker that was cut off may have records under way which reach the changelog after another worker has restored
from it and writes. The new owner notices: its own record does not land where its last one ended. It reads what
lies between and logs its own rows of those keys again, so that the log ends with the truth.

The worker that was cut off sees the same gap. So nobody repairs before the group has answered a heartbeat that
was sent after the gap was seen: a former owner never gets that answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from aiokafka.structs import TopicPartition

from streams.engine.errors import PartitionLost
from streams.engine.log_reading import log_consumer, read_range
from streams.engine.tickets import acked

if TYPE_CHECKING:
    from streams.engine.app import EngineApp
    from streams.engine.tables import BytesTable

_POLL_S = 0.05
_logger = logging.getLogger(__name__)


class Repairs:
    """The repairs under way. `done` counts the finished ones."""

    def __init__(self, app: EngineApp) -> None:
        self._app = app
        self._tasks: set[asyncio.Task[None]] = set()
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

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._app.fail(f"a changelog could not be repaired: {error!r}", error)

    def cancel(self) -> None:
        """The partitions are taken away, or the worker stops."""
        for task in self._tasks:
            task.cancel()
