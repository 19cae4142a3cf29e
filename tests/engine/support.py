"""What the engine's tests share: settings that join fast, records in, records out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from streams.engine import EngineApp, EngineSettings, TopicSpec, ensure_topics

PARTITIONS = 4


def settings_for(bootstrap: str, app_id: str, *, embedded: bool, **changes: Any) -> EngineSettings:
    """Short times, so that joins, commits and expiries are quick."""
    quick: dict[str, Any] = {"commit_interval_s": 0.1, "shutdown_timeout_s": 5.0, **changes}
    if embedded:  # the embedded broker holds every join for half of the session
        quick = {"session_timeout_s": 2.0, "heartbeat_interval_s": 0.3, "rebalance_timeout_s": 6.0, **quick}
        return EngineSettings.for_embedded(bootstrap, app_id, **quick)
    quick = {"session_timeout_s": 4.0, "heartbeat_interval_s": 0.3, "rebalance_timeout_s": 10.0, **quick}
    return EngineSettings(bootstrap=bootstrap, app_id=app_id, **quick)


async def create(bootstrap: str, *names: str, partitions: int = PARTITIONS, **config: str) -> None:
    problems = await ensure_topics(bootstrap, [TopicSpec(name, partitions, config=config) for name in names])
    assert problems == []


async def produce(bootstrap: str, topic: str, records: Sequence[tuple[int, bytes, bytes | None]]) -> None:
    """(partition, key, value) each, in this order within a partition."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=2)
    await producer.start()
    try:
        for partition, key, value in records:
            await producer.send(topic, value, key=key, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, partitions: int = PARTITIONS) -> list[Any]:
    """Every record that the topic has at the time of the call, per partition in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, fetch_max_wait_ms=50)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        ends = await consumer.end_offsets(tps)
        found: list[Any] = []
        async with asyncio.timeout(60):
            while [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
                for records in (await consumer.getmany(timeout_ms=50)).values():
                    found.extend(records)
        return found
    finally:
        await consumer.stop()


async def committed(bootstrap: str, group: str, topic: str, partitions: int = PARTITIONS) -> dict[int, int]:
    """What the broker says is committed; partitions without a commit are left out."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(topic, number) for number in range(partitions)]
        consumer.assign(tps)
        offsets = {tp.partition: await consumer.committed(tp) for tp in tps}
        return {number: offset for number, offset in offsets.items() if offset is not None}
    finally:
        await consumer.stop()


async def until(condition: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition that this event loop brings about."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.005)


async def eventually(check: Callable[[], Awaitable[bool]], what: str, timeout_s: float = 20.0) -> None:
    """Wait for a condition that has to be asked for."""
    deadline_s = time.monotonic() + timeout_s
    while not await check():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(*apps: EngineApp) -> AsyncIterator[None]:
    """Start the workers in this process; stop them at the end, whatever happened."""
    try:
        await asyncio.gather(*(app.start() for app in apps))
        yield
    finally:
        for app in apps:
            await stop(app)


async def stop(app: EngineApp) -> None:
    async with asyncio.timeout(15):
        await app.stop()
