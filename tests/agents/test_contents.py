"""Contents are written once and read back by their place, from a real broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.agents.contents import ContentStore, Gone, RecordReader, RecordUnavailable
from streams.core.message import RecordRef


class Shelf:
    """A record source in memory that counts what is read."""

    def __init__(self, **values: bytes) -> None:
        self.values = {RecordRef("contents", 0, int(k[1:])): v for k, v in values.items()}
        self.reads: list[RecordRef] = []

    async def read(self, ref: RecordRef) -> bytes | Gone:
        self.reads.append(ref)
        return self.values.get(ref, Gone(ref))


def at(offset: int, topic: str = "contents") -> RecordRef:
    return RecordRef(topic, 0, offset)


async def test_a_content_that_was_just_written_is_not_read_back() -> None:
    shelf = Shelf()
    store = ContentStore(shelf, "contents")
    store.remember("hash", b"body", at(7))
    assert await store.load(at(7)) == b"body"
    assert shelf.reads == []


async def test_a_content_is_read_once_and_other_records_are_not_kept() -> None:
    shelf = Shelf(o1=b"content")
    store = ContentStore(shelf, "contents")
    shelf.values[at(2, "outbound")] = b"message"
    for _ in range(2):
        assert await store.load(at(1)) == b"content"
        assert await store.load(at(2, "outbound")) == b"message"
    assert shelf.reads == [at(1), at(2, "outbound"), at(2, "outbound")]


async def test_what_retention_removed_is_a_value() -> None:
    assert await ContentStore(Shelf(), "contents").load(at(1)) == Gone(at(1))


def test_rule_11_a_reference_is_offered_only_while_its_record_outlives_the_messages() -> None:
    now = [1_000]
    store = ContentStore(Shelf(), "contents", reuse_ms=500, clock=lambda: now[0])
    store.remember("hash", b"body", at(7))
    assert store.ref_of("hash") == at(7)
    assert store.ref_of("other") is None
    now[0] = 1_500
    assert store.ref_of("hash") is None


async def test_memory_is_bounded_and_the_least_used_goes_first() -> None:
    shelf = Shelf(**{f"o{n}": bytes(1000) for n in range(20)})
    store = ContentStore(shelf, "contents", max_bytes=5_000)
    for n in (0, 1, 2, 0, 3, 0, 4, 0):
        await store.load(at(n))
    assert store.size_bytes <= 5_000
    assert shelf.reads.count(at(0)) == 1
    await store.load(at(1))
    assert shelf.reads.count(at(1)) == 2


@pytest.fixture
async def topic(kafka: str, topic_prefix: str) -> tuple[str, str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    name = f"{topic_prefix}contents"
    await admin.create_topics([NewTopic(name, 2, 1)])
    await admin.close()
    return kafka, name


async def produced(bootstrap: str, topic: str, partition: int, values: list[bytes]) -> list[RecordRef]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        sent = [await producer.send(topic, value, partition=partition) for value in values]
        offsets = [(await future).offset for future in sent]
    finally:
        await producer.stop()
    return [RecordRef(topic, partition, offset) for offset in offsets]


async def test_records_are_read_back_by_their_place_in_any_order_and_at_once(topic: tuple[str, str]) -> None:
    bootstrap, name = topic
    values = {p: [f"{p}:{n}".encode() * 50 for n in range(300)] for p in (0, 1)}
    refs = {p: await produced(bootstrap, name, p, values[p]) for p in (0, 1)}
    reader = RecordReader({"bootstrap_servers": bootstrap}, give_up_s=20)
    try:
        asked = [(p, n) for n in (299, 0, 150, 151, 3, 0) for p in (1, 0)]
        found = await asyncio.gather(*(reader.read(refs[p][n]) for p, n in asked))
        assert found == [values[p][n] for p, n in asked]
        assert await reader.read(refs[0][10]) == values[0][10]
    finally:
        await reader.stop()


async def test_a_record_that_is_not_there_yet_is_waited_for_only_so_long(topic: tuple[str, str]) -> None:
    bootstrap, name = topic
    [last] = await produced(bootstrap, name, 0, [b"only"])
    reader = RecordReader({"bootstrap_servers": bootstrap}, give_up_s=1.0)
    try:
        found = await asyncio.gather(reader.read(RecordRef(name, 0, last.offset + 1)), return_exceptions=True)
        assert isinstance(found[0], (RecordUnavailable, Gone))
        assert await reader.read(last) == b"only"
    finally:
        await reader.stop()


async def test_an_unreachable_broker_is_said_so_in_time(unused_port: int) -> None:
    reader = RecordReader({"bootstrap_servers": f"127.0.0.1:{unused_port}", "request_timeout_ms": 500}, give_up_s=0.5)
    with pytest.raises(RecordUnavailable):
        await reader.read(RecordRef("contents", 0, 1))
    await reader.stop()
