"""Brokers die by SIGKILL under load and come back: the only one, then each of three in turn.

Nothing that Kafka has acknowledged may be lost, no worker ends over it, and on every partition messages are sent again
within a minute. Three nodes hold three replicas of everything, two of which must have a record before it counts as
stored: with one node away the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from tests.brokers import ApacheCluster, KafkaServer
from tests.faults.deployments import REPLICATED, wait
from tests.faults.figures import Figures
from tests.faults.load import Load
from tests.faults.observed import Flow, Supervisor
from tests.fleet import Fleet

RESUMES_S = 60


def in_sync(bootstrap: str, replicas: int) -> bool:
    """Whether every partition of every topic has so many replicas that are up to date."""
    topics = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2}).list_topics(timeout=10).topics.values()
    return all(len(one.isrs) == replicas for topic in topics for one in topic.partitions.values())


def open_messages(fleet: Fleet, load: Load) -> int:
    """So many have been asked for and have not ended."""
    return len(load.ids) - len(fleet.seen.ended)


@pytest.mark.timeout(150)
def test_the_only_broker_is_killed_under_load(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    messages, per_s, kills, every_s = sized(85_000, 2_000), sized(700, 200), sized(4, 1), sized(10, 3)
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        fleet.start_worker("w1")
        fleet.until("w1 is ready", lambda: fleet.is_ready("w1"), 30)
        resumed_s: list[float] = []
        under_way: list[int] = []
        with Supervisor(fleet, ["w1"]) as supervisor, Flow(fleet) as flow:
            with Load(fleet, per_s, most=messages) as load:
                fleet.until("messages are sent", lambda: len(fleet.seen.sent) > per_s, 30)
                for _ in range(kills):
                    killed_s = wait(fleet, every_s)
                    under_way.append(open_messages(fleet, load))
                    apache_kafka.kill()
                    apache_kafka.restart()
                    back_s = time.monotonic()
                    figures.note("broker back after", back_s - killed_s, "s")
                    fleet.until("every partition flows", lambda s=back_s: flow.resumed_s(s) < RESUMES_S, RESUMES_S)
                    resumed_s.append(back_s - killed_s + flow.resumed_s(back_s))
                fleet.until("enough is asked for", lambda: len(load.ids) >= messages, 180)
            figures.at_least("messages under way at a kill", min(under_way), 1)
            figures.at_most("every partition flows again after", max(resumed_s), RESUMES_S, "s")
            figures.note("longest wait of a request for Kafka", load.slowest_s, "s")
            fleet.until("every message has ended", lambda: fleet.seen.ended >= load.ids, sized(500, 90))
        account = fleet.account(load.ids)
    figures.none("ends of the worker by itself", supervisor.ends)
    figures.account(account)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_each_of_three_brokers_is_killed_in_turn_under_load(
    topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    messages, per_s = sized(15_000, 6_000), sized(180, 60)
    workers = ["w1", "w2"]
    with (
        ApacheCluster() as cluster,
        Fleet(tmp_path, cluster.bootstrap, prefix=topic_prefix, environment=REPLICATED) as fleet,
    ):
        for name in workers:
            fleet.start_worker(name)
        fleet.until("both workers are ready", lambda: all(map(fleet.is_ready, workers)), 60)
        standstills = []
        under_way: list[int] = []
        with Supervisor(fleet, workers) as supervisor, Flow(fleet) as flow:
            with Load(fleet, per_s, most=messages) as load:
                fleet.until("messages are sent", lambda: len(fleet.seen.sent) > per_s, 30)
                for number, node in enumerate(cluster.nodes, 1):
                    killed_s = wait(fleet, 3)
                    under_way.append(open_messages(fleet, load))
                    node.kill()
                    wait(fleet, 10)  # two nodes carry it alone
                    node.restart()
                    back_s = time.monotonic()
                    fleet.until("all replicas are in sync", lambda: in_sync(cluster.bootstrap, 3), 120)
                    fleet.until("every partition flows", lambda s=back_s: flow.resumed_s(s) < RESUMES_S, RESUMES_S)
                    standstills.append(flow.standstill_s(killed_s, time.monotonic()))
                    figures.note(f"node {number}: longest standstill of a partition", standstills[-1], "s")
                fleet.until("enough is asked for", lambda: len(load.ids) >= messages, 300)
            figures.at_least("messages under way at a kill", min(under_way), 1)
            figures.at_most("longest standstill of a partition", max(standstills), RESUMES_S, "s")
            figures.note("longest wait of a request for Kafka", load.slowest_s, "s")
            fleet.until("every message has ended", lambda: fleet.seen.ended >= load.ids, 300)
        account = fleet.account(load.ids)
    figures.none("ends of workers by themselves", supervisor.ends)
    figures.account(account)
