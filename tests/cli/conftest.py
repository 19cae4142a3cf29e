"""Running the command: in this process, which is quick, or in one of its own, as a person does."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from streams.cli import main
from streams.configured import topic_specs
from streams.engine import ensure_topics
from streams.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on standard error of a command that failed."""
        assert "Traceback" not in self.err, self.err
        lines = self.err.strip().splitlines()
        assert lines, "it failed without a word"
        assert lines[-1].startswith("streams: "), self.err
        return lines[-1]


Streams = Callable[..., Ran]
"""`run("topics", "create", env={…}, stdin=b"…")`, in an empty directory without settings of ours."""


def without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")}


@pytest.fixture
def run_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Streams:
    """In this process. Not for commands that stay."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with ExitStack() as stack, monkeypatch.context() as patch:
            patch.setattr(os, "environ", without_settings() | dict(env or {}))
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            code = main(arguments)
        return Ran(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def run_process(tmp_path: Path) -> Streams:
    """In a process of its own."""

    def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"", timeout_s: float = 40.0) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "streams", *arguments],
            env=without_settings() | {"PYTHONPATH": str(ROOT)} | dict(env or {}),
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def kafka_settings(embedded_kafka: str, topic_prefix: str) -> dict[str, str]:
    """The embedded broker, under topic names of the test's own, as environment variables."""
    return {
        "STREAMS_KAFKA_BOOTSTRAP": embedded_kafka,
        "STREAMS_KAFKA_PROFILE": "embedded",
        "STREAMS_KAFKA_PREFIX": topic_prefix,
        "STREAMS_KAFKA_GROUP": f"{topic_prefix}streams",
    }


@pytest.fixture
def on_kafka(run_streams: Streams, kafka_settings: dict[str, str]) -> Streams:
    """The command in this process, on a broker where the topics exist already."""
    specs = topic_specs(load_settings(None, kafka_settings))
    assert asyncio.run(ensure_topics(kafka_settings["STREAMS_KAFKA_BOOTSTRAP"], specs)) == []

    def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"") -> Ran:
        return run_streams(*arguments, env=kafka_settings | dict(env or {}), stdin=stdin)

    return run
