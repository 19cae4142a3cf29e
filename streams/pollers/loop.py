"""Receives, stores, and says that it is done: one poller per source, several receives at once where there is much.

Rules:

1. ``done`` follows the acknowledgement of all in-sync replicas, never before.
2. While Kafka does not take what we hold, we hold it (and keep it ours at the source) and fetch nothing more: giving
   it back again and again would drive it into a dead-letter queue.
3. An error at the source is one log line and a pause that grows; the next success ends it.
4. When told to stop, what is in flight is finished; what cannot be stored then is given back.
5. Queues charge by the request, and several that wait for the same trickle get one item each: so one receive waits
   alone, and gathers for a moment after it got something. If there is much (a receive is full, or its items are old,
   since a queue may give less than it has), nobody pauses and all receive.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from streams.metrics import Metrics
from streams.pollers.source import Item, Source, SourceUnavailable
from streams.producer import Headers, Unavailable, WebhookProducer

OFTEN = 3
"""An item that was handed out so many times fails again and again: it is counted and told."""

_LATE_S = 1.0
"""What has been waiting for so long has company."""

_MEASURE_S = 30.0
_MAX_DOUBLINGS = 12

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to pause after errors (doubled each time, with jitter) and to gather after a receive that was not full,
    and how large a stored payload may be.
    """

    first_s: float = 0.5
    most_s: float = 30.0
    gather_s: float = 0.2
    max_bytes: int = 1_000_000

    def pause_s(self, failures: int) -> float:
        """After so many failures in a row."""
        ceiling = min(self.most_s, self.first_s * 2.0 ** min(failures - 1, _MAX_DOUBLINGS))
        return ceiling * (0.5 + random.random() / 2)


@dataclass(slots=True)
class Tally:
    """What became of the polls of one source."""

    polls: int = 0
    received: int = 0
    stored: int = 0
    errors: int = 0


@dataclass(slots=True)
class Poller:
    """One source into Kafka. ``clock`` gives epoch milliseconds."""

    source: Source
    producer: WebhookProducer
    metrics: Metrics
    clock: Callable[[], int]
    concurrency: int = 1
    pace: Pace = Pace()
    tally: Tally = field(default_factory=Tally)
    trouble: str = ""
    """Why the last poll failed; empty if it did not."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _much: asyncio.Event = field(default_factory=asyncio.Event)
    """There is more to be received, by the last receive; or we are told to stop."""
    _failures: int = 0
    _ending: bool = False
    _next: Source | None = None

    def stop(self) -> None:
        """End `run` after what is in flight."""
        self._ending = True
        self._pause_all()

    def renew(self, source: Source) -> None:
        """Go on with another connection to the same place (its secrets have changed), after what is in flight."""
        self._next = source
        self._pause_all()

    def _pause_all(self) -> None:
        self._stop.set()
        self._much.set()

    async def close(self) -> None:
        """Give the source's connections back."""
        try:
            await self.source.aclose()
        except SourceUnavailable as exc:
            log.warning("%s: could not be left properly: %s", self.source.name, exc)

    async def run(self) -> None:
        """Poll until `stop`."""
        await self._run()
        while not self._ending and self._next is not None:
            await self.close()
            self.source, self._next = self._next, None
            self._stop.clear()
            self._much.clear()
            await self._run()

    async def _run(self) -> None:
        """Poll until `stop` or `renew`."""
        count = max(1, min(self.concurrency, self.source.concurrency))
        async with asyncio.TaskGroup() as tasks:
            measuring = tasks.create_task(self._measure())
            pollers = [tasks.create_task(self._poll(is_helper=number > 0)) for number in range(count)]
            await asyncio.wait(pollers)
            measuring.cancel()

    async def once(self) -> bool:
        """Poll until nothing is left; False if the source or Kafka failed (then what was not stored is given back)."""
        while not self._stop.is_set():
            received = await self._round(give_up=True)
            if received <= 0:
                return received == 0
        return not self.trouble

    # -- one poll

    async def _poll(self, *, is_helper: bool) -> None:
        failures = 0  # of this one: its neighbours pause by themselves
        while not self._stop.is_set():
            if is_helper:
                await self._much.wait()
                if self._stop.is_set():
                    return
            received = await self._round()
            if received < 0:
                failures += 1
                await self._pause(self.pace.pause_s(failures))
                continue
            failures = 0
            if received and not self._much.is_set():
                await self._pause(self.pace.gather_s)

    async def _round(self, *, give_up: bool = False) -> int:
        """How many items were received and are dealt with; -1 after an error."""
        try:
            items = await self._received()
        except SourceUnavailable as exc:
            self._failed("error", f"cannot be read: {exc}")
            return -1
        self.tally.polls += 1
        self._count("received" if items else "empty")
        if self._is_much(items):
            self._much.set()
        elif not self._stop.is_set():
            self._much.clear()
        if not items:
            self._well()
            return 0
        self._observe(items)
        async with self._keeping(items):
            left = await self._store(items, give_up=give_up)
        failed = await self._finish([item for item in items if item not in left], left)
        if left or failed:
            return -1
        self._well()
        return len(items)

    def _is_much(self, items: Sequence[Item]) -> bool:
        """Whether a receive that brought these says that there is more."""
        old_ms = self.clock() - 1000 * (self.pace.gather_s + _LATE_S)
        return len(items) >= self.source.batch or any(0 < item.sent_ms < old_ms for item in items)

    async def _received(self) -> Sequence[Item]:
        """What the source gives; nothing if we are told to stop while it has nothing."""
        receiving = asyncio.ensure_future(self.source.receive())
        stopping = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done() and self.source.stop_wait_s:
                await asyncio.wait({receiving}, timeout=self.source.stop_wait_s)
        finally:
            stopping.cancel()
            receiving.cancel()  # nothing happens to one that is done
            await asyncio.wait({receiving})
        return [] if receiving.cancelled() else receiving.result()

    async def _store(self, items: Sequence[Item], *, give_up: bool) -> Sequence[Item]:
        """Until Kafka has all of them, or we are told to stop; returns those that it has not."""
        received_ms = self.clock()
        left, tries = list(items), 0
        while True:
            results = await asyncio.gather(*(self._send(item, received_ms) for item in left), return_exceptions=True)
            refusals = [one for one in results if isinstance(one, BaseException)]
            left = [item for item, one in zip(left, results, strict=True) if one is not None]
            self.tally.stored += len(results) - len(left)
            self.metrics.poll_messages.at(self.source.name).inc(len(results) - len(left))
            if not left:
                return left
            for refusal in refusals:
                if not isinstance(refusal, Unavailable):
                    raise refusal
            tries += 1
            self._failed("kafka_error", f"{len(left)} items wait for Kafka: {refusals[0]}")
            if give_up or self._stop.is_set():
                return left
            await self._pause(self.pace.pause_s(tries))

    async def _send(self, item: Item, received_ms: int) -> None:
        source, payload = self.source, item.payload
        headers: Headers = [
            ("provider", source.provider.encode()),
            ("account", source.account.encode()),
            ("received_at", b"%d" % received_ms),
            *item.headers,
        ]
        if len(payload) > self.pace.max_bytes:
            log.error("%s: an item of %d bytes is stored cut to %d", source.name, len(payload), self.pace.max_bytes)
            headers.append(("truncated", b"%d" % len(payload)))
            payload = payload[: self.pace.max_bytes]
        await self.producer.send(source.topic, item.key, payload, headers)

    async def _finish(self, stored: Sequence[Item], left: Sequence[Item]) -> bool:
        """Tell the source; True if it did not listen (then they come again, and are told apart behind Kafka)."""
        try:
            if stored:
                await self.source.done(stored)
            if left:
                await self.source.release(left)
        except SourceUnavailable as exc:
            self._failed("done_error", f"cannot be told what is stored, so that it comes again: {exc}")
            return True
        return False

    @contextlib.asynccontextmanager
    async def _keeping(self, items: Sequence[Item]) -> AsyncIterator[None]:
        """The source keeps the items for us as long as this lasts."""
        every_s = self.source.extend_every_s
        keeping = asyncio.ensure_future(self._extend(items, every_s)) if every_s else None
        try:
            yield
        finally:
            if keeping is not None:
                keeping.cancel()
                await asyncio.wait({keeping})

    async def _extend(self, items: Sequence[Item], every_s: float) -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await self.source.extend(items)
                self._count("extended")
            except SourceUnavailable as exc:
                log.warning("%s: cannot be kept for longer, so that it may come again: %s", self.source.name, exc)

    # -- pauses, counts, logs

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)

    def _failed(self, result: str, why: str) -> None:
        self._failures += 1
        self.tally.errors += 1
        self._count(result)
        if self.trouble != why:
            log.error("%s: %s; it is tried again", self.source.name, why)
        self.trouble = why

    def _well(self) -> None:
        if self.trouble:
            log.info("%s: works again after %d failures", self.source.name, self._failures)
        self.trouble, self._failures = "", 0

    def _count(self, result: str) -> None:
        self.metrics.polls.at(self.source.name, result).inc()

    def _observe(self, items: Sequence[Item]) -> None:
        name, now_ms = self.source.name, self.clock()
        self.tally.received += len(items)
        ages = self.metrics.poll_message_age.at(name)
        ages.observe_many(max(0, now_ms - item.sent_ms) / 1000 for item in items if item.sent_ms)
        often = [item for item in items if item.times >= OFTEN]
        if often:
            self.metrics.poll_repeats.at(name).inc(len(often))
            most = max(item.times for item in often)
            log.warning("%s: %d items came again, one for the %d. time", name, len(often), most)

    async def _measure(self) -> None:
        while True:
            with contextlib.suppress(SourceUnavailable):  # the polls tell it
                found = await self.source.waiting()
                if found is not None:
                    self.metrics.poll_waiting.at(self.source.name).set(found.items)
                    if found.dead >= 0:
                        self.metrics.poll_dead_letters.at(self.source.name).set(found.dead)
            await asyncio.sleep(_MEASURE_S)
