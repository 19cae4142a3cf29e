"""Handing partitions over: nothing twice when it is graceful, nothing lost ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterable

from streams.engine import Batch, EngineApp, EngineSettings, Unit
from tests.engine.conftest import MakeSettings
from tests.engine.support import PARTITIONS, committed, create, eventually, produce, read, running, stop, until

Batches = AsyncIterable[Batch]


class Counting:
    """A worker that counts per key and notes what happened, in order."""

    def __init__(self, settings: EngineSettings, source: str, sink: str) -> None:
        self.app = EngineApp(settings)
        self.counts = self.app.bytes_table("counts", PARTITIONS)
        self.processed: list[tuple[int, int]] = []
        self.ready: list[int] = []
        self.lost: list[int] = []
        self.rows_when_ready: dict[int, dict[bytes, bytes]] = {}
        self.app.on_partition_ready(self._on_ready)
        self.app.on_partition_lost(self._on_lost)
        self.app.agent(self.app.batch_topic(source), name=f"count-{id(self)}")(self._count)
        self._source, self._sink = source, sink

    async def _on_ready(self, partition: int) -> None:
        assert all(where != partition for where, _ in self.processed[self._mark(partition) :])
        self.rows_when_ready[partition] = dict(self.counts.items(partition))
        assert self.app.owns(self._source, partition)
        self.ready.append(partition)

    async def _on_lost(self, partition: int) -> None:
        self.lost.append(partition)

    def _mark(self, partition: int) -> int:
        return len(self.processed)

    async def _count(self, batches: Batches) -> None:
        async for batch in batches:
            assert batch.partition in self.ready, "delivered before it was ready"
            unit = Unit(self.app, batch)
            for record in batch.records:
                number = int(self.counts.get(batch.partition, record.key) or b"0") + 1
                unit.put(self.counts, record.key, b"%d" % number)
                unit.emit(self._sink, batch.partition, record.key, record.value)
                self.processed.append((batch.partition, record.offset))
            unit.finish()
            await unit.room()


async def test_workers_that_come_and_go_gracefully_do_nothing_twice_and_lose_nothing(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    first, second = (Counting(settings(chunk=50, commit_interval_s=30.0), source, sink) for _ in range(2))
    fed = 0
    enough = asyncio.Event()

    async def feed() -> None:
        nonlocal fed
        while not enough.is_set():
            records = [(n % PARTITIONS, b"key-%d" % (n % 20), b"%d" % n) for n in range(fed, fed + 400)]
            await produce(kafka, source, records)
            fed += len(records)
            await asyncio.sleep(0.02)

    feeding = asyncio.create_task(feed())
    try:
        async with running(first.app):
            await until(lambda: len(first.processed) > 1000, "the first works")
            async with running(second.app):
                await until(lambda: len(second.processed) > 1000, "the second works")
                await until(
                    lambda: {*first.app.assigned_partitions(), *second.app.assigned_partitions()} == {0, 1, 2, 3},
                    "both share the partitions",
                )
            mark = len(first.processed)
            await until(lambda: len(first.processed) > mark + 1000, "the first goes on alone")
            enough.set()
            await feeding
            await until(lambda: len(first.processed) + len(second.processed) >= fed, "everything is done")
    finally:
        feeding.cancel()
    processed = Counter(first.processed + second.processed)
    assert [again for again, times in processed.items() if times > 1] == []
    assert len(processed) == fed
    assert len(await read(kafka, sink)) == fed
    assert sum((await committed(kafka, first.app.settings.app_id, source)).values()) == fed
    rows = {(r.partition, r.key): int(r.value) for r in await read(kafka, first.counts.changelog)}
    assert sum(rows.values()) == fed, "the tables moved with their partitions"
    assert Counter(first.lost) >= Counter({0: 1, 1: 1, 2: 1, 3: 1})
    assert first.app.failure is second.app.failure is None


async def test_a_stopped_fleet_commits_everything_it_has_done(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    workers = [Counting(settings(chunk=50, commit_interval_s=30.0), source, sink) for _ in range(2)]
    async with running(*(worker.app for worker in workers)):
        await until(lambda: {n for w in workers for n in w.app.assigned_partitions()} == {0, 1, 2, 3}, "assignment")
        await produce(kafka, source, [(n % PARTITIONS, b"key", b"%d" % n) for n in range(2000)])
        await until(lambda: sum(len(w.processed) for w in workers) > 200, "work")
        await asyncio.gather(*(stop(worker.app) for worker in workers))
    done = sum(len(worker.processed) for worker in workers)
    assert sum((await committed(kafka, workers[0].app.settings.app_id, source)).values()) == done


async def test_the_next_owner_sees_the_rows_before_the_first_record(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    first, second = (Counting(settings(), source, sink) for _ in range(2))
    await produce(kafka, source, [(n % PARTITIONS, b"key-%d" % n, b"x") for n in range(400)])
    async with running(first.app):
        await until(lambda: len(first.processed) == 400, "work")
    async with running(second.app):
        await until(lambda: len(second.ready) == PARTITIONS, "the second is ready")
    expected = {n: {b"key-%d" % k: b"1" for k in range(n, 400, PARTITIONS)} for n in range(PARTITIONS)}
    assert second.rows_when_ready == expected


async def test_work_that_outlives_its_partition_is_stale_and_done_by_the_next_owner(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    await produce(kafka, source, [(n % PARTITIONS, b"k", b"x") for n in range(40)])
    slow = EngineApp(settings(rebalance_timeout_s=2.0, shutdown_timeout_s=0.5))
    held: list[Batch] = []

    @slow.agent(slow.batch_topic(source))
    async def hold(batches: Batches) -> None:
        async for batch in batches:
            held.append(batch)  # noqa: PERF401 - one by one, while the stream goes on

    quick = Counting(settings(rebalance_timeout_s=2.0), source, sink)
    # the tables of a group must be known to all of its members
    slow_counts = slow.bytes_table("counts", PARTITIONS)
    async with running(slow):
        await until(lambda: sum(map(len, held)) == 40, "delivery")
        before = list(held)
        async with running(quick.app):
            await until(lambda: bool(quick.processed and slow.assigned_partitions()), "both are ready")
            assert all(batch.stale for batch in before)
            moved = set(quick.app.assigned_partitions())
            assert len(moved) == PARTITIONS // 2
            for batch in before:
                assert slow.owns(source, batch.partition) is (batch.partition not in moved)
                unit = Unit(slow, batch)
                unit.emit(sink, batch.partition, b"late", b"late")
                unit.put(slow_counts, b"late", b"late")
                unit.finish()
            await until(lambda: {p for p, _ in quick.processed} == moved, "all that moved is done again")
    assert all(record.key != b"late" for record in await read(kafka, sink))


async def test_late_records_of_a_former_owner_do_not_win(kafka: str, topic_prefix: str, settings: MakeSettings) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    worker = Counting(settings(), source, sink)
    async with running(worker.app):
        await produce(kafka, source, [(0, b"mine", b"x")] * 3 + [(0, b"other", b"x")])
        await until(lambda: len(worker.processed) == 4, "work")
        await eventually(lambda: _is_committed(kafka, worker.app, source, 4), "commit")
        late = [(0, b"mine", b"1"), (0, b"unknown", b"1")]
        await produce(kafka, worker.counts.changelog, late)
        await produce(kafka, source, [(0, b"other", b"x")])
        await until(lambda: worker.app.repairs.done == 1, "the repair")
    rows = {record.key: record.value for record in await read(kafka, worker.counts.changelog)}
    assert rows == {b"mine": b"3", b"other": b"2", b"unknown": None}
    assert worker.app.failure is None


async def test_a_late_record_does_not_win_although_nothing_more_is_written(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    worker = Counting(settings(), source, sink)
    async with running(worker.app):
        await produce(kafka, source, [(0, b"mine", b"x")] * 3)
        await until(lambda: len(worker.processed) == 3, "work")
        await eventually(lambda: _is_committed(kafka, worker.app, source, 3), "commit")
        await produce(kafka, worker.counts.changelog, [(0, b"mine", b"1")])
        await until(lambda: worker.app.repairs.done == 1, "the repair")
    rows = {record.key: record.value for record in await read(kafka, worker.counts.changelog)}
    assert rows == {b"mine": b"3"}


async def test_a_late_record_just_before_the_end_does_not_win_with_the_next_owner(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, sink = f"{topic_prefix}in", f"{topic_prefix}out"
    await create(kafka, source, sink)
    worker = Counting(settings(), source, sink)
    async with running(worker.app):
        await produce(kafka, source, [(0, b"mine", b"x")] * 3)
        await until(lambda: len(worker.processed) == 3, "work")
        await eventually(lambda: _is_committed(kafka, worker.app, source, 3), "commit")
        await produce(kafka, worker.counts.changelog, [(0, b"mine", b"1")])
    assert worker.app.failure is None
    rows = {record.key: record.value for record in await read(kafka, worker.counts.changelog)}
    assert rows == {b"mine": b"3"}


async def _is_committed(kafka: str, app: EngineApp, source: str, offset: int) -> bool:
    return (await committed(kafka, app.settings.app_id, source)).get(0) == offset
