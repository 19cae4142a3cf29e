"""The parts of a comparison with providers' suppression lists, made from settings: for the worker and the command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from streams import configured
from streams.agents.ports import EnginePort, ReaderPort
from streams.agents.suppression_job import SuppressionJob, SyncObserver
from streams.configured import topics_of
from streams.kafka import KafkaClient
from streams.providers.base import Exchange, SyncsSuppressions
from streams.settings import KafkaSettings, Settings, SettingsError, librdkafka_options
from streams.tables import SUPPRESSIONS


def changelog_topic(kafka: KafkaSettings) -> str:
    """Where the rows of ``suppressions`` can be read by anybody."""
    return configured.changelog_topic(kafka, SUPPRESSIONS)


def rows_since(kafka: KafkaClient, settings: Settings, since_ms: int) -> Iterable[tuple[bytes, bytes | None]]:
    """Rows that changed since then, in their order; blocking."""
    for record in kafka.read(changelog_topic(settings.kafka), since_ms=since_ms):
        if record.key is not None:
            yield record.key, record.value


def syncing(settings: Settings, adapters: Mapping[str, Any]) -> dict[str, SyncsSuppressions]:
    """What ``[suppression] sync`` names; raises SettingsError for what does not exist or keeps no lists."""
    chosen: dict[str, SyncsSuppressions] = {}
    for name in settings.suppression.sync:
        adapter = adapters.get(name)
        if adapter is None:
            known = ", ".join(sorted(adapters)) or "none is configured"
            raise SettingsError(f"[suppression] sync names {name}, which is no provider or account (known: {known})")
        if not isinstance(adapter, SyncsSuppressions):
            raise SettingsError(f"[suppression] sync names {name}, but type {adapter.type} keeps no lists to compare")
        chosen[name] = adapter
    return chosen


def accounts_of(settings: Settings) -> dict[str, Mapping[str, str]]:
    """The configured tenants' accounts at providers."""
    return {name: tenant.accounts for name, tenant in settings.tenants.items() if tenant.accounts}


def job_of(
    settings: Settings,
    app: EnginePort,
    adapters: Mapping[str, Any],
    exchange: Exchange,
    rules: ReaderPort,
    observer: SyncObserver,
    clock: Any,
) -> SuppressionJob:
    """The periodic comparison of one worker; without ``[suppression] sync`` it has nothing to do."""
    secret = settings.kafka.address_secret

    def rows(since_ms: int) -> Iterable[tuple[bytes, bytes | None]]:
        client = KafkaClient(settings.kafka.bootstrap, librdkafka_options(settings.kafka))
        return rows_since(client, settings, since_ms)

    return SuppressionJob(
        app,
        syncing(settings, adapters),
        exchange,
        rules,
        rows,
        accounts_of(settings),
        settings.suppression.sync_tenant,
        topics_of(settings),
        settings.kafka.partitions,
        clock,
        observer,
        secret.reveal().encode() if secret else b"",
        every_s=3600 * settings.suppression.sync_every_h,
    )
