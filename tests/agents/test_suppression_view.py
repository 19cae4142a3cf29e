"""Suppressions beyond one tenant's mailbox, as dispatch meets them."""

from __future__ import annotations

from streams.agents.suppression_orders import lifting, order_of
from streams.agents.suppression_view import SuppressionView
from streams.core.event import ReasonKind
from streams.core.message import Stream
from streams.core.receipt import ReceiptKind
from streams.core.suppression import Hold, Suppression, SuppressionKind
from streams.core.suppression_rules import SuppressionRule
from streams.serde.internal import packer
from streams.topics import Topics
from tests.agents.dispatch_desk import NOW, PARTITIONS, Desk

K = SuppressionKind


async def desk(*rules: SuppressionRule) -> Desk:
    one = await Desk(batch_wait_ms=dict.fromkeys(Stream, 0)).open()
    for rule in rules:
        tell(one, rule)
    return one


def tell(one: Desk, rule: SuppressionRule) -> None:
    order = order_of(rule, Topics(), PARTITIONS)
    one.dispatch.refusals._everywhere.read(order.key, order.value)


async def test_an_address_of_everybody_is_not_written_to_by_any_tenant() -> None:
    one = await desk(SuppressionRule(K.COMPLAINT, 1, address="u@example.net"))
    message = one.message("U@Example.net")
    await one.give(message, one.message("other@example.net", key="k2"))
    assert one.sent_to() == ["other@example.net"]
    (told,) = one.receipts(ReceiptKind.SUPPRESSED)
    assert told.reason is not None
    assert told.reason.kind is ReasonKind.SUPPRESSED_COMPLAINT
    assert told.reason.detail == "the address is suppressed: complaint (everywhere)"


async def test_a_pattern_stops_a_domain_and_says_which() -> None:
    one = await desk(SuppressionRule(K.MANUAL, 1, pattern="*.example.net"))
    await one.give(one.message("u@mail.example.net"))
    (told,) = one.receipts(ReceiptKind.SUPPRESSED)
    assert told.reason is not None
    assert told.reason.detail.endswith("manual (*.example.net)")


async def test_a_rule_that_comes_while_a_message_stands_in_line_is_seen_before_the_call() -> None:
    one = await desk()
    message = one.message(send_at_ms=NOW + 10_000)
    await one.give(message)
    tell(one, SuppressionRule(K.MANUAL, 1, pattern="example.net"))
    await one.wake(11)
    assert one.requests == []
    assert len(one.receipts(ReceiptKind.SUPPRESSED)) == 1


async def test_a_lifted_rule_and_a_deleted_one_stop_nothing() -> None:
    domain = SuppressionRule(K.MANUAL, 1, pattern="example.net")
    address = SuppressionRule(K.MANUAL, 1, address="u@example.net")
    one = await desk(domain, address)
    view = one.dispatch.refusals._everywhere
    for rule in (domain, address):
        order = lifting(rule, NOW, "ann", Topics())
        view.read(order.key, order.value)
    assert len(view) == 0
    await one.give(one.message())
    assert len(one.requests) == 1


async def test_the_list_of_a_message_decides_and_a_limit_that_has_passed_does_not() -> None:
    one = await desk()
    first = one.message(key="k1", stream=Stream.BULK, list_id="news")
    home = one.dispatch.partition_of(first.message_id)
    row = Suppression((Hold(K.UNSUBSCRIBE, 5, "news"), Hold(K.MANUAL, 5, until_ms=NOW)))
    one.engine.table("suppressions").put(home, first.message_id[:20].encode(), packer(Suppression)(row))
    other = one.message(key="k2", stream=Stream.BULK, list_id="offers")
    await one.give(first, other, topic="outbound.bulk")
    assert [r.message_id for r in one.receipts(ReceiptKind.SUPPRESSED)] == [first.message_id]
    assert one.sent_to() == ["u@example.net"]


def test_a_record_that_cannot_be_read_changes_nothing() -> None:
    view = SuppressionView()
    order = order_of(SuppressionRule(K.MANUAL, 1, pattern="example.net"), Topics(), 1)
    view.read(order.key, order.value)
    for value in (b"\xff", b"[]", b'{"kind": "manual", "since_ms": 1}', b"[" * 100_000):
        view.read(order.key, value)
    assert len(view) == 1
    view.read(b"sync/mailgun", b'{"at_ms": 5}')
    view.read(order.key, None)
    assert len(view) == 0


async def test_a_worker_that_began_without_rules_obeys_those_that_come_later() -> None:
    view = SuppressionView()
    assert not view
    one = Desk()
    one.dispatch = type(one.dispatch)(
        app=one.engine,
        attempts=one.engine.table("attempts"),
        suppressions=one.engine.table("suppressions"),
        everywhere=view,
        composer=one.dispatch._calls.composer,
        load_message=one._load,
        providers=one.providers,  # type: ignore[arg-type]
        exchange=one._exchange,
        breakers=one.breakers,
        config=one.config,
        observer=one.dispatch.observer,
        clock=one.clock,
        crash=one.crashes.append,
    )
    await one.open()
    order = order_of(SuppressionRule(K.MANUAL, 1, pattern="example.net"), Topics(), PARTITIONS)
    view.read(order.key, order.value)
    await one.give(one.message())
    assert one.requests == []
