"""Providers or Kafka are slow, and far more is asked for than they take: what waits stays in Kafka, not in the worker.

Who reads stops when enough is in hand, so that the worker's memory does not depend on what is waiting; behind slow
providers transactional mail goes its own way meanwhile. When all are quick again, everything is sent once.
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
SLOW_S = 2
TRANSACTIONAL_S = 10
"""So long may a transactional message take at most while a provider's answer takes two seconds."""


def backlog(messages: int) -> Iterator[dict[str, Any]]:
    """Half in campaigns of 500, half in bulk requests of one message each, whose texts differ."""
    for number in range(messages // 1000):
        yield campaign(number, 500)
        yield from (single(number * 500 + n, stream="bulk") for n in range(500))


def password_resets(count: int) -> list[dict[str, Any]]:
    return [single(n, idempotency_key=f"reset{n}", text=f"A new password: {n}.") for n in range(count)]


def loaded(fleet: Fleet, messages: int) -> set[str]:
    """The worker has had full load for a while, and providers that are quick."""
    warm = fleet.produce(single(n, idempotency_key=f"warm{n}") for n in range(messages // 2))
    warm |= fleet.produce(campaign(10**6 + number, 500) for number in range(messages // 1000))
    fleet.until("the first load has ended", lambda: fleet.seen.ended >= warm, 200)
    return warm


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_backlog_behind_slow_providers_waits_in_kafka_and_not_in_memory(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    messages = sized(50_000, 10_000)
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, environment=ON_DISK) as fleet:
        worker = fleet.start_worker("w1")
        warm = loaded(fleet, messages // 3)
        fleet.fault(kind="slow", hold_s=SLOW_S)
        with Supervisor(fleet, ["w1"]) as supervisor, Memory(lambda: worker.pid) as memory:
            before = memory.mark()
            asked = fleet.produce(backlog(messages))
            wait(fleet, sized(30, 10))
            resets = password_resets(50)
            begun_ms = time.time() * 1000
            urgent = fleet.produce(resets)
            fleet.until("the transactional mail is sent", lambda: fleet.seen.sent >= urgent, 60)
            wait(fleet, sized(30, 10))
            waiting = {
                name: unread(fleet.bootstrap, topic_prefix, name) for name in ("send-requests.bulk", "outbound.bulk")
            }
            slow = memory.peak
            fleet.heal()
            fleet.until("every message has ended", lambda: fleet.seen.ended >= asked | urgent, 300)
            drained = memory.peak
        took_s = [
            (event.recorded_ms - begun_ms) / 1000
            for event in fleet.seen.events
            if event.message_id in urgent and event.type is EventType.SENT
        ]
        for name, count in waiting.items():
            figures.note(f"records waiting in {name} behind slow providers", count)
        figures.at_least("records waiting in Kafka", sum(waiting.values()), messages / 10)
        figures.note("memory of the loaded worker", before / MEGABYTE, "MB")
        figures.at_most("memory grows while providers are slow", (slow - before) / MEGABYTE, GROWS_MB, "MB")
        figures.at_most("memory grows until all is sent", (drained - before) / MEGABYTE, GROWS_MB, "MB")
        figures.at_most("slowest transactional message meanwhile", max(took_s), TRANSACTIONAL_S, "s")
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
        warm = loaded(fleet, sized(20_000, 4_000) // 2)
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
