"""From an assignment to delivery: restore the tables, call back, seek, open the sources.

Faust tells when partitions are assigned; everything between that and the first delivered record happens here, in
one readable sequence, and is given up as soon as the next rebalance begins.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition
from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery
from faust.types import TP
from mode import Service

from streams.engine.errors import EngineFailure
from streams.engine.log_reading import log_consumer, read_to_end
from streams.engine.progress import Progress
from streams.engine.stores import PartitionStore

if TYPE_CHECKING:
    from streams.engine.app import EngineApp

_logger = logging.getLogger(__name__)


class EngineRecovery(Recovery):
    """Replaces how Faust restores and resumes; keeps its part in the rebalance protocol."""

    app: EngineApp
    mundane_level = "debug"
    _run: asyncio.Task[None] | None = None

    @Service.task
    async def _restart_recovery(self) -> None:
        while not self.should_stop:
            if await self.wait_for_stopped(cast(Any, self.signal_recovery_start)):
                break
            self.signal_recovery_start.clear()
            await self._prepare(self._generation_id)

    @Service.task
    async def _slurp_changelogs(self) -> None:
        """Not used: the changelogs are read by a consumer of their own."""

    @Service.task
    async def _publish_stats(self) -> None:
        """Not used."""

    def flush_buffers(self) -> None:
        """Nothing is buffered."""

    async def give_up(self) -> None:
        """A rebalance begins: stop preparing the previous assignment."""
        run = self._run
        if run is not None and not run.done():
            run.cancel()
            await asyncio.wait([run])

    async def on_stop(self) -> None:
        await self.give_up()

    async def _prepare(self, generation: int) -> None:
        self._run = asyncio.get_running_loop().create_task(self._become_ready(generation))
        await asyncio.wait([self._run])
        if self._run.cancelled():
            return
        error = self._run.exception()
        if isinstance(error, EngineFailure):
            self.app.fail(str(error))
        elif error is not None:
            self.app.fail(f"preparing the assigned partitions failed: {error!r}", error)

    async def _become_ready(self, generation: int) -> None:
        app = self.app
        consumer = app.consumer
        self._set_recovery_started()
        await self._restore_tables({tp for tp in app.assignor.assigned_actives() if tp.topic in app.changelogs})
        self._set_recovery_ended()
        for table in app.tables.values():
            await table.on_recovery_completed(set(), set())
        if app.consumer_generation_id != generation:
            return  # assigned again meanwhile; the next signal is on its way
        sources = await consumer.seek_sources()
        await app.announce_ready(sources)
        app.flow_control.resume()  # empties the queues, so it comes before delivery
        consumer.open_sources()
        await app._fetcher.maybe_start()
        await app.on_rebalance_complete.send()
        app.tables.on_actives_ready()
        app.tables.on_standbys_ready()
        app.on_rebalance_end()
        app.observer.on_rebalance(generation, sources)
        self.completed.set()
        _logger.info("Ready: %s partitions, generation %s", len(sources), generation)

    async def _restore_tables(self, changelogs: set[TP]) -> None:
        stores: dict[TopicPartition, PartitionStore] = {}
        tables = self.app.bytes_tables
        for table in tables:
            numbers = {tp.partition for tp in changelogs if tp.topic == table.changelog}
            for number, store in table.assign(numbers).items():
                stores[TopicPartition(table.changelog, number)] = store
        if stores:
            began_s = time.monotonic()
            entries = await self._restore(stores)
            seconds = time.monotonic() - began_s
            for table in tables:
                self.app.observer.on_restore(table.name, entries.get(table.changelog, 0), seconds)
            _logger.info("Restored %s records in %.2f s", f"{sum(entries.values()):,}", seconds)
        for table in tables:
            table.ready()

    async def _restore(self, stores: dict[TopicPartition, PartitionStore]) -> dict[str, int]:
        entries: dict[str, int] = {}

        def apply(tp: TopicPartition, records: Any) -> None:
            stores[tp].apply(records, records[-1].offset + 1)
            entries[tp.topic] = entries.get(tp.topic, 0) + len(records)

        settings = self.app.settings
        consumer = log_consumer(settings)
        try:
            async with asyncio.timeout(settings.request_timeout_s):
                await consumer.start()
            await self._wipe_impossible(consumer, stores)
            starts = {tp: store.next_offset for tp, store in stores.items()}
            progress = Progress(self.app.observer.on_restoring)
            ends = await read_to_end(consumer, starts, apply, settings.recovery_stall_timeout_s, progress)
        except (KafkaError, TimeoutError) as exc:
            raise EngineFailure(f"the tables could not be restored: {exc!r}") from exc
        finally:
            await consumer.stop()
        for tp, end in ends.items():
            stores[tp].next_offset = end
        return entries

    async def _wipe_impossible(self, consumer: Any, stores: dict[TopicPartition, PartitionStore]) -> None:
        """Rows that know more than the changelog belong to another log: it was deleted or lost."""
        if self.app.settings.embedded:
            return  # its answers may lie below the end; its tables never outlive the process
        known = [tp for tp, store in stores.items() if store.next_offset is not None]
        ends = await consumer.end_offsets(known) if known else {}
        for tp in known:
            if (stores[tp].next_offset or 0) > ends[tp]:
                _logger.warning(
                    "%s[%s] ends at %s, the local rows at %s: restoring from the beginning",
                    tp.topic, tp.partition, ends[tp], stores[tp].next_offset,
                )  # fmt: skip
                stores[tp].wipe()


class EngineTableManager(TableManager):
    """Starts without Faust's pause of a second, and brings our recovery."""

    app: EngineApp
    mundane_level = "debug"

    @property
    def recovery(self) -> EngineRecovery:
        if self._recovery is None:
            self._recovery = EngineRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return cast(EngineRecovery, self._recovery)

    async def on_start(self) -> None:
        if not self.should_stop:
            await self._update_channels()
            await self.recovery.start()
