"""Rule 13: a conflict leaves its original alone, also while that is still under way."""

from __future__ import annotations

import asyncio

from streams.agents.dispatch.config import LaneConfig
from streams.core.receipt import ReceiptKind
from tests.agents.dispatch_desk import Desk


async def test_rule_13_other_content_under_the_key_of_a_message_that_still_waits_is_a_conflict() -> None:
    desk = await Desk(lanes={"mailgun": LaneConfig(concurrency=1)}).open()
    free = asyncio.Event()
    desk.during_call = lambda request: free.wait()
    await desk.give(desk.message("first@example.net"))
    await desk.give(desk.message())
    (batch,) = await desk.give(desk.message(fingerprint="other"))
    (again,) = await desk.give(desk.message(fingerprint="other"))
    told = desk.receipts(ReceiptKind.CONFLICT)
    assert [receipt.receipt_id for receipt in told] == ["conflict:other"] * 2, "one id, so that it counts once"
    assert batch.done and again.done
    free.set()
    await desk.settled()
    assert desk.sent_to().count("u@example.net") == 1
