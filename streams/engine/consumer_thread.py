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
_logger = logging.getLogger(__name__)


class EngineConsumerThread(driver.AIOKafkaConsumerThread):
    app: EngineApp
    mundane_level = "debug"
    heartbeat_s: float | None = None
    """When the last answered heartbeat (or join) was sent, monotonic; None before the first join."""

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

    async def stop_fetching(self, tps: set[Any]) -> None:
        """Nothing is read here: changelogs at recovery only, sources by the :class:`SourceReader`."""
        consumer = self._ensure_consumer()
        consumer.pause(*(TopicPartition(*tp) for tp in tps if TopicPartition(*tp) in consumer.assignment()))

    async def committed(self, tps: Sequence[Any]) -> dict[Any, int | None]:
        """The committed offset of each, None where nothing has been committed."""
        consumer = self._ensure_consumer()
        return {tp: await consumer.committed(TopicPartition(*tp)) for tp in tps}

    async def commit_offsets(self, offsets: Mapping[Any, int]) -> None:
        """Raises aiokafka's CommitFailedError or IllegalStateError when the partitions are not ours any more."""
        consumer = self._ensure_consumer()
        await consumer.commit({TopicPartition(*tp): OffsetAndMetadata(at, "") for tp, at in offsets.items()})
