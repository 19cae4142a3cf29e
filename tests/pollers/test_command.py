"""``streams poll``: what it says, what it leaves in Kafka, its pages, and how it ends."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from streams.kafka import KafkaClient, Record
from streams.processes import BoundProcess
from tests.cli.conftest import (  # noqa: F401 - fixtures
    Streams,
    kafka_settings,
    on_kafka,
    run_streams,
    without_settings,
)
from tests.fleet import ROOT
from tests.pollers.conftest import REGION, Aws

BOUNCE = (Path(__file__).parent.parent / "payloads" / "ses" / "bounce.json").read_text()
SECRETS = {"T_KEY": "test", "T_SECRET": "test"}


def configured(aws: Aws, **more: object) -> dict[str, str]:
    """Environment with one SES provider that has the queue."""
    options = {
        "type": "ses",
        "region": REGION,
        "access_key_id": "env:T_KEY",
        "secret_access_key": "env:T_SECRET",
        "topic_arns": aws.topic_arn,
        "sqs_queue_url": aws.queue_url,
        "sqs_endpoint_url": aws.url,
        "sqs_wait_s": 0,
        **more,
    }
    return {**SECRETS, **{f"STREAMS_PROVIDERS__SES__{name.upper()}": str(value) for name, value in options.items()}}


def stored(bootstrap: str, prefix: str) -> list[Record]:
    return list(KafkaClient(bootstrap, {"bootstrap.servers": bootstrap}).read(f"{prefix}webhooks.ses"))


def test_without_anything_to_poll_it_says_what_to_set(run_streams: Streams) -> None:  # noqa: F811
    ran = run_streams("poll", env={"STREAMS_KAFKA_BOOTSTRAP": "127.0.0.1:1"})
    assert ran.code == 2
    assert "sqs_queue_url" in ran.complaint


def test_a_name_that_is_none_is_told_with_those_that_are(run_streams: Streams, aws: Aws) -> None:  # noqa: F811
    ran = run_streams("poll", "mailgun", env={"STREAMS_KAFKA_BOOTSTRAP": "127.0.0.1:1", **configured(aws)})
    assert ran.code == 2
    assert ran.complaint == "streams: there is nothing to poll called mailgun; known are ses"


def test_once_stores_everything_deletes_it_and_says_how_much(
    on_kafka: Streams,  # noqa: F811
    aws: Aws,
    embedded_kafka: str,
    topic_prefix: str,
) -> None:
    aws.subscribe(raw=False)
    for _ in range(3):
        aws.sns.publish(TopicArn=aws.topic_arn, Message=BOUNCE)
    ran = on_kafka("poll", "ses", "--once", "--json", env=configured(aws))
    assert ran.code == 0, ran.err
    assert ran.json == {
        "polled": {
            "ses": {
                "topic": f"{topic_prefix}webhooks.ses",
                "polls": 2,
                "received": 3,
                "stored": 3,
                "errors": 0,
                "trouble": "",
            }
        }
    }
    records = stored(embedded_kafka, topic_prefix)
    assert len(records) == 3
    headers = dict(records[0].headers)
    assert (headers["provider"], headers["account"], headers["verified"]) == (b"ses", b"", b"sqs")
    assert json.loads(json.loads(records[0].value)["Message"])["eventType"] == "Bounce"
    assert aws.left() == (0, 0)


def test_once_fails_when_the_queue_cannot_be_read(on_kafka: Streams, aws: Aws) -> None:  # noqa: F811
    ran = on_kafka("poll", "--once", env=configured(aws, sqs_queue_url=f"{aws.url}/123456789012/none"))
    assert ran.code == 1
    assert "NonExistentQueue" in ran.out


def start(folder: Path, environment: dict[str, str]) -> BoundProcess:
    env = {**without_settings(), "PYTHONPATH": str(ROOT), **environment}
    arguments = [sys.executable, "-m", "streams", "poll", "--port", "0", "--json"]
    return BoundProcess(arguments, env=env, cwd=folder, log=folder / "poll.log")


def test_it_polls_until_sigterm_with_metrics_and_health_beside(
    on_kafka: Streams,  # noqa: F811
    kafka_settings: dict[str, str],  # noqa: F811
    aws: Aws,
    tmp_path: Path,
) -> None:
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=BOUNCE)
    process = start(tmp_path, {**kafka_settings, **configured(aws, sqs_wait_s=1)})
    try:
        until(lambda: '"url"' in log(tmp_path))
        url = re.search(r'"url":"([^"]+)"', log(tmp_path))
        assert url is not None
        until(lambda: 'streams_poll_messages_total{source="ses"} 1.0' in httpx.get(f"{url[1]}/metrics").text)
        assert httpx.get(f"{url[1]}/health/ready").status_code == 200
        assert httpx.get(f"{url[1]}/health/live").status_code == 200
        until(lambda: aws.left() == (0, 0))
    finally:
        code = process.stop(grace_s=15)
    assert code == 0, log(tmp_path)
    assert json.loads(log(tmp_path).strip().splitlines()[-1])["polled"]["ses"]["stored"] == 1


def test_a_queue_that_cannot_be_read_makes_it_unready_and_is_told_once(
    on_kafka: Streams,  # noqa: F811
    kafka_settings: dict[str, str],  # noqa: F811
    aws: Aws,
    tmp_path: Path,
) -> None:
    missing = configured(aws, sqs_queue_url=f"{aws.url}/123456789012/none")
    process = start(tmp_path, {**kafka_settings, **missing})
    try:
        until(lambda: "cannot be read" in log(tmp_path))
        url = re.search(r'"url":"([^"]+)"', log(tmp_path))
        assert url is not None
        until(lambda: errors(url[1]) >= 3)
        assert httpx.get(f"{url[1]}/health/ready").status_code == 503
        assert httpx.get(f"{url[1]}/health/live").status_code == 200
    finally:
        assert process.stop(grace_s=15) == 0
    assert log(tmp_path).count("cannot be read") == 2  # once in the log, once in the summary


def errors(url: str) -> float:
    found = re.search(r'streams_polls_total\{result="error",source="ses"\} (\S+)', httpx.get(f"{url}/metrics").text)
    return float(found[1]) if found else 0.0


def log(folder: Path) -> str:
    path = folder / "poll.log"
    return path.read_text() if path.exists() else ""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
