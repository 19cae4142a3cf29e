"""`streams demo` as a person runs it: green, exact, and quick; and red when something is not as it must be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import KafkaServer

ROOT = Path(__file__).parents[2]


def run_demo(folder: Path, *arguments: str, timeout_s: float = 110.0) -> tuple[int, dict[str, Any], str]:
    """Exit code, the report on the last line, and what was said beside it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")}
    done = subprocess.run(
        [sys.executable, "-m", "streams", "demo", "--json", *arguments],
        env=env | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    return done.returncode, json.loads(lines[-1]) if lines else {}, done.stderr


def check_report(report: dict[str, Any], messages: int) -> None:
    contract = {
        "requested", "messages", "events", "lost", "duplicated", "by_provider", "breakers", "wall_s", "messages_per_s",
    }  # fmt: skip
    assert set(report) == contract | {"ways_in", "transactional"}
    assert (report["lost"], report["duplicated"]) == (0, 0)
    assert report["messages"] == messages
    events = report["events"]
    assert events["message.sent"] == sum(report["by_provider"].values())
    assert set(report["by_provider"]) == {"mailgun", "ses", "smtp", "directmail"}
    assert report["breakers"]["mailgun"] == {"opened": 1, "closed": 1}
    for kind in ("delivered", "bounced", "deferred", "complained", "opened", "clicked", "unsubscribed", "suppressed"):
        assert events[f"message.{kind}"] > 0, kind
    assert set(report["ways_in"]) == {
        "Mailgun webhooks", "SNS over HTTP", "SNS over SQS", "MNS push", "MNS pull", "bounce mailbox",
        "links of our own",
    }  # fmt: skip
    assert all(report["ways_in"].values())
    latency = report["transactional"]
    assert min(latency["alone_ms"]["count"], latency["beside_campaign_ms"]["count"]) > 0
    assert not latency["broken"]


@pytest.mark.timeout(120)
def test_the_demo_ends_with_every_count_equal(tmp_path: Path) -> None:
    code, report, said = run_demo(tmp_path, "--messages", "300", "--seed", "7")
    assert code == 0, said
    check_report(report, 300)
    assert not list(tmp_path.glob("streams-demo-*")), "it left its directory behind"


@pytest.mark.kafka
@pytest.mark.timeout(150)
def test_the_demo_runs_on_a_kafka_that_is_given(tmp_path: Path, apache_kafka: KafkaServer) -> None:
    code, report, said = run_demo(tmp_path, "--messages", "300", "--bootstrap", apache_kafka.bootstrap, timeout_s=140)
    assert code == 0, said
    check_report(report, 300)


@pytest.mark.timeout(60)
def test_a_demo_without_its_kafka_fails_with_one_line_and_keeps_its_logs(tmp_path: Path, unused_port: int) -> None:
    code, report, said = run_demo(tmp_path, "--messages", "100", "--bootstrap", f"127.0.0.1:{unused_port}")
    assert (code, report) == (1, {})
    assert f"the demo failed: Kafka at 127.0.0.1:{unused_port} does not answer" in said
    assert "Traceback" not in said
    (folder,) = tmp_path.glob("streams-demo-*")
    assert f"logs are in {folder}" in said
    assert (folder / "topics.log").exists()
