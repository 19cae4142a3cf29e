"""Settings turned into the plain values that the engine and the agents take. Pure; nothing is contacted.

Rules:

1. What a key means is said in :mod:`streams.settings.model`; here it only changes its shape.
2. A key that would not be obeyed, and on which somebody may rely for safety, is refused at start (`check_supported`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from email.utils import parseaddr
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from streams.agents.dispatch import DispatchConfig, LaneConfig
from streams.agents.intake import Door, IntakeConfig
from streams.attachments import FetcherConfig
from streams.core.address import address_fault
from streams.core.breaker import BreakerPolicy
from streams.core.limits import RecipientLimit
from streams.core.message import Mailbox, Stream
from streams.core.request import Retention
from streams.core.retry import RetryKind, RetryPolicy
from streams.core.routing import RouteRule
from streams.core.staging import Staging, staging_of
from streams.core.suppression import SuppressionPolicy
from streams.core.tenant import Tenant
from streams.core.warm_up import WarmUp
from streams.engine import EngineSettings, TopicSpec
from streams.providers.base import Provider
from streams.providers.registry import short, types
from streams.settings import (
    Excess,
    KafkaSettings,
    Profile,
    ProviderSettings,
    RetrySettings,
    RoutingRule,
    Settings,
    SettingsError,
    Store,
    TenantSettings,
    aiokafka_options,
    librdkafka_options,
)
from streams.settings.validate import warm_up_day
from streams.tables import TABLES
from streams.topics import SEND_REQUESTS, SEND_REQUESTS_BULK, Topics

_DAY_MS = 86_400_000

MAX_RECORD_BYTES = 26_000_000
"""Largest record that is written; just below what the topics allow (``max.message.bytes`` in :mod:`streams.topics`)."""


def check_supported(settings: Settings) -> None:
    """Raise SettingsError for the first setting that this version would not obey: better no start than a false
    sense.
    """
    if settings.worker.store is Store.ROCKSDB and find_spec("rocksdict") is None:
        raise SettingsError(
            "[worker] store = \"rocksdb\" needs the extra `rocksdb`: pip install 'streams-mail[rocksdb]'"
        )


def topics_of(settings: Settings) -> Topics:
    """Names and lifetimes under the configured prefix; one more for each provider type from elsewhere, and each door
    of its own.
    """
    ours = types()
    others = {short(provider.type) for provider in settings.providers.values() if provider.type not in ours}
    doors = {door.topic for door in settings.doors.values()} - {SEND_REQUESTS, SEND_REQUESTS_BULK}
    return Topics(settings.kafka.prefix, settings.kafka.ledger_days, tuple(sorted(others)), tuple(sorted(doors)))


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Every topic of the deployment as it must be, the tables' changelogs excepted."""
    kafka = settings.kafka
    safety = {"min.insync.replicas": str(kafka.min_insync_replicas)} if kafka.profile is Profile.KAFKA else {}
    return [
        TopicSpec(spec.name, kafka.partitions if spec.keyed else 1, kafka.replication_factor, {**spec.config, **safety})
        for spec in topics_of(settings).specs()
    ]


def changelog_topic(kafka: KafkaSettings, table: str) -> str:
    """Where the rows of a table can be read by anybody."""
    return f"{kafka.prefix}{kafka.group}-{table}-changelog"


def changelog_specs(settings: Settings) -> list[TopicSpec]:
    """The tables' changelogs as the engine would create them."""
    kafka, engine = settings.kafka, engine_settings(settings)
    config = {**engine.changelog_config, "cleanup.policy": "compact"}
    names = [changelog_topic(kafka, table.name) for table in TABLES]
    return [TopicSpec(name, kafka.partitions, kafka.replication_factor, config) for name in names]


def engine_security(settings: Settings) -> dict[str, Any]:
    """How the engine's clients log in; aiokafka's names."""
    options = aiokafka_options(settings.kafka)
    return {name: value for name, value in options.items() if name not in ("bootstrap_servers", "client_id")}


def engine_settings(settings: Settings) -> EngineSettings:
    """The engine of one worker."""
    kafka, worker = settings.kafka, settings.worker
    common: dict[str, Any] = {
        "topic_prefix": kafka.prefix,
        "security": engine_security(settings),
        "reader": librdkafka_options(kafka),
        "chunk": worker.chunk,
        "max_units": worker.max_in_flight,
        "linger_s": worker.linger_ms / 1000,
        "max_record_bytes": MAX_RECORD_BYTES,
        "commit_interval_s": worker.commit_interval_s,
        "stall_timeout_s": worker.stall_timeout_s,
        "shutdown_timeout_s": worker.shutdown_timeout_s,
        "store_url": "rocksdb://" if worker.store is Store.ROCKSDB else "memory://",
        "data_dir": Path(worker.data_dir),
        "replication_factor": kafka.replication_factor,
    }
    if kafka.profile is Profile.EMBEDDED:
        return EngineSettings.for_embedded(kafka.bootstrap, kafka.group, **common)
    safety = {"min.insync.replicas": str(kafka.min_insync_replicas)}
    return EngineSettings(
        bootstrap=kafka.bootstrap,
        app_id=kafka.group,
        session_timeout_s=worker.session_timeout_s,
        heartbeat_interval_s=min(3.0, worker.session_timeout_s / 4),
        changelog_config=safety,
        **common,
    )


def intake_config(settings: Settings) -> IntakeConfig:
    """Limits of intake; requests near the end of the ledger's memory are not taken."""
    kafka = settings.kafka
    ledger_ms = int(kafka.ledger_days * _DAY_MS)
    return IntakeConfig(
        topics=topics_of(settings),
        partitions=kafka.partitions,
        secret=kafka.address_secret.reveal().encode() if kafka.address_secret else b"",
        retention=Retention(ledger_ms, min(_DAY_MS, ledger_ms // 10)),
        max_inline_bytes=settings.dispatch.inline_content_bytes,
        doors={
            topics_of(settings).name(door.topic): Door(door.name, frozenset(door.tenants), door.bulk)
            for door in settings.doors.values()
        },
    )


def fetcher_config(settings: Settings) -> FetcherConfig:
    """How attachments by URL are fetched."""
    chosen = settings.attachments
    return FetcherConfig(
        max_bytes=chosen.max_bytes,
        deadline_s=chosen.deadline_s,
        allow_hosts=chosen.allow_hosts,
        s3_buckets=chosen.s3_buckets,
        s3_region=chosen.s3_region,
        s3_endpoint=chosen.s3_endpoint,
    )


def configured_tenants(settings: Settings) -> dict[str, Tenant]:
    """The tenants of the settings; records of the topic go over them."""
    return {name: _tenant(tenant) for name, tenant in settings.tenants.items()}


def dispatch_config(settings: Settings, adapters: Mapping[str, Provider], worker: str) -> DispatchConfig:
    """Lanes, routes, policies and limits. ``worker`` is unique among processes and their starts."""
    chosen = settings.dispatch
    enabled = tuple(name for name, provider in settings.providers.items() if provider.enabled)
    return DispatchConfig(
        partitions=settings.kafka.partitions,
        worker=worker,
        topics=topics_of(settings),
        lanes={name: _lane(settings.providers[name], adapters[name]) for name in enabled},
        warm_ups={name: plan for name in enabled if (plan := warm_up(settings.providers[name])) is not None},
        recipient_limit=_recipient_limit(settings),
        tenant_rate=settings.limits.tenant_rate,
        lends=chosen.lend_rates,
        rules=tuple(_rule(rule) for rule in settings.routing.rules),
        default_route=settings.routing.default or enabled,
        policies={name: retry_policy(entry) for name, entry in settings.retry.items()},
        default_policy=chosen.retry,
        batch_wait_ms={Stream.TRANSACTIONAL: 0, Stream.BULK: round(chosen.batch_wait_ms)},
        lease_margin_s=chosen.lease_margin_s,
        heartbeat_limit_s=chosen.heartbeat_max_age_s,
        uncertain_limit_s=chosen.uncertain_grace_s,
        sum_interval_s=settings.worker.outcome_interval_ms / 1000,
        handover_s=0.8 * engine_settings(settings).revoke_deadline_s,
    )


def suppression_policy(settings: Settings) -> SuppressionPolicy:
    """What reports of providers do to addresses."""
    chosen = settings.suppression
    return SuppressionPolicy(
        chosen.hard_bounces, chosen.complaints, chosen.unsubscribes, lasts_ms=int(chosen.expire_days * _DAY_MS)
    )


def staging(settings: Settings) -> Staging | None:
    """Who may be mailed from a test environment; None where everybody may."""
    return staging_of(settings.staging.allow, settings.staging.redirect)


def alert_sender(settings: Settings) -> Mailbox | None:
    """From whom alerts come; None where there are none."""
    name, address = parseaddr(settings.alerts.sender)
    return Mailbox(address, name) if address else None


def alert_fault(settings: Settings, tenant: Tenant) -> str:
    """Why a tenant with an alert address would be told nothing; empty if it would, or wants nothing."""
    if not tenant.alert_address:
        return ""
    if alert_sender(settings) is None:
        return "has an alert address, but [alerts] from is not set: nobody would be told"
    fault = address_fault(tenant.alert_address)
    return f"has an alert address that {fault}" if fault else ""


def retry_policy(entry: RetrySettings) -> RetryPolicy:
    """A named policy in dispatch's terms."""
    kind = RetryKind(entry.kind.value)
    return RetryPolicy(
        kind,
        max_tries=entry.attempts,
        base_s=entry.base_s,
        cap_s=entry.cap_s,
        unit_s=entry.unit_s,
        factor=entry.factor,
        answers_final=kind in (RetryKind.CUBED, RetryKind.EXPONENTIAL) and not entry.soft_only,
    )


def breaker_policy(settings: Settings) -> BreakerPolicy:
    """When a provider is given a rest, and how it comes back."""
    breaker = settings.breaker
    return BreakerPolicy(
        window_s=breaker.window_s,
        min_requests=breaker.min_requests,
        failure_ratio=breaker.failure_ratio,
        consecutive=breaker.consecutive,
        open_s=breaker.open_s,
        max_open_s=breaker.max_open_s,
        probe_lease_s=breaker.probe_lease_s,
        ramp_s=breaker.ramp_s,
    )


def warm_up(provider: ProviderSettings) -> WarmUp | None:
    """The plan by which an account becomes known, if there is one."""
    if not provider.warm_up_start:
        return None
    start = warm_up_day(provider.warm_up_start)
    if start is None:
        raise SettingsError(f"warm_up_start must be a day such as 2026-11-01, not {provider.warm_up_start!r}")
    return WarmUp(
        start, provider.warm_up_first, provider.warm_up_growth, provider.warm_up_days, provider.warm_up_overflow
    )


def lane_config(provider: ProviderSettings, most: int, visibility_delay_s: float) -> LaneConfig:
    """Limits of an account; ``most`` is how many recipients one call may have."""
    return LaneConfig(
        rate=provider.rate,
        burst=provider.burst or provider.rate,
        concurrency=provider.concurrency,
        batch_size=min(provider.batch_size or most, most),
        deadline_s=provider.deadline_s,
        visibility_delay_s=visibility_delay_s,
    )


def _lane(provider: ProviderSettings, adapter: Provider) -> LaneConfig:
    lane = lane_config(provider, adapter.limits.max_recipients, adapter.visibility_delay_s)
    ahead_s = getattr(adapter, "schedules_ahead_s", 0.0)  # of those that can keep messages
    return replace(lane, ahead_s=ahead_s) if ahead_s else lane


def _recipient_limit(settings: Settings) -> RecipientLimit | None:
    limits = settings.limits
    if not limits.recipient_messages:
        return None
    streams = frozenset(limits.recipient_streams)
    reject = limits.recipient_excess is Excess.REJECT
    return RecipientLimit(limits.recipient_messages, limits.recipient_window_s, streams, reject)


def _tenant(tenant: TenantSettings) -> Tenant:
    name, address = parseaddr(tenant.sender)
    return Tenant(
        tenant=tenant.name,
        sender=Mailbox(address, name) if address else None,
        accounts=dict(tenant.accounts),
        retry_policy=tenant.retry,
        alert_address=tenant.alert,
        rate=tenant.rate,
        events_topic=tenant.events_topic,
    )


def _rule(rule: RoutingRule) -> RouteRule:
    return RouteRule(
        providers=rule.providers,
        weights=rule.weights,
        tenant=rule.tenant,
        stream=rule.stream,
        domain=rule.domain,
        tag=rule.tag,
    )
