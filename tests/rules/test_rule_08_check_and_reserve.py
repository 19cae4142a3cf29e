"""Rule 8: a message id is reserved in the same breath in which it is looked up, across topics and batches."""

from __future__ import annotations

import asyncio

import pytest

from streams.agents.dispatch.config import LaneConfig
from streams.core.command import Retry
from streams.core.message import Message, RecordRef
from streams.core.outcome import Accepted, Rejected
from streams.core.receipt import ReceiptKind
from streams.serde.internal import pack
from tests.agents.dispatch_desk import Desk, reason
from tests.agents.fake_engine import FakeBatch, record


@pytest.mark.parametrize("topic", ["outbound", "outbound.bulk"])
async def test_rule_08_a_repeat_meets_the_original_that_has_no_row_yet(topic: str) -> None:
    """The original waits in front of a busy gate: the ledger knows nothing of it."""
    desk = await Desk(lanes={"mailgun": LaneConfig(concurrency=1)}).open()
    free = asyncio.Event()
    desk.during_call = lambda request: free.wait()
    await desk.give(desk.message("first@example.net"))
    message = desk.message()
    await desk.give(message)
    assert desk.row(message) is None
    (repeat,) = await desk.give(message, topic=topic)
    assert repeat.done
    free.set()
    await desk.settled()
    assert desk.sent_to().count("u@example.net") == 1


async def test_rule_08_twice_in_one_batch_is_sent_once() -> None:
    desk = await Desk(automatic=False).open()
    message = desk.message()
    partition = desk.dispatch.partition_of(message.message_id)
    for offset in (0, 1):
        desk.stored[RecordRef("outbound", partition, offset)] = message
    records = [record(pack(message), b"k", offset) for offset in (0, 1)]
    await desk.dispatch.handle(FakeBatch("outbound", partition, records))
    for _ in range(4):
        await desk.settled()
        desk.engine.acknowledge()
    assert len(desk.requests) == 1
    assert desk.sent_to() == ["u@example.net"]


class SlowToLoad(Desk):
    """Reading a message back from Kafka takes until ``loaded`` is set."""

    def __init__(self) -> None:
        self.loaded = asyncio.Event()
        super().__init__()

    async def _load(self, ref: RecordRef) -> Message | None:
        await self.loaded.wait()
        return self.stored.get(ref)


async def test_rule_08_a_message_that_comes_while_a_command_is_at_work_waits_for_it() -> None:
    desk = SlowToLoad()
    await desk.open()
    desk.providers["mailgun"].answer = lambda batch: Rejected(reason())
    message = desk.message()
    await desk.give(message)
    desk.providers["mailgun"].answer = lambda batch: Accepted("p-2")
    await desk.give(Retry(message.message_id, 1, "ann"))
    (repeat,) = await desk.give(message)
    assert not repeat.done, "it has to see what the command leaves behind"
    desk.loaded.set()
    await desk.settled()
    await desk.wake(1)
    assert repeat.done
    assert desk.sent_to() == ["u@example.net"] * 2
    assert len(desk.receipts(ReceiptKind.SENT)) == 1
