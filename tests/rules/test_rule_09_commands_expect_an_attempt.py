"""Rule 9: a command for another attempt does nothing, and what may not be sent is asked again right before the call."""

from __future__ import annotations

import asyncio

import pytest

from streams.agents.dispatch.config import LaneConfig
from streams.core.command import Cancel, NoProof, Retry, Settle
from streams.core.ids import partition_of, recipient_key_of
from streams.core.ledger import LedgerState
from streams.core.message import Message, OnUncertain
from streams.core.outcome import Accepted, AttemptResult, Rejected, Uncertain
from streams.core.receipt import ReceiptKind
from streams.core.suppression import Hold, Suppression, SuppressionKind
from streams.serde.internal import packer
from tests.agents.dispatch_desk import PARTITIONS, Desk, reason

UNCERTAIN = Uncertain(reason("read timeout"), AttemptResult.TIMEOUT)


async def test_rule_09_proof_for_another_attempt_settles_nothing() -> None:
    desk = await Desk().open()
    desk.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = desk.message()
    await desk.give(message)
    (batch,) = await desk.give(Settle(message.message_id, 2, "p-9", 5))
    row = desk.row(message)
    assert batch.done and row is not None and row.state is LedgerState.UNCERTAIN


async def test_rule_09_a_late_answer_about_an_attempt_that_was_resent_does_not_resend_the_next() -> None:
    """Track answers each probe; here the answer to attempt 1 comes again when attempt 2 is in doubt."""
    desk = await Desk().open()
    desk.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = desk.message(on_uncertain=OnUncertain.RESEND)
    await desk.give(message)
    await desk.wake(60)
    await desk.give(NoProof(message.message_id, 1))
    await desk.wake(1)
    assert len(desk.requests) == 2
    await desk.wake(60)
    (batch,) = await desk.give(NoProof(message.message_id, 1))
    await desk.wake(1)
    assert batch.done and len(desk.requests) == 2
    await desk.give(NoProof(message.message_id, 2))
    await desk.wake(1)
    assert len(desk.requests) == 3


@pytest.mark.parametrize("attempts", [0, 1])
async def test_rule_09_a_persons_retry_that_is_redelivered_after_a_crash_sends_once(attempts: int) -> None:
    desk = await Desk().open()
    message = desk.message()
    if attempts:
        desk.providers["mailgun"].answer = lambda batch: Rejected(reason())
    else:
        _suppress(desk, message)
    await desk.give(message)
    desk.engine.table("suppressions").rows.clear()
    desk.providers["mailgun"].answer = lambda batch: Accepted("p-2")
    (batch,) = await desk.give(Retry(message.message_id, attempts, "ann"))
    await desk.wake(1)
    assert len(desk.requests) == attempts + 1
    await desk.restarted()
    again = await desk.redeliver(batch)
    await desk.wake(1)
    assert again.done and len(desk.requests) == attempts + 1


@pytest.mark.parametrize("why", ["cancelled", "expired", "suppressed"])
async def test_rule_09_what_happens_while_a_message_stands_in_line_is_seen_before_the_call(why: str) -> None:
    desk = await Desk(lanes={"mailgun": LaneConfig(concurrency=1)}).open()
    free = asyncio.Event()
    desk.during_call = lambda request: free.wait()
    await desk.give(desk.message("first@example.net"))
    message = desk.message(expires_at_ms=desk.clock() + 60_000)
    (batch,) = await desk.give(message)
    if why == "cancelled":
        await desk.give(Cancel(message.message_id, "ann"))
    elif why == "expired":
        desk.clock.advance(61)
    else:
        _suppress(desk, message)
    free.set()
    await desk.settled()
    assert desk.sent_to() == ["first@example.net"]
    assert [r.kind for r in desk.receipts() if r.message_id == message.message_id] == [ReceiptKind(why)]
    assert batch.done


def _suppress(desk: Desk, message: Message) -> None:
    row = packer(Suppression)(Suppression((Hold(SuppressionKind.COMPLAINT, 5),)))
    home = partition_of(message.message_id, PARTITIONS)
    desk.engine.table("suppressions").put(home, recipient_key_of(message.message_id).encode(), row)
