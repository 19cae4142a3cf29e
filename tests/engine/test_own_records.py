"""What a worker wrote itself is delivered when it is acknowledged, once, in the log's order, whoever else writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable

from confluent_kafka import TopicPartition
from faust.types import TP

from streams.engine import Batch, EngineApp
from streams.engine.pace import Pace
from tests.engine.conftest import MakeSettings
from tests.engine.support import committed, create, eventually, produce, read, running, until

Batches = AsyncIterable[Batch]


async def test_own_records_come_once_and_in_the_order_of_the_log_though_others_write_too(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, middle = f"{topic_prefix}in", f"{topic_prefix}middle"
    await create(kafka, source, middle)
    app = EngineApp(settings(chunk=7))
    seen: dict[int, list[tuple[int, bytes]]] = {0: [], 1: []}

    @app.agent(app.batch_topic(source))
    async def copy(batches: Batches) -> None:
        async for batch in batches:
            for record in batch.records:
                app.emit(middle, batch.partition, record.key, record.value, [("from", b"worker")])
            batch.release()

    @app.agent(app.batch_topic(middle))
    async def collect(batches: Batches) -> None:
        async for batch in batches:
            seen[batch.partition] += [(record.offset, record.value) for record in batch.records]
            batch.release()

    async with running(app):
        for begin in range(0, 400, 40):  # both write to the same partitions at the same time
            ours = [(n % 2, b"k", b"ours-%d" % n) for n in range(begin, begin + 40)]
            theirs = [(n % 2, b"k", b"theirs-%d" % n) for n in range(begin, begin + 40)]
            await asyncio.gather(produce(kafka, source, ours), produce(kafka, middle, theirs))
        await until(lambda: sum(map(len, seen.values())) >= 800, "everything is delivered")

        async def is_committed() -> bool:
            return await committed(kafka, app.settings.app_id, middle) == {0: 400, 1: 400}

        await eventually(is_committed, "every offset is committed")
    log = await read(kafka, middle)
    assert seen == {number: [(r.offset, r.value) for r in log if r.partition == number] for number in (0, 1)}
    assert app.failure is None


def relay(app: EngineApp, source: str, middle: str) -> list[int]:
    """``app`` writes what comes on ``source`` to ``middle``, and reads it there: the numbers that it has read."""
    seen: list[int] = []

    @app.agent(app.batch_topic(source))
    async def copy(batches: Batches) -> None:
        async for batch in batches:
            for record in batch.records:
                app.emit(middle, 0, record.key, record.value)
            batch.release()

    @app.agent(app.batch_topic(middle))
    async def collect(batches: Batches) -> None:
        async for batch in batches:
            seen.extend(int(record.value) for record in batch.records)
            batch.release()

    return seen


async def test_own_records_need_no_fetch(kafka: str, topic_prefix: str, settings: MakeSettings) -> None:
    """They are delivered although the reader sees none of them."""
    source, middle = f"{topic_prefix}in", f"{topic_prefix}middle"
    await create(kafka, source, middle)
    app = EngineApp(settings())
    seen = relay(app, source, middle)
    async with running(app):
        consumer = app.consumer
        target = TP(middle, 0)
        await until(
            lambda: consumer._reader.position(target) == 0, "the reader stands at the end of the empty partition"
        )
        consumer._reader._consumer.pause([TopicPartition(*target)])  # nothing of it is fetched from now on
        await produce(kafka, source, [(0, b"k", b"%d" % n) for n in range(20)])
        await until(lambda: len(seen) == 20, "what was written is delivered")
    assert seen == list(range(20))
    assert app.failure is None


async def test_in_heavy_traffic_own_records_are_fetched_many_at_a_time(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    """Where the producer already writes as much as the worker reads in runs, the short way would only cost."""
    source, middle = f"{topic_prefix}in", f"{topic_prefix}middle"
    await create(kafka, source, middle)
    app = EngineApp(settings())
    seen = relay(app, source, middle)
    async with running(app):
        written: list[int] = []
        told = app.consumer.on_written
        app.consumer.on_written = lambda tp, at, kept: (written.extend(int(one[1]) for one in kept), told(tp, at, kept))
        await produce(kafka, source, [(0, b"k", b"%d" % n) for n in range(20)])
        await until(lambda: len(seen) == len(written) == 20, "the first are delivered")
        heavy = app.producer._pace = Pace(0.0, 0.0, 1.0, clock=lambda: 0.0)  # its rate stays as it is
        heavy.per_s = app.settings.gather_from_per_s
        await produce(kafka, source, [(0, b"k", b"%d" % n) for n in range(20, 40)])
        await until(lambda: len(seen) == 40, "what was written is fetched")
    assert written == list(range(20))
    assert seen == list(range(40))
    assert app.failure is None


async def test_whoever_places_a_record_learns_where_it_lies(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, elsewhere = f"{topic_prefix}in", f"{topic_prefix}elsewhere"
    await create(kafka, source, elsewhere)
    app = EngineApp(settings())
    came: list[tuple[int, bytes]] = []

    @app.agent(app.batch_topic(source))
    async def collect(batches: Batches) -> None:
        async for batch in batches:
            came.extend((record.offset, record.value) for record in batch.records)
            batch.release()

    async with running(app):
        first = [app.place(source, 0, b"k", b"%d" % n) for n in range(3)]
        other = app.place(elsewhere, 0, b"k", b"x")
        assert all(placed.near for placed in first) and not other.near  # nobody here reads it
        assert [placed.offset for placed in first] == [None] * 3
        for placed in (*first, other):
            await placed.ticket
        then = app.place(source, 0, b"k", b"3")
        await then.ticket
        assert [placed.offset for placed in (*first, then)] == [0, 1, 2, 3]
        await until(lambda: len(came) == 4, "all have come")
    assert came == [(n, b"%d" % n) for n in range(4)]
    assert app.failure is None
