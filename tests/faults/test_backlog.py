"""Providers or Kafka are slow, and far more is asked for than can be done: what waits stays in Kafka, not in the worker.

Who reads stops when enough is in hand, so that the memory does not depend on what is waiting: behind slow providers it
is the same for 50,000 messages as for 10,000, and transactional mail goes its own way meanwhile. When all are quick
again, everything is sent once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.core.event import EventType
from tests.brokers import KafkaServer
from tests.faults.deployments import ON_DISK, behind_a_proxy, wait
from tests.faults.figures import Figures
from tests.faults.observed import MEGABYTE, Memory, Supervisor
from tests.faults.proxy import CALM, Trouble, Way
from tests.fleet import Fleet, campaign, single
from tests.fleet.log import unread

GROWS_MB = 100
MORE_WAITING_MB = 20
"""So much may five times as many messages that wait take: what lies between two looks at a process that works."""
BURSTS = 5
SLOW_S = 2
TRANSACTIONAL_S = 10
"""So long may any of twenty transactional messages take while each answer of a provider takes two seconds."""
PATIENT = {"STREAMS_PROVIDERS__MAILGUN__DEADLINE_S": "30", "STREAMS_PROVIDERS__SES__DEADLINE_S": "30"}
LETTER = "Dear customer, there is much to tell. " * 500
"""Some 20 kB: a message of its own, which carries its text through every topic."""


def backlog(messages: int) -> Iterator[dict[str, Any]]:
    """Half in campaigns of 500, half in bulk requests of one message each, whose texts differ."""
    for number in range(messages // 1000):
        yield campaign(number, 500)
        yield from (single(number * 500 + n, stream="bulk") for n in range(500))


def letters(first: int, last: int) -> Iterator[dict[str, Any]]:
    """In thousands: eighty letters, then a campaign of 920."""
    for thousand in range(first // 1000, last // 1000):
        numbers = range(thousand * 80, thousand * 80 + 80)
        yield from (single(n, stream="bulk", text=f"{n}: {LETTER}") for n in numbers)
        yield campaign(thousand, 920)


def warmed(fleet: Fleet) -> set[str]:
    """The worker has done everything once."""
    warm = fleet.produce(single(n, idempotency_key=f"warm{n}") for n in range(1_000))
    warm |= fleet.produce([campaign(10**6, 900)])
    fleet.until("the worker is warm", lambda: fleet.seen.ended >= warm, 120)
    return warm


def loaded(fleet: Fleet, messages: int) -> set[str]:
    """The worker has been under load: its caches and tables have in memory what they have in daily work."""
    load = warmed(fleet)
    load |= fleet.produce(campaign(2 * 10**6 + number, 1000) for number in range(messages // 1000))
    fleet.until("the load has ended", lambda: fleet.seen.ended >= load, 200)
    return load


def slowest_s(fleet: Fleet, messages: set[str], begun_ms: float) -> float:
    """From then until the last of them was sent."""
    sent = (e for e in fleet.seen.events if e.type is EventType.SENT and e.message_id in messages)
    return max((event.recorded_ms - begun_ms) / 1000 for event in sent)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_backlog_behind_slow_providers_waits_in_kafka_and_not_in_memory(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    def waiting(topic: str = "outbound.bulk") -> int:
        return unread(fleet.bootstrap, topic_prefix, topic)

    burst = sized(10_000, 2_000)
    environment = {**ON_DISK, **PATIENT}
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, environment=environment) as fleet:
        worker = fleet.start_worker("w1")
        warm = loaded(fleet, sized(20_000, 6_000))
        fleet.fault(kind="slow", hold_s=SLOW_S)
        with Supervisor(fleet, ["w1"]) as supervisor, Memory(lambda: worker.pid) as memory:
            before = memory.mark()
            asked: set[str] = set()
            grown: list[float] = []
            for number in range(BURSTS):
                asked |= fleet.produce(letters(number * burst, (number + 1) * burst))
                fleet.until("intake is done", lambda: waiting("send-requests.bulk") == 0, 200)
                wait(fleet, 5)
                grown.append((memory.peak - before) / MEGABYTE)
                figures.note(f"waiting in Kafka of {len(asked):,}", waiting())
                figures.note("memory has grown by", grown[-1], "MB")
            begun_ms = time.time() * 1000
            urgent = fleet.produce(single(n, idempotency_key=f"reset{n}") for n in range(20))
            fleet.until("the transactional mail is sent", lambda: fleet.seen.sent >= urgent, 60)
            left = waiting()
            fleet.heal()
            fleet.until("every message has ended", lambda: fleet.seen.ended >= asked | urgent, 600)
            drained = (memory.peak - before) / MEGABYTE
        figures.at_least("of them wait still when the providers are quick again", left, len(asked) / 2)
        figures.note("memory of the worker under load before", before / MEGABYTE, "MB")
        figures.at_most("memory grows by all that wait", grown[-1], GROWS_MB, "MB")
        figures.at_most("of it by five times as many that wait", grown[-1] - grown[0], MORE_WAITING_MB, "MB")
        figures.at_most("memory grows until all is sent", drained, GROWS_MB, "MB")
        figures.at_most(
            "slowest transactional message meanwhile", slowest_s(fleet, urgent, begun_ms), TRANSACTIONAL_S, "s"
        )
        figures.none("ends of the worker by itself", supervisor.ends)
        figures.account(fleet.account(warm | asked | urgent))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_slow_kafka_slows_the_work_and_fills_no_memory(
    topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    """Each answer of Kafka to worker and ingress takes 300 ms longer; who asks for messages finds it quick."""
    with (
        behind_a_proxy() as behind,
        Fleet(
            tmp_path,
            behind.kafka.bootstrap,
            prefix=topic_prefix,
            kafka_at=behind.proxy.bootstrap,
            environment=ON_DISK,
        ) as fleet,
    ):
        pids = {"w1": fleet.start_worker("w1").pid, "ingress": fleet.process("ingress").pid}
        warm = warmed(fleet)
        behind.proxy.trouble = Trouble(on=Way.ANSWERS, delay_s=0.3)
        with (
            Supervisor(fleet, ["w1"]) as supervisor,
            Memory(lambda: pids["w1"]) as worker,
            Memory(lambda: pids["ingress"]) as ingress,
        ):
            before = {"w1": worker.mark(), "ingress": ingress.mark()}
            asked = fleet.produce(backlog(sized(20_000, 4_000)))
            wait(fleet, sized(60, 15))
            sent = len(fleet.seen.sent & asked)
            slow = {"w1": worker.peak, "ingress": ingress.peak}
            behind.proxy.trouble = CALM
            fleet.until("every message has ended", lambda: fleet.seen.ended >= asked, 300)
            drained = {"w1": worker.peak, "ingress": ingress.peak}
        figures.at_least("messages sent while Kafka is slow", sent, 1)
        for name in pids:
            growth = (slow[name] - before[name]) / MEGABYTE, (drained[name] - before[name]) / MEGABYTE
            figures.at_most(f"memory of {name} grows while Kafka is slow", growth[0], GROWS_MB, "MB")
            figures.at_most(f"memory of {name} grows until all is sent", growth[1], GROWS_MB, "MB")
        figures.none("ends of the worker by itself", supervisor.ends)
        figures.account(fleet.account(warm | asked))
