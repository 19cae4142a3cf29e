"""Running the command in a process of its own, as a person does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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


@pytest.fixture
def run_streams(tmp_path: Path) -> Streams:
    """`run_streams("topics", "create", env={…}, input=b"…")`, in an empty directory without our settings."""

    def run(*arguments: str, env: Mapping[str, str] | None = None, stdin: bytes = b"", timeout_s: float = 30.0) -> Ran:
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")}
        done = subprocess.run(
            [sys.executable, "-m", "streams", *arguments],
            env=own | {"PYTHONPATH": str(ROOT)} | dict(env or {}),
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def on_kafka(run_streams: Streams, embedded_kafka: str, topic_prefix: str) -> Streams:
    """The command on the embedded broker, under topic names of the test's own, which exist already."""
    settings = {
        "STREAMS_KAFKA_BOOTSTRAP": embedded_kafka,
        "STREAMS_KAFKA_PROFILE": "embedded",
        "STREAMS_KAFKA_PREFIX": topic_prefix,
        "STREAMS_KAFKA_GROUP": f"{topic_prefix}streams",
    }

    def run(*arguments: str, env: Mapping[str, str] | None = None, **options: Any) -> Ran:
        return run_streams(*arguments, env=settings | dict(env or {}), **options)

    created = run("topics", "create")
    assert created.code == 0, created.err
    return run
