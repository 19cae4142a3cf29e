"""Bulk may stand behind transactional mail for long: that is said to the engine, which would take it for a stall."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from streams.agents.dispatch.config import LaneConfig
from streams.agents.dispatch.in_line import EVERY_S
from streams.core.message import Message, Stream
from tests.agents.dispatch_desk import PARTITIONS, Desk


def mails(desk: Desk, names: str, stream: Stream) -> list[Message]:
    return [desk.message(f"{name}@example.net", stream=stream, content_hash=name) for name in names]


def told(desk: Desk) -> set[tuple[str, int]]:
    """What is told when it is looked now."""
    desk.engine.waited.clear()
    desk.clock.advance(EVERY_S)
    desk.dispatch.in_line.look()
    return set(desk.engine.waited)


@asynccontextmanager
async def busy(campaign: str = "z", **config: int) -> AsyncIterator[tuple[Desk, asyncio.Semaphore, Message]]:
    """Two calls at a time, each of which ends when the semaphore says so; bulk waits behind transactional mail."""
    desk = await Desk(lanes={"mailgun": LaneConfig(concurrency=2)}, batch_wait_ms={}, **config).open()
    ends = asyncio.Semaphore(0)
    desk.during_call = lambda request: ends.acquire()
    for message in mails(desk, "abcdef", Stream.TRANSACTIONAL):
        await desk.give(message)
    for bulk in mails(desk, campaign, Stream.BULK):
        await desk.give(bulk, topic="outbound.bulk")
    yield desk, ends, bulk
    for _ in range(20):
        ends.release()
        await desk.settled()
    assert len(desk.sent_to()) == 6 + len(campaign) and not desk.crashes


async def test_bulk_behind_transactional_mail_waits_its_turn_while_calls_begin() -> None:
    async with busy() as (desk, ends, bulk):
        home = ("outbound.bulk", desk.dispatch.partition_of(bulk.message_id))
        assert home in told(desk)
        for _ in range(2):
            ends.release()
            await desk.settled()
            assert home in told(desk) and len(desk.requests) < 6, "a call has begun, and it was not bulk's"


async def test_nothing_is_told_of_a_gate_that_begins_no_call_any_more() -> None:
    async with busy() as (desk, _, _):
        assert told(desk)
        assert not told(desk), "its calls never end: that is a stall"


async def test_it_is_told_at_intervals_and_goes_on_when_the_clock_jumps_back() -> None:
    async with busy() as (desk, ends, _):
        assert told(desk)
        desk.engine.waited.clear()
        ends.release()
        await desk.settled()
        desk.clock.advance(EVERY_S / 2)
        desk.dispatch.in_line.look()
        assert not desk.engine.waited, "not yet"
        desk.clock.advance(-600)
        desk.dispatch.in_line.look()
        ends.release()
        await desk.settled()
        assert told(desk)


async def test_partitions_wait_as_a_whole_when_their_stream_is_full() -> None:
    async with busy("zsroqh", max_in_flight=6) as (desk, _, _):  # all of one partition
        assert {place for place in told(desk) if place[0] == "outbound.bulk"} == {
            ("outbound.bulk", partition) for partition in range(PARTITIONS)
        }


async def test_where_nothing_waits_nothing_is_told() -> None:
    desk = await Desk().open()
    (message,) = mails(desk, "a", Stream.TRANSACTIONAL)
    await desk.give(message)
    assert desk.sent_to() and not told(desk)
