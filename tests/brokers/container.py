"""The official image, where a Docker engine runs."""

from __future__ import annotations

import time
from typing import Any, Self

from streams.broker import answers_metadata, free_port
from tests.brokers.server import START_TIMEOUT_S, KafkaNotAvailable

_IMAGE = "apache/kafka:4.3.1"


class ContainerKafka:
    """The official image on a fixed loopback port, so that a restarted container keeps its address."""

    def __init__(self) -> None:
        self._port = free_port()
        self._container: Any = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Start the container and wait until it answers; raises KafkaNotAvailable."""
        from testcontainers.core.container import DockerContainer

        try:
            container = DockerContainer(_IMAGE).with_bind_ports(9092, self._port)
            for name, value in self._environment().items():
                container = container.with_env(name, value)
            container.start()
        except Exception as exc:
            raise KafkaNotAvailable(f"the Docker engine could not start {_IMAGE}: {exc}") from exc
        self._container = container.get_wrapped_container()
        self._wait()
        return self

    def stop(self) -> None:
        if self._container is not None:
            self._container.remove(force=True, v=True)
            self._container = None

    def kill(self) -> None:
        self._container.kill()
        self._container.wait()

    def restart(self) -> None:
        self._container.restart()
        self._wait()

    def pause(self) -> None:
        self._container.pause()

    def resume(self) -> None:
        self._container.unpause()
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not answers_metadata("127.0.0.1", self._port):
            if time.monotonic() > deadline:
                raise KafkaNotAvailable(f"{_IMAGE} did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.1)

    def _environment(self) -> dict[str, str]:
        return {
            "KAFKA_NODE_ID": "1",
            "KAFKA_PROCESS_ROLES": "broker,controller",
            "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{self._port}",
            "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
            "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
            "KAFKA_BROKER_SESSION_TIMEOUT_MS": "3000",
            "KAFKA_BROKER_HEARTBEAT_INTERVAL_MS": "500",
            "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
            "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
            "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
            "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
            "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
        }
