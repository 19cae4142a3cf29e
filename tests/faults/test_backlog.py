"""Kafka is slow, and far more is asked for than can be done: what waits stays in Kafka, not in the worker.

Who reads stops when enough is in hand, so that the memory does not depend on what is waiting. When Kafka is quick
again, everything is sent once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.deployments import ON_DISK, behind_a_proxy, wait
from tests.faults.figures import Figures
from tests.faults.observed import MEGABYTE, Memory, Supervisor
from tests.faults.proxy import CALM, Trouble, Way
from tests.fleet import Fleet, campaign, single

GROWS_MB = 100


def backlog(messages: int) -> Iterator[dict[str, Any]]:
    """Half in campaigns of 500, half in bulk requests of one message each, whose texts differ."""
    for number in range(messages // 1000):
        yield campaign(number, 500)
        yield from (single(number * 500 + n, stream="bulk") for n in range(500))


def warmed(fleet: Fleet) -> set[str]:
    """The worker has done everything once."""
    warm = fleet.produce(single(n, idempotency_key=f"warm{n}") for n in range(1_000))
    warm |= fleet.produce([campaign(10**6, 900)])
    fleet.until("the worker is warm", lambda: fleet.seen.ended >= warm, 120)
    return warm


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
