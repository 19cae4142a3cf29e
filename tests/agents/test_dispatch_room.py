"""What dispatch has in memory is bounded, in messages and in bytes; what does not fit waits in Kafka or in the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streams.agents.dispatch.recent import Recent, size_of
from streams.agents.ports import BatchPort
from streams.app import _agent
from streams.core.ledger import LedgerState
from streams.core.message import Content, Mailbox, Message, Stream
from tests.agents.dispatch_desk import PARTITIONS, Desk
from tests.agents.fake_engine import FakeBatch, FakePlaced, FakeTicket, record

LARGE = Content(Mailbox("a@example.com"), "hi", "x" * 10_000)


def many(desk: Desk, count: int, stream: Stream = Stream.BULK, content: Content = LARGE) -> list[Message]:
    return [desk.message(f"u{n}@example.net", stream=stream, content=content) for n in range(count)]


async def test_a_stream_is_full_by_bytes_before_it_is_by_messages() -> None:
    desk = await Desk(max_bytes_in_flight=25_000, automatic=False, batch_wait_ms={}).open()
    messages = many(desk, 10)
    giving = asyncio.create_task(desk.give(*messages, topic="outbound.bulk", partition=0))
    others = [asyncio.create_task(desk.give(message, topic="outbound.bulk")) for message in many(desk, 20)[10:]]
    for _ in range(20):
        await desk.settled()
    assert giving.done(), "a run is taken in whole"
    assert not any(other.done() for other in others), "then the stream is full"
    for _ in range(100):
        desk.engine.acknowledge()
        await desk.settled()
    assert all(other.done() for other in others)
    assert len(desk.sent_to()) == 20 and not desk.crashes


async def test_nothing_large_is_taken_in_ahead_of_its_record_without_room() -> None:
    desk = await Desk(max_bytes_in_flight=25_000, automatic=False).open()
    first, second = many(desk, 2, Stream.TRANSACTIONAL)
    for message in (first, second):
        home = desk.dispatch.partition_of(message.message_id)
        assert desk.dispatch.ahead.takes(home)
        desk.dispatch.ahead.take(message, home, FakePlaced(FakeTicket("outbound")), size_of(message))
    assert not any(desk.dispatch.ahead.takes(partition) for partition in range(PARTITIONS))


@pytest.mark.parametrize(
    "limits", [{"max_in_flight": 10}, {"max_bytes_in_flight": 105_000}], ids=["of messages", "of bytes"]
)
async def test_a_campaign_that_rested_comes_back_from_the_ledger_as_there_is_room(limits: dict[str, int]) -> None:
    desk = await Desk(batch_wait_ms={}, **limits).open()
    desk.breakers.read_control(b"breaker/mailgun", b'{"action": "open"}')
    messages = many(desk, 60)
    for message in messages:
        await desk.give(message, topic="outbound.bulk")
    assert {row.state for message in messages if (row := desk.row(message))} == {LedgerState.PARKED}
    desk.engine.automatic = False
    desk.breakers.read_control(b"breaker/mailgun", None)
    await desk.wake(30)
    for _ in range(5):
        await desk.wake(1)
    assert 10 <= len(desk.dispatch.busy) <= 12, "nobody is woken into a full stream"
    desk.engine.automatic = True
    for _ in range(60):
        desk.engine.acknowledge()
        await desk.wake(1)
    assert sorted(desk.sent_to()) == sorted(message.recipient.email for message in messages)
    assert not desk.crashes


async def test_a_partition_that_leaves_takes_those_along_who_wait_for_room() -> None:
    desk = await Desk(max_in_flight=1, batch_wait_ms={}).open()
    desk.breakers.read_control(b"breaker/mailgun", b'{"action": "open"}')
    messages = many(desk, 30)
    for message in messages:
        await desk.give(message, topic="outbound.bulk")
    desk.engine.automatic = False
    desk.breakers.read_control(b"breaker/mailgun", None)
    await desk.wake(30)
    for partition in range(PARTITIONS):
        desk.dispatch.waker.left(partition)
    desk.engine.automatic = True
    before = len(desk.sent_to())
    for _ in range(40):
        desk.engine.acknowledge()
        await desk.dispatch.waker.wake_due()
        await desk.settled()
    assert len(desk.sent_to()) - before <= 2, "they are their new owner's"


def test_what_is_remembered_is_bounded_in_bytes_and_the_last_stays() -> None:
    desk = Desk()
    messages = many(desk, 10)
    recent = Recent(3 * (size_of(messages[0]) + 1_500) + 100)
    for message in messages:
        recent.keep(message)
    assert list(recent) == [message.message_id for message in messages[-3:]]
    recent.keep(messages[-1])
    assert recent.take(messages[-1].message_id) is messages[-1]
    assert recent.take(messages[-1].message_id) is None
    recent.keep(messages[0])
    assert len(list(recent)) == 3


async def test_the_records_of_a_run_are_let_go_when_its_agent_has_seen_them() -> None:
    batch = FakeBatch("send-requests", 0, [record(b"large")])
    seen: list[bytes | None] = []

    async def handle(given: BatchPort) -> None:
        seen.extend(one.value for one in given.records)

    async def batches() -> AsyncIterator[BatchPort]:
        yield batch

    await _agent("send-requests", handle)(batches())
    assert seen == [b"large"]
    assert len(batch.records) == 0
