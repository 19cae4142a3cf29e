"""One node of Apache Kafka as a process of our own."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.broker import free_port, wait_until_ready
from streams.processes import BoundProcess, log_tail
from tests.brokers.jars import java, kafka_jars, run_java
from tests.brokers.server import START_TIMEOUT_S

_CLUSTER_ID = "c3RyZWFtcy10ZXN0cy0wMQ"
_STOP_TIMEOUT_S = 20.0
_YOUNG = 0.25
"""Share of the heap for what lives only as long as a request: a larger one means fewer pauses, but longer ones."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A node's number and ports. `voters` lists all controllers (`1@host:port,…`); empty for a node that stands alone."""

    node: int
    port: int
    controller_port: int
    voters: str = ""

    @classmethod
    def alone(cls) -> Self:
        """The only node, on free ports."""
        return cls(1, free_port(), free_port())

    def quorum(self) -> dict[str, str]:
        """The properties that name the controllers."""
        if self.voters:
            return {"controller.quorum.voters": self.voters}
        return {"controller.quorum.bootstrap.servers": f"127.0.0.1:{self.controller_port}"}

    def format_options(self) -> list[str]:
        """What the tool that prepares the storage must be told besides."""
        return [] if self.voters else ["--standalone"]


class ApacheKafka:
    """One node, broker and controller in one process, in a directory that disappears with it.

    `properties` adds to or replaces entries of server.properties.
    """

    def __init__(
        self, properties: Mapping[str, str] | None = None, *, heap_mb: int = 512, seat: Seat | None = None
    ) -> None:
        self._seat = seat
        self._extra = dict(properties or {})
        self._heap_mb = heap_mb
        self._port = 0
        self._dir: Path | None = None
        self._process: BoundProcess | None = None

    @property
    def bootstrap(self) -> str:
        if self._dir is None:
            raise RuntimeError("Apache Kafka has not been started")
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of the Java process."""
        return self._running().pid

    @property
    def log(self) -> str:
        """The last lines the server wrote (warnings and errors)."""
        return log_tail(self._root() / "server.log", 20_000)

    def start(self) -> Self:
        """Format the storage, start, wait until it answers; raises KafkaNotAvailable or BrokerUnavailable."""
        if self._dir is not None:
            raise RuntimeError("Apache Kafka is already started")
        jars = kafka_jars()
        self._dir = Path(tempfile.mkdtemp(prefix="streams-kafka-"))
        try:
            seat = self._seat or Seat.alone()
            self._port = seat.port
            self._write_properties(seat)
            run_java(jars, self._dir, "kafka.tools.StorageTool", "format", *seat.format_options(), "-t", _CLUSTER_ID,
                     "-c", str(self._dir / "server.properties"))  # fmt: skip
            self.launch()
            if not seat.voters:
                self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self.end()
        if self._dir is not None:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None

    def kill(self) -> None:
        self._running().kill()
        self._process = None

    def end(self) -> None:
        """Orderly end of the process; its data stay."""
        if self._process is not None:
            self._process.stop(_STOP_TIMEOUT_S)
            self._process = None

    def restart(self) -> None:
        self.end()
        self.launch()
        self.wait_until_ready()

    def pause(self) -> None:
        self._running().signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, without waiting until it answers."""
        self._running().signal(signal.SIGCONT)

    def resume(self) -> None:
        self.thaw()
        self.wait_until_ready()

    def launch(self) -> None:
        """Start the process on the data there are, without waiting until it answers."""
        root = self._root()
        heap = (f"-Xmx{self._heap_mb}m", f"-Xms{self._heap_mb}m", f"-Xmn{int(_YOUNG * self._heap_mb)}m")
        argv = [*java(kafka_jars(), *heap), "kafka.Kafka", str(root / "server.properties")]
        self._process = BoundProcess(argv, cwd=root, log=root / "server.log", scratch=root)

    def wait_until_ready(self) -> None:
        """Return when the node answers; raises BrokerUnavailable."""
        wait_until_ready(self._running(), self.bootstrap, self._root() / "server.log", START_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _root(self) -> Path:
        if self._dir is None:
            raise RuntimeError("Apache Kafka has not been started")
        return self._dir

    def _running(self) -> BoundProcess:
        if self._process is None:
            raise RuntimeError("Apache Kafka is not running")
        return self._process

    def _write_properties(self, seat: Seat) -> None:
        root = self._root()
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(seat.node),
            **seat.quorum(),
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{seat.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self._port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(root / "data"),
            "auto.create.topics.enable": "false",
            # A killed node may register again only when its old session is over (9 s by default).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # Index files of 10 MiB, mapped for each new segment, cost tens of milliseconds at the first touch.
            "log.index.size.max.bytes": "65536",
            # One node cannot hold more replicas, and few partitions make the first join quick.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "4",
            **self._extra,
        }
        text = "".join(f"{key}={value}\n" for key, value in properties.items())
        (root / "server.properties").write_text(text, encoding="utf-8")
