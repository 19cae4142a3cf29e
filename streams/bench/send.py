"""Requests to accepted by the provider: the whole worker, and two bare loops (:mod:`streams.bench.bare`).

The worker is the real one: intake, ledger, dispatch, track and the rest; the provider is the sandbox in a process of
its own. Rules:

1. The worker runs and is warm before requests are written; a message counts when its ``message.sent`` is published.
2. The bare loops use the same adapter and HTTP client, with as many calls at once as the worker may have. The target is
   against the one that does the same work: checks the request, posts it, and produces both events by the same
   functions. The other only posts, and shows what all that costs.
3. Batches are requests with a thousand recipients, a template and personal data, on the bulk door.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from streams.bench.bare import WARM_UP
from streams.bench.child import Config, Meter, profile_on_signals
from streams.bench.deployment import API_KEY, DOMAIN, PARTITIONS, SIGNING_KEY, environment, wait_ready, write_config
from streams.bench.figures import Comparison, Reading, Target
from streams.bench.lab import REAL, Child, Lab, Options, lab, reading, say
from streams.bench.logs import Counter, Row, fill, make_topics
from streams.bench.mail import campaign_request, single_request, template_row
from streams.bench.usage import Stopwatch
from streams.broker import free_port
from streams.topics import DELIVERY_EVENTS, SEND_REQUESTS, SEND_REQUESTS_BULK, TEMPLATES

_SINGLE, _CAMPAIGNS, _RECIPIENTS = 4_000, 32, 1_000
_BARE = {"bare": "bare:work", "post": "bare:post"}
_PATIENCE_S = 240.0


def compare(options: Options) -> list[Comparison]:
    """Two comparisons: one by one with the bare loop, batches with one by one."""
    with lab(options, preferred=REAL) as place:
        url = start_sandbox(place)
        sides: dict[str, list[Reading]] = {"bare": [], "post": [], "single": [], "batches": []}
        for round_ in range(1, options.rounds + 1):
            for side, readings in sides.items():
                readings.append(_bare(place, url, side) if side in _BARE else _worker(place, url, side))
                say(f"  round {round_}: {side:8} {readings[-1].value:>9,.0f} messages/CPU-s")
        if options.profile:
            for side in ("single", "batches"):
                _worker(place, url, side, place.profile_of(f"send, {side}"))
        bare, post, single, batches = (tuple(readings) for readings in sides.values())
        unit, one = "messages/CPU-s", "requests with one recipient to accepted"
        many = f"requests with {_RECIPIENTS} recipients to accepted"
        return [
            Comparison("send", one, "bare consume-call-produce loop", unit, single, bare, Target(0.7), place.broker),
            Comparison("send", one, "bare loop that only posts", unit, single, post, None, place.broker),
            Comparison("send", many, "one by one", unit, batches, single, Target(8.0), place.broker),
        ]


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
        counter.until(2 * WARM_UP, _PATIENCE_S)
        stopwatch = Stopwatch(place.others, worker.pid)
        stopwatch.start()
        if profile:
            worker.process.signal(signal.SIGUSR1)
        fill(place.bootstrap, topic, rows)
        counter.until(2 * (WARM_UP + messages), _PATIENCE_S)
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
        made = [single_request(n, PARTITIONS, run) for n in range(count + WARM_UP)]
        return made[:WARM_UP], made[WARM_UP:], count
    warm = [campaign_request(0, WARM_UP, PARTITIONS, run + "warm")]
    count = place.amount(_CAMPAIGNS)
    return warm, [campaign_request(1 + n, _RECIPIENTS, PARTITIONS, run) for n in range(count)], count * _RECIPIENTS


def _bare(place: Lab, url: str, side: str) -> Reading:
    prefix = place.unique(side) + "."
    topic, events = prefix + SEND_REQUESTS, prefix + DELIVERY_EVENTS
    make_topics(place.bootstrap, [topic, events], PARTITIONS)
    count = place.amount(_SINGLE)
    fill(place.bootstrap, topic, (single_request(n, PARTITIONS, topic) for n in range(WARM_UP + count)))
    return reading(place.run(_BARE[side], {"topic": topic, "events": events, "count": count, "url": url}))


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
