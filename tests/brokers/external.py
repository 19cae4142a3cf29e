"""A cluster named by `KAFKA_BOOTSTRAP_SERVERS`."""

from __future__ import annotations

from typing import Self

from streams.broker import answers_metadata
from tests.brokers.server import FaultNotPossible, KafkaNotAvailable


class ExternalKafka:
    """A cluster that somebody else runs."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @property
    def bootstrap(self) -> str:
        return self._bootstrap

    def start(self) -> Self:
        """Check that it answers; raises KafkaNotAvailable."""
        host, _, port = self._bootstrap.split(",")[0].rpartition(":")
        if not answers_metadata(host, int(port), timeout_s=10.0):
            raise KafkaNotAvailable(f"KAFKA_BOOTSTRAP_SERVERS={self._bootstrap} does not answer")
        return self

    def stop(self) -> None:
        """Nothing: it is not ours."""

    def kill(self) -> None:
        raise FaultNotPossible("the external Kafka cannot be killed")

    def restart(self) -> None:
        raise FaultNotPossible("the external Kafka cannot be restarted")

    def pause(self) -> None:
        raise FaultNotPossible("the external Kafka cannot be paused")

    def resume(self) -> None:
        raise FaultNotPossible("the external Kafka cannot be resumed")
