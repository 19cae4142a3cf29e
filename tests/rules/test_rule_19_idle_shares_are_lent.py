"""Rule 19: idle shares of a rate are lent, and what all workers may use together never exceeds the limit."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.agents.dispatch.config import LaneConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.gate import Gate
from streams.agents.dispatch.lending import Lending
from streams.core.message import RecordRef
from streams.core.shares import MARGIN_S
from tests.agents.dispatch_desk import Clock, Desk

RATE = 120.0
STEP_MS = 50


class OneLane:
    """What lending needs of the lanes: one gate with a rate."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.net: Callable[[str], float] = lambda lane: 0.0

    def shares(self) -> list[Gate]:
        return [self.gate]


class SkewedClock:
    def __init__(self, clock: Clock, skew_ms: int) -> None:
        self.clock, self.skew_ms = clock, skew_ms

    def __call__(self) -> int:
        return self.clock() + self.skew_ms


class Worker:
    """A gate with its lending; messages are answered at once."""

    def __init__(self, fleet: Fleet, name: str, share: float, skew_ms: int = 0) -> None:
        self.name, self.share, self.sent = name, share, 0
        self.fleet = fleet
        self.clock = SkewedClock(fleet.clock, skew_ms)
        lane = LaneConfig(rate=RATE, burst=10, concurrency=1000, batch_size=1)
        self.gate = Gate("mailgun", lane, 1.0, self.clock, self._start, lambda seconds, callback: None)
        self.gate.reshare(share)
        self.lending = Lending(name, OneLane(self.gate), self.clock, self._publish)  # type: ignore[arg-type]
        self.phase_ms = 0

    def want(self, count: int) -> None:
        for _ in range(count):
            number = next(self.fleet.numbers)
            message = self.fleet.desk.message(f"u{number}@example.net", content_hash=str(number))
            flight = Flight(message, 0, RecordRef("outbound", 0, number), None)
            self.gate.line_up(self.gate.add(flight))

    def waiting(self) -> int:
        return sum(1 for _ in self.gate.waiting())

    def _start(self, gate: Gate, flights: list[Flight]) -> None:
        self.sent += len(flights)
        gate.calls -= 1

    def _publish(self, offer: bytes) -> None:
        self.fleet.publish(self, offer)


class Fleet:
    """Workers on one topic whose records arrive late, each at its own time, in order."""

    def __init__(self, shares: list[float], seed: int = 1, late_ms: int = 200, skew_ms: int = 0) -> None:
        self.clock = Clock()
        self.desk = Desk()
        self.random = random.Random(seed)
        self.numbers = iter(range(10**9))
        self.late_ms = late_ms
        self.generation = 1
        self.post: list[tuple[int, Worker, bytes]] = []
        self.read_ms: dict[str, int] = {}
        self.workers = [
            Worker(self, f"w{n}", share, self.random.randint(-skew_ms, skew_ms)) for n, share in enumerate(shares)
        ]
        for worker in self.workers:
            worker.phase_ms = self.random.randrange(0, 1000, STEP_MS)

    def publish(self, author: Worker, offer: bytes) -> None:
        for reader in self.workers:
            at_ms = max(self.clock() + self.random.randint(1, self.late_ms), self.read_ms.get(reader.name, 0))
            self.read_ms[reader.name] = at_ms
            self.post.append((at_ms, reader, offer))

    def run(self, seconds: float, load: Callable[[Worker], Any] = lambda worker: None) -> None:
        for _ in range(int(seconds * 1000 / STEP_MS)):
            self.clock.advance(STEP_MS / 1000)
            now_ms = self.clock()
            for _, reader, offer in (item for item in self.post if item[0] <= now_ms):
                reader.lending.read(offer)
            self.post = [item for item in self.post if item[0] > now_ms]
            for worker in self.workers:
                load(worker)
                if (now_ms + worker.phase_ms) % 1000 == 0:
                    worker.lending.look(worker.share, self.generation)
                worker.gate.pump()
            assert sum(worker.gate.share for worker in self.workers) <= 1.0001


def keep_waiting(worker: Worker) -> None:
    if worker.waiting() < 30:
        worker.want(30)


def test_rule_19_a_busy_worker_gets_most_of_a_rate_that_nobody_else_uses() -> None:
    fleet = Fleet([0.25, 0.25, 0.5])
    busy = fleet.workers[0]
    fleet.run(5, lambda worker: keep_waiting(worker) if worker is busy else None)
    before = busy.sent
    fleet.run(10, lambda worker: keep_waiting(worker) if worker is busy else None)
    assert (busy.sent - before) / 10 > 0.8 * RATE  # its own quarter would be 30/s


def test_rule_19_who_lent_has_its_share_back_within_seconds_of_needing_it() -> None:
    fleet = Fleet([0.5, 0.5])
    first, second = fleet.workers
    fleet.run(8, lambda worker: keep_waiting(worker) if worker is first else None)
    assert second.gate.share < 0.1
    fleet.run(6, keep_waiting)
    assert second.gate.share == pytest.approx(0.5, abs=0.01)
    assert first.gate.share == pytest.approx(0.5, abs=0.01)


def test_rule_19_a_lender_still_sends_its_first_messages_at_once() -> None:
    fleet = Fleet([0.5, 0.5])
    busy, lender = fleet.workers
    fleet.run(8, lambda worker: keep_waiting(worker) if worker is busy else None)
    lender.want(1)
    lender.gate.pump()
    assert lender.sent == 1


def test_rule_19_two_who_wait_share_what_is_lent() -> None:
    fleet = Fleet([0.2, 0.2, 0.6])
    fleet.run(12, lambda worker: keep_waiting(worker) if worker.name != "w2" else None)
    assert [round(worker.gate.share, 2) for worker in fleet.workers[:2]] == [pytest.approx(0.47, abs=0.01)] * 2


def test_rule_19_nobody_speaks_while_nobody_waits() -> None:
    fleet = Fleet([0.5, 0.5])
    fleet.run(5, lambda worker: worker.want(1) if not worker.waiting() and fleet.random.random() < 0.1 else None)
    assert fleet.post == []


def test_rule_19_another_generation_of_the_group_ends_every_loan_at_once() -> None:
    fleet = Fleet([0.5, 0.5])
    busy, lender = fleet.workers
    fleet.run(8, lambda worker: keep_waiting(worker) if worker is busy else None)
    assert busy.gate.share > 0.9
    fleet.generation += 1
    for worker in fleet.workers:
        worker.lending.regroup(fleet.generation)
    assert (busy.gate.share, lender.gate.share) == (0.5, 0.5)


@given(
    seed=st.integers(0, 10**6),
    shares=st.lists(st.integers(1, 6), min_size=2, max_size=4),
    late_ms=st.sampled_from([50, 400, 1500, 4000]),
)
@settings(max_examples=25, deadline=None)
def test_rule_19_the_shares_never_add_up_to_more_than_the_limit(seed: int, shares: list[int], late_ms: int) -> None:
    """However the load moves, however late records are read, and with clocks apart by half the margin."""
    total = sum(shares)
    fleet = Fleet([share / total for share in shares], seed, late_ms, skew_ms=int(MARGIN_S * 500))
    busy: set[str] = set()

    def load(worker: Worker) -> None:
        if fleet.random.random() < 0.02:
            busy.symmetric_difference_update({worker.name})
        if worker.name in busy:
            keep_waiting(worker)

    fleet.run(20, load)  # asserts at every step
