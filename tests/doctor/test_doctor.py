"""Each likely mistake is made for real, found, and met with advice; a sound deployment is called sound."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from streams.doctor import Finding, as_lines, diagnose, diagnose_file, run_doctor
from streams.ingress import running
from streams.sandbox.config import AccessCheck, SandboxConfig, SesConfig
from streams.sandbox.faults import Fault, Kind
from streams.sandbox.server import Sandbox
from streams.settings import (
    IngressSettings,
    KafkaSettings,
    Profile,
    ProviderSettings,
    Settings,
    StagingSettings,
    WorkerSettings,
    load_settings,
)
from streams.topics import Topics
from tests.brokers import ApacheKafka, KafkaServer

ENV = {
    "MAILGUN": "key-sandbox",
    "SIGNING": "signing-key-sandbox",
    "ACCESS": "AKIASANDBOX000000000",
    "SECRET": "sandbox-secret",
    "WRONG": "wrong",
}
ARN = "arn:aws:sns:us-east-1:111122223333:ses-events"

Start = Callable[..., AbstractAsyncContextManager[Sandbox]]


@pytest.fixture
def sandbox(tmp_path: Path) -> Start:
    @contextlib.asynccontextmanager
    async def start(**ses: Any) -> AsyncIterator[Sandbox]:
        config = SesConfig(check=AccessCheck.SIGNATURE, **ses)
        running_sandbox = Sandbox(SandboxConfig(tmp_path / "ledger", ses=config))
        await running_sandbox.start()
        try:
            yield running_sandbox
        finally:
            await running_sandbox.stop()

    return start


def providers(url: str, mailgun: Mapping[str, Any] | None = None, ses: Mapping[str, Any] | None = None) -> Any:
    """Both providers, set up right except for what is given."""
    of_mailgun = {
        "domain": "mg.example.com",
        "api_key": "env:MAILGUN",
        "signing_keys": ["env:SIGNING"],
        "base_url": url,
    }
    of_ses = {
        "region": "us-east-1",
        "configuration_set": "streams",
        "access_key_id": "env:ACCESS",
        "secret_access_key": "env:SECRET",
        "topic_arns": [ARN],
        "endpoint_url": url,
        "sqs_endpoint_url": url,
    }
    return {
        "mailgun": ProviderSettings("mailgun", "mailgun", options={**of_mailgun, **(mailgun or {})}),
        "ses": ProviderSettings("ses", "ses", options={**of_ses, **(ses or {})}),
    }


def create(kafka: KafkaSettings, but: str = "", changed: Mapping[str, str] | None = None, partitions: int = 0) -> None:
    """All topics as they must be, except one: without ``changed`` and ``partitions`` it is left out."""
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap, "log_level": 0})
    topics = []
    for spec in Topics(kafka.prefix, kafka.ledger_days).specs():
        count = kafka.partitions if spec.keyed else 1
        config = {} if kafka.profile is Profile.EMBEDDED else dict(spec.config)
        if spec.name == kafka.prefix + but:
            if changed is None and not partitions:
                continue
            count, config = partitions or count, {**config, **(changed or {})}
        topics.append(NewTopic(spec.name, count, 1, config=config))
    for created in admin.create_topics(topics).values():
        created.result(30)
    names, deadline = {topic.topic for topic in topics}, time.monotonic() + 20
    while not names <= set(admin.list_topics(timeout=5).topics):  # a broker learns of them a moment later
        assert time.monotonic() < deadline
        time.sleep(0.02)


def embedded(bootstrap: str, prefix: str, tmp_path: Path, **more: Any) -> Settings:
    kafka = KafkaSettings(
        bootstrap, Profile.EMBEDDED, partitions=2, prefix=prefix, replication_factor=1, min_insync_replicas=1
    )
    defaults = {"ingress": IngressSettings(port=0), "worker": WorkerSettings(data_dir=str(tmp_path / "data"))}
    return Settings(kafka=kafka, **{**defaults, **more})


def wrong(findings: list[Finding]) -> dict[str, Finding]:
    """What is not well, by check; everything that is not well has advice."""
    assert all(bool(finding.advice) != finding.ok for finding in findings)
    return {finding.check: finding for finding in findings if not finding.ok}


async def look(settings: Settings, **more: Any) -> dict[str, Finding]:
    return wrong(await diagnose(settings, env=ENV, least_free_bytes=1, **more))


async def test_a_sound_deployment_is_called_sound(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, sandbox: Start
) -> None:
    async with sandbox() as running_sandbox:
        settings = embedded(embedded_kafka, topic_prefix, tmp_path, providers=providers(running_sandbox.url))
        create(settings.kafka)
        findings = await diagnose(settings, env=ENV, least_free_bytes=1)
    assert wrong(findings) == {}
    assert {
        "configuration",
        "kafka reachable",
        "topics exist",
        "partition counts",
        "mailgun credentials",
        "mailgun webhook key",
        "mailgun events",
        "ses credentials",
        "ses account",
        "ses topics",
        "clock",
        "ingress port",
        "data directory",
    } == {finding.check for finding in findings}
    assert not any(secret in as_lines(findings) for secret in ENV.values())
    assert as_lines(findings).endswith("all is well\n")
    assert not (tmp_path / "data").exists()


async def test_a_missing_file_and_a_misspelt_key_are_found(tmp_path: Path) -> None:
    (finding,) = await diagnose_file(tmp_path / "nowhere.toml", {})
    assert "cannot be read" in finding.detail
    file = tmp_path / "streams.toml"
    file.write_text('[kafka]\nbootstrp = "x:1"\n')
    (finding,) = await diagnose_file(file, {})
    assert not finding.ok
    assert "did you mean bootstrap?" in finding.detail


async def test_a_provider_option_that_is_wrong_is_found(embedded_kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    adapters = {"mailgun": ProviderSettings("mailgun", "mailgun", options={"domain": "mg.example.com"})}
    found = await look(embedded(embedded_kafka, topic_prefix, tmp_path, providers=adapters))
    assert "[providers.mailgun] api_key is missing" in found["configuration"].detail


async def test_no_provider_at_all_is_found(embedded_kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    assert "providers" in await look(embedded(embedded_kafka, topic_prefix, tmp_path))


async def test_an_unreachable_kafka_is_found(unused_port: int, tmp_path: Path) -> None:
    found = await look(embedded(f"127.0.0.1:{unused_port}", "", tmp_path))
    assert f"no answer from 127.0.0.1:{unused_port}" in found["kafka reachable"].detail
    assert "topics exist" not in found


async def test_a_missing_topic_is_found(embedded_kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = embedded(embedded_kafka, topic_prefix, tmp_path)
    create(settings.kafka, but="receipts")
    assert (await look(settings))["topics exist"].detail == f"1 missing: {topic_prefix}receipts"


async def test_a_wrong_partition_count_is_found(embedded_kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = embedded(embedded_kafka, topic_prefix, tmp_path)
    create(settings.kafka, but="outbound", partitions=3)
    assert f"{topic_prefix}outbound has 3" in (await look(settings))["partition counts"].detail


@pytest.mark.parametrize(
    ("mailgun", "check", "detail"),
    [
        pytest.param({"api_key": "env:WRONG"}, "mailgun credentials", "refuses the key (401)", id="wrong key"),
        pytest.param({"domain": "other.example.com"}, "mailgun credentials", "there is no domain", id="wrong domain"),
        pytest.param({"signing_keys": []}, "mailgun webhook key", "no signing key", id="no signing key"),
        pytest.param({"api_key": "env:WRONG"}, "mailgun events", "cannot be read (401", id="a key that may not read"),
        pytest.param({"test_mode": True}, "mailgun test mode", "delivers none", id="test mode"),
    ],
)
async def test_what_mailgun_would_refuse_is_found(
    embedded_kafka: str,
    topic_prefix: str,
    tmp_path: Path,
    sandbox: Start,
    mailgun: Mapping[str, Any],
    check: str,
    detail: str,
) -> None:
    async with sandbox() as running_sandbox:
        adapters = providers(running_sandbox.url, mailgun=mailgun)
        found = await look(embedded(embedded_kafka, topic_prefix, tmp_path, providers=adapters))
    assert detail in found[check].detail
    assert "ses credentials" not in found


@pytest.mark.parametrize(
    ("ses", "check", "detail"),
    [
        pytest.param({"secret_access_key": "env:WRONG"}, "ses credentials", "refuses them (403)", id="wrong secret"),
        pytest.param({"topic_arns": []}, "ses topics", "no SNS topic is allowed", id="no topic"),
        pytest.param({"topic_arns": ["ses-events"]}, "ses topics", "not an SNS topic ARN: ses-events", id="bad topic"),
        pytest.param({"configuration_set": ""}, "ses events", "publishes no events", id="no configuration set"),
        pytest.param(
            {"configuration_set": "", "configuration_sets": {"bulk": "news"}},
            "ses events",
            "publishes no events",
            id="one stream without a configuration set",
        ),
        pytest.param(
            {"sqs_queue_url": "http://127.0.0.1:1/111122223333/none"}, "ses queue", "NonExistentQueue", id="no queue"
        ),
    ],
)
async def test_what_ses_would_refuse_is_found(
    embedded_kafka: str,
    topic_prefix: str,
    tmp_path: Path,
    sandbox: Start,
    ses: Mapping[str, Any],
    check: str,
    detail: str,
) -> None:
    async with sandbox() as running_sandbox:
        adapters = providers(running_sandbox.url, ses=ses)
        found = await look(embedded(embedded_kafka, topic_prefix, tmp_path, providers=adapters))
    assert detail in found[check].detail
    assert "mailgun credentials" not in found


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        (Kind.UNVERIFIED, "sandbox mode"),
        (Kind.PAUSED, "sending is paused"),
        (Kind.SUSPENDED, "(enforcement status SHUT"),
    ],
)
async def test_an_ses_account_that_may_not_send_is_found(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, sandbox: Start, kind: Kind, detail: str
) -> None:
    async with sandbox() as running_sandbox:
        running_sandbox.faults.add(Fault(kind=kind, provider="ses", scope="any"))
        settings = embedded(embedded_kafka, topic_prefix, tmp_path, providers=providers(running_sandbox.url))
        assert detail in (await look(settings))["ses account"].detail


async def test_a_provider_that_does_not_answer_is_found(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, unused_port: int
) -> None:
    adapters = providers(f"http://127.0.0.1:{unused_port}")
    found = await look(embedded(embedded_kafka, topic_prefix, tmp_path, providers=adapters))
    assert "no answer from" in found["mailgun credentials"].detail
    assert "no answer from" in found["ses credentials"].detail


@pytest.mark.parametrize(("skew_s", "way"), [(600, "ahead of"), (-600, "behind")])
async def test_a_clock_that_is_wrong_is_found(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, sandbox: Start, skew_s: int, way: str
) -> None:
    async with sandbox() as running_sandbox:
        settings = embedded(embedded_kafka, topic_prefix, tmp_path, providers=providers(running_sandbox.url))
        found = await look(settings, now_ms=lambda: time.time_ns() // 1_000_000 + skew_s * 1000)
    assert f"s {way}" in found["clock"].detail


async def test_a_taken_port_is_found_and_a_running_ingress_is_not_a_mistake(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, unused_port: int
) -> None:
    settings = embedded(embedded_kafka, topic_prefix, tmp_path, ingress=IngressSettings(port=unused_port))
    create(settings.kafka)
    async with running(settings, {}):
        assert "ingress port" not in await look(settings)
    with socket.create_server(("127.0.0.1", unused_port)):
        found = await look(settings)
    assert f"cannot listen on 127.0.0.1:{unused_port}" in found["ingress port"].detail


async def test_an_ingress_that_is_not_reached_from_outside_is_found(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, unused_port: int
) -> None:
    ingress = IngressSettings(port=unused_port, public_url=f"http://127.0.0.1:{unused_port}/")
    settings = embedded(embedded_kafka, topic_prefix, tmp_path, ingress=ingress)
    assert "does not answer" in (await look(settings))["ingress reachable"].detail
    async with running(settings, {}):
        assert "ingress reachable" not in await look(settings)


async def test_a_data_directory_that_cannot_be_written_is_found(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    for place in ("/proc/streams", "/sys/streams"):
        worker = WorkerSettings(data_dir=place)
        found = await look(embedded(embedded_kafka, topic_prefix, tmp_path, worker=worker))
        assert "is not writable" in found["data directory"].detail


async def test_a_disk_with_too_little_room_is_found(embedded_kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    settings = embedded(embedded_kafka, topic_prefix, tmp_path)
    found = wrong(await diagnose(settings, env=ENV, least_free_bytes=2**60))
    assert "GiB free" in found["data directory"].detail


def test_the_command_prints_findings_and_says_by_its_code_whether_all_is_well(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = embedded(embedded_kafka, topic_prefix, tmp_path, staging=StagingSettings())
    assert run_doctor(settings, as_json=True, env=ENV) == 1
    findings = json.loads(capsys.readouterr().out)
    assert {"check", "ok", "detail", "advice"} == set(findings[0])
    assert run_doctor(settings, env=ENV) == 1
    assert "BAD  topics exist" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------- a real Kafka


def of_apache(server: KafkaServer, prefix: str, **more: Any) -> Settings:
    kafka = KafkaSettings(server.bootstrap, prefix=prefix, replication_factor=1, min_insync_replicas=1, partitions=2)
    return Settings(kafka=replace(kafka, **more), ingress=IngressSettings(port=0))


async def test_sound_topics_of_a_real_kafka_are_called_sound(apache_kafka: KafkaServer, topic_prefix: str) -> None:
    settings = of_apache(apache_kafka, topic_prefix)
    create(settings.kafka)
    found = await look(settings)
    assert set(found) <= {"providers", "automatic topics"}


@pytest.mark.parametrize(
    ("topic", "changed", "check"),
    [
        pytest.param("breakers", {"cleanup.policy": "delete"}, "cleanup policy", id="compacted topic that deletes"),
        pytest.param("outbound", {"cleanup.policy": "compact"}, "cleanup policy", id="log that is compacted"),
        pytest.param("contents", {"retention.ms": "3600000"}, "retention", id="retention too short"),
        pytest.param("outbound", {"max.message.bytes": "1000"}, "record size", id="records too small"),
    ],
)
async def test_a_topic_configured_otherwise_is_found(
    apache_kafka: KafkaServer, topic_prefix: str, topic: str, changed: Mapping[str, str], check: str
) -> None:
    settings = of_apache(apache_kafka, topic_prefix)
    create(settings.kafka, but=topic, changed=changed)
    assert f"{topic_prefix}{topic}" in (await look(settings))[check].detail


async def test_too_few_replicas_are_found(apache_kafka: KafkaServer, topic_prefix: str) -> None:
    settings = of_apache(apache_kafka, topic_prefix, replication_factor=3, min_insync_replicas=2)
    create(settings.kafka)
    found = await look(settings)
    assert "replication_factor is 3, but there are 1 broker(s)" in found["replication"].detail
    assert "fewer than 2" in found["in-sync replicas"].detail


async def test_a_topic_changed_behind_our_back_is_found(apache_kafka: KafkaServer, topic_prefix: str) -> None:
    settings = of_apache(apache_kafka, topic_prefix)
    create(settings.kafka)
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, f"{topic_prefix}receipts", incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap, "log_level": 0})
    for altered in admin.incremental_alter_configs([resource]).values():
        altered.result(15)
    found: dict[str, Finding] = {}
    async with asyncio.timeout(30):
        while "retention" not in found:  # a broker learns of it a moment later
            found = await look(settings)
    assert f"{topic_prefix}receipts" in found["retention"].detail


@pytest.mark.kafka
@pytest.mark.timeout(120)
async def test_brokers_that_create_topics_by_themselves_are_found(topic_prefix: str) -> None:
    with ApacheKafka({"auto.create.topics.enable": "true"}) as server:
        found = await look(of_apache(server, topic_prefix))
    assert "automatic topics" in found


def test_the_example_can_be_diagnosed() -> None:
    """It names a Kafka that is not there: found, not a crash."""
    example = Path(__file__).parent.parent.parent / "streams.example.toml"
    env = {
        "MAILGUN_API_KEY": "k",
        "MAILGUN_SIGNING_KEY": "s",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "STREAMS_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "STREAMS_PROVIDERS__MAILGUN__BASE_URL": "http://127.0.0.1:1",
        "STREAMS_PROVIDERS__SES__ENDPOINT_URL": "http://127.0.0.1:1",
    }
    assert run_doctor(load_settings(example, env), env=env) == 1
