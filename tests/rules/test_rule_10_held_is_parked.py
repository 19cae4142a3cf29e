"""Rule 10: held messages wait in the ledger, not in flight; past a limit only the full stream pauses."""

from __future__ import annotations

import asyncio

from streams.core.message import Stream
from tests.agents.dispatch_desk import Desk


async def test_rule_10_a_full_bulk_stream_waits_and_a_password_reset_does_not() -> None:
    desk = await Desk(max_in_flight=2, automatic=False, batch_wait_ms={}).open()
    await desk.give(*(desk.message(f"u{n}@example.net", stream=Stream.BULK) for n in range(2)), topic="outbound.bulk")
    late = desk.message("late@example.net", stream=Stream.BULK)
    blocked = asyncio.create_task(desk.give(late, topic="outbound.bulk"))
    for _ in range(10):
        await desk.settled()
    assert desk.row(late) is None and not blocked.done(), "a pause of intake"
    urgent = desk.message("urgent@example.net")
    await desk.give(urgent)
    assert desk.row(urgent) is not None
    for _ in range(6):
        desk.engine.acknowledge()
        await desk.settled()
    await asyncio.wait_for(blocked, 5)
    assert desk.row(late) is not None and not desk.crashes


async def test_rule_10_a_whole_campaign_behind_an_open_breaker_leaves_room_and_lets_its_offsets_go() -> None:
    desk = await Desk(max_in_flight=5, batch_wait_ms={}).open()
    desk.breakers.read_control(b"breaker/mailgun", b'{"action": "open"}')
    messages = [desk.message(f"u{n}@example.net", stream=Stream.BULK) for n in range(50)]
    batches = [batch for message in messages for batch in await desk.give(message, topic="outbound.bulk")]
    assert all(batch.done for batch in batches)
    assert desk.requests == []
    desk.breakers.read_control(b"breaker/mailgun", None)
    for _ in range(20):  # as there is room
        await desk.wake(5)
    assert sorted(desk.sent_to()) == sorted(message.recipient.email for message in messages)
