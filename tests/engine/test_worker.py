"""A worker against a broker: delivery, commits, failures, shutdown."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterable

import pytest
from faust.types import TP

from streams.engine import Batch, EngineApp, RecordTooLarge, SilentObserver, Unit, acked
from tests.brokers import KafkaServer
from tests.engine.conftest import MakeSettings
from tests.engine.support import (
    PARTITIONS,
    committed,
    create,
    eventually,
    produce,
    read,
    running,
    settings_for,
    stop,
    until,
)

Batches = AsyncIterable[Batch]


def numbered(count: int, partitions: int = 1) -> list[tuple[int, bytes, bytes | None]]:
    return [(n % partitions, b"key-%d" % n, b"%d" % n) for n in range(count)]


async def test_batches_hold_one_partition_in_order_and_no_more_than_a_chunk(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(1000, partitions=2))
    app = EngineApp(settings(chunk=100))
    seen: dict[int, list[int]] = {0: [], 1: []}
    sizes: list[int] = []

    @app.agent(app.batch_topic(source))
    async def collect(batches: Batches) -> None:
        async for batch in batches:
            assert batch.generation == app.generation()
            assert app.owns(source, batch.partition)
            seen[batch.partition].extend(int(record.value) for record in batch.records)
            sizes.append(len(batch))
            batch.release()

    async with running(app):
        await until(lambda: sum(sizes) == 1000, "everything is delivered")
        assert app.heartbeat_age_s() < app.settings.session_timeout_s
    assert seen == {0: list(range(0, 1000, 2)), 1: list(range(1, 1000, 2))}
    assert max(sizes) <= 100
    assert await committed(kafka, app.settings.app_id, source) == {0: 500, 1: 500}
    assert app.failure is None


async def test_offsets_are_committed_contiguously_when_batches_finish_out_of_order(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(40))
    app = EngineApp(settings(chunk=10))
    held: list[Batch] = []

    @app.agent(app.batch_topic(source))
    async def hold(batches: Batches) -> None:
        async for batch in batches:
            held.append(batch)  # noqa: PERF401 - one by one, while the stream goes on

    async with running(app):
        await until(lambda: sum(map(len, held)) == 40, "everything is delivered")
        first, *others = held
        for batch in reversed(others):
            batch.release()
        await asyncio.sleep(app.settings.commit_interval_s * 3)  # time to commit, if it wanted to
        assert await committed(kafka, app.settings.app_id, source) == {}
        first.release()

        async def all_committed() -> bool:
            return await committed(kafka, app.settings.app_id, source) == {0: 40}

        await eventually(all_committed, "the commit")


async def test_an_agent_that_raises_ends_the_worker_and_its_batch_is_delivered_again(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(30))
    app = EngineApp(settings(chunk=10))

    @app.agent(app.batch_topic(source))
    async def stumble(batches: Batches) -> None:
        async for batch in batches:
            if batch.records[0].offset >= 10:
                raise LookupError("nobody expected this")
            batch.release()
            await app.consumer.commit()

    try:
        await app.start()
        await until(lambda: app.failure is not None, "the worker ends")
    finally:
        await stop(app)
    assert "nobody expected this" in (app.failure or "")
    assert await committed(kafka, app.settings.app_id, source) == {0: 10}

    again = EngineApp(settings())
    offsets: list[int] = []

    @again.agent(again.batch_topic(source))
    async def collect(batches: Batches) -> None:
        async for batch in batches:
            offsets.extend(record.offset for record in batch.records)
            batch.release()

    async with running(again):
        await until(lambda: len(offsets) == 20, "the rest is delivered")
    assert offsets == list(range(10, 30))


async def test_a_refused_record_is_fatal_and_nothing_commits_after_it(
    apache_kafka: KafkaServer, topic_prefix: str
) -> None:
    kafka = apache_kafka.bootstrap
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source)
    await create(kafka, sink, **{"max.message.bytes": "200"})
    await produce(kafka, source, numbered(10))
    app = EngineApp(settings_for(kafka, f"{topic_prefix}app", embedded=False, commit_interval_s=0.05))
    errors: list[str] = []

    class Notes(SilentObserver):
        def on_produce_error(self, topic: str, error: BaseException) -> None:
            errors.append(topic)

    app.observer = Notes()

    @app.agent(app.batch_topic(source))
    async def lose(batches: Batches) -> None:
        async for batch in batches:
            app.emit(sink, 0, b"k", b"x" * 1000)
            batch.release()

    try:
        await app.start()
        await until(lambda: app.failure is not None, "the worker ends")
    finally:
        await stop(app)
    assert "was not acknowledged" in (app.failure or "")
    assert errors == [sink]
    assert await committed(kafka, app.settings.app_id, source) == {}


async def test_events_are_acknowledged_before_state_and_state_before_the_offset(
    apache_kafka: KafkaServer, topic_prefix: str
) -> None:
    kafka = apache_kafka.bootstrap
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source)
    await produce(kafka, source, numbered(10))
    app = EngineApp(settings_for(kafka, f"{topic_prefix}app", embedded=False))
    table = app.bytes_table("rows", 4)

    @app.agent(app.batch_topic(source))
    async def work(batches: Batches) -> None:
        async for batch in batches:
            unit = Unit(app, batch)
            for record in batch.records:
                unit.emit(sink, batch.partition, record.key, record.value)  # the topic does not exist yet
                unit.put(table, record.key, record.value)
            unit.finish()
            await unit.room()

    async with running(app):
        await until(lambda: table.owned() != () and table.count(0) == 10, "rows are visible")
        await asyncio.sleep(app.settings.commit_interval_s * 3)
        assert await read(kafka, table.changelog) == []
        assert await committed(kafka, app.settings.app_id, source) == {}
        await create(kafka, sink)

        async def all_committed() -> bool:
            return await committed(kafka, app.settings.app_id, source) == {0: 10}

        await eventually(all_committed, "the commit")
        rows = [(record.key, record.value) for record in await read(kafka, table.changelog)]
        events = [(record.key, record.value) for record in await read(kafka, sink)]
        assert rows == events == [(key, value) for _, key, value in numbered(10)]


async def test_a_record_that_is_too_large_is_the_callers_business(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    await produce(kafka, source, numbered(1))
    app = EngineApp(settings(max_record_bytes=1000))
    refused: list[RecordTooLarge] = []

    @app.agent(app.batch_topic(source))
    async def work(batches: Batches) -> None:
        async for batch in batches:
            try:
                app.emit(sink, 0, b"k", b"x" * 2000)
            except RecordTooLarge as exc:
                refused.append(exc)
            await app.emit(sink, 0, b"k", b"too large: " + str(refused[0].size_bytes).encode())
            batch.release()

    async with running(app):
        await until(lambda: refused != [] and app.consumer.lag is not None, "the refusal")
        await until(lambda: all(lag == 0 for _, lag in app.consumer.lag()), "the batch is done")
    assert app.failure is None
    assert [record.value for record in await read(kafka, sink)] == [b"too large: 2001"]


async def test_one_record_batch_acknowledges_all_records_that_were_emitted_together(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    app = EngineApp(settings())

    @app.agent(app.batch_topic(source))
    async def idle(batches: Batches) -> None:
        async for batch in batches:
            batch.release()

    async with running(app):
        await app.emit(sink, 0, b"k", b"learn the topic")
        tickets = [app.emit(sink, 0, b"k", b"%d" % n) for n in range(1000)]
        assert len(set(tickets)) == 1
        await acked(tickets)
        assert (tickets[0].base_offset, tickets[0].records) == (1, 1000)
        large = [app.emit(sink, 1, b"k", b"x" * 100_000) for _ in range(20)]
        assert len(set(large)) > 1, "a full record batch is followed by another"
        await app.producer.flush()
        assert all(ticket.done for ticket in large)
        offsets = [ticket.base_offset for ticket in dict.fromkeys(large)]
        assert offsets == sorted(offsets)
    assert len(await read(kafka, sink)) == 1021


async def test_a_partition_with_too_much_undone_work_gets_no_more(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(800))
    app = EngineApp(settings(chunk=100, max_pending_records=300))
    held: list[Batch] = []
    delivered = 0

    @app.agent(app.batch_topic(source))
    async def hold(batches: Batches) -> None:
        nonlocal delivered
        async for batch in batches:
            held.append(batch)
            delivered += len(batch)

    async with running(app):
        await until(lambda: delivered == 300, "the limit")
        await produce(kafka, source, [(1, b"k", b"other")])
        await until(lambda: any(batch.partition == 1 for batch in held), "the neighbour is still served")
        await asyncio.sleep(0.3)
        assert delivered == 301
        assert dict(app.consumer.lag())[TP(source, 0)] == 800
        while delivered < 801:
            for batch in held:
                batch.release()
            held.clear()
            await asyncio.sleep(0.01)
        for batch in held:
            batch.release()


async def test_work_that_never_finishes_is_a_stall_and_ends_the_worker(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(1))
    app = EngineApp(settings(stall_timeout_s=1.0, shutdown_timeout_s=1.0))
    reached = asyncio.Event()

    @app.agent(app.batch_topic(source))
    async def forget(batches: Batches) -> None:
        async for _batch in batches:
            reached.set()

    try:
        await app.start()
        await until(lambda: app.failure is not None, "the stall is noticed")
    finally:
        await stop(app)
    assert reached.is_set()
    assert "nothing finished for 1 s" in (app.failure or "")


async def test_what_waits_its_turn_is_no_stall_as_long_as_somebody_says_so(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(1))
    app = EngineApp(settings(stall_timeout_s=0.5, shutdown_timeout_s=1.0))
    reached = asyncio.Event()

    @app.agent(app.batch_topic(source))
    async def hold(batches: Batches) -> None:
        async for _batch in batches:
            reached.set()

    try:
        await app.start()
        await until(reached.is_set, "delivery")
        for _ in range(25):
            for partition in range(PARTITIONS):
                app.waits(source, partition)
            await asyncio.sleep(0.1)
        assert app.failure is None
        await until(lambda: app.failure is not None, "a stall when nobody does")
    finally:
        await stop(app)


async def test_a_quiet_topic_is_not_a_stall(kafka: str, topic_prefix: str, settings: MakeSettings) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(5))
    app = EngineApp(settings(stall_timeout_s=0.5))
    seen: list[Batch] = []

    @app.agent(app.batch_topic(source))
    async def collect(batches: Batches) -> None:
        async for batch in batches:
            seen.append(batch)
            batch.release()

    async with running(app):
        await until(lambda: bool(seen), "delivery")
        await asyncio.sleep(1.8)  # a stall would be noticed by now
        await produce(kafka, source, numbered(5))
        await until(lambda: len(seen) >= 2, "delivery after the quiet")
        await asyncio.sleep(1.0)
        assert app.failure is None


async def test_shutdown_does_not_wait_for_ever_for_an_agent_that_hangs(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(1))
    app = EngineApp(settings(shutdown_timeout_s=1.0))
    hanging = asyncio.Event()

    @app.agent(app.batch_topic(source))
    async def hang(batches: Batches) -> None:
        async for _batch in batches:
            hanging.set()
            await asyncio.Event().wait()

    await app.start()
    await hanging.wait()
    began_s = time.monotonic()
    await stop(app)
    assert time.monotonic() - began_s < 5
    assert await committed(kafka, app.settings.app_id, source) == {}


async def test_shutdown_finishes_and_commits_the_work_in_flight(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    await produce(kafka, source, numbered(50))
    app = EngineApp(settings(chunk=50, commit_interval_s=60.0))
    begun = asyncio.Event()

    @app.agent(app.batch_topic(source))
    async def slowly(batches: Batches) -> None:
        async for batch in batches:
            begun.set()
            for record in batch.records:
                await asyncio.sleep(0.01)
                app.emit(sink, 0, record.key, record.value)
            batch.release()

    await app.start()
    await begun.wait()
    await stop(app)
    assert app.failure is None
    assert len(await read(kafka, sink)) == 50
    assert await committed(kafka, app.settings.app_id, source) == {0: 50}


async def test_what_outlives_a_stop_costs_all_partitions_together_no_more_than_the_time_to_stop(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    app = EngineApp(settings(shutdown_timeout_s=2.0))

    @app.agent(app.batch_topic(source))
    async def idle(batches: Batches) -> None:
        async for batch in batches:
            batch.release()

    left: list[float] = []

    async def hand_over(partition: int) -> None:
        left.append(app.handover_s())
        await asyncio.sleep(left[-1])

    app.on_partition_lost(hand_over)
    await app.start()
    await until(lambda: len(app.assigned_partitions()) == PARTITIONS, "assignment")
    began_s = time.monotonic()
    await stop(app)
    assert time.monotonic() - began_s < 2.0 + 1.5
    assert len(left) == PARTITIONS
    assert all(1.0 < patience_s <= 2.0 for patience_s in left), left
    assert app.failure is None


async def test_partition_counts_that_do_not_match_are_named_at_the_start(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    app = EngineApp(settings())
    app.batch_topic(source)
    app.bytes_table("rows", 3)
    with pytest.raises(Exception, match=r"rows-changelog: has 3 partitions, .*in: 4"):
        await app.start()
    await stop(app)


async def test_a_source_topic_that_does_not_exist_is_named_at_the_start(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    app = EngineApp(settings())
    app.batch_topic(f"{topic_prefix}nowhere")
    with pytest.raises(Exception, match="nowhere: does not exist"):
        await app.start()
    await stop(app)


async def test_no_web_server_is_started(kafka: str, topic_prefix: str, settings: MakeSettings) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    app = EngineApp(settings())

    @app.agent(app.batch_topic(source))
    async def idle(batches: Batches) -> None:
        async for batch in batches:
            batch.release()

    async with running(app):
        with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
            probe.connect(("127.0.0.1", app.conf.web_port))


async def test_a_background_task_of_the_driver_that_dies_is_noticed(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    app = EngineApp(settings())

    @app.agent(app.batch_topic(source))
    async def idle(batches: Batches) -> None:
        async for batch in batches:
            batch.release()

    try:
        await app.start()
        assert app.consumer.thread.dead is None
        fetching = app.consumer.thread._ensure_consumer()._fetcher._fetch_task
        app.consumer.thread.thread_loop.call_soon_threadsafe(fetching.cancel)
        await until(lambda: app.failure is not None, "it is noticed")
    finally:
        await stop(app)
    assert app.failure is not None


async def test_a_callback_that_raises_ends_the_worker(kafka: str, topic_prefix: str, settings: MakeSettings) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, numbered(1))
    app = EngineApp(settings())
    delivered: list[Batch] = []

    @app.agent(app.batch_topic(source))
    async def collect(batches: Batches) -> None:
        async for batch in batches:
            delivered.append(batch)  # noqa: PERF401 - one by one, while the stream goes on

    async def stumble(partition: int) -> None:
        raise LookupError("not ready at all")

    app.on_partition_ready(stumble)
    starting = asyncio.create_task(app.start())
    try:
        await until(lambda: app.failure is not None, "the worker ends")
        await starting
    finally:
        await stop(app)
    assert "not ready at all" in (app.failure or "")
    assert delivered == []


async def test_a_background_task_that_raises_ends_the_worker(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    app = EngineApp(settings())

    @app.agent(app.batch_topic(source))
    async def idle(batches: Batches) -> None:
        async for batch in batches:
            batch.release()

    @app.timer(0.05)
    async def stumble() -> None:
        raise LookupError("in a timer")

    try:
        await app.start()
        await until(lambda: app.failure is not None, "the worker ends")
    finally:
        await stop(app)
    assert "in a timer" in (app.failure or "")


async def test_what_looks_at_owned_tables_until_the_very_end_finds_them_or_is_told_they_are_gone(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    app = EngineApp(settings())
    table = app.bytes_table("rows", 4)
    looks = 0

    @app.agent(app.batch_topic(source))
    async def idle(batches: Batches) -> None:
        async for batch in batches:
            batch.release()

    async def look() -> None:
        nonlocal looks
        while True:
            for partition in app.assigned_partitions():
                looks += table.count(partition) + 1
            await asyncio.sleep(0)

    async with running(app):
        looking = asyncio.create_task(look())
        await until(lambda: looks > 0, "a look at a table")
    await asyncio.sleep(0)
    assert not looking.done(), looking.exception()
    looking.cancel()
    assert not any(app.owns(source, partition) for partition in range(4))
