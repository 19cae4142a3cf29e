"""Back-pressure in bytes: what is delivered and not done, and what is emitted and not acknowledged, is bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable

from streams.engine import Batch, EngineApp
from streams.engine.consumer import _RECORD_BYTES
from tests.engine.conftest import MakeSettings
from tests.engine.support import committed, create, eventually, produce, read, running, until

Batches = AsyncIterable[Batch]
LARGE = 5_000
RECORD = LARGE + len(b"k") + _RECORD_BYTES


def large(count: int, partition: int = 0) -> list[tuple[int, bytes, bytes | None]]:
    return [(partition, b"k", b"x" * LARGE)] * count


async def test_a_chunk_has_no_more_than_its_bytes_and_a_larger_record_goes_alone(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, [*large(5), (0, b"k", b"x" * 30_000), *large(3)])
    app = EngineApp(settings(chunk=100, chunk_bytes=2 * RECORD))
    sizes: list[int] = []
    largest = 0

    @app.agent(app.batch_topic(source))
    async def collect(batches: Batches) -> None:
        nonlocal largest
        async for batch in batches:
            sizes.append(len(batch))
            largest = max(largest, *(len(one.value) for one in batch.records))
            assert len(batch) == 1 or all(len(one.value) == LARGE for one in batch.records)
            batch.release()

    async with running(app):
        await until(lambda: sum(sizes) == 9, "everything is delivered")
    assert max(sizes) == 2 and largest == 30_000


async def test_a_topic_with_too_many_bytes_in_hand_gets_no_more_until_half_is_done(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, other = f"{topic_prefix}in", f"{topic_prefix}other"
    await create(kafka, source, other)
    await produce(kafka, source, large(60))
    app = EngineApp(settings(chunk=5, chunk_bytes=2 * RECORD, max_pending_bytes=20 * RECORD, commit_interval_s=0.05))
    held: list[Batch] = []
    delivered: Counter[tuple[str, int]] = Counter()

    @app.agent(app.batch_topic(source))
    async def hold(batches: Batches) -> None:
        async for batch in batches:
            held.append(batch)
            delivered[batch.topic, batch.partition] += len(batch)

    @app.agent(app.batch_topic(other))
    async def pass_on(batches: Batches) -> None:
        async for batch in batches:
            delivered[batch.topic, batch.partition] += len(batch)
            batch.release()

    async with running(app):
        await until(lambda: delivered[source, 0] >= 20, "the limit")
        await produce(kafka, source, large(30, partition=1))
        await until(lambda: delivered[source, 1] >= 1, "a partition with nothing in hand gets a chunk all the same")
        await produce(kafka, other, large(30))
        await until(lambda: delivered[other, 0] == 30, "another topic is served as ever")
        await asyncio.sleep(0.3)
        assert delivered[source, 0] <= 21 and delivered[source, 1] <= 2, "no more than one chunk beyond"
        while sum(delivered.values()) < 120:
            for batch in held:
                batch.release()
            held.clear()
            await asyncio.sleep(0.01)
        for batch in held:
            batch.release()

        async def is_committed() -> bool:
            return await committed(kafka, app.settings.app_id, source) == {0: 60, 1: 30}

        await eventually(is_committed, "nothing was passed over")
    assert app.failure is None


async def test_who_emits_too_many_bytes_waits_until_kafka_has_them(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    app = EngineApp(settings(max_unacked_bytes=10 * LARGE))

    @app.agent(app.batch_topic(source))
    async def ignore(batches: Batches) -> None:
        async for batch in batches:
            batch.release()

    async with running(app):
        await app.emit(sink, 0, b"k", b"learn the topic")
        for _ in range(9):
            app.emit(sink, 0, b"k", b"x" * LARGE)
        assert app.producer.has_room
        last = [app.emit(sink, 0, b"k", b"x" * LARGE) for _ in range(2)][-1]
        assert not app.producer.has_room
        await asyncio.wait_for(app.room(), 10)
        assert app.producer.has_room
        await last
    assert len(await read(kafka, sink)) == 12
