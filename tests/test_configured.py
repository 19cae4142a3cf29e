"""Settings reach the engine and the agents: every key in its place."""

from __future__ import annotations

from typing import Any

import pytest

from streams.adapters import build_adapters
from streams.configured import (
    MAX_RECORD_BYTES,
    alert_sender,
    breaker_policy,
    check_supported,
    configured_tenants,
    dispatch_config,
    engine_settings,
    intake_config,
    retry_policy,
    staging,
    suppression_policy,
    topic_specs,
)
from streams.core.message import Mailbox, Stream
from streams.core.retry import RetryKind, delay_s
from streams.settings import Settings, SettingsError, load_settings

CONFIG = """
[kafka]
bootstrap = "localhost:9092"
partitions = 6
prefix = "test."
ledger_days = 10
[worker]
chunk = 100
session_timeout_s = 20
[providers.mg]
type = "mailgun"
domain = "mg.example.com"
api_key = "env:KEY"
rate = 50
batch_size = 1000
deadline_s = 7
visibility_delay_s = 60
[providers.old]
type = "mailgun"
domain = "old.example.com"
api_key = "env:KEY"
enabled = false
[[routing.rules]]
stream = "bulk"
providers = ["mg"]
weights = { mg = 1 }
[tenants.shop]
from = "Shop <shop@example.com>"
retry = "patient"
[retry.patient]
kind = "exponential"
attempts = 3
unit_s = 10
factor = 2
[breaker]
consecutive = 3
[dispatch]
batch_wait_ms = 7
heartbeat_max_age_s = 4
inline_content_bytes = 1000
"""


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return load(tmp_path)


def load(folder: Any, text: str = CONFIG) -> Settings:
    path = folder / "streams.toml"
    path.write_text(text)
    return load_settings(path, {"KEY": "secret"})


def test_every_topic_has_the_partitions_and_replicas_of_the_deployment(settings: Settings) -> None:
    specs = {spec.name: spec for spec in topic_specs(settings)}
    assert specs["test.outbound"].partitions == 6
    assert specs["test.breakers"].partitions == 1
    assert specs["test.contents"].config["min.insync.replicas"] == "2"
    assert int(specs["test.contents"].config["max.message.bytes"]) > MAX_RECORD_BYTES


def test_the_engine_gets_the_workers_settings(settings: Settings) -> None:
    engine = engine_settings(settings)
    assert (engine.bootstrap, engine.app_id, engine.topic_prefix) == ("localhost:9092", "streams", "test.")
    assert (engine.chunk, engine.session_timeout_s) == (100, 20)


def test_dispatch_gets_lanes_of_enabled_providers_only(settings: Settings) -> None:
    config = dispatch_config(settings, build_adapters(settings, {"KEY": "secret"}), "w1")
    assert set(config.lanes) == {"mg"}
    lane = config.lanes["mg"]
    assert (lane.rate, lane.batch_size, lane.deadline_s, lane.visibility_delay_s) == (50, 1000, 7, 60)
    assert config.default_route == ("mg",)
    assert config.rules[0].stream == "bulk"
    assert config.batch_wait_ms[Stream.BULK] == 7
    assert config.heartbeat_limit_s == 4
    assert config.handover_s < engine_settings(settings).revoke_deadline_s


def test_a_retry_policy_counts_in_its_own_unit(settings: Settings) -> None:
    policy = retry_policy(settings.retry["patient"])
    assert [delay_s(policy, tries, 0.0) for tries in (1, 2, 3)] == [20, 40, None]
    assert policy.answers_final
    assert retry_policy(settings.retry["backoff"]).kind is RetryKind.BACKOFF


def test_intake_breakers_and_tenants_get_theirs(settings: Settings) -> None:
    intake = intake_config(settings)
    assert (intake.partitions, intake.max_inline_bytes) == (6, 1000)
    assert intake.retention.ledger_ms == 10 * 86_400_000
    assert breaker_policy(settings).consecutive == 3
    tenant = configured_tenants(settings)["shop"]
    assert (tenant.sender, tenant.retry_policy) == (Mailbox("shop@example.com", "Shop"), "patient")


def test_a_provider_that_does_not_exist_is_named(tmp_path: Any) -> None:
    with pytest.raises(SettingsError, match="pigeon"):
        build_adapters(load(tmp_path, '[kafka]\nbootstrap = "x:1"\n[providers.p]\ntype = "pigeon"\n'))


@pytest.mark.parametrize(
    ("section", "named"),
    [
        ('[tenants.a]\nalert = "ops@example.com"', "[alerts] from is missing: [tenants.a] alert asks for mails"),
        ('[alerts]\nfrom = "nobody"', "[alerts] from must be one address"),
        ('[alerts]\nfrom = "a@example.com"\nprovider = "mgg"', "did you mean mg?"),
    ],
)
def test_alerts_that_could_not_be_sent_are_refused_at_start(tmp_path: Any, section: str, named: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, f"{CONFIG}\n{section}\n")
    assert named in str(caught.value)


def test_alerts_have_a_sender_where_one_is_configured(tmp_path: Any) -> None:
    settings = load(tmp_path, f'{CONFIG}\n[alerts]\nfrom = "Mail <a@example.com>"\n[tenants.a]\nalert = "ops@x.org"\n')
    assert alert_sender(settings) == Mailbox("a@example.com", "Mail")
    assert configured_tenants(settings)["a"].alert_address == "ops@x.org"
    assert alert_sender(load(tmp_path)) is None


def test_tables_on_disk_without_their_extra_are_refused_at_start(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(tmp_path, CONFIG.replace("[worker]", '[worker]\nstore = "rocksdb"'))
    check_supported(settings)
    monkeypatch.setattr("streams.configured.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"streams-mail\[rocksdb\]"):
        check_supported(settings)


def test_staging_and_suppression_are_obeyed(tmp_path: Any) -> None:
    settings = load(
        tmp_path,
        CONFIG + '\n[staging]\nallow = ["@ours.example"]\nredirect = "dev@ours.example"\n'
        "[suppression]\nhard_bounces = false\nexpire_days = 2",
    )
    check_supported(settings)
    policy, stage = suppression_policy(settings), staging(settings)
    assert (policy.bounces, policy.lasts_ms) == (False, 2 * 86_400_000)
    assert stage is not None
    assert stage.allows("Ann@OURS.example")
    assert stage.redirects("ann@customer.example")
    assert staging(load(tmp_path)) is None
