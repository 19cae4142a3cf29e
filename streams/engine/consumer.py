"""The consumer: delivers whole fetched runs as batches, while a rebalance comes and goes. See also `commits`.

Rules:
1. Sources are delivered only between `open_sources` (restored, positioned) and the next revocation. The reader is
   asked on the event loop and never waits, so that nothing read before that border is delivered after it.
2. A revocation commits first: tell the agents, wait for work in flight (with one deadline for all of it), flush,
   commit; only then is state dropped. So does a stop. When the group has forgotten us, nothing is waited for: another
   worker may own the partitions.
3. What was fetched is delivered as its partition has room, so that after a crash no more than `max_pending_records`
   (plus a chunk) per partition is done again.
4. What this worker wrote to a partition that it reads is delivered as soon as it is acknowledged, if it comes next
   there and there is room; else it is fetched like everything.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from streams.engine.batch import Assignment, Batch
from streams.engine.commits import Commits
from streams.engine.consumer_thread import EngineConsumerThread
from streams.engine.errors import ProduceError
from streams.engine.offsets import Held, Tracker
from streams.engine.pace import Pace
from streams.engine.producer import Kept
from streams.engine.source_reader import ReadingFailed, Record, SourceReader
from streams.engine.units import UnitLane

if TYPE_CHECKING:
    from streams.engine.app import EngineApp

_CLOSED_POLL_S = 1.0
_POLL_RUNS = 2
"""Chunks that one poll may bring."""
_BUSY_FOR_S = 0.2
"""So long after the last record the reader is asked often."""
_STOP_SHARE = 0.8
"""Of the time to stop: what is under way has it, commit and leaving the group the rest."""
_HANDOVER_SHARE = 0.8
"""Of the time to revoke."""
_RECORD_BYTES = 512
"""What a record costs in memory besides what was written."""
_logger = logging.getLogger(__name__)


class EngineConsumer(driver.Consumer):
    app: EngineApp
    mundane_level = "debug"
    _thread: EngineConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.assigned: dict[TP, Assignment] = {}
        self._in_flight: set[Batch] = set()
        self._fetched: deque[tuple[Assignment, Sequence[Any], int]] = deque()  # runs, delivered up to an index
        self._epoch = 0
        self._open = False
        self._wake = asyncio.Event()  # something may be deliverable now
        self._progress = asyncio.Event()  # a batch was done
        self._reader: SourceReader | None = None
        self._busy_until_s = 0.0
        self._drained = asyncio.Event()
        self.handover_until_s = 0.0
        """Until when calls and the like may take whose partitions are being given away; monotonic."""
        self._deadline_s = 0.0
        super().__init__(*args, **kwargs)
        self._commits = Commits(self.app)
        settings = self.app.settings
        self._pace = Pace(settings.poll_busy_s, settings.gather_s, settings.gather_from_per_s)

    def _new_consumer_thread(self) -> EngineConsumerThread:
        return EngineConsumerThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def thread(self) -> EngineConsumerThread:
        return self._thread

    # -- rebalancing

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        if self.app.should_stop:  # the shutdown drains; leave only when it has
            await self._wait_for(self._drained, self.app.settings.shutdown_timeout_s)
            return
        settings, now_s = self.app.settings, time.monotonic()
        if self.thread.membership_lost:
            self._forget()
            self.handover_until_s = self._deadline_s = now_s
        else:
            self.handover_until_s = now_s + settings.revoke_deadline_s * _HANDOVER_SHARE
            self._deadline_s = now_s + settings.revoke_deadline_s
        await self.close_sources()
        await self.app.tables.recovery.give_up()
        await self.app.announce_lost()
        await super().on_partitions_revoked(revoked)  # waits for work in flight, flushes, commits
        self._forget()
        self.app.revoke_tables()

    def begin_stop(self) -> None:
        """The app's side: the worker is told to end."""
        self._deadline_s = time.monotonic() + self.app.settings.shutdown_timeout_s * _STOP_SHARE
        self.handover_until_s = self._deadline_s

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        if self.app.should_stop:
            return
        self.app.fence.answered(time.monotonic())
        await self.thread.run(self.thread.stop_fetching, assigned)
        await super().on_partitions_assigned(assigned, generation_id)

    async def seek_sources(self) -> set[TP]:
        """Position the assigned sources at their committed offsets; nothing is delivered yet."""
        sources = [tp for tp in self.assignment() if tp.topic in self.app.sources]
        committed = await self.thread.run(self.thread.committed, sources)
        generation = self.app.consumer_generation_id
        now_s = time.monotonic()
        held = {tp.topic: Held() for tp in sources}
        self.assigned = {
            tp: Assignment(self, tp, generation, Tracker(committed[tp], now_s, held[tp.topic]), UnitLane(self.app))
            for tp in sources
        }
        if self._reader is None:
            self._reader = SourceReader(self.app.settings)
        self._reader.assign(committed)
        return set(sources)

    def open_sources(self) -> None:
        """Delivery begins."""
        now_s = time.monotonic()
        for assignment in self.assigned.values():
            assignment.tracker.progressed_s = now_s
        self._epoch += 1
        self._open = True
        self.resume_flow()
        self._wake.set()

    async def close_sources(self) -> None:
        """Delivery ends."""
        self._open = False
        self._epoch += 1
        self._fetched.clear()
        if self._reader is not None:
            self._reader.unassign()

    async def on_stop(self) -> None:
        await super().on_stop()
        reader, self._reader = self._reader, None
        if reader is not None:
            await asyncio.to_thread(reader.close)

    def _forget(self) -> None:
        self._commits.give_up()
        for assignment in self.assigned.values():
            assignment.tracker.close()
            assignment.lane.close()
        self.assigned = {}
        self._in_flight.clear()
        self._progress.set()

    # -- delivery

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._deliver_next()
        except (asyncio.CancelledError, ConsumerStoppedError):
            if not self.app.should_stop and not fetcher.should_stop:
                self.app.fail("the consumer was stopped from outside")
        except ProduceError:
            pass  # the process is ending already
        except ReadingFailed as exc:
            self.app.fail(str(exc))
        except Exception as exc:  # noqa: BLE001 - whatever it is, without delivery the process is useless
            self.app.fail(f"fetching failed: {exc!r}", exc)

    async def _deliver_next(self) -> None:
        await self.app.producer.room()
        self._wake.clear()
        if await self._deliver_fetched():
            return
        reader = self._reader
        if not self._open or reader is None:
            await self._wait_for(self._wake, _CLOSED_POLL_S)
            return
        settings, epoch = self.app.settings, self._epoch
        if reader.drained:
            is_busy = time.monotonic() < self._busy_until_s
            await asyncio.sleep(self._pace.wait_s if is_busy else settings.poll_idle_s)
            if self._epoch != epoch:
                return
        if self._fetched or reader.held:
            reader.hold(self._full(reader.held))
        runs = reader.poll(_POLL_RUNS * settings.chunk)
        if runs:
            self._came(sum(map(len, runs.values())))
            self._fetched.extend((self.assigned[tp], records, 0) for tp, records in runs.items())

    def on_written(self, tp: TP, base_offset: int, kept: Sequence[Kept]) -> None:
        """The producer's side: these records have been acknowledged."""
        assignment, reader = self.assigned.get(tp), self._reader
        if assignment is None or reader is None or not self._open or reader.position(tp) != base_offset:
            return
        settings, end = self.app.settings, len(kept)
        tracker = assignment.tracker
        if tracker.pending_records + end > settings.max_pending_records or self._is_sated(tracker):
            return
        if not self.app.producer.has_room or any(one is assignment for one, _, _ in self._fetched):
            return
        records = [
            Record(base_offset + at, key, value, timestamp, headers)
            for at, (key, value, timestamp, headers) in enumerate(kept)
        ]
        reader.pass_over(tp, base_offset + end)
        self._came(end)
        begin = 0
        while begin < end:
            until, size_bytes = _run_of(records, begin, settings.chunk, settings.chunk_bytes)
            self._deliver(assignment, records[begin:until], size_bytes)
            begin = until

    def _came(self, records: int) -> None:
        self._busy_until_s = time.monotonic() + _BUSY_FOR_S
        self._pace.came(records)

    async def _deliver_fetched(self) -> bool:
        """Deliver one chunk of each partition that has room; the rest of a run waits. True when more can follow at
        once.

        Agents get their turn after every `chunk` records, and when nothing more is at hand.
        """
        epoch = self._epoch
        settings = self.app.settings
        delivered, since_yield = False, 0
        for _ in range(len(self._fetched)):
            if epoch != self._epoch:
                break
            assignment, records, begin = self._fetched.popleft()
            end = begin
            most = min(settings.chunk, settings.max_pending_records - assignment.tracker.pending_records)
            if most > 0 and not self._is_sated(assignment.tracker):
                end, size_bytes = _run_of(records, begin, most, settings.chunk_bytes)
                self._deliver(assignment, records if end - begin == len(records) else records[begin:end], size_bytes)
                delivered = True
                since_yield += end - begin
            if end < len(records):
                self._fetched.append((assignment, records, end))
            if since_yield >= settings.chunk:
                since_yield = 0
                await asyncio.sleep(0)
        return delivered and bool(self._fetched)

    def _full(self, held: Iterable[TP]) -> set[TP]:
        """The partitions not to be read for now: those with fetched records that wait for room, and with each of them
        the others of its topic if that has too much in hand. One that is `held` stays so until half of its room is
        free, since the reader drops what it has at hand of it.
        """
        settings = self.app.settings
        enough, enough_bytes = settings.max_pending_records // 2, settings.max_pending_bytes // 2
        full = {assignment.tp for assignment, _, _ in self._fetched}
        sated = {tp.topic for tp in full if self._is_sated(self.assigned[tp].tracker)}
        if sated:
            full.update(tp for tp in self.assigned if tp.topic in sated and self._is_sated(self.assigned[tp].tracker))
        for tp in held:
            tracker = self.assigned[tp].tracker
            is_heavy = tracker.pending_records > 0 and tracker.held.size_bytes > enough_bytes
            if tracker.pending_records > enough or is_heavy:
                full.add(tp)
        return full

    def _is_sated(self, tracker: Tracker) -> bool:
        """Whether the topic has too much in hand, and this partition a part of it."""
        return tracker.held.size_bytes >= self.app.settings.max_pending_bytes and tracker.pending_records > 0

    def _deliver(self, assignment: Assignment, records: Sequence[Any], size_bytes: int) -> None:
        (channel,) = cast(Any, self.app.topics)._tp_index[assignment.tp]
        self.app.monitor.stream_inbound_time[assignment.tp] = time.monotonic()
        cast(Any, channel).queue.force_put_nowait(Batch(assignment, records, size_bytes))

    def on_batch_started(self, batch: Batch) -> None:
        """The stream's side: an agent has it now."""
        self._in_flight.add(batch)

    def on_batch_done(self, batch: Batch, advanced: bool) -> None:
        """The batch's side: the last reference is gone."""
        self._in_flight.discard(batch)
        self._progress.set()
        if advanced:
            self._wake.set()

    # -- commits

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Commit the contiguous done prefix of every partition. True when something was committed."""
        return await self._commits.commit(self.assigned, self.thread)

    async def wait_empty(self) -> None:
        """Wait for the batches that agents have begun, up to the deadline, then flush and commit."""
        while self._in_flight and self.app.failure is None:
            left_s = self._deadline_s - time.monotonic()
            if left_s <= 0:
                _logger.warning("%s batches did not end in time; they will be redelivered", len(self._in_flight))
                break
            self._progress.clear()
            await self._wait_for(self._progress, left_s)
        if self.app.failure is None and not self.thread.membership_lost:
            await self.app.repairs.settle(max(0.0, self._deadline_s - time.monotonic()))
        try:
            async with asyncio.timeout(max(1.0, self._deadline_s - time.monotonic())):
                await self.commit()
        except TimeoutError:
            _logger.warning("The last offsets could not be committed in time; their records will be redelivered")
        except ProduceError:
            pass  # the process is ending already
        if self.app.should_stop:
            self._forget()
            self._drained.set()

    @Service.task
    async def _commit_handler(self) -> None:
        interval_s = self.app.settings.commit_interval_s
        while not self.should_stop:
            await self.sleep(interval_s)
            if not self.app.rebalancing and not self.should_stop:
                try:
                    await self.commit()
                except ProduceError:
                    return  # the process is ending already

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Not used: see watch."""

    async def on_task_error(self, exc: BaseException) -> None:
        """Not used: an agent that raises ends the process."""

    async def _wait_for(self, event: asyncio.Event, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass

    def lag(self) -> Iterable[tuple[TP, int]]:
        """Records of each source that are not done: delivered and pending, or not read yet as far as is known."""
        undelivered = {assignment.tp: len(records) - begin for assignment, records, begin in self._fetched}
        for tp, assignment in self.assigned.items():
            unread = self._reader.unread(tp) if self._reader is not None else None
            if unread is not None:
                yield tp, unread + undelivered.get(tp, 0) + assignment.tracker.pending_records


def _run_of(records: Sequence[Any], begin: int, most: int, most_bytes: int) -> tuple[int, int]:
    """Where a run that begins there ends, and its size: at most so many records and bytes, but one record at least."""
    end, size_bytes = min(begin + most, len(records)), 0
    for at in range(begin, end):
        _, key, value, _, headers = records[at]
        one = _RECORD_BYTES + (len(key) if key else 0) + (len(value) if value else 0)
        for _, data in headers:
            one += len(data) if data else 0
        if size_bytes and size_bytes + one > most_bytes:
            return at, size_bytes
        size_bytes += one
    return end, size_bytes
