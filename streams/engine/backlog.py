"""Whether a group has worked off what lies in a topic: the offsets it has committed against the topic's end.

Rules:

1. The end is noted first, then commits are awaited: what arrives meanwhile does not count against the answer.
2. No answer from the broker is no proof: it counts as "not worked off".
"""

from __future__ import annotations

import asyncio
import time

import aiokafka
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from streams.engine.log_reading import ends_of, partitions_of
from streams.engine.settings import EngineSettings

_POLL_S = 0.2


class Backlog:
    """Asks on behalf of the group `settings.app_id` without joining it. `stop` at the end."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._consumer: aiokafka.AIOKafkaConsumer | None = None
        self._one_at_a_time = asyncio.Lock()
        self._proven_s: dict[str, float] = {}

    async def is_worked_off(self, topic: str, timeout_s: float = 10.0) -> bool:
        """Whether everything that was in the topic when this was asked is committed, now or within `timeout_s`."""
        asked_s = time.monotonic()
        async with self._one_at_a_time:
            if self._proven_s.get(topic, -1.0) >= asked_s:
                return True  # somebody who asked later has the answer already
            try:
                async with asyncio.timeout(timeout_s):
                    began_s = time.monotonic()
                    await self._wait(topic)
            except (KafkaError, TimeoutError):
                return False
            self._proven_s[topic] = began_s
            return True

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _wait(self, topic: str) -> None:
        consumer = await self._started()
        tps = [TopicPartition(topic, number) for number in sorted(await partitions_of(consumer, topic))]
        if not tps:
            return
        ends = await ends_of(consumer, tps)
        begins = await consumer.beginning_offsets(tps)
        behind = {tp for tp in tps if ends[tp] > begins[tp]}
        consumer.assign(tps)
        while True:
            behind = {tp for tp in behind if (await consumer.committed(tp) or 0) < ends[tp]}
            if not behind:
                return
            await asyncio.sleep(_POLL_S)

    async def _started(self) -> aiokafka.AIOKafkaConsumer:
        if self._consumer is None:
            settings = self._settings
            consumer = aiokafka.AIOKafkaConsumer(
                bootstrap_servers=settings.bootstrap,
                group_id=settings.app_id,
                enable_auto_commit=False,
                request_timeout_ms=int(settings.request_timeout_s * 1000),
                **settings.security,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer
