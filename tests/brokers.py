"""Real Apache Kafka for tests, without Docker: Maven brings the jars, Java runs one KRaft node.

Three ways to a server, one interface (`KafkaServer`):

* `ApacheKafka`: a process of our own on loopback (the default; needs Java 17 and Maven).
* `ContainerKafka`: the official image through testcontainers, when `STREAMS_TEST_KAFKA=testcontainers`.
* `ExternalKafka`: any cluster named by `KAFKA_BOOTSTRAP_SERVERS`; faults cannot be injected there.

`python -m tests.brokers` starts one, prints its bootstrap address and runs until SIGINT or SIGTERM.
`python -m tests.brokers COMMAND…` runs a command beside it, `{bootstrap}` in its arguments replaced by the address,
and ends with the command's exit code.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from streams.broker import answers_metadata, free_port, wait_until_ready
from streams.processes import BoundProcess, log_tail

_HERE = Path(__file__).parent / "kafka"
_CACHE = Path(__file__).parent.parent / ".cache" / "kafka-libs"
_IMAGE = "apache/kafka:4.3.1"
_CLUSTER_ID = "c3RyZWFtcy10ZXN0cy0wMQ"
_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 20.0
_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseParallelGC", "-Xshare:auto")
"""Ready soon, rather than fast in an hour; short pauses."""
_YOUNG = 0.25
"""Share of the heap for what lives only as long as a request: a larger one means fewer pauses, but longer ones."""


class KafkaNotAvailable(RuntimeError):
    """No Kafka can be started on this machine; the message says what is missing."""


class FaultNotPossible(unittest.SkipTest):
    """The server is not ours to harm; a test that asks for it is skipped."""


class KafkaServer(Protocol):
    """A real Kafka and the faults that can be done to it. A method returns when its effect is complete."""

    @property
    def bootstrap(self) -> str:
        """`host:port[,host:port…]` for clients."""

    def stop(self) -> None:
        """Orderly end."""

    def kill(self) -> None:
        """SIGKILL: the process is gone, its data stay."""

    def restart(self) -> None:
        """Start again on the same data and port (after `kill`, or as a bounce), and wait until it answers."""

    def pause(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""

    def resume(self) -> None:
        """SIGCONT, and wait until it answers."""


class ApacheKafka:
    """One node, broker and controller in one process, in a directory that disappears with it.

    `properties` adds to or replaces entries of server.properties.
    """

    def __init__(self, properties: Mapping[str, str] | None = None, *, heap_mb: int = 512) -> None:
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
            self._port = free_port()
            self._write_properties(controller_port=free_port())
            _run_java(jars, self._dir, "kafka.tools.StorageTool", "format", "--standalone", "-t", _CLUSTER_ID,
                      "-c", str(self._dir / "server.properties"))  # fmt: skip
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop(_STOP_TIMEOUT_S)
            self._process = None
        if self._dir is not None:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None

    def kill(self) -> None:
        self._running().kill()
        self._process = None

    def restart(self) -> None:
        if self._process is not None:
            self._process.stop(_STOP_TIMEOUT_S)
            self._process = None
        self._launch()

    def pause(self) -> None:
        self._running().signal(signal.SIGSTOP)

    def resume(self) -> None:
        process = self._running()
        process.signal(signal.SIGCONT)
        wait_until_ready(process, self.bootstrap, self._root() / "server.log", _START_TIMEOUT_S)

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

    def _launch(self) -> None:
        root = self._root()
        log = root / "server.log"
        heap = (f"-Xmx{self._heap_mb}m", f"-Xms{self._heap_mb}m", f"-Xmn{int(_YOUNG * self._heap_mb)}m")
        argv = _java(kafka_jars(), *heap)
        argv += ["kafka.Kafka", str(root / "server.properties")]
        self._process = BoundProcess(argv, cwd=root, log=log, scratch=root)
        wait_until_ready(self._process, self.bootstrap, log, _START_TIMEOUT_S)

    def _write_properties(self, controller_port: int) -> None:
        root = self._root()
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.bootstrap.servers": f"127.0.0.1:{controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port},CONTROLLER://127.0.0.1:{controller_port}",
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
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not answers_metadata("127.0.0.1", self._port):
            if time.monotonic() > deadline:
                raise KafkaNotAvailable(f"{_IMAGE} did not answer within {_START_TIMEOUT_S:.0f} s")
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


def kafka_jars() -> Path:
    """The directory of the broker's jars, fetched once per content of the pom; raises KafkaNotAvailable."""
    pom = _HERE / "pom.xml"
    jars = _CACHE / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    done = jars / ".complete"
    if done.exists():
        return jars
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / ".lock").open("w") as lock:  # several test processes may want them at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _fetch_jars(pom, jars)
            done.touch()
    return jars


def _fetch_jars(pom: Path, jars: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaNotAvailable("Maven is not installed: apt-get install maven openjdk-17-jre-headless")
    argv = [maven, "-B", "-q", "-f", str(pom), "dependency:copy-dependencies"]
    argv += ["-DincludeScope=runtime", f"-DoutputDirectory={jars}"]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if result.returncode != 0:
        said = (result.stdout + result.stderr)[-2000:]
        raise KafkaNotAvailable(f"Maven could not fetch Apache Kafka: {said}")


def _java(jars: Path, *options: str) -> list[str]:
    java = shutil.which("java")
    if java is None:
        raise KafkaNotAvailable("Java is not installed: apt-get install openjdk-17-jre-headless")
    logging = f"-Dlog4j2.configurationFile={_HERE / 'log4j2.xml'}"
    return [java, *_JVM, *options, logging, "-cp", f"{jars}/*"]


def _run_java(jars: Path, cwd: Path, *arguments: str) -> None:
    argv = [*_java(jars, "-Xmx128m"), *arguments]
    result = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode != 0:
        raise KafkaNotAvailable(f"{arguments[0]} failed: {(result.stdout + result.stderr)[-2000:]}")


def main(command: Sequence[str] = ()) -> int:
    """Run a server until the command ends, or SIGINT or SIGTERM comes. Returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    server: KafkaServer | None = None
    try:
        server = start_kafka()
        if command:
            argv = [argument.replace("{bootstrap}", server.bootstrap) for argument in command]
            return subprocess.run(argv, check=False).returncode
        print(server.bootstrap, flush=True)
        while True:
            signal.pause()
    except KafkaNotAvailable as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        if server is not None:
            server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
