"""The process of ``streams poll``: all pollers, one producer, status pages, and a stop that finishes what has begun."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Protocol

from streams import __version__
from streams.hangup import on_hangup
from streams.metrics import Metrics, watch_event_loop
from streams.pollers.loop import Pace, Poller
from streams.pollers.source import Source
from streams.producer import KafkaProducer
from streams.settings import Settings
from streams.status import StatusServer

log = logging.getLogger(__name__)

_LOOK_S = 1.0


def now_ms() -> int:
    """The wall clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


async def poll_once(settings: Settings, sources: Iterable[Source]) -> dict[str, dict[str, Any]]:
    """Fetch from each source until it is empty. What became of it, by source; ``trouble`` is empty where all is well.

    SIGTERM and SIGINT end it after what is in flight.
    """
    async with AsyncExitStack() as stack:
        pollers = await _pollers(settings, sources, Metrics(version=__version__), stack)
        _stop_on_signals(pollers)
        await asyncio.gather(*(poller.once() for poller in pollers))
        return summary(pollers)


class Renews(Protocol):
    """Who makes sources again when their secrets have changed."""

    def look(self, tell: Callable[[str, str], None], *, at_all: bool = False) -> Mapping[str, Source]:
        """Blocks; the sources that take the place of those of the same name."""


async def poll_forever(
    settings: Settings,
    sources: Iterable[Source],
    ready: Callable[[str], None] = lambda url: None,
    renews: Renews | None = None,
) -> dict[str, dict[str, Any]]:
    """Fetch until SIGTERM or SIGINT; raises PortTaken. ``ready`` is told where the status pages are."""
    metrics = Metrics(tenants=settings.tenants, version=__version__)
    async with AsyncExitStack() as stack:
        pollers = await _pollers(settings, sources, metrics, stack)
        producer = pollers[0].producer
        status = StatusServer(
            settings.poll,
            metrics,
            is_live=lambda: not producer.broken,
            is_ready=lambda: not any(poller.trouble for poller in pollers),
            section="poll",
        )
        status.bind()
        await status.start()
        stack.push_async_callback(status.stop)
        _stop_on_signals(pollers)
        ready(status.url)
        watches = [asyncio.create_task(watch_event_loop(metrics))]
        if renews is not None:
            watches.append(asyncio.create_task(_renew(pollers, renews, metrics)))
        try:
            async with asyncio.TaskGroup() as tasks:
                for poller in pollers:
                    tasks.create_task(poller.run())
        finally:
            for watch in watches:
                watch.cancel()
        return summary(pollers)


def summary(pollers: Iterable[Poller]) -> dict[str, dict[str, Any]]:
    """What became of the polls, by source."""
    return {
        poller.source.name: {
            "topic": poller.source.topic,
            "polls": poller.tally.polls,
            "received": poller.tally.received,
            "stored": poller.tally.stored,
            "errors": poller.tally.errors,
            "trouble": poller.trouble,
        }
        for poller in pollers
    }


async def _pollers(
    settings: Settings, sources: Iterable[Source], metrics: Metrics, stack: AsyncExitStack
) -> list[Poller]:
    """Made and started; the stack closes sources first, the producer last."""
    options = settings.poll
    producer = KafkaProducer(settings.kafka, options)
    producer.start()
    stack.push_async_callback(producer.stop, options.drain_timeout_s)
    pace = Pace(most_s=options.max_pause_s, gather_s=options.gather_s, max_bytes=options.max_body_bytes)
    pollers = []
    for source in sources:
        poller = Poller(source, producer, metrics, now_ms, options.concurrency, pace)
        stack.push_async_callback(poller.close)
        pollers.append(poller)
    return pollers


async def _renew(pollers: Iterable[Poller], renews: Renews, metrics: Metrics) -> None:
    """Until cancelled: look whether secrets have changed."""
    reread = asyncio.Event()
    on_hangup(reread.set)

    def tell(provider: str, result: str) -> None:
        metrics.credential_reloads.at(provider, result).inc()

    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(reread.wait(), _LOOK_S)
        asked = reread.is_set()
        reread.clear()
        if asked:
            log.info("SIGHUP: secrets are read again")
        found = await asyncio.to_thread(renews.look, tell, at_all=asked)
        for poller in pollers:
            if poller.source.name in found:
                poller.renew(found[poller.source.name])


def _stop_on_signals(pollers: Iterable[Poller]) -> None:
    def stop() -> None:
        for poller in pollers:
            poller.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def choose(sources: Mapping[str, Source], names: Iterable[str]) -> list[Source]:
    """The named sources, all if none is named; raises KeyError with the name that is none."""
    wanted = list(dict.fromkeys(names))
    return [sources[name] for name in wanted] if wanted else list(sources.values())
