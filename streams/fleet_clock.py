"""The broker's clock, asked for: an empty record on the topic ``clock``, which the broker stamps as it appends it.

Every worker asks the leader of the same partition, so all of them are told by the same clock. Asking costs one small
record in ten seconds. A broker that does not stamp records, or does not answer, leaves the time as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.core.clock import FleetClock
from streams.metrics import Metrics

ASK_EVERY_S: Final = 10.0
_ANSWER_S: Final = 5.0
_BY_THE_BROKER: Final = 1
"""Kafka's number for a timestamp that the broker has set (LogAppendTime)."""
_WRONG_S: Final = 2.0

log = logging.getLogger(__name__)


class BrokerTime:
    """Keeps ``clock`` right; ``options`` are aiokafka's (addresses, security)."""

    def __init__(self, clock: FleetClock, topic: str, options: Mapping[str, Any], metrics: Metrics) -> None:
        self.clock = clock
        self._topic = topic
        self._options = dict(options)
        self._offset = metrics.clock_offset.at()
        self._producer: AIOKafkaProducer | None = None
        self._said_wrong = False

    async def start(self) -> None:
        """Connect and ask for the first time, so that nothing is decided by a wall clock that is wrong."""
        self._producer = AIOKafkaProducer(**self._options, acks=1, request_timeout_ms=int(_ANSWER_S * 1000))
        await self._producer.start()
        await self.ask()

    async def stop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            await self.ask()

    async def ask(self) -> None:
        """One reading; without an answer the time goes on as it is."""
        if self._producer is None:
            return
        now_s = asyncio.get_running_loop().time
        asked_s = now_s()
        try:
            async with asyncio.timeout(_ANSWER_S):
                told = await self._producer.send_and_wait(self._topic, b"", partition=0)
        except (KafkaError, TimeoutError) as exc:
            log.info("The broker did not tell its time: %r", exc)
            return
        if told.timestamp_type != _BY_THE_BROKER:
            return
        moved_ms = self.clock.heard(told.timestamp, asked_s, now_s())
        if moved_ms:
            log.warning("Kafka's clock moved by %.1f s; the fleet goes by it", moved_ms / 1000)
        self._tell()

    def _tell(self) -> None:
        ahead_s = self.clock.wall_ahead_s
        self._offset.set(ahead_s)
        is_wrong = abs(ahead_s) > _WRONG_S
        if is_wrong and not self._said_wrong:
            where = "ahead of" if ahead_s > 0 else "behind"
            log.warning("This machine's clock is %.1f s %s Kafka's; the fleet goes by Kafka's", abs(ahead_s), where)
        self._said_wrong = is_wrong
