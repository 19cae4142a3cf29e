"""Dispatch over a dialogue: real SMTP to the look-alike server, and what happens to a message nobody can ask about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.agents.dispatch.config import LaneConfig
from streams.core.command import NoProof, Settle
from streams.core.event import BounceType, ReasonKind
from streams.core.ids import is_message_id
from streams.core.ledger import LedgerState
from streams.core.message import Message, OnUncertain
from streams.core.receipt import ReceiptKind
from streams.providers import smtp
from streams.providers.base import HttpRequest
from streams.providers.smtp.config import Encryption
from streams.sandbox import OutcomeMix, Sandbox, SandboxConfig, SmtpConfig
from tests.agents.dispatch_desk import Desk


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxConfig(tmp_path / "ledger.jsonl", smtp=SmtpConfig(), mix=OutcomeMix.only_success()))
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def desk(sandbox: Sandbox) -> AsyncIterator[Desk]:
    assert sandbox.smtp is not None
    adapter = smtp.create(
        "relay",
        smtp.Config(
            "localhost",
            sandbox.smtp.port,
            Encryption.IMPLICIT,
            ca_file=str(sandbox.smtp.certificate),
            username="sandbox",
            password="password-sandbox",
        ),
    )
    lane = LaneConfig(visibility_delay_s=60, batch_size=adapter.limits.max_recipients, deadline_s=10)
    found = Desk(lanes={"relay": lane}, recheck_s=60)
    found.providers["relay"] = adapter  # type: ignore[assignment]
    await found.open()
    yield found
    await adapter.aclose()
    assert found.requests == [], "no HTTP request was ever built"
    assert not found.crashes


async def given(desk: Desk, message: Message) -> LedgerState:
    """Hand it over and wait for its row to rest."""
    await desk.give(message)
    return await rested(desk, message)


async def rested(desk: Desk, message: Message) -> LedgerState:
    async with asyncio.timeout(10):
        while (row := desk.row(message)) is None or row.state is LedgerState.SENDING:
            await asyncio.sleep(0.005)
    await desk.settled()
    return row.state


async def test_a_message_is_sent_over_the_dialogue_and_its_id_is_kept(desk: Desk, sandbox: Sandbox) -> None:
    message = desk.message()
    assert is_message_id(message.message_id)
    assert await given(desk, message) is LedgerState.SENT
    row = desk.row(message)
    assert row is not None and row.provider_message_id == f"{message.message_id}.1@example.com"
    [record] = sandbox.ledger.accepted_from("smtp", 0)
    assert record.variables["message_id"] == message.message_id


async def test_the_row_is_written_ahead_of_the_dialogue(desk: Desk, sandbox: Sandbox) -> None:
    sandbox.faults.add({"kind": "timeout_before", "provider": "smtp", "hold_s": 0.3, "count": 1})
    message = desk.message()
    await desk.give(message)
    row = desk.row(message)
    assert row is not None and row.state is LedgerState.SENDING
    assert await rested(desk, message) is LedgerState.UNCERTAIN


async def test_an_unknown_recipient_ends_as_rejected_and_suppresses_the_address(desk: Desk) -> None:
    message = desk.message("suppressionlist@example.net")
    assert await given(desk, message) is LedgerState.REJECTED
    [receipt] = desk.receipts(ReceiptKind.REJECTED)
    assert receipt.reason is not None and receipt.reason.kind is ReasonKind.BAD_MAILBOX
    assert (receipt.bounce_type, receipt.suppress) == (BounceType.HARD, True)


async def test_a_refused_content_suppresses_nothing(desk: Desk) -> None:
    assert await given(desk, desk.message("reject@example.net")) is LedgerState.REJECTED
    [receipt] = desk.receipts(ReceiptKind.REJECTED)
    assert (receipt.bounce_type, receipt.suppress) == (None, False)


async def test_what_was_lost_before_the_message_is_sent_again_and_arrives_once(desk: Desk, sandbox: Sandbox) -> None:
    sandbox.faults.add({"kind": "reset_before", "provider": "smtp", "stage": "data", "count": 1})
    message = desk.message()
    assert await given(desk, message) is LedgerState.PARKED
    await desk.wake(10)
    assert await rested(desk, message) is LedgerState.SENT
    assert sandbox.ledger.accepted["smtp"] == 1


@pytest.mark.parametrize("taken", [True, False])
async def test_doubt_that_nobody_settles_is_held_for_a_person(desk: Desk, sandbox: Sandbox, taken: bool) -> None:
    """SMTP cannot be asked, so absence is only what no bounce and no event say, and `hold` is the default."""
    sandbox.faults.add({"kind": "reset_after" if taken else "reset_before", "provider": "smtp", "count": 1})
    message = desk.message()
    assert await given(desk, message) is LedgerState.UNCERTAIN
    assert len(desk.receipts(ReceiptKind.UNCERTAIN)) == 1
    await desk.wake(30)
    assert desk.receipts(ReceiptKind.PROBE) == [], "its bounce may still come"
    await desk.wake(31)
    assert len(desk.receipts(ReceiptKind.PROBE)) == 1
    await desk.give(NoProof(message.message_id, 1))
    row = desk.row(message)
    assert row is not None and row.state is LedgerState.HELD
    assert sandbox.ledger.accepted["smtp"] == int(taken)


async def test_doubt_is_sent_again_if_the_request_says_so(desk: Desk, sandbox: Sandbox) -> None:
    sandbox.faults.add({"kind": "reset_before", "provider": "smtp", "count": 1})
    message = desk.message(on_uncertain=OnUncertain.RESEND)
    await given(desk, message)
    await desk.wake(61)
    await desk.give(NoProof(message.message_id, 1))
    await desk.wake(1)
    assert await rested(desk, message) is LedgerState.SENT
    row = desk.row(message)
    assert row is not None and row.attempt == 2
    assert sandbox.ledger.accepted["smtp"] == 1


async def test_a_bounce_is_proof_and_settles_the_doubt(desk: Desk, sandbox: Sandbox) -> None:
    """Track answers a bounce of an uncertain attempt with `Settle`: the server did take it."""
    sandbox.faults.add({"kind": "reset_after", "provider": "smtp", "count": 1})
    message = desk.message()
    assert await given(desk, message) is LedgerState.UNCERTAIN
    await desk.give(Settle(message.message_id, 1, "", desk.clock()))
    row = desk.row(message)
    assert row is not None and row.state is LedgerState.SENT


async def test_no_dialogue_is_looked_for_where_there_is_none() -> None:
    """Providers with a request and an answer go their way as before."""
    seen: list[Any] = []
    desk = await Desk().open()
    desk.during_call = seen.append
    await desk.give(desk.message())
    assert [type(request) for request in seen] == [HttpRequest]
