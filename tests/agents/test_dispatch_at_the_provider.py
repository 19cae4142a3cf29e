"""What a provider does for us: it keeps messages until their time, and sends stored ones again."""

from __future__ import annotations

from typing import Any

from streams.agents.dispatch.config import LaneConfig
from streams.core.command import Cancel, Retry
from streams.core.ledger import LedgerState
from streams.core.message import Message
from streams.core.outcome import Accepted, BatchOutcome, Uncertain
from streams.core.receipt import ReceiptKind
from streams.providers.base import Batch, Earlier
from tests.agents.dispatch_desk import Desk, FunctionProvider, reason

KEEPS = {"mailgun": LaneConfig(visibility_delay_s=10, ahead_s=600), "ses": LaneConfig(visibility_delay_s=10)}


async def desk(**options: Any) -> Desk:
    return await Desk(**options).open()


# ------------------------------------------------------------------------------------------ send_at


async def test_a_message_is_handed_over_ahead_of_its_time_and_no_earlier_than_configured() -> None:
    d = await desk(lanes=KEEPS)
    message = d.message(send_at_ms=d.clock() + 3_600_000)
    await d.give(message)
    row = d.row(message)
    assert row is not None
    assert (row.state, row.due_ms) == (LedgerState.PARKED, message.send_at_ms - 600_000)
    await d.wake(3000)
    assert d.sent_to() == ["u@example.net"]
    assert [r.kind for r in d.receipts()] == [ReceiptKind.SCHEDULED, ReceiptKind.SENT]


async def test_messages_of_one_content_and_other_times_go_in_calls_of_their_own() -> None:
    d = await desk(lanes=KEEPS)
    now = d.clock()
    times = [now + 300_000, now + 300_000, now + 400_000]
    partition = {}
    letters: list[Message] = []
    for n in range(60):
        letter = d.message(f"u{n}@example.net", send_at_ms=times[len(letters) % 3])
        home = d.dispatch.partition_of(letter.message_id)
        if partition.setdefault("home", home) == home and len(letters) < 3:
            letters.append(letter)
    await d.give(*letters)
    assert sorted(len(batch.entries) for batch in d.providers["mailgun"].batches) == [1, 2]


async def test_who_cannot_keep_messages_is_not_given_them_early() -> None:
    d = await desk(lanes=KEEPS)
    message = d.message(send_at_ms=d.clock() + 300_000)
    for _ in range(10):
        d.breakers.failed("mailgun", d.clock(), "down", 0)
    await d.give(message)
    assert not d.requests
    row = d.row(message)
    assert row is not None
    assert (row.state, row.due_ms) == (LedgerState.PARKED, message.send_at_ms)
    await d.wake(300)
    assert len(d.requests) == 1


async def test_without_the_option_nothing_is_handed_over_ahead() -> None:
    d = await desk()
    await d.give(d.message(send_at_ms=d.clock() + 1000))
    assert not d.requests
    await d.wake(1)
    assert len(d.requests) == 1


async def test_what_was_handed_over_ahead_cannot_be_cancelled_any_more() -> None:
    d = await desk(lanes=KEEPS)
    message = d.message(send_at_ms=d.clock() + 300_000)
    await d.give(message)
    await d.give(Cancel(message.message_id, "ann"))
    row = d.row(message)
    assert row is not None
    assert row.state is LedgerState.SENT
    assert not d.receipts(ReceiptKind.CANCELLED)


# ------------------------------------------------------------------------------------------ stored messages


class Storing(FunctionProvider):
    """Stores what it took."""

    resends = True

    def __init__(self, name: str, again: BatchOutcome | None) -> None:
        super().__init__(name)
        self.again = again
        self.asked: list[tuple[Batch, Earlier]] = []
        self.ledger: list[Any] = []
        self.desk: Desk | None = None

    async def resend(
        self, batch: Batch, earlier: Earlier, exchange: Any, deadline_s: float, now_ms: int
    ) -> BatchOutcome | None:
        assert self.desk is not None
        self.asked.append((batch, earlier))
        self.ledger.append(self.desk.row(self.desk.stored[next(iter(self.desk.stored))]))
        return self.again


async def storing(again: BatchOutcome | None) -> tuple[Desk, Storing, Message]:
    d = Desk(default_policy="exponential")
    provider = Storing("mailgun", again)
    d.providers["mailgun"] = provider
    d.dispatch = d._dispatch()
    await d.open()
    provider.desk = d
    message = d.message()
    await d.give(message)
    await d.give(Retry(message.message_id, 1, final_soft=True))
    return d, provider, message


async def test_a_final_soft_failure_is_answered_with_the_stored_message_as_an_attempt_of_its_own() -> None:
    d, provider, message = await storing((Accepted("p-2"),))
    sent_ms = d.clock()
    await d.wake(4 * 60 - 1)
    assert not provider.asked
    await d.wake(1)
    ((batch, earlier),) = provider.asked
    assert (batch.entries[0].attempt, earlier) == (2, Earlier("p-1", sent_ms))
    assert (provider.ledger[0].state, provider.ledger[0].attempt) == (LedgerState.SENDING, 2), "written ahead"
    assert len(d.requests) == 1, "only the first attempt was a new message"
    row = d.row(message)
    assert row is not None
    assert (row.state, row.attempt, row.provider_message_id) == (LedgerState.SENT, 2, "p-2")
    assert [r.attempt for r in d.receipts(ReceiptKind.SENT)] == [1, 2]


async def test_what_is_not_stored_any_more_is_sent_anew_within_the_same_attempt() -> None:
    d, provider, message = await storing(None)
    await d.wake(240)
    assert len(provider.asked) == 1
    assert len(d.requests) == 2
    row = d.row(message)
    assert row is not None
    assert (row.state, row.attempt) == (LedgerState.SENT, 2)


async def test_an_unread_answer_to_it_is_uncertain_like_any_other() -> None:
    d, _, message = await storing((Uncertain(reason("lost")),))
    await d.wake(240)
    row = d.row(message)
    assert row is not None
    assert (row.state, row.attempt) == (LedgerState.UNCERTAIN, 2)


async def test_after_fewer_than_five_attempts_in_powers_of_four_minutes_it_ends() -> None:
    d, provider, message = await storing((Accepted("again"),))
    for attempt, minutes in ((2, 4), (3, 16), (4, 64), (5, 256)):
        await d.wake(60 * minutes - 1)
        row = d.row(message)
        assert row is not None
        assert row.state is LedgerState.PARKED
        await d.wake(1)
        row = d.row(message)
        assert row is not None
        assert (row.state, row.attempt) == (LedgerState.SENT, attempt)
        await d.give(Retry(message.message_id, attempt, final_soft=True))
    row = d.row(message)
    assert row is not None
    assert row.state is LedgerState.FAILED
    assert len(provider.asked) == 4


async def test_a_persons_retry_is_a_new_message() -> None:
    d = Desk()
    provider = Storing("mailgun", (Accepted("p-2"),))
    d.providers["mailgun"] = provider
    d.dispatch = d._dispatch()
    await d.open()
    provider.desk = d
    message = d.message()
    await d.give(message)
    await d.give(Retry(message.message_id, 1, "ann"))
    await d.wake(0)
    assert not provider.asked
    assert len(d.requests) == 2
