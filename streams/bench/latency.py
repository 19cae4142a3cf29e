"""Request to provider at a steady rate: how long until the provider has the whole call.

Requests are due at fixed times whatever happens to those before (an open loop); latency runs from the time a request
was due, so that a stall counts for every request that it delayed. The provider is a process that notes the time and
answers. The worker does all that it does; the bare loop consumes, posts, and produces one event, each message in a
task of its own.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

from streams.bench.bare import CONCURRENCY, batch_of, now_ms
from streams.bench.child import Config, Meter
from streams.bench.deployment import API_KEY, DOMAIN, PARTITIONS
from streams.bench.figures import Comparison, Reading, Target, percentile
from streams.bench.lab import REAL, Child, Lab, Options, lab, say
from streams.bench.logs import Counter, fill, make_topics
from streams.bench.mail import single_request
from streams.bench.send import start_worker
from streams.bench.usage import Stopwatch
from streams.topics import DELIVERY_EVENTS, SEND_REQUESTS

_RATE = 200
_SECONDS = 12
_WARM_UP = 200
_PATIENCE_S = 60.0
_NUMBER = re.compile(rb"customer(?:\.|%2E)(\d+)(?:@|%40)")


def compare(options: Options) -> list[Comparison]:
    """The median and the 99th percentile."""
    with lab(options, preferred=REAL) as place:
        sides: dict[str, list[tuple[Reading, Reading]]] = {"bare": [], "worker": []}
        say("  a round that does not count: a broker that has just begun is slow")
        for side in sides:
            _measure(place, side)
        for round_ in range(1, options.rounds + 1):
            for side, readings in sides.items():
                readings.append(_measure(place, side))
                half, most = readings[-1]
                say(f"  round {round_}: {side:7} p50 {half.value:6.1f} ms, p99 {most.value:6.1f} ms")
        return [
            Comparison(
                "latency",
                f"request to provider at {_RATE}/s, {name}",
                "bare consume-post-produce loop",
                "ms",
                tuple(each[at] for each in sides["worker"]),
                tuple(each[at] for each in sides["bare"]),
                Target(3.0, at_least=False),
                place.broker,
            )
            for at, name in enumerate(("p50", "p99"))
        ]


def _measure(place: Lab, side: str) -> tuple[Reading, Reading]:
    prefix = place.unique(side) + "."
    count = place.amount(_RATE * _SECONDS, 50)
    provider = place.start("latency:provider", {"count": _WARM_UP + count})
    url = str(provider.until(bool, 30.0)[0]["url"])
    topic = prefix + SEND_REQUESTS
    if side == "bare":
        make_topics(place.bootstrap, [topic, prefix + DELIVERY_EVENTS], PARTITIONS)
        subject = place.start("latency:bare", {"topic": topic, "events": prefix + DELIVERY_EVENTS, "url": url})
    else:
        subject, _ = start_worker(place, url, prefix)
    try:
        _warm_up(place, topic, prefix)
        stopwatch = Stopwatch(place.others, subject.pid)
        stopwatch.start()
        due = place.run("latency:sender", {"topic": topic, "count": count, "first": _WARM_UP})["due"]
        arrived = _arrivals(provider)
        used: dict[str, Any] = stopwatch.stop()
        late_ms = [(arrived[str(_WARM_UP + n)] - at) / 1e6 for n, at in enumerate(due)]
        return _reading(percentile(late_ms, 0.5), count, used), _reading(percentile(late_ms, 0.99), count, used)
    finally:
        subject.process.stop(30.0)
        provider.process.stop(2.0)


def _warm_up(place: Lab, topic: str, prefix: str) -> None:
    """Until the side under test has joined its group and opened its connections."""
    fill(place.bootstrap, topic, (single_request(n, PARTITIONS, topic) for n in range(_WARM_UP)))
    counter = Counter(place.bootstrap, [prefix + DELIVERY_EVENTS], PARTITIONS)
    counter.until(_WARM_UP, _PATIENCE_S)
    counter.close()


def _arrivals(provider: Child) -> dict[str, int]:
    arrivals: dict[str, int] = provider.until(lambda lines: len(lines) > 1, _PATIENCE_S)[1]["arrivals"]
    return arrivals


def _reading(value: float, count: int, used: dict[str, Any]) -> Reading:
    return Reading(value, count, used["cpu_s"], used["wall_s"], used["busy"], used["threads"])


# --------------------------------------------------------------------------------------------- processes


def sender(config: Config, meter: Meter) -> int:
    """Write each request at its time."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": config["bootstrap"], "linger.ms": 0, "acks": "all"})
    first, count = int(config["first"]), int(config["count"])
    rows = [single_request(n, PARTITIONS, config["topic"]) for n in range(first, first + count)]
    producer.list_topics(config["topic"])
    begin_ns = time.monotonic_ns() + 200_000_000
    due = [begin_ns + n * 1_000_000_000 // _RATE for n in range(count)]
    for at_ns, (partition, key, value) in zip(due, rows, strict=True):
        left_s = (at_ns - time.monotonic_ns()) / 1e9
        if left_s > 0:
            time.sleep(left_s)
        producer.produce(config["topic"], value, key, partition=partition)
        producer.poll(0)
    producer.flush()
    meter.say({"due": due})
    return 0


def provider(config: Config, meter: Meter) -> int:
    """Note when each call has arrived as a whole, and say yes."""
    import uvloop

    wanted = int(config["count"])
    arrivals: dict[str, int] = {}

    def arrived(body: bytes) -> None:
        found = _NUMBER.search(body)
        if found is not None:
            arrivals.setdefault(found[1].decode(), time.monotonic_ns())
            if len(arrivals) == wanted:
                meter.say({"arrivals": arrivals})

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Answer(arrived), "127.0.0.1", 0)
        meter.say({"url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"})
        await server.serve_forever()

    uvloop.run(serve())
    return 0


class _Answer(asyncio.Protocol):
    """One connection of HTTP/1.1 with Content-Length, kept alive."""

    def __init__(self, arrived: Any) -> None:
        self._arrived = arrived
        self._buffer = b""
        self._transport: Any = None
        self._count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        if not end or len(body) < (int(length[1]) if length else 0):
            return
        self._buffer = b""
        self._arrived(body)
        self._count += 1
        answer = b'{"id":"<%d.%d@%s>","message":"Queued. Thank you."}' % (id(self), self._count, DOMAIN.encode())
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer)
        )


def bare(config: Config, meter: Meter) -> int:
    """Consume, post, produce."""
    import uvloop

    uvloop.run(_loop(config))
    return 0


async def _loop(config: Config) -> None:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

    from streams.providers._http import HttpExchange
    from streams.providers.mailgun import Config as MailgunConfig
    from streams.providers.mailgun import create

    adapter = create("mailgun", MailgunConfig(DOMAIN, API_KEY, base_url=config["url"]))
    bootstrap = {"bootstrap_servers": config["bootstrap"]}
    group = {"group_id": config["topic"], "session_timeout_ms": 6000, "heartbeat_interval_ms": 1000}
    consumer = AIOKafkaConsumer(config["topic"], **bootstrap, **group, auto_offset_reset="earliest")
    producer = AIOKafkaProducer(**bootstrap, acks="all")
    slots = asyncio.Semaphore(CONCURRENCY)

    async def post(message: Any) -> None:
        try:
            batch = batch_of(message.value)
            adapter.read_response(batch, await exchange(adapter.build_request(batch, now_ms()), 30.0), now_ms())
            await producer.send(config["events"], b"sent", message.key, partition=message.partition)
        finally:
            slots.release()

    async with consumer, producer, HttpExchange() as exchange, asyncio.TaskGroup() as tasks:
        while True:
            for messages in (await consumer.getmany(timeout_ms=1000)).values():
                for message in messages:
                    await slots.acquire()
                    tasks.create_task(post(message))
