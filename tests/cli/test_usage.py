"""Wrong usage and wrong surroundings: one clear line, the right exit code, never a traceback."""

from __future__ import annotations

import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streams.cli.group import _COMMANDS
from tests.cli.conftest import Streams
from tests.fleet import ROOT


def test_help_names_every_command_and_imports_none_of_them(run_process: Streams) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = run_process("--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ran.code == 0
    assert all(f"  {name} " in ran.out for name in _COMMANDS)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.3  # seconds of work


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
@pytest.mark.parametrize(
    ("arguments", "full", "code"),
    [
        pytest.param(["--help"], "stderr", 0, id="done, the log full"),
        pytest.param(["nonsense"], "stderr", 2, id="wrong usage, the log full"),
        pytest.param(["--help"], "stdout", 1, id="the answer itself cannot be written"),
    ],
)
def test_a_full_disk_under_the_output_does_not_change_the_exit_code(arguments: list[str], full: str, code: int) -> None:
    with Path("/dev/full").open("wb") as disk:
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, full: disk}
        ran = subprocess.run([sys.executable, "-m", "streams", *arguments], cwd=ROOT, check=False, timeout=30, **output)
    assert ran.returncode == code


@pytest.mark.parametrize("name", sorted(set(_COMMANDS) - {"bench"}))
def test_every_command_explains_itself(run_streams: Streams, name: str) -> None:
    ran = run_streams(name, "--help")
    assert ran.code == 0, ran.err
    assert "Usage:" in ran.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["evens"], "did you mean events?", id="mistyped command"),
        pytest.param(["events", "--typ", "x"], "--typ", id="mistyped option"),
        pytest.param(["demo", "--messages", "3"], "3 is not in the range", id="too few messages"),
        pytest.param(["message", "xx"], "neither a message id nor an address", id="no id"),
        pytest.param(["events", "--message", "xx"], "not a message id", id="no message id"),
        pytest.param(["events", "--type", "opend"], "no event type message.opend", id="no such event"),
        pytest.param(["events", "--since", "yesterday"], "--since yesterday", id="no such time"),
        pytest.param(["retry"], "name message ids, or use --all", id="retry of nothing"),
        pytest.param(["cancel", "xx"], "not a message id", id="cancel of no id"),
        pytest.param(["breakers", "open"], "needs the name of a provider", id="no provider named"),
        pytest.param(["breakers", "open", "nobody"], "there is no provider nobody", id="unknown provider"),
        pytest.param(["pause", "stream", "fast"], "there is no stream fast", id="unknown stream"),
        pytest.param(["send"], "--to", id="no recipient"),
        pytest.param(["send", "--to", "a@x.org"], "nothing to send", id="no content"),
        pytest.param(["send", "--to", "nobody", "--text", "x"], "'nobody' is not an address", id="no address"),
        pytest.param(["send", "--to", "a@x.org", "--template", "t", "--data", "{"], "not JSON", id="broken data"),
        pytest.param(["send", "r.json", "--to", "a@x.org"], "does not go with request files", id="mixed forms"),
        pytest.param(["send", "missing.json"], "missing.json cannot be read", id="missing file"),
        pytest.param(["send", "--eml"], "--eml needs mail files", id="no mail file"),
        pytest.param(["templates", "put", "t", "--subject", "s"], "needs --text or --html", id="no part"),
    ],
)
def test_wrong_usage_is_told_in_one_line_with_code_2(
    run_streams: Streams, arguments: list[str], complaint: str
) -> None:
    ran = run_streams(*arguments, env={"STREAMS_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert ran.code == 2, ran.err
    assert complaint in ran.complaint


def test_a_wrong_key_in_the_configuration_is_named(run_process: Streams, tmp_path: Path) -> None:
    (tmp_path / "streams.toml").write_text('[kafka]\nbootstrap = "localhost:9092"\npartitons = 3\n')
    for command in ("worker", "ingress", "events"):
        ran = run_process(command)
        assert ran.code == 2
        assert "partitons" in ran.complaint


def test_a_wrong_provider_option_is_named(run_process: Streams, tmp_path: Path, embedded_kafka: str) -> None:
    text = f'[kafka]\nbootstrap = "{embedded_kafka}"\nprofile = "embedded"\n[providers.m]\ntype = "mailgun"\ndomian = "x"\n'
    (tmp_path / "streams.toml").write_text(text)
    for command in ("worker", "ingress"):
        ran = run_process(command)
        assert ran.code == 2, ran.err
        assert "domian" in ran.complaint


def test_an_unknown_provider_type_is_named(run_process: Streams, tmp_path: Path, embedded_kafka: str) -> None:
    text = f'[kafka]\nbootstrap = "{embedded_kafka}"\nprofile = "embedded"\n[providers.m]\ntype = "pigeon"\n'
    (tmp_path / "streams.toml").write_text(text)
    ran = run_process("worker")
    assert ran.code == 2, ran.err
    assert "pigeon" in ran.complaint


@pytest.mark.parametrize("command", [["worker"], ["ingress"], ["topics", "create"]])
def test_kafka_that_is_down_is_told_in_one_line(run_process: Streams, command: list[str], unused_port: int) -> None:
    ran = run_process(*command, env={"STREAMS_KAFKA_BOOTSTRAP": f"127.0.0.1:{unused_port}"})
    assert ran.code == 1
    assert f"127.0.0.1:{unused_port} does not answer" in ran.complaint


@pytest.mark.parametrize(
    ("command", "variable"), [("worker", "STREAMS_WORKER_PORT"), ("ingress", "STREAMS_INGRESS_PORT")]
)
def test_a_port_that_is_taken_is_told_in_one_line(
    run_process: Streams, embedded_kafka: str, command: str, variable: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        settings = {"STREAMS_KAFKA_BOOTSTRAP": embedded_kafka, "STREAMS_KAFKA_PROFILE": "embedded", variable: port}
        ran = run_process(command, env=settings)
    assert ran.code == 1
    assert port in ran.complaint
    assert variable in ran.complaint


def test_the_embedded_broker_on_a_taken_port_is_told_in_one_line(run_process: Streams, embedded_kafka: str) -> None:
    ran = run_process("broker", "--port", embedded_kafka.rpartition(":")[2])
    assert ran.code == 1
    assert "already in use" in ran.complaint


def test_the_log_level_is_one_that_exists(run_streams: Streams, embedded_kafka: str) -> None:
    ran = run_streams("worker", env={"STREAMS_KAFKA_BOOTSTRAP": embedded_kafka, "STREAMS_LOG": "loud"})
    assert (ran.code, ran.err) == (
        2,
        "streams: STREAMS_LOG=loud is no level; take one of DEBUG, INFO, WARNING, ERROR, CRITICAL\n",
    )


def test_without_any_configuration_the_missing_file_is_named(run_streams: Streams) -> None:
    ran = run_streams("events")
    assert ran.code == 2
    assert ran.complaint.startswith("streams: there is no streams.toml here: [kafka] bootstrap is missing")
