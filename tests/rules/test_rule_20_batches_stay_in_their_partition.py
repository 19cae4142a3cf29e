"""Rule 20: a batch belongs to one partition, so that losing that one stops or keeps all of it."""

from __future__ import annotations

import asyncio

from streams.agents.dispatch.config import LaneConfig
from streams.core.ids import partition_of
from streams.core.message import Stream
from tests.agents.dispatch_desk import PARTITIONS, Desk


async def test_rule_20_what_gathers_in_front_of_a_busy_gate_still_goes_partition_by_partition() -> None:
    """The same content for all, and time to gather: only the partition keeps them apart."""
    desk = await Desk(lanes={"mailgun": LaneConfig(concurrency=1)}, batch_wait_ms={}).open()
    free = asyncio.Event()
    desk.during_call = lambda request: free.wait()
    await desk.give(desk.message("first@example.net", content_hash="other"))
    messages = [desk.message(f"u{n}@example.net", stream=Stream.BULK) for n in range(40)]
    await desk.give(*messages, topic="outbound.bulk")
    free.set()
    await desk.settled()
    batches = desk.providers["mailgun"].batches[1:]
    homes = [{partition_of(entry.message_id, PARTITIONS) for entry in batch.entries} for batch in batches]
    assert sorted(map(tuple, homes)) == [(0,), (1,), (2,), (3,)], "one each, and nothing mixed"
    assert sum(len(batch.entries) for batch in batches) == 40


async def test_rule_20_losing_a_partition_takes_its_waiting_messages_out_and_leaves_the_others() -> None:
    desk = await Desk(lanes={"mailgun": LaneConfig(concurrency=1)}, batch_wait_ms={}).open()
    free = asyncio.Event()
    desk.during_call = lambda request: free.wait()
    first = desk.message("first@example.net", content_hash="other")
    await desk.give(first)
    kept = desk.dispatch.partition_of(first.message_id)
    lost = (kept + 1) % PARTITIONS
    messages = [desk.message(f"u{n}@example.net") for n in range(40)]
    await desk.give(*messages)
    await desk.dispatch.partition_lost(lost)
    free.set()
    await desk.settled()
    expected = {m.recipient.email for m in messages if desk.dispatch.partition_of(m.message_id) != lost}
    assert set(desk.sent_to()) == expected | {"first@example.net"}
