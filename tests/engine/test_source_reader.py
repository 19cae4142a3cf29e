"""The reader beside the group membership: offsets, holding, new assignments, holes of transactions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaProducer
from faust.types import TP

from streams.engine.source_reader import Record, SourceReader
from tests.brokers import KafkaServer
from tests.engine.conftest import MakeSettings
from tests.engine.support import create, eventually, produce, settings_for


@pytest.fixture
async def reader(kafka: str, settings: MakeSettings) -> AsyncIterator[SourceReader]:
    made = SourceReader(settings())
    yield made
    await asyncio.to_thread(made.close)


async def filled(kafka: str, prefix: str, count: int) -> TP:
    """The first partition of a new topic, with so many records."""
    tp = TP(f"{prefix}in", 0)
    await create(kafka, tp.topic)
    await produce(kafka, tp.topic, [(0, b"k", b"%d" % n) for n in range(count)])
    return tp


async def take(reader: SourceReader, count: int, timeout_s: float = 20.0) -> dict[TP, list[Record]]:
    """Poll until `count` records have come."""
    runs: dict[TP, list[Record]] = {}
    deadline_s = time.monotonic() + timeout_s
    while sum(map(len, runs.values())) < count:
        assert time.monotonic() < deadline_s, f"only {sum(map(len, runs.values()))} of {count} records"
        for tp, records in reader.poll(100).items():
            runs.setdefault(tp, []).extend(records)
        await asyncio.sleep(0.002)
    return runs


async def test_it_begins_where_it_is_told_and_gives_whole_records(
    kafka: str, topic_prefix: str, reader: SourceReader
) -> None:
    topic = f"{topic_prefix}in"
    await create(kafka, topic)
    await produce(kafka, topic, [(n % 2, b"k%d" % n, b"%d" % n) for n in range(10)])
    before_ms = int(time.time() * 1000) - 60_000
    reader.assign({TP(topic, 0): 3, TP(topic, 1): None})
    runs = await take(reader, 7)
    assert [record.value for record in runs[TP(topic, 0)]] == [b"6", b"8"]
    assert [(record.offset, record.key) for record in runs[TP(topic, 1)]] == [
        (n, b"k%d" % (2 * n + 1)) for n in range(5)
    ]
    assert all(record.timestamp > before_ms and tuple(record.headers) == () for record in runs[TP(topic, 1)])


async def test_a_tombstone_and_headers_come_as_they_are(kafka: str, topic_prefix: str, reader: SourceReader) -> None:
    topic = f"{topic_prefix}in"
    await create(kafka, topic)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(topic, None, key=b"k", partition=0, headers=[("a", b"1"), ("a", b"2")])
    await producer.stop()
    reader.assign({TP(topic, 0): None})
    (record,) = (await take(reader, 1))[TP(topic, 0)]
    assert (record.value, list(record.headers)) == (None, [("a", b"1"), ("a", b"2")])


async def test_what_is_unread_is_known_and_ends_at_zero(kafka: str, topic_prefix: str, reader: SourceReader) -> None:
    tp = await filled(kafka, topic_prefix, 50)
    reader.assign({tp: 0})
    assert reader.unread(tp) is None
    await take(reader, 50)

    async def at_the_end() -> bool:
        reader.poll(100)
        return reader.unread(tp) == 0

    await eventually(at_the_end, "the end is known")


async def test_a_held_partition_rests_while_its_neighbour_is_read_and_loses_nothing(
    kafka: str, topic_prefix: str, reader: SourceReader
) -> None:
    topic = f"{topic_prefix}in"
    first, second = TP(topic, 0), TP(topic, 1)
    await create(kafka, topic)
    await produce(kafka, topic, [(0, b"k", b"%d" % n) for n in range(300)])
    reader.assign({first: 0, second: 0})
    taken = await take(reader, 100)
    reader.hold({first})
    await produce(kafka, topic, [(1, b"k", b"neighbour")])
    assert set(await take(reader, 1)) == {second}
    reader.hold(())
    rest = await take(reader, 300 - len(taken[first]))
    assert [int(record.value or b"") for record in taken[first] + rest[first]] == list(range(300))


async def test_a_new_assignment_reads_again_what_was_held_before(
    kafka: str, topic_prefix: str, reader: SourceReader
) -> None:
    """The library keeps a pause beyond the assignment: a partition that came back would have rested for ever."""
    tp = await filled(kafka, topic_prefix, 20)
    reader.assign({tp: 0})
    await take(reader, 20)
    reader.hold({tp})
    reader.unassign()
    assert reader.poll(100) == {}
    reader.assign({tp: 5})
    assert [record.offset for record in (await take(reader, 15))[tp]] == list(range(5, 20))


async def test_what_was_passed_over_is_not_given_and_what_follows_is(
    kafka: str, topic_prefix: str, reader: SourceReader
) -> None:
    tp = await filled(kafka, topic_prefix, 10)
    reader.assign({tp: 0})
    assert reader.position(tp) is None
    reader.pass_over(tp, 7)
    assert [record.offset for record in (await take(reader, 3))[tp]] == [7, 8, 9]
    assert reader.position(tp) == 10
    reader.assign({tp: 5})
    assert [record.offset for record in (await take(reader, 5))[tp]] == [5, 6, 7, 8, 9], (
        "a new assignment knows nothing"
    )


async def test_an_aborted_transaction_is_never_seen_and_its_marks_are_no_lag(
    apache_kafka: KafkaServer, topic_prefix: str
) -> None:
    topic = f"{topic_prefix}in"
    tp = TP(topic, 0)
    await create(apache_kafka.bootstrap, topic)
    producer = AIOKafkaProducer(bootstrap_servers=apache_kafka.bootstrap, transactional_id=f"{topic_prefix}t")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, b"aborted", partition=0)
    await producer.abort_transaction()
    async with producer.transaction():
        await producer.send_and_wait(topic, b"committed", partition=0)
    await producer.stop()
    reader = SourceReader(settings_for(apache_kafka.bootstrap, f"{topic_prefix}app", embedded=False))
    try:
        reader.assign({tp: None})
        assert [record.value for record in (await take(reader, 1))[tp]] == [b"committed"]

        async def at_the_end() -> bool:
            assert reader.poll(100) == {}
            return reader.unread(tp) == 0

        await eventually(at_the_end, "the mark of the commit is read past")
    finally:
        await asyncio.to_thread(reader.close)
