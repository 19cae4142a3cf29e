"""Limits, warm-up, pauses and the way back, as dispatch obeys them."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from streams.agents.dispatch.config import LaneConfig
from streams.core.breaker import BreakerPolicy, BreakerState
from streams.core.command import Cancel
from streams.core.event import Reason, ReasonKind
from streams.core.ids import partition_of
from streams.core.ledger import LedgerState
from streams.core.limits import RecipientLimit
from streams.core.message import Message, Stream
from streams.core.outcome import Accepted, AttemptResult, Deferred, Rejected, Scope, Uncertain
from streams.core.receipt import ReceiptKind
from streams.core.warm_up import WarmUp
from streams.providers.base import CannotTell, Found, HttpRequest
from tests.agents.dispatch_desk import NOW, PARTITIONS, Desk, reason
from tests.agents.test_breakers import published

DAY_S = 86_400
TODAY = NOW // 86_400_000
BOTH = {"new": LaneConfig(), "warm": LaneConfig()}


async def desk(**config: Any) -> Desk:
    return await Desk(**config).open()


def many(d: Desk, count: int, key: str = "k1", **fields: Any) -> list[Message]:
    return [d.message(f"{key}-{n}@example.net", key, content_hash=f"{key}{n}", **fields) for n in range(count)]


def by_provider(d: Desk) -> Counter[str]:
    return Counter(request.url.split("/")[2] for request in d.requests)


# ---------------------------------------------------------------------------------------------- warm-up


async def test_a_warm_up_takes_no_more_than_its_cap_a_day_and_the_rest_overflows_to_the_next_of_the_route() -> None:
    d = await desk(lanes=BOTH, warm_ups={"new": WarmUp(TODAY, 20, 2, 10)})
    await d.give(*many(d, 100))
    assert by_provider(d) == {"new": 20, "warm": 80}
    d.clock.advance(DAY_S)
    await d.give(*many(d, 100, "k2"))
    assert by_provider(d) == {"new": 60, "warm": 140}


async def test_a_warm_up_may_name_who_takes_its_overflow() -> None:
    lanes = {"new": LaneConfig(), "other": LaneConfig(), "warm": LaneConfig()}
    d = await desk(lanes=lanes, warm_ups={"new": WarmUp(TODAY, 8, 1, 10, overflow="warm")})
    await d.give(*many(d, 50))
    assert by_provider(d) == {"new": 8, "warm": 42}


async def test_without_another_route_what_exceeds_the_cap_waits_for_the_next_day() -> None:
    d = await desk(warm_ups={"mailgun": WarmUp(TODAY, 8, 2, 10)})
    messages = many(d, 30)
    await d.give(*messages)
    assert len(d.sent_to()) == 8
    held = [row for message in messages if (row := d.row(message)) and row.state is LedgerState.PARKED]
    assert len(held) == 22
    assert held[0].due_ms == (TODAY + 1) * 86_400_000
    assert held[0].reason is not None and held[0].reason.code == "warm_up"
    await d.wake((held[0].due_ms - d.clock()) / 1000)
    assert len(d.sent_to()) == 24


async def test_what_was_not_handed_over_gives_its_place_back() -> None:
    d = await desk(warm_ups={"mailgun": WarmUp(TODAY, 40, 1, 10)})
    d.providers["mailgun"].answer = lambda batch: Rejected(reason("bad"))
    await d.give(*many(d, 30))
    d.providers["mailgun"].answer = type(d.providers["mailgun"])("x").answer
    before = len(d.receipts(ReceiptKind.SENT))
    await d.give(*many(d, 60, "k2"))
    assert len(d.receipts(ReceiptKind.SENT)) - before > 30


async def test_a_restart_forgets_nothing_of_what_was_sent_today() -> None:
    d = await desk(lanes=BOTH, warm_ups={"new": WarmUp(TODAY, 20, 1, 10)})
    await d.give(*many(d, 60))
    assert by_provider(d)["new"] == 20
    await d.restarted()
    await d.give(*many(d, 60, "k2"))
    assert by_provider(d)["new"] == 20


# ---------------------------------------------------------------------------------------------- recipients


def limited(*, reject: bool = False) -> RecipientLimit:
    return RecipientLimit(2, 3600, frozenset({"bulk"}), reject)


def mails(d: Desk, count: int, stream: Stream = Stream.BULK) -> list[Message]:
    return [d.message("u@example.net", f"k{n}", stream=stream, content_hash=str(n)) for n in range(count)]


async def test_more_than_so_many_messages_to_one_address_wait_until_the_window_has_moved_on() -> None:
    d = await desk(recipient_limit=limited(), batch_wait_ms={})
    messages = mails(d, 5)
    await d.give(*messages, topic="outbound.bulk")
    assert len(d.sent_to()) == 2
    row = d.row(messages[4])
    assert row is not None and row.state is LedgerState.PARKED and row.due_ms == NOW + 3_600_000
    assert row.reason is not None and row.reason.kind is ReasonKind.RATE_LIMITED
    await d.wake(3600)
    assert len(d.sent_to()) == 4
    await d.wake(3600)
    assert len(d.sent_to()) == 5


async def test_or_are_refused_if_the_setting_says_so() -> None:
    d = await desk(recipient_limit=limited(reject=True), batch_wait_ms={})
    await d.give(*mails(d, 5), topic="outbound.bulk")
    assert len(d.sent_to()) == 2
    assert len(d.receipts(ReceiptKind.REJECTED)) == 3


async def test_a_password_reset_is_not_counted() -> None:
    d = await desk(recipient_limit=limited())
    await d.give(*mails(d, 5, Stream.TRANSACTIONAL))
    assert len(d.sent_to()) == 5


async def test_another_try_of_a_message_is_not_another_message() -> None:
    d = await desk(recipient_limit=limited(), batch_wait_ms={}, default_policy="cubed")
    d.providers["mailgun"].answer = lambda batch: Deferred(reason("later"), Scope.MESSAGE)
    await d.give(*mails(d, 2), topic="outbound.bulk")
    await d.wake(8 * 60)
    assert len(d.sent_to()) == 4


async def test_a_restart_remembers_who_was_written_to() -> None:
    d = await desk(recipient_limit=limited(), batch_wait_ms={})
    await d.give(*mails(d, 2), topic="outbound.bulk")
    await d.restarted()
    await d.give(d.message("u@example.net", "k9", stream=Stream.BULK), topic="outbound.bulk")
    assert len(d.sent_to()) == 2


# ---------------------------------------------------------------------------------------------- tenants


async def test_a_tenants_rate_spreads_its_messages_and_nobody_elses() -> None:
    d = await desk(tenant_rate=0.0)
    d.dispatch.limits.tenant("acme", 10)
    messages = many(d, 40)
    await d.give(*messages, *many(d, 5, "other", tenant="other"))
    at_once = len(d.sent_to())
    assert at_once <= 11 + 5
    rows = [row for message in messages if (row := d.row(message)) and row.state is LedgerState.PARKED]
    dues = sorted(row.due_ms for row in rows)
    assert [later - sooner for sooner, later in pairwise(dues)] == [100] * (len(dues) - 1)
    for _ in range(40):
        await d.wake(0.1)
    assert len(d.sent_to()) == 45
    rows = [d.row(message) for message in messages]
    assert {row.attempt for row in rows if row} == {1}


async def test_a_tenants_share_is_that_of_the_partitions() -> None:
    d = Desk(tenant_rate=8.0)
    await d.dispatch.partition_ready(0)
    await d.dispatch.partition_ready(1)
    messages = [m for m in many(d, 200) if partition_of(m.message_id, PARTITIONS) < 2][:20]
    await d.give(*messages)
    assert len(d.sent_to()) == 5  # half of 8 at once, and the one whose turn it is


# ---------------------------------------------------------------------------------------------- pauses


@pytest.mark.parametrize("scope", [Scope.LANE, Scope.ACCOUNT])
async def test_a_call_whose_row_is_on_its_way_to_kafka_waits_when_another_is_told_to_wait(scope: Scope) -> None:
    d = await desk()
    told = asyncio.Event()
    d.during_call = lambda request: told.wait()
    d.providers["mailgun"].answer = lambda batch: Deferred(
        reason("not now", ReasonKind.ACCOUNT), scope, AttemptResult.THROTTLED, retry_after_s=30
    )
    await d.give(d.message("a@example.net"))
    d.engine.automatic = False
    late = d.message("b@example.net", content_hash="other")
    (batch,) = await d.give(late)
    told.set()
    await d.settled()
    d.engine.acknowledge()
    await d.settled()
    d.engine.automatic = True
    d.engine.acknowledge()
    await d.settled()
    assert d.sent_to() == ["a@example.net"]
    row = d.row(late)
    assert row is not None and (row.state, row.tries) == (LedgerState.PARKED, 0)
    assert row.due_ms >= NOW + 30_000
    assert batch.done
    d.providers["mailgun"].answer = lambda batch: Accepted("p")
    await d.wake(29.9)
    assert len(d.requests) == 1
    await d.wake(1.2)
    d.dispatch.lanes.gates["mailgun"].pump()
    await d.settled()
    assert sorted(d.sent_to()) == ["a@example.net", "a@example.net", "b@example.net"]


@pytest.mark.parametrize("kind", ["tenant/acme", "stream/transactional", "provider/mailgun"])
async def test_a_pause_stops_what_stands_in_line_too_and_a_resume_lets_all_go_at_once(kind: str) -> None:
    d = await desk(lanes={"mailgun": LaneConfig(rate=5, burst=5)})
    await d.give(*many(d, 20))
    sent = len(d.sent_to())
    d.breakers.read_control(f"pause/{kind}".encode(), b"{}")
    await d.settled()
    await d.wake(2)
    await d.wake(2)
    assert len(d.sent_to()) == sent
    assert d.dispatch.resting.holds.counts() == {"mailgun": 20 - sent}
    d.breakers.read_control(f"pause/{kind}".encode(), None)
    await d.wake(0)
    for _ in range(20):
        d.clock.advance(1)
        d.dispatch.lanes.gates["mailgun"].pump()
        await d.settled()
    assert len(d.sent_to()) == 20
    assert len(d.dispatch.resting.holds) == 0


async def test_a_held_message_is_cancelled_or_expires_like_any_other() -> None:
    d = await desk()
    d.breakers.read_control(b"pause/tenant/acme", b"{}")
    kept, cancelled, late = (
        d.message("a@example.net"),
        d.message("b@example.net"),
        d.message("c@example.net", expires_at_ms=NOW + 5000),
    )
    await d.give(kept, cancelled, late)
    await d.give(Cancel(cancelled.message_id, "ann"))
    await d.wake(10)
    assert [(row := d.row(m)) and row.state.value for m in (kept, cancelled, late)] == [
        "parked", "cancelled", "expired",
    ]  # fmt: skip
    d.breakers.read_control(b"pause/tenant/acme", None)
    await d.wake(0)
    assert d.sent_to() == ["a@example.net"]


async def test_a_crowd_behind_a_shut_door_is_told_when_it_opens_instead_of_asking_every_second() -> None:
    d = await desk()
    published(d.breakers, state=BreakerState.OPEN, epoch=1, retry_at_ms=1 << 50)
    messages = many(d, 700)
    await d.give(*messages)
    dues = Counter((row.due_ms - NOW) // 1000 for message in messages if (row := d.row(message)))
    assert dues == {1: 500, 20: 200}
    published(d.breakers, state=BreakerState.CLOSED, epoch=2)
    await d.wake(0)
    await d.wake(0)
    assert len(d.sent_to()) == 700


# ---------------------------------------------------------------------------------------------- the way back


async def test_after_its_breaker_has_closed_a_provider_gets_its_traffic_back_little_by_little() -> None:
    d = Desk(lanes={"mailgun": LaneConfig(), "ses": LaneConfig()})
    d.breakers._policy = BreakerPolicy(ramp_s=100)
    await d.open()
    published(d.breakers, state=BreakerState.CLOSED, epoch=3, changed_ms=d.clock())
    shares = []
    for step in range(6):
        before = by_provider(d)
        await d.give(*many(d, 400, f"s{step}"))
        shares.append((by_provider(d)["mailgun"] - before["mailgun"]) / 400)
        d.clock.advance(20)
    expected = [0.05, 0.24, 0.43, 0.62, 0.81, 1.0]
    assert shares == [pytest.approx(share, abs=0.07) for share in expected]
    assert not d.breakers.ramping


async def test_a_message_without_another_way_does_not_wait_for_the_share_to_grow() -> None:
    d = Desk()
    d.breakers._policy = BreakerPolicy(ramp_s=100)
    await d.open()
    published(d.breakers, state=BreakerState.CLOSED, epoch=3, changed_ms=d.clock())
    await d.give(*many(d, 20))
    assert len(d.sent_to()) == 20


# ---------------------------------------------------------------------------------------------- what is shown


async def test_the_oldest_open_message_is_known_across_parking_and_a_restart() -> None:
    d = await desk(default_policy="cubed")
    d.providers["mailgun"].answer = lambda batch: Deferred(reason("later"), Scope.MESSAGE)
    asked_ms = d.clock()
    await d.give(d.message("a@example.net"))
    d.clock.advance(60)
    await d.give(replace(d.message("b@example.net"), send_at_ms=d.clock() + 3_600_000))
    assert d.dispatch.oldest_open_ms(Stream.TRANSACTIONAL) == asked_ms
    assert d.dispatch.oldest_open_ms(Stream.BULK) == 0
    await d.restarted()
    assert d.dispatch.oldest_open_ms(Stream.TRANSACTIONAL) == asked_ms
    d.providers["mailgun"].answer = type(d.providers["mailgun"])("x").answer
    await d.wake(8 * 60)
    assert d.dispatch.oldest_open_ms(Stream.TRANSACTIONAL) == 0  # the other's time has not come
    d.breakers.read_control(b"pause/tenant/acme", b"{}")
    await d.wake(3600)
    assert d.dispatch.oldest_open_ms(Stream.TRANSACTIONAL) == asked_ms + 60_000 + 3_600_000


async def test_what_a_sender_has_timed_is_counted_apart_from_what_is_tried_again() -> None:
    d = await desk(default_policy="cubed")
    d.providers["mailgun"].answer = lambda batch: Deferred(reason("later"), Scope.MESSAGE)
    await d.give(d.message("a@example.net"), replace(d.message("b@example.net"), send_at_ms=NOW + 60_000))
    schedule = d.dispatch.schedule
    assert (schedule.count(timed=True), schedule.count(timed=False)) == (1, 1)
    assert (schedule.next_due_ms(timed=True), schedule.next_due_ms(timed=False)) == (NOW + 60_000, NOW + 480_000)


async def test_trouble_with_the_account_behind_a_quota_answer_is_said_to_whoever_waits() -> None:
    d = await desk()
    d.dispatch.boarding.pause("mailgun", 90)
    await d.give(d.message())
    d.dispatch.boarding.park_paused()
    await d.settled()
    (told,) = d.receipts(ReceiptKind.RETRY)
    assert told.reason == Reason(ReasonKind.ACCOUNT, detail="sending is switched off at mailgun")
    await d.wake(91)
    assert len(d.sent_to()) == 1


# ---------------------------------------------------------------------------------------------- checkpoints


async def test_every_provider_batch_is_a_checkpoint_after_which_a_crash_repeats_nothing_of_it() -> None:
    """One run of records, three provider batches; the process ends before the third has been called."""
    d = await desk(lanes={"mailgun": LaneConfig(concurrency=1, batch_size=10, visibility_delay_s=10)}, batch_wait_ms={})
    messages = [m for m in (d.message(f"u{n}@example.net") for n in range(200)) if partition_of(m.message_id, 4) == 0]
    messages = messages[:30]
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(request: HttpRequest) -> None:
        if len(d.requests) == 3:
            await never

    d.during_call = wait
    (batch,) = await d.give(*messages)
    states = Counter(row.state for message in messages if (row := d.row(message)))
    assert states == {LedgerState.SENT: 20, LedgerState.SENDING: 10}
    assert not batch.done  # Kafka's offset waits for the whole run, the ledger does not
    sent = d.sent_to()[:20]
    d.during_call = lambda request: None
    await d.restarted()
    await d.redeliver(batch)
    assert [email for email in d.sent_to()[30:] if email in sent] == []
    states = Counter(row.state for message in messages if (row := d.row(message)))
    assert states == {LedgerState.SENT: 20, LedgerState.UNCERTAIN: 10}


async def test_who_could_not_be_asked_about_a_doubt_is_asked_as_soon_as_it_is_well_and_not_before() -> None:
    d = await desk(recheck_s=60)
    mailgun = d.providers["mailgun"]
    mailgun.answer = lambda batch: Uncertain(reason("502"))
    mailgun.finding = CannotTell("502")
    message = d.message()
    await d.give(message)
    published(d.breakers, state=BreakerState.OPEN, epoch=1, retry_at_ms=NOW + 600_000)
    await d.wake(10)
    assert len(mailgun.questions) == 1
    published(d.breakers, state=BreakerState.HALF_OPEN, epoch=2, holder="w2", lease_until_ms=NOW + 600_000)
    await d.wake(1)
    assert len(mailgun.questions) == 1
    mailgun.finding = Found("p-1", NOW)
    published(d.breakers, state=BreakerState.CLOSED, epoch=3)
    await d.wake(0)
    row = d.row(message)
    assert row is not None and (row.state, row.provider_message_id) == (LedgerState.SENT, "p-1")
    assert len(mailgun.questions) == 2
