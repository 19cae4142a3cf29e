"""Webhooks come five times each, in any order, and before the send result: the same states and events come out.

A real run is recorded: the providers' payloads as the ingress stored them, and what dispatch said. Then

* other deployments get the same records in other orders, most payloads before dispatch has said anything, through real
  Kafka and real workers: `delivery-events` must have the same ids, and the table `messages` the same rows;
* 100 more orders, each of a quarter of the messages, go through the same code in this process: normalise, its table of
  tokens, and the state machine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from streams.adapters import build_adapters
from streams.agents.normalise import Normalise, NormaliseConfig, Reader
from streams.core.event import DeliveryEvent
from streams.core.lifecycle import advance
from streams.core.message_state import MessageState
from streams.core.receipt import Receipt
from streams.kafka import NewRecord, Record
from streams.serde.internal import unpack, unpacker
from streams.settings import load_settings
from streams.topics import Topics
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.fleet import SECRETS, Fleet, single
from tests.fleet.log import records, rows, unread, write

COPIES = 5
SHARE = 0.25
FATES = ("success", "click", "open", "click", "bounce", "complaint", "defer", "softbounce", "delayedbounce", "click")
WEBHOOKS = ("webhooks.mailgun", "webhooks.ses")
WITHOUT_TRACKING = {"STREAMS_DISPATCH__RETRY": "none"}


@dataclass(frozen=True)
class Recorded:
    """One real run. `said` is what dispatch wrote to `receipts`; `events` by their ids, `states` the rows by message."""

    webhooks: list[Record]
    said: list[Record]
    events: dict[str, DeliveryEvent]
    states: dict[bytes, MessageState]
    readers: dict[str, Reader]


def recorded(folder: Path, bootstrap: str, prefix: str, messages: int) -> Recorded:
    """Send messages of every fate, and keep what was said of them."""
    with Fleet(folder, bootstrap, prefix=prefix, environment=WITHOUT_TRACKING) as fleet:
        fleet.start_worker("w1")
        ids = fleet.produce(single(n, FATES[n % len(FATES)]) for n in range(messages))
        fleet.until("every message has ended", lambda: fleet.seen.ended >= ids, 30 + messages / 20)
        fleet.until("the providers have reported everything", lambda: not fleet.stats()["pending_webhooks"], 60)
        at_rest(fleet)
        events = {event.event_id: event for event in fleet.seen.events}
    said = [r for r in records(bootstrap, f"{prefix}receipts") if not is_report(read_receipt(r))]
    webhooks = [r for topic in WEBHOOKS for r in records(bootstrap, prefix + topic)]
    readers = dict(build_adapters(load_settings(fleet.config, SECRETS), SECRETS))
    return Recorded(webhooks, said, events, states_of(bootstrap, prefix), readers)


def at_rest(fleet: Fleet) -> None:
    """Everything that was written has been read to its end, and what follows from it too."""
    for topic in (*WEBHOOKS, "outbound", "lookups", "receipts"):
        fleet.until(f"{topic} is read", lambda topic=topic: not unread(fleet.bootstrap, fleet.prefix, topic), 240)
    ends = len(records(fleet.bootstrap, f"{fleet.prefix}delivery-events"))
    fleet.until("the events are seen", lambda: len(fleet.seen.events) >= ends, 60)


def states_of(bootstrap: str, prefix: str) -> dict[bytes, MessageState]:
    return rows(bootstrap, prefix, "messages", unpacker(MessageState))


def read_receipt(record: Record) -> Receipt:
    receipt = unpack(record.value or b"")
    assert isinstance(receipt, Receipt)
    return receipt


def is_report(receipt: Receipt) -> bool:
    """Whether a provider said it, and normalise wrote it down."""
    return receipt.receipt_id.startswith(("mailgun/", "ses/"))


def disordered(webhooks: Iterable[Record], chance: random.Random) -> list[Record]:
    arrived = [record for record in webhooks for _ in range(COPIES)]
    chance.shuffle(arrived)
    return arrived


def anew(record: Record, prefix: str, source_prefix: str) -> NewRecord:
    """The same record for another deployment."""
    topic = prefix + record.topic.removeprefix(source_prefix)
    partition = record.partition if topic.endswith("receipts") else -1
    return NewRecord(topic, record.key or b"", record.value, partition, tuple(record.headers.items()))


@pytest.mark.timeout(400)
def test_disorder_changes_neither_the_events_nor_the_states(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    bootstrap, source = apache_kafka.bootstrap, f"{topic_prefix}a."
    run = recorded(tmp_path / "a", bootstrap, source, sized(3_600, 300))
    figures.at_least("events of providers in the recorded run", len(run.webhooks), sized(10_000, 500))
    figures.note("events told of them", len(run.events))
    for seed in range(sized(4, 1)):
        prefix = f"{topic_prefix}b{seed}."
        chance = random.Random(seed)
        arrived = disordered(run.webhooks, chance)
        early = arrived[: len(arrived) * 4 // 5]
        with Fleet(tmp_path / f"b{seed}", bootstrap, prefix=prefix, environment=WITHOUT_TRACKING) as fleet:
            fleet.start_worker("w1")
            write(bootstrap, (anew(record, prefix, source) for record in early))
            at_rest(fleet)
            figures.equal(f"seed {seed}: events told before dispatch has spoken", len(fleet.seen.events), 0)
            write(bootstrap, (anew(record, prefix, source) for record in run.said))
            write(bootstrap, (anew(record, prefix, source) for record in arrived[len(early) :]))
            at_rest(fleet)
            told = [event.event_id for event in fleet.seen.events]
        figures.none(f"seed {seed}: ids of events that differ, of {len(run.events)}", set(told) ^ run.events.keys())
        figures.equal(f"seed {seed}: events told more than once", len(told) - len(set(told)), 0)
        states = states_of(bootstrap, prefix)
        differ = [key for key in states.keys() | run.states.keys() if states.get(key) != run.states.get(key)]
        figures.none(f"seed {seed}: states that differ, of {len(run.states)}", differ)
    in_process(run, source, sized(100, 5), figures)


def in_process(run: Recorded, prefix: str, seeds: int, figures: Figures) -> None:
    """As many orders again, without Kafka in between; each of some of the messages, drawn anew."""
    owners = asyncio.run(owners_of(run.webhooks, prefix, run.readers))
    said = [read_receipt(record) for record in run.said]
    told_of = {event_id: event.message_id for event_id, event in run.events.items()}
    differ, fewest = 0, len(run.webhooks) * COPIES
    for seed in range(seeds):
        chance = random.Random(1_000 + seed)
        drawn = {key.decode() for key in run.states if chance.random() < SHARE}
        arrived = disordered((one for one, owner in zip(run.webhooks, owners, strict=True) if owner in drawn), chance)
        fewest = min(fewest, len(arrived))
        receipts = asyncio.run(normalised(arrived, prefix, run.readers))
        receipts += [receipt for receipt in said if receipt.message_id in drawn]
        chance.shuffle(receipts)
        states: dict[bytes, MessageState] = {}
        told: list[str] = []
        for receipt in receipts:
            step = advance(states.get(receipt.message_id.encode()), receipt, 0)
            if step.state is not None:
                states[receipt.message_id.encode()] = step.state
            told += (event.event_id for event in step.events)
        same = states == {key: state for key, state in run.states.items() if key.decode() in drawn}
        if not same or sorted(told) != sorted(one for one, owner in told_of.items() if owner in drawn):
            differ += 1
    figures.note("payloads that arrived in each order in one process, at least", fewest)
    figures.equal(f"orders with other states or events, of {seeds} in one process", differ, 0)


async def owners_of(webhooks: Iterable[Record], prefix: str, readers: Mapping[str, Reader]) -> list[str]:
    """The message that each payload is about."""
    return [(await normalised([one], prefix, readers))[0].message_id for one in webhooks]


async def normalised(webhooks: Iterable[Record], prefix: str, readers: Mapping[str, Reader]) -> list[Receipt]:
    """What normalise makes of the payloads."""
    engine, topics = FakeEngine(), Topics(prefix)
    config = NormaliseConfig(topics, 4, readers)
    agent = Normalise(engine, engine.table("tokens"), FakeUnit, config, lambda: 0)
    for one in webhooks:
        line = record(one.value, one.key, one.offset, one.timestamp_ms, list(one.headers.items()))
        await agent.handle(FakeBatch(one.topic, one.partition, [line]))
    found = [unpack(emitted.value or b"") for emitted in engine.on(topics.name("receipts"))]
    return [receipt for receipt in found if isinstance(receipt, Receipt)]
