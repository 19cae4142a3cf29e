"""Reports events to receivers: when they are due, signed by the provider's rules, retried by the provider's schedule.

A record has one entry in the timer heap at a time: its next event, or the next attempt of one. The request of an
event is built once; a retry repeats it byte for byte, signature included, as the real services do. A failed attempt
does not hold back the record's later events, so receivers see late and reordered events as in life. When the
reporting of an event ends, however it ends, the ledger gets its line.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from streams.sandbox.ledger import Accepted, Ledger, Reported
from streams.sandbox.outcomes import due_ms
from streams.sandbox.posting import Poster, PostError, Target

_TICK_S: Final = 0.005  # events due within a tick are taken together


class Verdict(StrEnum):
    """What a receiver's answer means to a provider."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    GAVE_UP = "gave_up"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Post:
    """A prepared request. `target` None: there is nobody to post to. `enqueue` puts the event into a queue as well.

    `hand_over` gives the event away instead, with what to call when somebody has dealt with it: then reporting ends.
    """

    event_id: str
    target: Target | None
    headers: bytes
    body: bytes
    timeout_s: float
    enqueue: Callable[[], None] | None = None
    hand_over: Callable[[Callable[[], None]], None] | None = None


class Reporter(Protocol):
    """What a provider knows about reporting."""

    provider: str
    retry_delays_s: tuple[float, ...]

    def wants(self, event: str) -> bool:
        """Whether an event of this name is reported by webhook at all."""

    def prepare(self, record: Accepted, index: int, at_ms: int) -> Post:
        """The signed request of an event."""

    def verdict(self, status: int, event: str) -> Verdict:
        """What an answer means; status 0 is no answer."""


@dataclass(slots=True)
class _Job:
    record: Accepted
    index: int
    reporter: Reporter
    at_ms: int
    attempts: int = 0
    post: Post | None = None
    chain: bool = False  # the record's next event follows when this entry is due
    again: bool = False  # a second delivery on purpose


class Webhooks:
    """The timer, the queue and the connections. `pending` counts events whose reporting has not ended."""

    def __init__(self, ledger: Ledger, unit_ms: float, concurrency: int, duplicate_rate: float, seed: int,
                 now_ms: Callable[[], int]) -> None:  # fmt: skip
        self._ledger = ledger
        self._unit_ms = unit_ms
        self._concurrency = concurrency
        self._duplicate_rate = duplicate_rate
        self._random = random.Random(seed)
        self._now_ms = now_ms
        self.poster = Poster()
        self._heap: list[tuple[int, int, _Job]] = []
        self._serial = 0
        self._ready: deque[_Job] = deque()
        self._available = asyncio.Semaphore(0)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.pending = 0
        self.attempts = 0
        self.duplicates_posted = 0

    def start(self) -> None:
        """Starts the workers."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        self._arm()

    async def stop(self) -> None:
        """Stops at once; what is pending is taken up from the ledger by the next start."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self.poster.close()

    def count(self, change: int) -> None:
        """Somebody else's reporting has begun (+1) or ended (-1)."""
        self.pending += change

    def schedule(self, record: Accepted, reporter: Reporter, done: frozenset[int] = frozenset()) -> None:
        """Plans the reporting of a record's events, apart from those already reported."""
        events = record.plan.events
        left = [index for index in range(len(events)) if index not in done and reporter.wants(events[index])]
        if not left:
            return
        self.pending += len(left)
        first = left[:1] if not done else left  # a resumed record's events are not in a row any more
        for index in first:
            at_ms = due_ms(record, index, self._unit_ms)
            self._push(_Job(record, index, reporter, at_ms, chain=not done), at_ms)

    def _push(self, job: _Job, due: int) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (due, self._serial, job))
        if self._tasks:
            self._arm()

    def _arm(self) -> None:
        """Sets the timer for the first entry."""
        if not self._heap:
            return
        due = self._heap[0][0]
        if self._timer is not None:
            if self._timer_ms <= due:
                return
            self._timer.cancel()
        self._timer_ms = due
        delay_s = max(_TICK_S, (due - self._now_ms()) / 1000)
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._take_due)

    def _take_due(self) -> None:
        self._timer = None
        now = self._now_ms()
        while self._heap and self._heap[0][0] <= now:
            _, _, job = heapq.heappop(self._heap)
            self._ready.append(job)
            self._available.release()
            if job.chain:
                self._push_next(job)
        self._arm()

    def _push_next(self, job: _Job) -> None:
        job.chain = False
        events = job.record.plan.events
        for index in range(job.index + 1, len(events)):
            if job.reporter.wants(events[index]):
                at_ms = due_ms(job.record, index, self._unit_ms)
                self._serial += 1
                heapq.heappush(
                    self._heap, (at_ms, self._serial, _Job(job.record, index, job.reporter, at_ms, chain=True))
                )
                return

    async def _work(self) -> None:
        while True:
            await self._available.acquire()
            await self._deliver(self._ready.popleft())

    async def _deliver(self, job: _Job) -> None:
        event = job.record.plan.events[job.index]
        if job.post is None:
            job.post = job.reporter.prepare(job.record, job.index, job.at_ms)
        post = job.post
        if post.enqueue is not None and (job.attempts == 0 or job.again):
            post.enqueue()
        if post.target is None:
            self._end_without_post(job, post)
            return
        job.attempts += 1
        self.attempts += 1
        try:
            status = await self.poster.post(post.target, post.headers, post.body, post.timeout_s)
        except PostError:
            status = 0
        if job.again:
            return
        verdict = job.reporter.verdict(status, event)
        delays = job.reporter.retry_delays_s
        if verdict is Verdict.RETRY and job.attempts <= len(delays):
            due = self._now_ms() + int(delays[job.attempts - 1] * 1000)
            self._push(job, due)
            return
        self._end(job, Verdict.GAVE_UP.value if verdict is Verdict.RETRY else verdict.value, status)
        if verdict is Verdict.DELIVERED:
            self._maybe_again(job, post)

    def _end_without_post(self, job: _Job, post: Post) -> None:
        if job.again:
            return
        if post.hand_over is not None:
            job.attempts += 1
            post.hand_over(lambda: self._end(job, Verdict.DELIVERED.value, 204))
        elif post.enqueue is None:
            self._end(job, "no_subscription", 0)
        else:
            self._end(job, Verdict.DELIVERED.value, 200)
            self._maybe_again(job, post)

    def _maybe_again(self, job: _Job, post: Post) -> None:
        """A second delivery on purpose: at least once is what both providers promise."""
        if self._random.random() < self._duplicate_rate:
            self.duplicates_posted += 1
            copy = _Job(job.record, job.index, job.reporter, job.at_ms, job.attempts, post, again=True)
            self._push(copy, self._now_ms() + int(self._unit_ms))

    def _end(self, job: _Job, answer: str, status: int) -> None:
        assert job.post is not None
        self.pending -= 1
        record = job.record
        self._ledger.report(
            Reported(
                job.reporter.provider, job.post.event_id, record.plan.events[job.index], record.recipient,
                record.provider_message_id, record.variables, job.at_ms, answer, job.attempts, status, self._now_ms(),
            )
        )  # fmt: skip
