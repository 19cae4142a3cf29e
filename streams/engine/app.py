"""The application: Faust's App with the batch path installed.

    app = EngineApp(settings)
    orders = app.batch_topic("orders")
    totals = app.bytes_table("totals", partitions=12)

    @app.agent(orders)
    async def count(batches):
        async for batch in batches:
            unit = Unit(app, batch)
            for record in batch.records:
                ...
            unit.finish()
            await unit.room()

Rules:
1. An agent that raises ends the process; its batch is undone. So does everything else that nobody handles.
2. Topics exist before the start (`ensure_topics`); all sources and changelogs have one partition count.
3. `run(app)` and `faust -A module worker` start the same worker.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import faust
from faust.types import TP
from mode import Service

from streams.engine.consumer import EngineConsumer
from streams.engine.errors import EngineFailure, PartitionLost, RecordTooLarge
from streams.engine.faust_options import options_for_faust
from streams.engine.fence import Fence
from streams.engine.observer import EngineObserver, SilentObserver
from streams.engine.producer import NO_HEADERS, EngineProducer, Headers
from streams.engine.recovery import EngineTableManager
from streams.engine.repair import LOOK_EVERY_S, Repairs
from streams.engine.settings import EngineSettings
from streams.engine.stores import MemoryStore, PartitionStore, Stores
from streams.engine.stream import BatchTopic
from streams.engine.tables import BytesTable
from streams.engine.tickets import Placed, Ticket
from streams.engine.topics import TopicProblem, TopicSpec, ensure_topics, partition_counts
from streams.engine.transport import EngineTransport
from streams.engine.watch import Watch

PartitionCallback = Callable[[int], Awaitable[None]]

_WATCH_INTERVAL_S = 1.0
_CRASH_GRACE_S = 3.0
_logger = logging.getLogger(__name__)


class EngineApp(faust.App):
    """One worker. `failure` is the reason why the process is ending, or None."""

    logger = logging.getLogger("faust.app")  # what Faust says by itself are not our words
    producer: EngineProducer
    consumer: EngineConsumer
    tables: EngineTableManager

    def __init__(self, settings: EngineSettings, observer: EngineObserver | None = None, **faust_options: Any) -> None:
        self.settings = settings
        self.observer: EngineObserver = observer or SilentObserver()
        self.failure: str | None = None
        self.owns_process = False
        """A failure may end the process by force; set by `run` and `faust worker`."""
        self.sources: dict[str, BatchTopic] = {}
        self.bytes_tables: list[BytesTable] = []
        self.changelogs: set[str] = set()
        self.fence = Fence(settings.session_timeout_s)
        self.repairs = Repairs(self)
        self._ready: frozenset[TP] = frozenset()
        self._ready_callbacks: list[PartitionCallback] = []
        self._lost_callbacks: list[PartitionCallback] = []
        self._guard: threading.Timer | None = None
        self._stores: Stores | None = None
        super().__init__(settings.app_id, **{**options_for_faust(settings), **faust_options})

    # -- definitions

    def batch_topic(self, name: str) -> BatchTopic:
        """A source topic; the one agent over it receives Batch objects."""
        if name not in self.sources:
            self.sources[name] = BatchTopic(self, topics=[name], key_type=bytes, value_type=bytes)
        return self.sources[name]

    def bytes_table(self, name: str, partitions: int) -> BytesTable:
        """A table whose rows live in the store of the settings, with a compacted changelog."""
        table = BytesTable(self, name, partitions, self._new_store)
        self.bytes_tables.append(table)
        self.changelogs.add(table.changelog)
        return table

    def is_patient(self, topic: str, partition: int) -> bool:
        """Whether nobody waits for what is written there, so that it may gather company (see the producer)."""
        return False

    def changelog_specs(self) -> list[TopicSpec]:
        """The topics that the tables need; created at the start when they are missing."""
        config = {**self.settings.changelog_config, "cleanup.policy": "compact"}
        return [
            TopicSpec(table.changelog, table.partitions, self.settings.replication_factor, config)
            for table in self.bytes_tables
        ]

    def on_partition_ready(self, callback: PartitionCallback) -> None:
        """Called for each partition number gained: tables are restored, no source record is delivered yet."""
        self._ready_callbacks.append(callback)

    def on_partition_lost(self, callback: PartitionCallback) -> None:
        """Called for each partition number given away, before work in flight is waited for and committed."""
        self._lost_callbacks.append(callback)

    # -- work

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> Ticket:
        """Produce one record. Raises RecordTooLarge, or ProduceError when the process is already ending."""
        producer: Any = self._producer or self.producer  # the property is too slow for the hot path
        ticket: Ticket = producer.emit(topic, partition, key, value, headers)
        return ticket

    def place(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> Placed:
        """`emit`, and a way to know the record's offset when it is acknowledged."""
        placed: Placed = self.producer.place(topic, partition, key, value, headers)
        return placed

    async def store(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> int:
        """`emit`, acknowledged: the record's offset, or -1 when the broker did not say."""
        return await self.producer.store(topic, partition, key, value, headers)

    async def room(self) -> None:
        """Back-pressure for those who emit much, or without being given batches: wait until less is under way."""
        await self.producer.room()

    def check_size(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """Raise RecordTooLarge when `emit` would."""
        size = (len(key) if key is not None else 0) + (len(value) if value is not None else 0)
        if size > self.settings.max_record_bytes:
            raise RecordTooLarge(topic, size, self.settings.max_record_bytes)

    def owns(self, topic: str, partition: int) -> bool:
        """The partition is assigned to us in the current generation and its tables are restored."""
        return (topic, partition) in self._ready

    def assigned_partitions(self) -> tuple[int, ...]:
        """The partition numbers that are ours and ready."""
        return tuple(sorted({tp.partition for tp in self._ready}))

    def generation(self) -> int:
        """Of the consumer group; grows with every rebalance."""
        return int(self.consumer_generation_id)

    def heartbeat_age_s(self) -> float:
        """Seconds since the last heartbeat (or join) that the group answered was sent; inf before the first."""
        return self.fence.age_s

    def handover_s(self) -> float:
        """Seconds that work of partitions which are being given away may still take; 0 when they are gone already."""
        return max(0.0, self.consumer.handover_until_s - time.monotonic())

    def waits(self, topic: str, partition: int) -> None:
        """What lies there waits its turn on purpose: that nothing of it ends is no stall, as of now."""
        assignment = self.consumer.assigned.get(TP(topic, partition))
        if assignment is not None:
            assignment.tracker.progressed_s = time.monotonic()

    def may_write(self) -> bool:
        """False when the group may have given our partitions to another worker without our knowing."""
        return self.fence.open

    def fail(self, reason: str, error: BaseException | None = None) -> None:
        """End the process with exit code 1; nothing commits any more. Only the first reason counts."""
        if self._note_failure(reason, error):
            failure = EngineFailure(reason)
            failure.__cause__ = error
            self.loop.call_soon_threadsafe(self._crash_all, failure)

    def _note_failure(self, reason: str, error: BaseException | None) -> bool:
        if self.failure is not None:
            return False
        self.failure = reason
        _logger.critical("The worker ends: %s", reason, exc_info=error)
        if self.owns_process:
            self._guard = threading.Timer(_CRASH_GRACE_S, os._exit, (1,))  # what still hangs then, hangs for ever
            self._guard.daemon = True
            self._guard.start()
        return True

    def _crash_all(self, failure: EngineFailure) -> None:
        """Up to Faust's worker, if there is one; it raises the reason at its end."""
        root = self.beacon.root
        top = self if root is None else cast(Any, root).data
        top._crash(failure)

    def disarm(self) -> None:
        """The worker has stopped in an orderly way; the process may live on."""
        if self._guard is not None:
            self._guard.cancel()

    # -- the engine's side

    async def announce_ready(self, sources: set[TP]) -> None:
        self._ready = frozenset(sources)
        for number in sorted({tp.partition for tp in sources}):
            for callback in self._ready_callbacks:
                await callback(number)

    async def announce_lost(self) -> None:
        async def announce(number: int) -> None:
            for callback in self._lost_callbacks:
                await callback(number)

        try:
            await asyncio.gather(*map(announce, self.assigned_partitions()))  # one's patience is not another's
        except Exception as exc:  # noqa: BLE001 - it must not reach the driver's coordination task
            self.fail(f"a callback for lost partitions raised {exc!r}", exc)

    def revoke_tables(self) -> None:
        self._ready = frozenset()
        self.repairs.cancel()
        for table in self.bytes_tables:
            table.revoke()

    def _new_store(self, table: str, partition: int) -> PartitionStore:
        if self.settings.store == "memory":
            return MemoryStore()
        if self._stores is None:
            from streams.engine.rocks import RocksStores

            self._stores = RocksStores(self.settings)
        return self._stores(table, partition)

    @Service.task
    async def _watch(self) -> None:
        watch = Watch(self)
        while not self.should_stop:
            watch.check()
            await self.sleep(_WATCH_INTERVAL_S)

    @Service.task
    async def _watch_changelogs(self) -> None:
        while not self.should_stop:
            await self.sleep(LOOK_EVERY_S)
            await self.repairs.look()

    def _crash(self, reason: BaseException) -> None:
        """Something inside has crashed (a background task, a service): that is a failure like any other."""
        if not isinstance(reason, EngineFailure):
            self._note_failure(f"it crashed: {reason!r}", reason)
        super()._crash(reason)

    # -- Faust's side

    def _new_transport(self) -> EngineTransport:
        return EngineTransport(self.conf.broker_consumer, self)

    def _new_producer_transport(self) -> EngineTransport:
        return EngineTransport(self.conf.broker_producer, self)

    def _create_directories(self) -> None:
        """None is needed; the stores make their own."""

    async def on_start(self) -> None:
        await self._check_topics()
        await super().on_start()

    async def _check_topics(self) -> None:
        """Create missing changelogs; all sources and changelogs must exist with one partition count."""
        settings = self.settings
        problems = await ensure_topics(settings.bootstrap, self.changelog_specs(), settings.security)
        names = [*self.sources, *sorted(self.changelogs)]
        counts = await partition_counts(settings.bootstrap, names, settings.security)
        problems += [TopicProblem(name, "does not exist") for name in self.sources if name not in counts]
        if len(set(counts.values())) > 1:
            one, *others = sorted(counts.items(), key=lambda item: item[1])
            rest = ", ".join(f"{name}: {count}" for name, count in others)
            problems.append(TopicProblem(one[0], f"has {one[1]} partitions, but all need one count ({rest})"))
        if problems:
            raise EngineFailure("; ".join(str(problem) for problem in problems))

    async def on_stop(self) -> None:
        if self._consumer is not None and self.failure is None:
            self.consumer.begin_stop()
            await self.consumer.close_sources()
            await self.tables.recovery.give_up()
            await self.announce_lost()
        await super().on_stop()
        self._ready = frozenset()
        await self.repairs.stop()
        for table in self.bytes_tables:
            table.close()
        if self._stores is not None:
            self._stores.close()
            self._stores = None
        self.fence.cancel()

    async def stop(self) -> None:
        """Stop in an orderly way: drain, flush, commit, leave the group."""
        await super().stop()
        if self._consumer is not None:
            self.consumer.thread.discard()

    async def _producer_flush(self, logger: Any) -> None:
        if self._producer is not None and self.failure is None:
            try:
                async with asyncio.timeout(self.settings.revoke_deadline_s):
                    await self.producer.flush()
            except TimeoutError:
                _logger.warning("Not everything was acknowledged in time; the work will be done again")

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        if self.should_stop and isinstance(exc, PartitionLost):
            _logger.info("Agent %s was stopped in the middle of a batch; it will be redelivered", agent.name)
            return
        self.fail(f"agent {agent.name} raised {exc!r}; its batch is undone", exc)

    def _on_rebalance_when_stopped(self) -> None:
        """The consumer leaves the group by itself when it has drained."""

    def Worker(self, **kwargs: Any) -> Any:  # noqa: N802 - Faust's name
        """Used by `faust worker`: on uvloop, and without the progress spinner that turns logging to debug."""
        from streams.engine.loops import LoopPolicy

        self.owns_process = True
        asyncio.set_event_loop_policy(LoopPolicy())
        worker = cast(Any, super().Worker(**kwargs))
        worker.spinner = None
        return worker
