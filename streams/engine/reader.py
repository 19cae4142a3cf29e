"""A compacted topic, read by a process for itself: configuration, breakers, controls.

Instead of Faust's GlobalTable, whose copies are not kept up to date. No group, no commits: every process reads
every partition from the beginning and then follows.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.engine.errors import EngineFailure
from streams.engine.log_reading import ends_of, log_consumer, partitions_of, read_to_end
from streams.engine.settings import EngineSettings

OnChange = Callable[[bytes, bytes | None], Awaitable[None]]
"""Called with key and value (None: deleted), in the order of the log, during the first reading too."""

_FOLLOW_MS = 500
_logger = logging.getLogger(__name__)


class CompactedReader:
    """The last value of every key of a topic. `start`, then read; `stop` at the end.

    `on_failure` is told when following has ended for a reason other than `stop` (give it `app.fail`).
    """

    def __init__(
        self,
        settings: EngineSettings,
        topic: str,
        on_change: OnChange | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self.topic = topic
        self.ready = asyncio.Event()
        """Everything that was in the topic at the start has been read."""
        self._settings = settings
        self._on_change = on_change
        self._on_failure = on_failure
        self._rows: dict[bytes, bytes] = {}
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._follower: asyncio.Task[None] | None = None
        self._positions: dict[TopicPartition, int] = {}
        self._moved = asyncio.Condition()
        self._ended = False

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """A snapshot."""
        return iter(list(self._rows.items()))

    def __len__(self) -> int:
        return len(self._rows)

    async def start(self) -> None:
        """Read the topic to its current end, then follow it in the background.

        Raises EngineFailure when the topic does not exist or cannot be read.
        """
        consumer = log_consumer(self._settings)
        try:
            await self._read_all(consumer)
        except (KafkaError, TimeoutError) as exc:
            await consumer.stop()
            raise EngineFailure(f"topic {self.topic} cannot be read: {exc!r}") from exc
        except BaseException:
            await consumer.stop()
            raise
        self._consumer = consumer
        self.ready.set()
        self._follower = asyncio.get_running_loop().create_task(self._follow(consumer))

    async def stop(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def caught_up(self) -> None:
        """Return when everything that is in the topic now has been read. Raises EngineFailure."""
        consumer = self._consumer
        if consumer is None:
            raise EngineFailure(f"the reader of topic {self.topic} is not running")
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                ends = await ends_of(consumer, list(consumer.assignment()))
                async with self._moved:
                    await self._moved.wait_for(lambda: self._ended or self._reached(ends))
        except (KafkaError, TimeoutError) as exc:
            raise EngineFailure(f"topic {self.topic} could not be read to its end: {exc!r}") from exc
        if self._ended:
            raise EngineFailure(f"the reader of topic {self.topic} has stopped")

    async def _read_all(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        async with asyncio.timeout(self._settings.request_timeout_s):
            await consumer.start()
            numbers = await partitions_of(consumer, self.topic)
        if not numbers:
            raise EngineFailure(f"topic {self.topic} does not exist")
        records: list[Any] = []
        self._positions = await read_to_end(
            consumer,
            {TopicPartition(self.topic, number): None for number in numbers},
            lambda _, run: records.extend(run),
            self._settings.recovery_stall_timeout_s,
        )
        await self._apply(records)

    async def _follow(self, consumer: aiokafka.AIOKafkaConsumer) -> None:
        try:
            while True:
                runs = await consumer.getmany(timeout_ms=_FOLLOW_MS)
                for records in runs.values():
                    await self._apply(records)
                for tp in self._positions:
                    self._positions[tp] = await consumer.position(tp)
                async with self._moved:
                    self._moved.notify_all()
        except asyncio.CancelledError:
            raise
        except Exception as exc:
            _logger.exception("The reader of topic %s has stopped", self.topic)
            if self._on_failure is not None:
                self._on_failure(f"the reader of topic {self.topic} has stopped: {exc!r}")
        finally:
            self._ended = True
            async with self._moved:
                self._moved.notify_all()

    async def _apply(self, records: Sequence[Any]) -> None:
        for record in records:
            if record.value is None:
                self._rows.pop(record.key, None)
            else:
                self._rows[record.key] = record.value
            if self._on_change is not None:
                await self._on_change(record.key, record.value)

    def _reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        return all(self._positions[tp] >= end for tp, end in ends.items())
