"""The thread that owns the group membership: it keeps heartbeating while the event loop computes.

Calls into it go straight to its loop; Faust's method queue has two workers only, and a long fetch holds one.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import aiokafka
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver

if TYPE_CHECKING:
    from streams.engine.app import EngineApp

_T = TypeVar("_T")
_NEVER_MS = 2**31 - 1
_LEAVE_TIMEOUT_S = 3.0
_BUSY_FOR_S = 1.0
_logger = logging.getLogger(__name__)


class EngineConsumerThread(driver.AIOKafkaConsumerThread):
    app: EngineApp
    mundane_level = "debug"
    heartbeat_s: float | None = None
    """When the last answered heartbeat (or join) was sent, monotonic; None before the first join."""
    _busy_s: float = float("-inf")

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        settings = self.app.settings
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.bootstrap,
            client_id=self.app.conf.broker_client_id,
            group_id=settings.app_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # back-pressure may pause for long: liveness is the engine's own stall detection
            max_poll_interval_ms=_NEVER_MS,
            fetch_max_wait_ms=int(settings.fetch_max_wait_s * 1000),
            fetch_max_bytes=settings.fetch_max_bytes,
            max_partition_fetch_bytes=settings.max_partition_fetch_bytes,
            request_timeout_ms=int(settings.request_timeout_s * 1000),
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            rebalance_timeout_ms=int(settings.rebalance_timeout_s * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_interval_s * 1000),
            **settings.security,
        )

    async def on_start(self) -> None:
        await super().on_start()
        coordinator = self._ensure_consumer()._coordinator
        do_heartbeat = coordinator._do_heartbeat

        async def timed_heartbeat() -> bool:
            sent_s = time.monotonic()
            answered: bool = await do_heartbeat()
            if answered:
                self.app.fence.answered(sent_s)
            return answered

        coordinator._do_heartbeat = timed_heartbeat

    async def on_thread_stop(self) -> None:
        """Leave the group and close, but not for ever: without a broker the driver would wait until one comes."""
        try:
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self._leave_first_generation()
                await super().on_thread_stop()
        except TimeoutError:
            _logger.warning("The group could not be left in time; it will notice by the session timeout")

    async def _leave_first_generation(self) -> None:
        """The driver takes generation 0 for none and would not leave; the embedded broker begins with it."""
        coordinator = self._consumer._coordinator if self._consumer is not None else None
        if coordinator is not None and coordinator.generation == 0 and coordinator.member_id:
            try:
                await coordinator._send_req(LeaveGroupRequest(coordinator.group_id, coordinator.member_id))
            except KafkaError as exc:
                _logger.info("Leaving the group failed: %r", exc)

    def discard(self) -> None:
        """Close the loop of a thread that was never started."""
        if self._thread is None:
            self.thread_loop.close()

    async def run(self, function: Callable[..., Coroutine[Any, Any, _T]], *args: Any) -> _T:
        """Run a coroutine function on the thread's loop and wait for it here; cancelling here cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(function(*args), self.thread_loop))

    @property
    def membership_lost(self) -> bool:
        """The group has forgotten us: what it took away may have a new owner already."""
        coordinator = self._ensure_consumer()._coordinator
        return bool(coordinator.generation == driver.DEFAULT_GENERATION_ID or not coordinator.member_id)

    @property
    def dead(self) -> str | None:
        """Which background task of the driver has ended, if any; it never restarts them."""
        consumer = self._consumer
        if consumer is None or consumer._coordinator is None or consumer._closed:
            return None  # not started yet, or stopped on purpose
        if consumer._coordinator._coordination_task.done():
            return "group membership"
        if consumer._fetcher._fetch_task.done():
            return "fetching"
        return None

    async def fetch(self, tps: set[Any], timeout_s: float) -> Mapping[Any, Sequence[Any]]:
        """What has been fetched of `tps`, whole runs; waits up to `timeout_s` for the first."""
        consumer = self._ensure_consumer()
        with consumer._subscription.fetch_context():
            runs: Mapping[Any, Sequence[Any]] = await consumer._fetcher.fetched_records(tps, timeout=timeout_s)
        self._pace(consumer._fetcher, bool(runs))
        return runs

    def _pace(self, fetcher: Any, busy: bool) -> None:
        """How long the next polls wait at the broker. The driver has one poll under way, and a partition that was just
        read is not in it: while there is traffic a record would wait for the poll of its neighbours to end.
        """
        settings = self.app.settings
        if busy:
            self._busy_s = time.monotonic()
        crowded = time.monotonic() - self._busy_s < _BUSY_FOR_S
        fetcher._fetch_max_wait_ms = int(1000 * (settings.fetch_busy_wait_s if crowded else settings.fetch_max_wait_s))
        fetcher._fetch_min_bytes = settings.fetch_busy_bytes if crowded else 1

    def progress(self, tp: Any) -> tuple[int | None, int | None]:
        """(next offset to be read, end of the log), each None while unknown. Any thread may ask."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None or TopicPartition(*tp) not in assignment.tps:
            return None, None
        state = assignment.state_value(TopicPartition(*tp))
        return state._position, state.highwater

    async def stop_fetching(self, tps: set[Any]) -> None:
        """Changelogs are part of the assignment, but nobody reads them here."""
        consumer = self._ensure_consumer()
        consumer.pause(*(TopicPartition(*tp) for tp in tps if TopicPartition(*tp) in consumer.assignment()))

    async def seek_to_commits(self, tps: Sequence[Any]) -> dict[Any, int | None]:
        """Position `tps` at their committed offsets; returns these (None: at the beginning)."""
        consumer = self._ensure_consumer()
        committed = {tp: await consumer.committed(TopicPartition(*tp)) for tp in tps}
        beginning = [TopicPartition(*tp) for tp, offset in committed.items() if offset is None]
        if beginning:
            await consumer.seek_to_beginning(*beginning)
        for tp, offset in committed.items():
            if offset is not None:
                consumer.seek(TopicPartition(*tp), offset)
        return committed

    async def commit_offsets(self, offsets: Mapping[Any, int]) -> None:
        """Raises aiokafka's CommitFailedError or IllegalStateError when the partitions are not ours any more."""
        consumer = self._ensure_consumer()
        await consumer.commit({TopicPartition(*tp): OffsetAndMetadata(at, "") for tp, at in offsets.items()})
