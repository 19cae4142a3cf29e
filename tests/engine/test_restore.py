"""Restoring tables from their changelogs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Collection
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import TopicPartition

from streams.engine import Batch, BytesTable, EngineApp, EngineFailure, EngineSettings, SilentObserver, TopicSpec
from streams.engine.log_reading import read_to_end
from tests.brokers import KafkaServer
from tests.engine.conftest import MakeSettings
from tests.engine.support import PARTITIONS, create, eventually, produce, read, running, settings_for, until


class Notes(SilentObserver):
    def __init__(self) -> None:
        self.restored: list[tuple[str, int]] = []
        self.rebalances: list[int] = []
        self.progress: list[tuple[int, int]] = []

    def on_restoring(self, done: int, total: int) -> None:
        self.progress.append((done, total))

    def on_restore(self, table: str, entries: int, seconds: float) -> None:
        self.restored.append((table, entries))

    def on_rebalance(self, generation: int, partitions: Collection[Any]) -> None:
        self.rebalances.append(len(partitions))


def keeper(settings: EngineSettings, source: str) -> tuple[EngineApp, BytesTable, Notes]:
    """A worker that stores what it gets: an empty value deletes."""
    notes = Notes()
    app = EngineApp(settings, notes)
    table = app.bytes_table("rows", PARTITIONS)

    @app.agent(app.batch_topic(source), name="keep")
    async def keep(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            for record in batch.records:
                if record.value:
                    table.put(batch.partition, record.key, record.value)
                else:
                    table.delete(batch.partition, record.key)
            batch.release()

    return app, table, notes


def rows_of(table: BytesTable) -> dict[tuple[int, bytes], bytes]:
    return {(number, key): value for number in table.owned() for key, value in table.items(number)}


def _writes(count: int) -> list[tuple[int, bytes, bytes | None]]:
    """Overwrites and deletions of some hundred keys."""
    return [(n % PARTITIONS, b"key-%d" % (n * 7 % 300), b"" if n % 11 == 0 else b"value-%d" % n) for n in range(count)]


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
async def test_the_restored_table_equals_what_was_written(
    kafka: str, topic_prefix: str, settings: MakeSettings, tmp_path: Path, store: str
) -> None:
    source = f"{topic_prefix}in"
    await create(kafka, source)
    writes = _writes(3000)
    await produce(kafka, source, writes)
    expected = {(p, key): value for p, key, value in writes if value}
    for p, key, value in writes:
        if value:
            expected[(p, key)] = value
        else:
            expected.pop((p, key), None)

    def with_store(directory: str) -> EngineSettings:
        return settings(store_url=f"{store}://", data_dir=tmp_path / directory)

    app, table, notes = keeper(with_store("a"), source)
    async with running(app):
        await until(lambda: all(lag == 0 for _, lag in app.consumer.lag()) and bool(table.owned()), "work")
        await until(lambda: rows_of(table) == expected, "rows")
        await app.producer.flush()
    assert notes.restored == [("rows", 0)], "an empty changelog is restored at once"

    again, table, notes = keeper(with_store("a"), source)
    async with running(again):
        await until(lambda: len(table.owned()) == PARTITIONS, "restore")
        assert rows_of(table) == expected
    from_disk = store == "rocksdb" and not again.settings.embedded
    assert notes.restored == [("rows", 0 if from_disk else 3000)]

    elsewhere, table, notes = keeper(with_store("b"), source)
    async with running(elsewhere):
        await until(lambda: len(table.owned()) == PARTITIONS, "restore")
        assert rows_of(table) == expected
        assert table.count(0) == sum(1 for partition, _ in expected if partition == 0)
    assert notes.restored == [("rows", 3000)]
    done, total = zip(*notes.progress, strict=True)
    assert (done[0], done[-1], sorted(done)) == (0, total[-1], list(done))
    assert set(total) == {3000} or elsewhere.settings.embedded, "the embedded broker tells another end"
    assert notes.rebalances == [PARTITIONS]


async def test_a_changelog_whose_beginning_was_removed_is_restored_from_what_is_left(
    apache_kafka: KafkaServer, topic_prefix: str
) -> None:
    kafka, source = apache_kafka.bootstrap, f"{topic_prefix}in"
    settings = settings_for(kafka, f"{topic_prefix}app", embedded=False)
    await create(kafka, source)
    changelog = settings.changelog_topic("rows")
    await create(kafka, changelog, **{"cleanup.policy": "delete"})
    await produce(kafka, changelog, [(0, b"old", b"1"), (0, b"new", b"2"), (1, b"gone", b"3")])
    await _remove_before(kafka, changelog, {0: 1, 1: 1})
    app, table, notes = keeper(settings, source)
    async with running(app):
        assert rows_of(table) == {(0, b"new"): b"2"}
        await produce(kafka, source, [(1, b"key", b"after the hole")])
        await until(lambda: table.get(1, b"key") is not None, "work goes on")
    assert notes.restored == [("rows", 1)]
    assert app.failure is None


async def test_a_source_whose_beginning_has_expired_is_not_a_stall(
    apache_kafka: KafkaServer, topic_prefix: str
) -> None:
    kafka, source = apache_kafka.bootstrap, f"{topic_prefix}in"
    await create(kafka, source)
    await produce(kafka, source, [(0, b"key", b"expired")] * 10)
    await _remove_before(kafka, source, {0: 10})
    app, table, _ = keeper(settings_for(kafka, f"{topic_prefix}app", embedded=False, stall_timeout_s=0.5), source)
    async with running(app):
        await asyncio.sleep(2.5)
        assert app.failure is None
        await produce(kafka, source, [(0, b"key", b"fresh")])
        await until(lambda: table.get(0, b"key") == b"fresh", "delivery")


@pytest.mark.timeout(120)
async def test_a_compacted_changelog_is_restored(apache_kafka: KafkaServer, topic_prefix: str) -> None:
    kafka, source = apache_kafka.bootstrap, f"{topic_prefix}in"
    settings = settings_for(kafka, f"{topic_prefix}app", embedded=False)
    await create(kafka, source)
    changelog = settings.changelog_topic("rows")
    eager = {"segment.ms": "500", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "100"}
    await create(kafka, changelog, **{"cleanup.policy": "compact", **eager})
    expected = {}
    for turn in range(3):
        await produce(kafka, changelog, [(0, b"key-%d" % n, b"%d" % turn) for n in range(100)])
        await asyncio.sleep(0.6)  # rolls the segment
    await produce(kafka, changelog, [(0, b"key-%d" % n, None) for n in range(50)])
    await asyncio.sleep(0.6)
    await produce(kafka, changelog, [(0, b"last", b"last")])

    async def compacted() -> bool:
        return len(await read(kafka, changelog)) < 200

    await eventually(compacted, "the broker compacts", timeout_s=90)
    expected = {(0, b"key-%d" % n): b"2" for n in range(50, 100)} | {(0, b"last"): b"last"}
    app, table, _ = keeper(settings, source)
    async with running(app):
        assert rows_of(table) == expected


async def test_local_rows_that_know_more_than_the_changelog_are_restored_from_the_beginning(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    kafka = apache_kafka.bootstrap
    first, second = f"{topic_prefix}first.", f"{topic_prefix}second."
    source = f"{topic_prefix}in"
    await create(kafka, source)

    def with_prefix(prefix: str) -> EngineSettings:
        return settings_for(
            kafka, f"{topic_prefix}app", embedded=False, store_url="rocksdb://", data_dir=tmp_path, topic_prefix=prefix
        )

    app, table, _ = keeper(with_prefix(first), source)
    async with running(app):
        await produce(kafka, source, [(0, b"key", b"x")] * 10)
        await until(lambda: table.get(0, b"key") is not None, "work")
        await app.producer.flush()
    lost, table, _ = keeper(with_prefix(second), source)  # another, empty changelog: as if the topic had been deleted
    async with running(lost):
        assert rows_of(table) == {}


class StuckConsumer:
    """Has an end that it never reaches."""

    def assign(self, tps: list[TopicPartition]) -> None:
        self.tps = tps

    async def seek_to_beginning(self, *tps: TopicPartition) -> None:
        pass

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 10)

    async def position(self, tp: TopicPartition) -> int:
        return 3

    async def getmany(self, *tps: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0.01)
        return {}

    def highwater(self, tp: TopicPartition) -> None:
        return None


async def test_a_restore_that_makes_no_progress_fails_with_the_place_where_it_stands() -> None:
    with pytest.raises(EngineFailure, match=r"rows\[2\] to its end made no progress for 0 s: offset 3 of 10"):
        await read_to_end(StuckConsumer(), {TopicPartition("rows", 2): None}, lambda *_: None, 0.1)


async def test_a_changelog_with_another_partition_count_is_named(kafka: str, topic_prefix: str) -> None:
    from streams.engine import ensure_topics

    await create(kafka, f"{topic_prefix}t", partitions=2)
    problems = await ensure_topics(kafka, [TopicSpec(f"{topic_prefix}t", 3)])
    assert [str(problem) for problem in problems] == [f"topic {topic_prefix}t: has 2 partitions, needs 3"]


async def _remove_before(kafka: str, topic: str, offsets: dict[int, int]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        from aiokafka.admin.records_to_delete import RecordsToDelete

        await admin.delete_records({TopicPartition(topic, p): RecordsToDelete(at) for p, at in offsets.items()})
    finally:
        await admin.close()
