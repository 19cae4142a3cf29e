"""What the models have found: each order of events once more, on the real dispatch agent, so that it stays repaired."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import msgspec

from streams.agents.breaker_view import BreakerView, Door
from streams.agents.dispatch.config import LaneConfig
from streams.core.breaker import BreakerPolicy, BreakerRecord, BreakerState, OutcomeSum
from streams.core.command import Cancel, NoProof, Retry
from streams.core.ledger import LedgerState
from streams.core.message import Message
from streams.core.outcome import Deferred, Scope, Uncertain
from streams.core.receipt import ReceiptKind
from tests.agents.dispatch_desk import Desk, reason
from tests.agents.fake_engine import FakeBatch

NOW = 1_700_000_000_000
UNCERTAIN = Uncertain(reason("reset"))


async def desk(**kwargs: Any) -> Desk:
    return await Desk(**kwargs).open()


def acknowledge_all(d: Desk) -> None:
    while d.engine.acknowledge():
        pass


async def test_a_row_that_has_told_its_receipt_owes_it_no_longer_after_it_was_woken() -> None:
    """Else it would never be forgotten, and would tell again after every recovery."""
    d = await desk()
    message = d.message(send_at_ms=d.clock() + 60_000)
    await d.give(message)
    await d.wake(61)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT
    assert len(d.receipts(ReceiptKind.SENT)) == 1
    assert not row.owed


async def test_the_receipt_of_a_commands_row_is_told_after_a_crash_in_between() -> None:
    """The command is delivered again and does nothing then: its offset does not protect what the row owes."""
    d = await desk(default_policy="cubed")
    message = d.message()
    await d.give(message)
    d.engine.automatic = False
    (batch,) = await d.give(Retry(message.message_id, 1, final_soft=True))
    d.engine.acknowledge("attempts")  # the row is on Kafka; the process ends before its receipt is
    d.engine.emitted.clear()
    await d.restarted()
    d.engine.automatic = True
    d.engine.emitted.clear()
    d.engine._open.clear()
    await d.restarted()
    again = await d.redeliver(batch)
    assert again.done
    assert [receipt.kind for receipt in d.receipts()] == [ReceiptKind.RETRY]


async def test_a_record_that_is_delivered_again_waits_for_the_doubt_about_its_message() -> None:
    """Its offset must not go before the new row is on Kafka: an older one may be all that the next owner finds."""
    d = await desk(automatic=False)
    message = d.message()
    (batch,) = await d.give(message)
    d.engine.acknowledge("attempts")
    await d.restarted()
    again = await d.redeliver(batch)
    assert not again.done
    for _ in range(6):
        d.engine.acknowledge()
        await d.settled()
    row = d.row(message)
    assert row is not None and row.state is LedgerState.UNCERTAIN and not row.owed
    assert again.done


async def test_a_cancellation_of_a_message_in_line_is_kept_until_its_row_is_safe() -> None:
    """A woken message has no offset of its own any more: after a crash nothing else would remember the wish."""
    d = await desk(lanes={"mailgun": LaneConfig(rate=0.001, burst=1)})
    first, second = d.message("a@example.net"), d.message("b@example.net", "k2", send_at_ms=d.clock() + 1_000)
    await d.give(first, second)
    await d.wake(2)
    assert second.message_id in d.dispatch.busy, "it stands in line"
    d.engine.automatic = False
    (batch,) = await d.give(Cancel(second.message_id, "ann"))
    assert not batch.done
    acknowledge_all(d)
    await d.settled()
    row = d.row(second)
    assert row is not None and row.state is LedgerState.CANCELLED
    acknowledge_all(d)
    await d.settled()
    acknowledge_all(d)
    await d.settled()
    assert batch.done


async def test_who_has_lost_the_partition_does_not_promise_another_try() -> None:
    """The new owner holds the message in doubt; track would wait for the retry for ever."""
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: Deferred(reason("503"), Scope.PROVIDER)
    answered = asyncio.Event()
    d.during_call = lambda request: answered.wait()
    await d.give(d.message())
    d.engine.current_generation += 1
    answered.set()
    await d.settled()
    assert d.receipts() == []


async def test_a_final_soft_failure_is_answered_although_dispatch_was_in_doubt() -> None:
    """The answer was read when the partition had gone: track knows of it, the new owner's row does not."""
    d = await desk(default_policy="cubed")
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = d.message()
    await d.give(message)
    await d.give(Retry(message.message_id, 1, final_soft=True))
    row = d.row(message)
    assert row is not None and (row.state, row.tries) == (LedgerState.PARKED, 1)


async def test_who_has_told_a_receipt_does_not_write_over_a_newer_row() -> None:
    """The partition may have gone and come back while Kafka took its time with the receipt."""
    d = await desk()
    message = d.message(send_at_ms=d.clock() + 60_000)
    await d.give(message)
    d.engine.automatic = False
    await d.wake(61)
    for _ in range(2):
        d.engine.acknowledge("attempts")
        await d.settled()
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT and row.owed
    newer = replace(row, state=LedgerState.PARKED)
    d.dispatch.book.write(d.dispatch.partition_of(message.message_id), message.message_id, newer)
    d.engine.acknowledge("receipts")
    await d.settled()
    assert d.row(message) == newer
    assert not d.crashes


async def test_a_row_whose_time_comes_while_a_command_looks_at_it_is_woken_afterwards() -> None:
    """The command leaves it as it is; nobody would ever ask about it again."""
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = d.message()
    await d.give(message)
    d.clock.advance(11)
    batch = FakeBatch("outbound", 0, [])
    waking = asyncio.create_task(d.dispatch.waker.wake_due())
    asyncio.get_running_loop().call_soon(d.dispatch.orders.take, NoProof(message.message_id, 1), batch)
    await waking
    await d.settled()
    assert d.providers["mailgun"].questions == []
    await d.wake(0)
    assert len(d.providers["mailgun"].questions) == 1


# ------------------------------------------------------------------------------------------- the breaker


def view_that_may_probe(**fields: Any) -> BreakerView:
    view = BreakerView("w1", BreakerPolicy())
    published(view, state=BreakerState.HALF_OPEN, epoch=2, holder="w1", lease_until_ms=NOW + 60_000, **fields)
    return view


def published(view: BreakerView, **fields: Any) -> None:
    view.read_breaker(b"mailgun", msgspec.json.encode(BreakerRecord("mailgun", **fields)))


def only(sums: list[OutcomeSum]) -> OutcomeSum:
    (one,) = sums
    return one


def test_rule_14_a_probe_is_not_begun_when_its_lease_is_over() -> None:
    """Another worker may be probing by then."""
    view = view_that_may_probe()
    assert view.door("mailgun", NOW + 59_999) is Door.PROBE
    assert view.door("mailgun", NOW + 60_000) is Door.SHUT


def test_rule_14_a_holder_whose_probe_was_never_answered_asks_again_after_its_lease() -> None:
    """Else a fleet of one would stay shut for ever, as healthy as the provider may be."""
    view = view_that_may_probe()
    view.spend_probe("mailgun")
    assert view.door("mailgun", NOW + 1) is Door.SHUT
    assert view.sums(NOW + 1) == []
    assert view.door("mailgun", NOW + 60_000) is Door.SHUT
    assert only(view.sums(NOW + 60_000)).asks_probe


def test_rule_14_what_was_seen_before_a_decision_is_not_reported_after_it() -> None:
    view = view_that_may_probe()
    view.failed("mailgun", NOW, "503")
    view.spend_probe("mailgun")
    view.succeeded("mailgun", probe_epoch=2)
    published(view, state=BreakerState.HALF_OPEN, epoch=3, holder="w2", lease_until_ms=NOW + 90_000)
    view.succeeded("mailgun", probe_epoch=2)
    told = only(view.sums(NOW))
    assert (told.epoch, told.failed, told.succeeded, told.probe_result) == (3, 0, 1, 0)


def test_rule_14_only_the_permit_of_that_epoch_can_be_given_back() -> None:
    view = view_that_may_probe()
    view.spend_probe("mailgun")
    view.return_probe("mailgun", 1)
    assert view.door("mailgun", NOW) is Door.SHUT
    view.return_probe("mailgun", 2)
    assert view.door("mailgun", NOW) is Door.PROBE


async def test_rule_14_a_probe_that_is_cancelled_in_line_gives_its_permit_to_the_next_message() -> None:
    d, message = await probing()
    await d.give(Cancel(message.message_id, "ann"))
    row = d.row(message)
    assert row is not None and row.state is LedgerState.CANCELLED
    assert d.breakers.door("mailgun", d.clock()) is Door.PROBE


async def test_rule_14_a_partition_that_leaves_gives_back_no_permit_but_that_of_its_own_probe() -> None:
    d, message = await probing("ses")
    record = BreakerRecord("ses", BreakerState.HALF_OPEN, 2, holder="w1", lease_until_ms=d.clock() + 60_000)
    d.breakers.read_breaker(b"ses", msgspec.json.encode(record))
    d.breakers.spend_probe("ses")  # its probe is under way
    await d.dispatch.partition_lost(d.dispatch.partition_of(message.message_id))
    assert d.breakers.door("mailgun", d.clock()) is Door.PROBE
    assert d.breakers.door("ses", d.clock()) is Door.SHUT


async def probing(*others: str) -> tuple[Desk, Message]:
    """A desk on which a message stands in line as the one probe of mailgun."""
    lanes = {"mailgun": LaneConfig(rate=0.001, burst=1)} | {name: LaneConfig() for name in others}
    d = await desk(lanes=lanes)
    await d.give(d.message("first@example.net"))  # takes the only token
    record = BreakerRecord("mailgun", BreakerState.HALF_OPEN, 2, holder="w1", lease_until_ms=d.clock() + 60_000)
    d.breakers.read_breaker(b"mailgun", msgspec.json.encode(record))
    message = d.message("probe@example.net", "k2")
    await d.give(message)
    assert d.breakers.door("mailgun", d.clock()) is Door.SHUT
    assert message.message_id in d.dispatch.busy
    return d, message
