"""Requests to accepted by the provider: the whole worker, and a bare loop that only posts.

The worker is the real one: intake, ledger, dispatch, track and the rest; the provider is the sandbox in a process of
its own. Rules:

1. The worker runs and is warm before requests are written; a message counts when its ``message.sent`` is published.
2. The bare loop decodes each request and posts it with the same adapter and HTTP client, as many calls at once as the
   worker may have. It has no ledger, no states, no events, no retries.
3. Batches are requests with a thousand recipients, a template and personal data, on the bulk door.
"""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

from streams.bench.child import Config, Meter, profile_on_signals
from streams.bench.deployment import API_KEY, DOMAIN, PARTITIONS, SIGNING_KEY, environment, wait_ready, write_config
from streams.bench.figures import Comparison, Reading, Target
from streams.bench.lab import REAL, Child, Lab, Options, lab, reading, say
from streams.bench.logs import Counter, Row, commit_all, fill, make_topics
from streams.bench.mail import campaign_request, single_request, template_row
from streams.bench.usage import Stopwatch
from streams.broker import free_port
from streams.topics import DELIVERY_EVENTS, SEND_REQUESTS, SEND_REQUESTS_BULK, TEMPLATES

_SINGLE, _CAMPAIGNS, _RECIPIENTS = 4_000, 32, 1_000
CONCURRENCY = 32
_WARM_UP = 100
_PATIENCE_S = 240.0


def compare(options: Options) -> list[Comparison]:
    """Two comparisons: one by one with the bare loop, batches with one by one."""
    with lab(options, preferred=REAL) as place:
        url = start_sandbox(place)
        sides: dict[str, list[Reading]] = {"bare": [], "single": [], "batches": []}
        for round_ in range(1, options.rounds + 1):
            for side, readings in sides.items():
                readings.append(_bare(place, url) if side == "bare" else _worker(place, url, side))
                say(f"  round {round_}: {side:8} {readings[-1].value:>9,.0f} messages/CPU-s")
        if options.profile:
            for side in ("single", "batches"):
                _worker(place, url, side, place.profile_of(f"send, {side}"))
        bare, single, batches = (tuple(readings) for readings in sides.values())
        unit = "messages/CPU-s"
        return [
            Comparison("send", "requests with one recipient to accepted", "bare consume-post loop", unit, single, bare,
                       Target(0.7), place.broker),
            Comparison("send", f"requests with {_RECIPIENTS} recipients to accepted", "one by one", unit, batches,
                       single, Target(8.0), place.broker),
        ]  # fmt: skip


def start_sandbox(place: Lab) -> str:
    """The stand-in provider, for the life of the lab; returns its base URL."""
    child = place.start("send:sandbox", {"ledger": str(place.directory / "sandbox.jsonl")})
    place.others["sandbox"] = child.pid
    return str(child.until(bool, 30.0)[0]["url"])


def start_worker(place: Lab, url: str, prefix: str, profile: str = "") -> tuple[Child, Path]:
    """A worker that is ready."""
    port = free_port()
    config = write_config(place, prefix, port, url)
    worker = place.start("send:worker", {"config": str(config), "profile": profile}, environment(config))
    wait_ready(worker, port)
    return worker, config


def _worker(place: Lab, url: str, side: str, profile: str = "") -> Reading:
    prefix = place.unique(side) + "."
    worker, _ = start_worker(place, url, prefix, profile)
    counter = Counter(place.bootstrap, [prefix + DELIVERY_EVENTS], PARTITIONS)
    try:
        fill(place.bootstrap, prefix + TEMPLATES, [template_row()])
        topic = prefix + (SEND_REQUESTS if side == "single" else SEND_REQUESTS_BULK)
        warm, rows, messages = _requests(place, side, prefix)
        fill(place.bootstrap, topic, warm)
        counter.until(2 * _WARM_UP, _PATIENCE_S)
        stopwatch = Stopwatch(place.others, worker.pid)
        stopwatch.start()
        if profile:
            worker.process.signal(signal.SIGUSR1)
        fill(place.bootstrap, topic, rows)
        counter.until(2 * (_WARM_UP + messages), _PATIENCE_S)
        used = stopwatch.stop()
        if profile:
            worker.process.signal(signal.SIGUSR2)
        return reading({**used, "work": messages})
    finally:
        counter.close()
        worker.process.stop(30.0)


def _requests(place: Lab, side: str, run: str) -> tuple[list[Row], list[Row], int]:
    if side == "single":
        count = place.amount(_SINGLE)
        made = [single_request(n, PARTITIONS, run) for n in range(count + _WARM_UP)]
        return made[:_WARM_UP], made[_WARM_UP:], count
    warm = [campaign_request(0, _WARM_UP, PARTITIONS, run + "warm")]
    count = place.amount(_CAMPAIGNS)
    return warm, [campaign_request(1 + n, _RECIPIENTS, PARTITIONS, run) for n in range(count)], count * _RECIPIENTS


def _bare(place: Lab, url: str) -> Reading:
    topic = place.unique("bare") + "." + SEND_REQUESTS
    make_topics(place.bootstrap, [topic], PARTITIONS)
    count = place.amount(_SINGLE)
    fill(place.bootstrap, topic, (single_request(n, PARTITIONS, topic) for n in range(count)))
    return reading(place.run("send:bare", {"topic": topic, "count": count, "url": url}))


# --------------------------------------------------------------------------------------------- processes


def worker(config: Config, meter: Meter) -> int:
    """What ``streams worker`` runs."""
    from streams.settings import load_settings
    from streams.worker import run_worker

    if config["profile"]:
        profile_on_signals(config["profile"])
    return run_worker(load_settings(config["config"]))


def sandbox(config: Config, meter: Meter) -> int:
    """The stand-in provider: everything is delivered, nobody is told."""
    from streams.sandbox import MailgunConfig, OutcomeMix, SandboxConfig, serve

    mailgun = MailgunConfig(api_key=API_KEY, signing_key=SIGNING_KEY, domain=DOMAIN)
    settings = SandboxConfig(Path(config["ledger"]), mailgun=mailgun, mix=OutcomeMix.only_success())
    asyncio.run(serve(settings, lambda running: meter.say({"url": running.url})))
    return 0


def bare(config: Config, meter: Meter) -> int:
    """Consume, post, next."""
    import uvloop

    uvloop.run(_post_all(config, meter))
    meter.leave()


async def _post_all(config: Config, meter: Meter) -> None:
    from confluent_kafka import Consumer

    from streams.core.outcome import Accepted, Split
    from streams.providers._http import HttpExchange
    from streams.providers.mailgun import Config as MailgunConfig
    from streams.providers.mailgun import create

    adapter = create("mailgun", MailgunConfig(DOMAIN, API_KEY, base_url=config["url"]))
    group = {"group.id": config["topic"], "session.timeout.ms": 6000, "auto.offset.reset": "earliest"}
    consumer = Consumer({"bootstrap.servers": config["bootstrap"], **group, "enable.auto.commit": False})
    consumer.subscribe([config["topic"]])
    slots, accepted, taken, wanted = asyncio.Semaphore(CONCURRENCY), 0, 0, int(config["count"])

    async def post(value: bytes) -> None:
        nonlocal accepted
        try:
            batch = batch_of(value)
            answer = await exchange(adapter.build_request(batch, now_ms()), 30.0)
            outcome = adapter.read_response(batch, answer, now_ms())
            assert not isinstance(outcome, Split)
            assert isinstance(outcome[0], Accepted), outcome
            accepted += 1
        finally:
            slots.release()

    async with HttpExchange() as exchange, asyncio.TaskGroup() as tasks:
        committed_s = time.monotonic()
        while taken < wanted:
            messages = consumer.consume(100, 0.0)
            if not messages:
                await asyncio.sleep(0.005)
                continue
            meter.begin()
            for message in messages:
                await slots.acquire()
                tasks.create_task(post(message.value() or b""))
            taken += len(messages)
            if time.monotonic() - committed_s > 1.0:
                consumer.commit(asynchronous=True)
                committed_s = time.monotonic()
        for _ in range(CONCURRENCY):
            await slots.acquire()
        commit_all(consumer)
        meter.end(accepted)


def batch_of(value: bytes) -> Any:
    """A request with one recipient as a provider batch, without any check."""
    from streams.core.message import Mailbox
    from streams.providers.base import Batch, Entry
    from streams.serde.public import decode_request

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
