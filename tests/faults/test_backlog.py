"""Providers are slow, and far more is asked for than they take: what waits stays in Kafka, not in the worker.

Bulk intake and dispatch stop reading when enough is in hand, so that the worker's memory does not depend on what is
waiting; transactional mail goes its own way meanwhile. When the providers are quick again, everything is sent once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.core.event import EventType
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.faults.observed import MEGABYTE, Memory, Supervisor
from tests.faults.test_broker_killed import wait
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


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_backlog_behind_slow_providers_waits_in_kafka_and_not_in_memory(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    messages = sized(50_000, 10_000)
    rocks = {"STREAMS_WORKER__STORE": "rocksdb"}  # the tables grow with what is remembered, the memory need not
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, environment=rocks) as fleet:
        worker = fleet.start_worker("w1")
        warm = fleet.produce(single(n, idempotency_key=f"warm{n}") for n in range(1_000))
        warm |= fleet.produce([campaign(10**6, 900)])
        fleet.until("the worker is warm", lambda: fleet.seen.ended >= warm, 120)
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
        figures.note("memory of the warm worker", before / MEGABYTE, "MB")
        figures.at_most("memory grows while providers are slow", (slow - before) / MEGABYTE, GROWS_MB, "MB")
        figures.at_most("memory grows until all is sent", (drained - before) / MEGABYTE, GROWS_MB, "MB")
        figures.at_most("slowest transactional message meanwhile", max(took_s), TRANSACTIONAL_S, "s")
        figures.none("ends of the worker by itself", supervisor.ends)
        figures.account(fleet.account(warm | asked | urgent))
