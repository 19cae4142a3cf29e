"""The producer: one open record batch per (topic, partition), acknowledged as a whole.

Rules:
1. `emit` is synchronous and cheap. The record joins the partition's open batch; the driver takes the batch when
   the broker is free (one request per broker is in flight), so an idle pipeline has low latency and a loaded one
   large batches. One record batch per partition is in flight, in order, with or without idempotence.
2. `flush` returns when everything emitted before it is acknowledged, or raises.
3. The first failure is final: the process ends, nothing is emitted or committed after it.
4. A record that is too large is refused before anything happened.
5. Some partitions are patient (`app.is_patient`): what goes there leaves with the next batch that is not, with a flush,
   or after `patience_s`. Where little is sent, requests are what broker and event loop are busy with.
6. What goes to a source of this worker is kept until it is acknowledged, then offered to the consumer: what we wrote
   need not be fetched. Not so in heavy traffic.
"""
# The engine drives the accumulator of aiokafka directly.
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.engine.errors import ProduceError, RecordTooLarge
from streams.engine.pace import Pace
from streams.engine.send_queue import SendQueue
from streams.engine.tickets import Placed, Ticket, acked

if TYPE_CHECKING:
    from streams.engine.app import EngineApp

Headers = list[tuple[str, bytes]]
Kept = tuple[bytes | None, bytes | None, int, Headers]
"""Key, value, timestamp in epoch milliseconds, headers."""
NO_HEADERS: Headers = []

_HEADER_OVERHEAD_BYTES = 10
_ABANDON_S = 1.0


class _OpenBatch:
    """A record batch that still grows. `message_batch` is None while the topic's metadata are fetched."""

    __slots__ = ("append", "builder", "count", "created_s", "kept", "message_batch", "size_bytes", "ticket", "tp")

    def __init__(self, tp: TopicPartition, builder: Any, keep: bool) -> None:
        self.tp = tp
        self.builder = builder
        self.append = builder._builder.append
        self.count = 0
        self.size_bytes = 0
        self.message_batch: Any = None
        self.ticket = Ticket()
        self.created_s = time.monotonic()
        self.kept: list[Kept] | None = [] if keep else None


class EngineProducer(driver.Producer):
    """Faust's producer with `emit`."""

    app: EngineApp
    mundane_level = "debug"

    def __post_init__(self) -> None:
        super().__post_init__()
        settings = self.app.settings
        self._max_record = settings.max_record_bytes
        self._max_unacked = settings.max_unacked_records
        self._max_unacked_bytes = settings.max_unacked_bytes
        self._pace = Pace(settings.linger_s, settings.gather_s, settings.gather_from_per_s)
        self._open: dict[tuple[str, int], _OpenBatch] = {}
        self._unacked: dict[Ticket, _OpenBatch] = {}
        self._patient: dict[_OpenBatch, None] = {}  # in the driver's queue for the time being
        self._unknown: dict[str, deque[_OpenBatch]] = {}  # topics whose metadata are being fetched
        self._metadata_tasks: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()
        self._unacked_records = 0
        self._unacked_bytes = 0
        self._queue: SendQueue | None = None  # of the driver, once that is started
        self._ebb = asyncio.Event()
        self.error: ProduceError | None = None

    def _settings_extra(self) -> Mapping[str, Any]:
        settings = self.app.settings
        return {
            "acks": "all",
            "enable_idempotence": not settings.embedded,
            "linger_ms": settings.linger_s * 1000,
            "max_batch_size": settings.batch_bytes,
            "max_request_size": settings.max_record_bytes + 4096,
            "compression_type": settings.compression,
            "request_timeout_ms": int(settings.request_timeout_s * 1000),
            **settings.security,
        }

    async def on_stop(self) -> None:
        """Flush and close, but not for ever: without a broker the driver would wait until one comes."""
        driver_producer = cast(Any, self._producer)
        limit_s = _ABANDON_S if self.app.failure is not None else self.app.settings.shutdown_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await super().on_stop()
        except TimeoutError:
            driver_producer._message_accumulator.fail_all(ProduceError("the worker has stopped"))
            await driver_producer.client.close()
        for task in self._metadata_tasks:
            task.cancel()

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> Ticket:
        """Add one record to the partition's open batch.

        Raises RecordTooLarge (the caller's business), ProduceError (the process is ending), or ValueError for
        a partition that does not exist.
        """
        size = (len(key) if key is not None else 0) + (len(value) if value is not None else 0)
        if headers:
            for name, data in headers:
                size += len(name) + len(data) + _HEADER_OVERHEAD_BYTES
        if size > self._max_record:
            raise RecordTooLarge(topic, size, self._max_record)
        batch = self._open.get((topic, partition))
        if batch is None or (batch.message_batch is not None and batch.message_batch._retry_count):
            batch = self._begin(topic, partition)  # none yet, or the driver has taken it
        count = batch.count
        appended = batch.append(count, None, key, value, headers)
        if appended is None:
            batch.builder.close()  # full: the driver need not wait for the linger
            if self._queue is not None:
                self._queue.wake()
            batch = self._begin(topic, partition)
            count = 0
            appended = batch.append(0, None, key, value, headers)
        if batch.kept is not None:
            batch.kept.append((key, value, appended.timestamp, headers))
        batch.count = batch.builder._relative_offset = count + 1
        batch.size_bytes += size
        self._unacked_records += 1
        self._unacked_bytes += size
        return batch.ticket

    async def store(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> int:
        """Emit, wait for the acknowledgement, and tell the offset of this very record.

        -1 when the broker did not say: an idempotent repeat of a record batch that it had already.
        """
        placed = self.place(topic, partition, key, value, headers)
        await placed.ticket
        return -1 if placed.offset is None else placed.offset

    def place(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> Placed:
        """Emit a record whose offset somebody wants to know."""
        ticket = self.emit(topic, partition, key, value, headers)
        batch = self._open[(topic, partition)]
        return Placed(ticket, batch.count - 1, batch.kept is not None)  # nothing has been appended since

    def _begin(self, topic: str, partition: int) -> _OpenBatch:
        if self.error is not None:
            raise self.error
        producer = cast(Any, self._ensure_producer())
        batch = _OpenBatch(TopicPartition(topic, partition), producer.create_batch(), self._is_short_way(topic))
        if topic in self._known:
            self._hand_over(batch, is_patient=self.app.is_patient(topic, partition))
        elif topic in self._unknown:
            self._unknown[topic].append(batch)
        else:
            self._unknown[topic] = deque([batch])
            task = asyncio.get_running_loop().create_task(self._learn(topic))
            self._metadata_tasks.add(task)
            task.add_done_callback(self._metadata_tasks.discard)
        self._open[(topic, partition)] = batch
        self._unacked[batch.ticket] = batch
        return batch

    def _is_short_way(self, topic: str) -> bool:
        """Whether rule 6 pays: where much is written, records are fetched many at a time, and nobody waits for one."""
        return topic in self.app.sources and self._pace.per_s < self.app.settings.gather_from_per_s / 2

    def _hand_over(self, batch: _OpenBatch, *, is_patient: bool = False) -> None:
        """Put the batch, still open, into the driver's queue; it is closed when it is taken."""
        producer = cast(Any, self._ensure_producer())
        partitions = producer.client.cluster.partitions_for_topic(batch.tp.topic)
        if partitions is not None and batch.tp.partition not in partitions:
            raise ValueError(f"topic {batch.tp.topic} has no partition {batch.tp.partition}")
        wait_s = max(self._pace.wait_s, self.app.settings.patience_s) if is_patient else self._pace.wait_s
        if self._queue is None:
            self._queue = SendQueue(producer)
        batch.message_batch = self._queue.put(batch.tp, batch.builder, wait_s)
        batch.message_batch.future.add_done_callback(partial(self._on_done, batch))
        if is_patient:
            self._patient[batch] = None
        else:
            self._end_patience(wait_s)

    def _end_patience(self, in_s: float) -> None:
        """What waited for company has it."""
        if not self._patient:
            return
        ripe_s = time.monotonic() + in_s
        for batch in self._patient:
            waiting = batch.message_batch
            waiting._linger_time = min(waiting._linger_time, ripe_s - waiting._ctime)
        self._patient.clear()

    async def _learn(self, topic: str) -> None:
        """Wait for the topic's metadata, then hand over what was collected meanwhile, in order."""
        try:
            client = cast(Any, self._ensure_producer()).client
            client._topics.add(topic)  # tracked from now on: asking for a topic that is new would forget all others
            async with asyncio.timeout(self.app.settings.request_timeout_s):
                await client._wait_on_metadata(topic)
            self._known.add(topic)
            for batch in self._unknown.pop(topic):
                self._hand_over(batch)
        except Exception as exc:  # noqa: BLE001 - any failure to produce ends the process
            self._fail(topic, exc)

    def _on_done(self, batch: _OpenBatch, future: asyncio.Future[Any]) -> None:
        self._unacked.pop(batch.ticket, None)
        self._patient.pop(batch, None)
        self._unacked_records -= batch.count
        self._unacked_bytes -= batch.size_bytes
        self._pace.came(batch.count)
        if self.has_room:
            self._ebb.set()
        key = (batch.tp.topic, batch.tp.partition)
        if self._open.get(key) is batch:
            del self._open[key]
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            if not self.should_stop:
                self._fail(batch.tp.topic, error)
            batch.ticket.resolve(None, 0, self.error or ProduceError(f"not acknowledged: {error!r}"))
            return
        base_offset = future.result().offset
        batch.ticket.resolve(base_offset if base_offset >= 0 else None, batch.count)
        if batch.kept and base_offset >= 0:
            self.app.consumer.on_written(TP(*key), base_offset, batch.kept)

    def _fail(self, topic: str, cause: BaseException) -> None:
        if self.error is None:
            self.error = ProduceError(f"a record batch for {topic} was not acknowledged: {cause!r}")
            self.error.__cause__ = cause
            self.app.observer.on_produce_error(topic, cause)
            self.app.fail(str(self.error))
        self._ebb.set()

    @property
    def oldest_unacked_s(self) -> float:
        """Age of the oldest record batch that is not acknowledged; 0 when there is none."""
        oldest = next(iter(self._unacked.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest.created_s

    def check_delivery_timeout(self) -> None:
        """Fail when a record batch has been waiting longer than `delivery_timeout_s`."""
        oldest = next(iter(self._unacked.values()), None)
        if oldest is not None and self.oldest_unacked_s > self.app.settings.delivery_timeout_s:
            self._fail(oldest.tp.topic, TimeoutError(f"no acknowledgement for {self.oldest_unacked_s:.0f} s"))

    @property
    def has_room(self) -> bool:
        """Whether fewer than `max_unacked_records`, of fewer than `max_unacked_bytes`, are unacknowledged."""
        return self._unacked_records <= self._max_unacked and self._unacked_bytes <= self._max_unacked_bytes

    async def room(self) -> None:
        """Back-pressure: wait until that is so."""
        while not self.has_room and self.error is None:
            self._ebb.clear()
            await self._ebb.wait()

    async def flush(self) -> None:
        """Everything emitted before this call is acknowledged, or ProduceError is raised."""
        if self.error is not None:
            raise self.error
        if self._patient and self._queue is not None:
            self._end_patience(0.0)
            self._queue.wake()
        await acked(list(self._unacked))
