"""Rule 2: whoever may have been replaced does not call, and writes no row afterwards."""

from __future__ import annotations

import asyncio
import logging

import pytest

from streams.agents.dispatch.config import LaneConfig
from streams.core.ledger import LedgerState
from streams.core.receipt import ReceiptKind
from tests.agents.dispatch_desk import Desk


async def test_rule_02_a_lease_outlives_the_calls_total_deadline() -> None:
    desk = await Desk(lanes={"mailgun": LaneConfig(deadline_s=30)}, lease_margin_s=15, automatic=False).open()
    message = desk.message()
    await desk.give(message)
    row = desk.row(message)
    assert row is not None and row.state is LedgerState.SENDING
    assert row.lease_until_ms == desk.clock() + 45_000
    assert row.owner == "w1@1"


async def test_rule_02_a_call_that_could_outlive_its_lease_is_not_made(caplog: pytest.LogCaptureFixture) -> None:
    """Kafka took so long to acknowledge the row that others may ask about the attempt while the call still runs."""
    caplog.set_level(logging.ERROR, logger="streams.agents.dispatch")
    desk = await Desk(lanes={"mailgun": LaneConfig(deadline_s=30)}, lease_margin_s=15, automatic=False).open()
    message = desk.message()
    await desk.give(message)
    desk.clock.advance(16)
    desk.engine.automatic = True
    desk.engine.acknowledge()
    await desk.settled()
    assert desk.requests == []
    await desk.wake(0.001)
    row = desk.row(message)
    assert len(desk.requests) == 1
    assert row is not None and (row.state, row.attempt) == (LedgerState.SENT, 2), "with a lease of its own"


async def test_rule_02_an_answer_of_an_earlier_generation_writes_no_row() -> None:
    """The partition went away and came back during the call: somebody else may have written in between."""
    desk = await Desk().open()
    answered = asyncio.Event()
    desk.during_call = lambda request: answered.wait()
    message = desk.message()
    await desk.give(message)
    desk.engine.current_generation += 1
    before = len(desk.engine.writes)
    answered.set()
    await desk.settled()
    assert [r.kind for r in desk.receipts()] == [ReceiptKind.SENT], "what is known is told"
    assert len(desk.engine.writes) == before
    row = desk.row(message)
    assert row is not None and row.state is LedgerState.SENDING
    assert not desk.crashes
