"""Dispatch on an engine in memory: what is written before what, and what is never sent twice."""

from __future__ import annotations

import asyncio

import pytest

from streams.agents.dispatch.config import LaneConfig
from streams.core.command import Cancel, NoProof, Retry, Settle
from streams.core.event import ReasonKind
from streams.core.ids import partition_of, recipient_key_of
from streams.core.ledger import LedgerState
from streams.core.message import OnUncertain, Stream
from streams.core.outcome import Accepted, AttemptResult, Deferred, Rejected, Scope, Split, Uncertain
from streams.core.receipt import ReceiptKind
from streams.core.suppression import Hold, Suppression, SuppressionKind
from streams.providers.base import CannotTell, Found
from streams.serde.internal import packer
from tests.agents.dispatch_desk import PARTITIONS, Desk, reason


async def desk(**kwargs: object) -> Desk:
    return await Desk(**kwargs).open()  # type: ignore[arg-type]


UNCERTAIN = Uncertain(reason("read timeout"), AttemptResult.TIMEOUT)


async def test_a_message_is_sent_recorded_and_told_and_its_offset_is_let_go() -> None:
    d = await desk()
    message = d.message()
    (batch,) = await d.give(message)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT and row.attempt == 1
    assert row.provider_message_id == "p-1"
    (receipt,) = d.receipts()
    assert (receipt.kind, receipt.attempt, receipt.provider) == (ReceiptKind.SENT, 1, "mailgun")
    assert receipt.facts is not None and receipt.facts.tenant == "acme"
    assert batch.done and not d.crashes


async def test_the_sending_row_is_acknowledged_before_the_provider_is_called() -> None:
    d = await desk(automatic=False)
    message = d.message()
    await d.give(message)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENDING
    assert d.requests == []
    d.engine.acknowledge("attempts")
    await d.settled()
    assert len(d.requests) == 1


async def test_rule_05_the_result_row_is_acknowledged_then_the_receipt_then_the_offset() -> None:
    d = await desk(automatic=False)
    (batch,) = await d.give(d.message())
    d.engine.acknowledge("attempts")
    await d.settled()
    assert d.receipts() == [] and not batch.done
    d.engine.acknowledge("attempts")
    await d.settled()
    assert len(d.receipts()) == 1 and not batch.done
    d.engine.acknowledge("receipts")
    await d.settled()
    assert batch.done


async def test_rule_05_a_redelivered_record_tells_its_receipt_again_and_sends_nothing() -> None:
    d = await desk()
    (batch,) = await d.give(d.message())
    await d.restarted()
    again = await d.redeliver(batch)
    assert len(d.requests) == 1
    first, second = d.receipts()
    assert first == second
    assert again.done


async def test_rule_05_a_row_that_owes_its_receipt_pays_after_recovery() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: Deferred(reason(), Scope.PROVIDER)
    message = d.message()
    await d.give(message)
    d.providers["mailgun"].answer = lambda batch: Accepted("p-2")
    d.engine.automatic = False
    await d.wake(10)
    for _ in range(2):  # the write-ahead row, then the result row: but the process ends before the receipt is out
        d.engine.acknowledge("attempts")
        await d.settled()
    row = d.row(message)
    assert row is not None and row.owed and row.state is LedgerState.SENT
    told = len(d.receipts(ReceiptKind.SENT))
    d.engine.automatic = True
    await d.restarted()
    assert len(d.receipts(ReceiptKind.SENT)) == told + 1
    row = d.row(message)
    assert row is not None and not row.owed


async def test_rule_05_a_sending_row_of_an_older_owner_becomes_uncertain_and_is_not_sent_again() -> None:
    d = await desk()
    d.during_call = lambda request: asyncio.Event().wait()  # the process ends before any answer
    message = d.message()
    (batch,) = await d.give(message)
    assert len(d.requests) == 1
    await d.restarted()
    await d.redeliver(batch)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.UNCERTAIN
    assert len(d.requests) == 1
    assert d.receipts(ReceiptKind.UNCERTAIN)


async def test_rule_08_the_same_message_on_both_topics_at_once_is_sent_once() -> None:
    d = await desk(automatic=False)
    message = d.message()
    await d.give(message)
    (repeat,) = await d.give(message, topic="outbound.bulk")
    assert repeat.done
    d.engine.acknowledge()
    await d.settled()
    assert len(d.requests) == 1


async def test_rule_13_another_content_under_the_same_key_is_a_conflict_and_the_original_stands() -> None:
    d = await desk()
    original = d.message()
    await d.give(original)
    (batch,) = await d.give(d.message(fingerprint="other"))
    (conflict,) = d.receipts(ReceiptKind.CONFLICT)
    assert conflict.receipt_id == "conflict:other"
    assert len(d.requests) == 1 and batch.done
    row = d.row(original)
    assert row is not None and row.state is LedgerState.SENT


async def test_rule_03_an_address_is_in_a_provider_batch_at_most_once() -> None:
    d = await desk()
    emails = ["u@example.net", "U@Example.net", "v@example.net"]
    messages = [d.message(email, key=f"k{n}", stream=Stream.BULK) for n, email in enumerate(emails)]
    await d.give(*messages, topic="outbound", partition=0)
    for request_batch in d.providers["mailgun"].batches:
        addresses = [entry.recipient.email.lower() for entry in request_batch.entries]
        assert len(addresses) == len(set(addresses))


async def test_rule_20_a_batch_never_mixes_partitions() -> None:
    d = await desk()
    messages = [d.message(f"u{n}@example.net") for n in range(40)]
    await d.give(*messages)
    for batch in d.providers["mailgun"].batches:
        assert len({partition_of(entry.message_id, PARTITIONS) for entry in batch.entries}) == 1
    assert sorted(d.sent_to()) == sorted(m.recipient.email for m in messages)


async def test_a_refused_batch_is_halved_until_only_the_bad_address_is_rejected() -> None:
    d = await desk()

    def answer(batch):  # type: ignore[no-untyped-def]
        bad = [entry for entry in batch.entries if entry.recipient.email.startswith("bad")]
        if not bad:
            return Accepted("p")
        return Split(reason()) if len(batch.entries) > 1 else Rejected(reason(kind=ReasonKind.INVALID_ADDRESS))

    d.providers["mailgun"].answer = answer
    messages = [d.message(f"{'bad' if n == 5 else 'u'}{n}@example.net", key=f"k{n}") for n in range(16)]
    batches = await d.give(*messages, partition=1)
    rows = {m.recipient.email: d.engine.table("attempts").get(1, m.message_id.encode()) for m in messages}
    assert all(rows.values())
    assert len(d.receipts(ReceiptKind.REJECTED)) == 1
    assert len(d.receipts(ReceiptKind.SENT)) == 15
    assert {receipt.attempt for receipt in d.receipts()} == {1}
    assert all(batch.done for batch in batches)


async def test_an_uncertain_message_is_never_sent_again_blindly_nor_failed_over() -> None:
    d = await desk(lanes={"mailgun": LaneConfig(visibility_delay_s=10), "ses": LaneConfig()})
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = d.message()
    await d.give(message)
    assert len(d.requests) == 1
    row = d.row(message)
    assert row is not None and row.state is LedgerState.UNCERTAIN
    await d.wake(5)
    assert len(d.requests) == 1 and d.providers["mailgun"].questions == []


async def test_rule_04_a_dead_owners_attempt_is_asked_about_only_after_lease_and_visibility_delay() -> None:
    d = await desk(lanes={"mailgun": LaneConfig(deadline_s=30, visibility_delay_s=10)}, lease_margin_s=15)
    d.during_call = lambda request: asyncio.Event().wait()
    await d.give(d.message())
    await d.restarted()
    await d.wake(54)
    assert d.providers["mailgun"].questions == []
    await d.wake(2)
    assert len(d.providers["mailgun"].questions) == 1


async def test_rule_04_an_unread_answer_is_asked_about_only_after_the_visibility_delay() -> None:
    d = await desk(lanes={"mailgun": LaneConfig(visibility_delay_s=10)})
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    await d.give(d.message())
    await d.wake(9)
    assert d.providers["mailgun"].questions == []
    await d.wake(2)
    assert len(d.providers["mailgun"].questions) == 1


async def test_an_uncertain_attempt_that_the_provider_knows_is_sent() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    d.providers["mailgun"].finding = Found("p-9", 5)
    message = d.message()
    await d.give(message)
    await d.wake(60)
    row = d.row(message)
    assert row is not None and (row.state, row.provider_message_id) == (LedgerState.SENT, "p-9")
    assert d.receipts(ReceiptKind.SENT)


@pytest.mark.parametrize("policy", list(OnUncertain))
async def test_rule_23_an_unknown_attempt_is_held_or_resent_only_after_provider_and_track_know_nothing(
    policy: OnUncertain,
) -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = d.message(on_uncertain=policy)
    await d.give(message)
    await d.wake(60)
    assert len(d.receipts(ReceiptKind.PROBE)) == 1 and len(d.requests) == 1
    d.providers["mailgun"].answer = lambda batch: Accepted("p-2")
    await d.give(NoProof(message.message_id, 1))
    await d.wake(1)
    row = d.row(message)
    assert row is not None
    if policy is OnUncertain.HOLD:
        assert row.state is LedgerState.HELD and len(d.requests) == 1
        assert d.receipts(ReceiptKind.UNCERTAIN_FINAL)
    else:
        assert (row.state, row.attempt) == (LedgerState.SENT, 2) and len(d.requests) == 2


async def test_track_without_proof_decides_nothing_before_the_provider_was_asked() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = d.message(on_uncertain=OnUncertain.RESEND)
    await d.give(message)
    await d.give(NoProof(message.message_id, 1))
    row = d.row(message)
    assert row is not None and row.state is LedgerState.UNCERTAIN and len(d.requests) == 1


async def test_a_provider_that_cannot_be_asked_leaves_the_question_open() -> None:
    d = await desk(recheck_s=60)
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    d.providers["mailgun"].finding = CannotTell("500")
    message = d.message()
    await d.give(message)
    await d.wake(60)
    await d.wake(61)
    assert len(d.providers["mailgun"].questions) == 2
    row = d.row(message)
    assert row is not None and row.state is LedgerState.UNCERTAIN
    await d.wake(86_400)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.HELD


async def test_proof_from_track_settles_an_uncertain_attempt() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    message = d.message()
    await d.give(message)
    await d.give(Settle(message.message_id, 1, "p-7", 5))
    row = d.row(message)
    assert row is not None and (row.state, row.provider_message_id) == (LedgerState.SENT, "p-7")


async def test_rule_09_a_command_for_another_attempt_does_nothing() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: Rejected(reason())
    message = d.message()
    await d.give(message)
    (batch,) = await d.give(Retry(message.message_id, 7, "ann"))
    assert batch.done and len(d.requests) == 1
    await d.give(Retry(message.message_id, 1, "ann"))
    await d.wake(1)
    assert len(d.requests) == 2
    (late,) = await d.give(Retry(message.message_id, 1, "ann"))
    await d.wake(1)
    assert late.done and len(d.requests) == 2


async def test_rule_09_cancelling_an_unknown_message_stops_it_when_it_comes() -> None:
    d = await desk()
    message = d.message()
    await d.give(Cancel(message.message_id, "ann"))
    await d.give(message)
    assert d.requests == []
    (receipt,) = d.receipts()
    assert receipt.kind is ReceiptKind.CANCELLED and receipt.facts is not None


async def test_a_scheduled_message_can_be_cancelled_and_an_unscheduled_one_goes_out_in_time() -> None:
    d = await desk()
    stopped = d.message("a@example.net", send_at_ms=d.clock() + 60_000)
    wanted = d.message("b@example.net", send_at_ms=d.clock() + 60_000)
    await d.give(stopped, wanted)
    assert len(d.receipts(ReceiptKind.SCHEDULED)) == 2 and d.requests == []
    await d.give(Cancel(stopped.message_id, "ann"))
    await d.wake(61)
    assert d.sent_to() == ["b@example.net"]
    assert len(d.receipts(ReceiptKind.CANCELLED)) == 1


async def test_a_message_that_expired_while_it_waited_is_not_sent() -> None:
    d = await desk()
    message = d.message(send_at_ms=d.clock() + 60_000, expires_at_ms=d.clock() + 60_500)
    await d.give(message)
    await d.wake(61)
    assert d.requests == []
    assert d.receipts(ReceiptKind.EXPIRED)


async def test_rule_12_a_request_older_than_the_ledger_is_never_sent() -> None:
    d = await desk()
    await d.give(d.message(requested_ms=d.clock() - 31 * 86_400_000))
    assert d.requests == []
    assert d.receipts(ReceiptKind.EXPIRED)


async def test_a_suppressed_address_is_not_written_to() -> None:
    d = await desk()
    message = d.message()
    row = packer(Suppression)(Suppression((Hold(SuppressionKind.BOUNCE, 5),)))
    d.engine.table("suppressions").put(
        partition_of(message.message_id, PARTITIONS), recipient_key_of(message.message_id).encode(), row
    )
    await d.give(message)
    assert d.requests == []
    (receipt,) = d.receipts()
    assert receipt.kind is ReceiptKind.SUPPRESSED
    assert receipt.reason is not None and receipt.reason.kind is ReasonKind.SUPPRESSED_BOUNCE


async def test_rule_02_a_worker_that_lost_the_partition_while_it_wrote_ahead_does_not_call() -> None:
    d = await desk(automatic=False)
    await d.give(d.message())
    d.engine.owned = set()
    d.engine.acknowledge("attempts")
    await d.settled()
    assert d.requests == [] and not d.crashes


async def test_rule_02_a_worker_without_a_heartbeat_waits_and_sends_later_with_a_new_attempt() -> None:
    d = await desk(automatic=False, heartbeat_limit_s=20)
    message = d.message()
    await d.give(message)
    d.engine.heartbeat_s = 30
    d.engine.acknowledge("attempts")
    await d.settled()
    assert d.requests == []
    d.engine.heartbeat_s = 0
    d.engine.automatic = True
    await asyncio.sleep(0.3)
    await d.settled()
    await d.wake(1)
    assert len(d.requests) == 1
    row = d.row(message)
    assert row is not None and (row.state, row.attempt) == (LedgerState.SENT, 2)


async def test_rule_02_a_late_answer_for_a_lost_partition_is_told_but_no_row_is_written() -> None:
    d = await desk()
    message = d.message()
    d.during_call = lambda request: d.engine.__setattr__("owned", set())
    await d.give(message)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENDING
    assert [r.kind for r in d.receipts()] == [ReceiptKind.SENT]


async def test_losing_a_partition_gives_back_what_waits_and_finishes_what_is_in_a_call() -> None:
    d = await desk(lanes={"mailgun": LaneConfig(concurrency=1, batch_size=1)})
    release = asyncio.Event()
    d.during_call = lambda request: release.wait()
    messages = [d.message(key=f"k{n}", content_hash=f"c{n}") for n in range(3)]
    (batch,) = await d.give(*messages)
    partition = batch.partition
    losing = asyncio.create_task(d.dispatch.partition_lost(partition))
    await d.settled()
    assert not losing.done() and batch.abandoned
    release.set()
    await losing
    await d.settled()
    assert len(d.requests) == 1 and len(d.receipts(ReceiptKind.SENT)) == 1
    assert not batch.done


async def test_a_partition_that_is_gone_already_waits_for_no_call() -> None:
    d = await desk()
    release = asyncio.Event()
    d.during_call = lambda request: release.wait()
    message = d.message()
    (batch,) = await d.give(message)
    d.engine.patience_s = 0.0
    async with asyncio.timeout(5):
        await d.dispatch.partition_lost(batch.partition)
    release.set()
    await d.settled()
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENDING, "the late answer is told, and writes no row"
    assert [r.kind for r in d.receipts()] == [ReceiptKind.SENT]


async def test_what_was_delivered_before_its_partition_began_to_leave_is_not_begun_any_more() -> None:
    """A row written ahead then would be the next owner's uncertain send, for nothing."""
    d = await desk(lanes={"mailgun": LaneConfig(concurrency=1, batch_size=1)})
    release = asyncio.Event()
    d.during_call = lambda request: release.wait()
    message = d.message()
    (batch,) = await d.give(message)
    losing = asyncio.create_task(d.dispatch.partition_lost(batch.partition))
    await d.settled()
    late = d.message(key="late")
    assert d.dispatch.partition_of(late.message_id) == batch.partition
    (run,) = await d.give(late)
    assert run.abandoned and d.row(late) is None
    release.set()
    await losing
    (after,) = await d.give(d.message(key="later still"))
    assert after.abandoned
    await d.settled()
    assert len(d.requests) == 1


async def test_throttling_pauses_the_gate_and_costs_no_try() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: Deferred(
        reason(), Scope.LANE, AttemptResult.THROTTLED, retry_after_s=30
    )
    message = d.message()
    await d.give(message)
    row = d.row(message)
    assert row is not None and (row.state, row.tries) == (LedgerState.PARKED, 0)
    d.providers["mailgun"].answer = lambda batch: Accepted("p")
    other = d.message("v@example.net")
    await d.give(other)
    await d.wake(29)
    assert len(d.requests) == 1
    await d.wake(3)
    await asyncio.sleep(0.01)
    assert "u@example.net" in d.sent_to()


async def test_rule_10_what_waits_behind_a_long_pause_is_parked_and_its_offset_advances() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: Deferred(reason(), Scope.LANE, retry_after_s=600)
    await d.give(d.message())
    other = d.message("v@example.net")
    (batch,) = await d.give(other)
    assert not batch.done
    d.dispatch.boarding.park_paused()
    await d.settled()
    assert batch.done
    row = d.row(other)
    assert row is not None and row.state is LedgerState.PARKED


async def test_rule_10_behind_an_open_breaker_messages_are_held_in_the_ledger_and_go_out_when_it_closes() -> None:
    d = await desk()
    d.breakers.read_control(b"breaker/mailgun", b'{"action": "open"}')
    message = d.message()
    (batch,) = await d.give(message)
    assert batch.done and d.requests == []
    assert [r.kind for r in d.receipts()] == [ReceiptKind.ACCEPTED]
    await d.wake(5)
    assert d.requests == []
    d.breakers.read_control(b"breaker/mailgun", None)
    await d.wake(5)
    assert len(d.requests) == 1


async def test_an_open_breaker_with_a_route_left_fails_over() -> None:
    d = await desk(lanes={"mailgun": LaneConfig(), "ses": LaneConfig()})
    d.breakers.read_control(b"breaker/mailgun", b'{"action": "open"}')
    message = d.message()
    await d.give(message)
    row = d.row(message)
    assert row is not None and (row.state, row.provider) == (LedgerState.SENT, "ses")


async def test_failures_of_the_provider_shut_its_door_at_once_and_are_reported_in_a_sum() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: Deferred(reason("no route to host"), Scope.PROVIDER)
    for n in range(5):
        await d.give(d.message(f"u{n}@example.net", content_hash=f"c{n}"))
    calls = len(d.requests)
    await d.give(d.message("late@example.net"))
    assert len(d.requests) == calls == 5
    d.dispatch.report()
    (emitted,) = d.engine.on("provider-outcomes")
    assert emitted.key == b"mailgun"


async def test_a_fault_of_the_recipient_never_counts_against_the_provider() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: Rejected(reason(), Scope.RECIPIENT)
    for n in range(20):
        await d.give(d.message(f"u{n}@example.net", content_hash=f"c{n}"))
    assert len(d.requests) == 20


async def test_a_message_without_a_provider_is_rejected_with_a_reason() -> None:
    d = await desk()
    await d.give(d.message(provider="nobody"))
    (receipt,) = d.receipts()
    assert receipt.kind is ReceiptKind.REJECTED
    assert receipt.reason is not None and "nobody" in receipt.reason.detail


async def test_refusals_of_the_message_follow_its_policy_until_they_are_exhausted() -> None:
    d = await desk()
    d.providers["mailgun"].answer = lambda batch: Deferred(reason(), Scope.MESSAGE)
    message = d.message(retry_policy="cubed")
    await d.give(message)
    for minutes in (8, 27, 64, 125):
        calls = len(d.requests)
        await d.wake(minutes * 60 - 1)
        assert len(d.requests) == calls
        await d.wake(2)
        assert len(d.requests) == calls + 1
    row = d.row(message)
    assert row is not None and (row.state, row.tries) == (LedgerState.FAILED, 5)


async def test_garbage_becomes_a_dead_letter_with_its_origin_and_the_rest_goes_on() -> None:
    from tests.agents.fake_engine import FakeBatch, record

    d = await desk()
    batch = FakeBatch("outbound", 2, [record(b"\x99garbage", b"key", offset=41)])
    await d.dispatch.handle(batch)
    await d.settled()
    (letter,) = d.engine.on("dead-letters")
    assert letter.value == b"\x99garbage"
    assert dict(letter.headers)["dlq.offset"] == b"41"
    assert batch.done


async def test_rule_10_only_the_full_stream_waits_for_room() -> None:
    d = await desk(max_in_flight=2, automatic=False, batch_wait_ms={})
    await d.give(*(d.message(f"u{n}@example.net", stream=Stream.BULK) for n in range(3)), topic="outbound.bulk")
    blocked = asyncio.create_task(d.give(d.message("z@example.net", stream=Stream.BULK), topic="outbound.bulk"))
    await d.settled()
    assert not blocked.done()
    await d.give(d.message("t@example.net"))
    for _ in range(6):
        d.engine.acknowledge()
        await d.settled()
    await asyncio.wait_for(blocked, 5)
    assert not d.crashes


async def test_rule_12_rows_are_forgotten_after_their_retention_but_never_while_they_are_open() -> None:
    d = await desk()
    settled = d.message("a@example.net")
    await d.give(settled)
    d.providers["mailgun"].answer = lambda batch: UNCERTAIN
    unsettled = d.message("b@example.net")
    await d.give(unsettled)
    d.clock.advance(30 * 86_400 + 1)
    for partition in range(PARTITIONS):
        await d.dispatch.sweep(partition, d.clock())
    assert d.row(settled) is None
    assert d.row(unsettled) is not None
