"""Receive, store, done: in this order, whatever fails."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from streams.metrics import Metrics
from streams.pollers.loop import Pace, Poller
from streams.pollers.source import Item, SourceUnavailable
from streams.producer import WebhookProducer
from tests.pollers.fakes import FakeProducer, FakeSource, item

NOW_MS = 1_800_000_000_000
QUICK = Pace(first_s=0.001, most_s=0.002, max_bytes=64)


def poller_of(source: FakeSource, producer: WebhookProducer | None = None, **more: object) -> Poller:
    return Poller(source, producer or FakeProducer(), Metrics(), lambda: NOW_MS, pace=QUICK, **more)  # type: ignore[arg-type]


async def test_an_item_is_stored_with_the_headers_of_the_ingress_and_then_done() -> None:
    source, producer = FakeSource(deque([[item(b"one"), item(b"two")]])), FakeProducer()
    assert await poller_of(source, producer).once()
    assert [value for _, _, value, _ in producer.stored] == [b"one", b"two"]
    topic, key, _, headers = producer.stored[0]
    assert (topic, key) == ("webhooks.ses", b"k")
    assert headers == [
        ("provider", b"ses"),
        ("account", b"eu"),
        ("received_at", str(NOW_MS).encode()),
        ("verified", b"sqs"),
    ]
    assert source.journal == [("done", ["one", "two"])]


async def test_nothing_is_done_before_kafka_has_it() -> None:
    source, producer = FakeSource(deque([[item(b"one")]]), ends=False), FakeProducer(gate=asyncio.Event())
    poller = poller_of(source, producer)
    running = asyncio.create_task(poller.run())
    await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert source.journal == []
    producer.gate.set()  # type: ignore[union-attr]
    await source.idle.wait()
    assert source.journal == [("done", ["one"])]
    poller.stop()
    await running


async def test_while_kafka_is_away_items_are_held_and_stored_later_and_nothing_more_is_fetched() -> None:
    source = FakeSource(deque([[item(b"one"), item(b"two")], [item(b"three")]]), ends=False)
    producer = FakeProducer(refusals=5)
    poller = poller_of(source, producer)
    running = asyncio.create_task(poller.run())
    await source.idle.wait()
    poller.stop()
    await running
    assert sorted(value for _, _, value, _ in producer.stored) == [b"one", b"three", b"two"]
    assert source.journal == [("done", ["one", "two"]), ("done", ["three"])]
    assert poller.trouble == ""
    assert poller.metrics.polls.at("ses", "kafka_error").value >= 1


async def test_a_slow_kafka_makes_the_source_keep_the_items() -> None:
    source = FakeSource(deque([[item(b"one")]]), extend_every_s=0.001, ends=False)
    producer = FakeProducer(gate=asyncio.Event())
    poller = poller_of(source, producer)
    running = asyncio.create_task(poller.run())
    await source.extended.wait()
    producer.gate.set()  # type: ignore[union-attr]
    await source.idle.wait()
    poller.stop()
    await running
    assert source.journal[0] == ("extend", ["one"])
    assert source.journal[-1] == ("done", ["one"])


async def test_once_gives_back_what_kafka_does_not_take_and_says_so() -> None:
    source, producer = FakeSource(deque([[item(b"one")]])), FakeProducer(refusals=1)
    poller = poller_of(source, producer)
    assert not await poller.once()
    assert source.journal == [("release", ["one"])]
    assert "Kafka is away" in poller.trouble


async def test_a_stop_while_kafka_is_away_gives_the_items_back() -> None:
    source, producer = FakeSource(deque([[item(b"one")]])), FakeProducer(refusals=1_000_000)
    poller = poller_of(source, producer)
    running = asyncio.create_task(poller.run())
    while not poller.trouble:
        await asyncio.sleep(0)
    poller.stop()
    await running
    assert source.journal == [("release", ["one"])]


async def test_a_stop_ends_a_receive_that_waits() -> None:
    source = FakeSource(deque(), ends=False)
    poller = poller_of(source, concurrency=3)
    running = asyncio.create_task(poller.run())
    await source.idle.wait()
    poller.stop()
    await asyncio.wait_for(running, 5)
    assert source.journal == []


@dataclass
class Crowded(FakeSource):
    """Each receive waits until it is let go; counts how many are under way."""

    under_way: int = 0
    answers: list[asyncio.Future[Sequence[Item]]] = field(default_factory=list)

    async def receive(self) -> Sequence[Item]:
        self.under_way += 1
        answer: asyncio.Future[Sequence[Item]] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        try:
            return await answer
        finally:
            self.under_way -= 1


async def quiet() -> None:
    """Until every task has come to a wait."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        ([item(b"one")], 1),
        ([item(b"one"), item(b"two")], 3),
        ([item(b"fresh", sent_ms=NOW_MS - 100)], 1),
        ([item(b"old", sent_ms=NOW_MS - 5000)], 3),
    ],
    ids=["a trickle", "a full receive", "fresh items", "old items"],
)
async def test_one_receive_waits_alone_until_there_is_much(first: list[Item], expected: int) -> None:
    source = Crowded(deque(), concurrency=3, batch=2)
    poller = poller_of(source, concurrency=3)
    poller.pace = Pace(gather_s=0)
    running = asyncio.create_task(poller.run())
    await quiet()
    assert source.under_way == 1
    source.answers[0].set_result(first)
    while source.journal != [("done", [one.handle for one in first])]:
        await asyncio.sleep(0)
    await quiet()
    assert source.under_way == expected
    for answer in source.answers:
        if not answer.done():
            answer.set_result([])
    await quiet()
    assert source.under_way == 1
    poller.stop()
    await running


async def test_after_a_trickle_the_next_receive_waits_for_more_and_a_stop_does_not() -> None:
    source = Crowded(deque(), batch=2)
    poller = poller_of(source)
    poller.pace = Pace(gather_s=3600)
    running = asyncio.create_task(poller.run())
    await quiet()
    source.answers[0].set_result([item(b"one")])
    while not source.journal:
        await asyncio.sleep(0)
    await quiet()
    assert source.under_way == 0
    poller.stop()
    await asyncio.wait_for(running, 5)


async def test_a_receive_that_cannot_be_cancelled_is_waited_for_and_its_items_are_finished() -> None:
    source = FakeSource(deque(), stop_wait_s=30.0)
    under_way, answer = asyncio.Event(), asyncio.Event()

    async def receive() -> list[object]:
        under_way.set()
        await answer.wait()
        return [item(b"late")]

    source.receive = receive  # type: ignore[method-assign,assignment]
    poller = poller_of(source)
    running = asyncio.create_task(poller.run())
    await under_way.wait()
    poller.stop()
    answer.set()
    await running
    assert source.journal == [("done", ["late"])]


async def test_an_error_of_the_source_is_one_clear_line_and_a_pause_and_the_next_poll_ends_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    broken = SourceUnavailable("no such queue")
    source = FakeSource(deque([broken, broken, [item(b"one")]]), ends=False)
    poller = poller_of(source)
    running = asyncio.create_task(poller.run())
    await source.idle.wait()
    poller.stop()
    await running
    said = [record.message for record in caplog.records if record.name == "streams.pollers.loop"]
    assert said == [
        "ses: cannot be read: no such queue; it is tried again",
        "ses: works again after 2 failures",
    ]
    assert poller.metrics.polls.at("ses", "error").value == 2
    assert source.journal == [("done", ["one"])]


async def test_items_that_cannot_be_taken_away_are_stored_all_the_same_and_come_again() -> None:
    source, producer = FakeSource(deque([[item(b"one")], [item(b"one")]]), done_fails=1), FakeProducer()
    poller = poller_of(source, producer)
    assert not await poller.once()
    assert "comes again" in poller.trouble
    assert await poller.once()
    assert [value for _, _, value, _ in producer.stored] == [b"one", b"one"]


async def test_an_item_that_is_too_large_is_stored_cut_and_says_how_large_it_was() -> None:
    source, producer = FakeSource(deque([[item(b"x" * 100)]])), FakeProducer()
    assert await poller_of(source, producer).once()
    _, _, value, headers = producer.stored[0]
    assert len(value) == 64
    assert ("truncated", b"100") in headers


async def test_counts_ages_and_items_that_come_again_and_again_are_in_the_metrics() -> None:
    items = [item(b"new", sent_ms=NOW_MS - 2000, times=1), item(b"old", sent_ms=NOW_MS - 400_000, times=4)]
    poller = poller_of(FakeSource(deque([items]), ends=False))
    running = asyncio.create_task(poller.run())
    await poller.source.idle.wait()  # type: ignore[attr-defined]
    poller.stop()
    await running
    metrics = poller.metrics
    assert metrics.poll_messages.at("ses").value == 2
    assert metrics.poll_repeats.at("ses").value == 1
    assert metrics.poll_message_age.at("ses").total == 402.0
    assert (poller.tally.received, poller.tally.stored, poller.tally.errors) == (2, 2, 0)


@pytest.mark.parametrize(
    ("failures", "least", "most"), [(1, 0.25, 0.5), (2, 0.5, 1.0), (3, 1.0, 2.0), (99, 15.0, 30.0)]
)
def test_pauses_grow_and_are_bounded(failures: int, least: float, most: float) -> None:
    assert least <= Pace().pause_s(failures) <= most


async def test_a_source_with_new_secrets_takes_over_when_what_is_in_flight_is_done() -> None:
    old, new = FakeSource(deque([[item(b"one")]]), ends=False), FakeSource(deque([[item(b"two")]]), ends=False)
    producer = FakeProducer(gate=asyncio.Event())
    poller = poller_of(old, producer)
    running = asyncio.create_task(poller.run())
    async with asyncio.timeout(5):
        while not poller.tally.received:
            await asyncio.sleep(0)
        poller.renew(new)
        producer.gate.set()  # type: ignore[union-attr]
        await new.idle.wait()
    assert old.journal == [("done", ["one"]), ("closed", [])]
    assert new.journal == [("done", ["two"])]
    assert [value for _, _, value, _ in producer.stored] == [b"one", b"two"]
    poller.renew(FakeSource(deque()))
    poller.stop()
    await running
    assert poller.source is new, "who is told to stop does not begin anew"
