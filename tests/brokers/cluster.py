"""Several nodes of Apache Kafka, broker and controller each, three replicas of everything, two of them in sync.

with ApacheCluster() as cluster:
    cluster.nodes[1].kill()
    cluster.nodes[1].restart()
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from streams.broker import free_port
from tests.brokers.apache import ApacheKafka, Seat

_REPLICATED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
    "controller.quorum.election.timeout.ms": "1000",
    "controller.quorum.fetch.timeout.ms": "2000",
    "replica.lag.time.max.ms": "5000",
}


class ApacheCluster:
    """Use it as a context manager; `nodes` can be harmed one by one, the methods harm all of them."""

    def __init__(self, size: int = 3, properties: Mapping[str, str] | None = None, *, heap_mb: int = 384) -> None:
        ports = [(free_port(), free_port()) for _ in range(size)]
        voters = ",".join(f"{number}@127.0.0.1:{controller}" for number, (_, controller) in enumerate(ports, 1))
        self.nodes = [
            ApacheKafka({**_REPLICATED, **(properties or {})}, heap_mb=heap_mb, seat=Seat(number, *pair, voters))
            for number, pair in enumerate(ports, 1)
        ]

    @property
    def bootstrap(self) -> str:
        """All nodes, so that a client finds the way while one is away."""
        return ",".join(node.bootstrap for node in self.nodes)

    def start(self) -> Self:
        """Start all, then wait for all: a lone controller of three cannot answer."""
        try:
            for node in self.nodes:
                node.start()
            for node in self.nodes:
                node.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def restart(self) -> None:
        for node in self.nodes:
            node.end()
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_until_ready()

    def pause(self) -> None:
        for node in self.nodes:
            node.pause()

    def resume(self) -> None:
        for node in self.nodes:
            node.thaw()
        for node in self.nodes:
            node.wait_until_ready()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
