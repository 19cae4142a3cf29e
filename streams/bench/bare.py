"""Loops without safety, to compare the worker with: consume, call the provider, produce; nothing survives a crash.

`post` does nothing but decode and call. `work` does what users see of the worker, with the same functions: it decodes
and checks the request, fans it out, calls, folds the answer into the message's state, encodes both events and produces
them. Neither has a ledger, tables, limits, breakers, retries or a second hop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec
import uvloop
from confluent_kafka import Consumer, Producer

from streams.agents.dispatch.book import facts_of
from streams.bench.child import Config, Meter
from streams.bench.deployment import API_KEY, DOMAIN, PARTITIONS
from streams.bench.logs import commit_all
from streams.core.fanout import content_of, message_of, parts_of, share
from streams.core.ids import partition_of
from streams.core.lifecycle import advance
from streams.core.message import Mailbox
from streams.core.outcome import Accepted, Split
from streams.core.receipt import Receipt, ReceiptKind
from streams.core.request import SendRequest, read_request
from streams.providers._http import HttpExchange
from streams.providers.base import Batch, Entry
from streams.providers.mailgun import Config as MailgunConfig
from streams.providers.mailgun import create
from streams.serde.events import encode_event, event_headers
from streams.serde.internal import pack
from streams.serde.public import decode_request

CONCURRENCY = 32
"""Calls under way at once, here and in the worker."""

WARM_UP = 100
"""Requests before the measuring begins, here and at the worker."""

_PROVIDER = "mailgun"
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def post(config: Config, meter: Meter) -> int:
    """Consume, post, next."""
    return _run(config, meter, lambda record: (batch_of(record.value()), lambda _: None))


def work(config: Config, meter: Meter) -> int:
    """Consume, check, post, tell."""
    producer = Producer({"bootstrap.servers": config["bootstrap"], "acks": "all", "enable.idempotence": True})
    return _run(config, meter, lambda record: _prepared(record, producer, config["events"]), producer)


Told = Callable[[Accepted], None]
Prepare = Callable[[Any], tuple[Batch, Told]]


def _prepared(record: Any, producer: Producer, topic: str) -> tuple[Batch, Told]:
    """The provider batch of a request, and what to do when the provider has taken it."""
    decoded = decode_request(record.value())
    request = read_request(decoded)  # type: ignore[arg-type]
    assert isinstance(request, SendRequest), request
    content = content_of(request)
    assert content is not None
    shared = share(content, pack)
    (part,) = parts_of(request, shared, _encode)
    message = message_of(request, shared, part, requested_ms=record.timestamp()[1], accepted_ms=now_ms())
    batch = Batch(
        sender=content.sender,
        entries=(Entry(message.message_id, 1, message.recipient),),
        subject=(content.subject,),
        text=(content.text,),
        html=(content.html,),
        tags=message.tags,
    )

    def tell(outcome: Accepted) -> None:
        sent = Receipt(
            message.message_id,
            ReceiptKind.SENT,
            "sent:1",
            now_ms(),
            1,
            _PROVIDER,
            outcome.provider_message_id,
            facts=facts_of(message, retry_final=False),
        )
        key, partition = message.message_id.encode(), partition_of(message.message_id, PARTITIONS)
        for event in advance(None, sent, now_ms()).events:
            producer.produce(topic, encode_event(event), key, partition, headers=list(event_headers(event)))
        producer.poll(0)

    return batch, tell


def _run(config: Config, meter: Meter, prepare: Prepare, producer: Producer | None = None) -> int:
    uvloop.run(_loop(config, meter, prepare, producer))
    meter.leave()


async def _loop(config: Config, meter: Meter, prepare: Prepare, producer: Producer | None) -> None:
    """The first `WARM_UP` records are not measured, as with the worker."""
    adapter = create(_PROVIDER, MailgunConfig(DOMAIN, API_KEY, base_url=config["url"]))
    group = {"group.id": config["topic"], "session.timeout.ms": 6000, "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": config["bootstrap"], **group, "enable.auto.commit": False})
    consumer.subscribe([config["topic"]])
    slots, accepted, taken, wanted = asyncio.Semaphore(CONCURRENCY), 0, 0, WARM_UP + int(config["count"])
    began_at = 0

    async def send(record: Any) -> None:
        nonlocal accepted
        try:
            batch, tell = prepare(record)
            answer = await exchange(adapter.build_request(batch, now_ms()), 30.0)
            outcome = adapter.read_response(batch, answer, now_ms())
            assert not isinstance(outcome, Split)
            assert isinstance(outcome[0], Accepted), outcome
            tell(outcome[0])
            accepted += 1
        finally:
            slots.release()

    async with HttpExchange() as exchange, asyncio.TaskGroup() as tasks:
        committed_s = time.monotonic()
        while taken < wanted:
            records = consumer.consume(WARM_UP, 0.0)
            if not records:
                await asyncio.sleep(0.005)
                continue
            if accepted >= WARM_UP:
                began_at = began_at or accepted
                meter.begin()
            for record in records:
                await slots.acquire()
                tasks.create_task(send(record))
            taken += len(records)
            if time.monotonic() - committed_s > 1.0:
                consumer.commit(asynchronous=True)
                committed_s = time.monotonic()
        for _ in range(CONCURRENCY):
            await slots.acquire()
        if producer is not None:
            producer.flush()
        commit_all(consumer)
        meter.end(accepted - began_at)


def batch_of(value: bytes) -> Batch:
    """A request with one recipient as a provider batch, without any check."""
    record: Any = decode_request(value)
    recipient = record["recipients"][0]
    key = record["idempotency_key"]
    return Batch(
        sender=Mailbox(record["from"]["email"], record["from"]["name"]),
        entries=(Entry(key, 1, Mailbox(recipient["email"], recipient["name"])),),
        subject=(record["subject"],),
        text=(record["text"],),
        html=(record["html"],),
        tags=tuple(record["tags"]),
    )


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000
