"""Real Apache Kafka for tests, without Docker: Maven brings the jars, Java runs KRaft nodes.

Three ways to a server, one interface (`KafkaServer`, server.py):

* `ApacheKafka` (apache.py): a process of our own on loopback (the default; needs Java 17 and Maven).
* `ContainerKafka`: the official image through testcontainers, when `STREAMS_TEST_KAFKA=testcontainers`.
* `ExternalKafka`: any cluster named by `KAFKA_BOOTSTRAP_SERVERS`; faults cannot be injected there.

`ApacheCluster` (cluster.py) is several nodes of the first kind, each to be harmed alone.

`python -m tests.brokers` starts one, prints its bootstrap address and runs until SIGINT or SIGTERM.
`python -m tests.brokers COMMAND…` runs a command beside it, `{bootstrap}` in its arguments replaced by the address,
and ends with the command's exit code.
"""

from __future__ import annotations

import os

from tests.brokers.apache import ApacheKafka
from tests.brokers.cluster import ApacheCluster
from tests.brokers.container import ContainerKafka
from tests.brokers.external import ExternalKafka
from tests.brokers.server import FaultNotPossible, KafkaNotAvailable, KafkaServer

__all__ = [
    "ApacheCluster",
    "ApacheKafka",
    "ContainerKafka",
    "ExternalKafka",
    "FaultNotPossible",
    "KafkaNotAvailable",
    "KafkaServer",
    "start_kafka",
]


def start_kafka() -> KafkaServer:
    """The server that the environment asks for, started; raises KafkaNotAvailable."""
    if external := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return ExternalKafka(external).start()
    match os.environ.get("STREAMS_TEST_KAFKA", "process"):
        case "testcontainers":
            return ContainerKafka().start()
        case "process":
            return ApacheKafka().start()
        case other:
            raise KafkaNotAvailable(f"STREAMS_TEST_KAFKA={other}: use 'process' or 'testcontainers'")
