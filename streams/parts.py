"""What a worker consists of besides the engine: agents with their tables, configuration readers, provider connections.

Everything is made in :class:`Parts`; nothing is contacted before :meth:`Parts.start`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from uuid import uuid4

from streams.accounts import Accounts
from streams.agents.alerts import Alerts, AlertsConfig
from streams.agents.breaker_view import BreakerView
from streams.agents.breakers import Breakers
from streams.agents.configuration import templates, tenants
from streams.agents.contents import ContentStore, Gone, RecordReader
from streams.agents.dispatch import Dispatch, DispatchConfig
from streams.agents.dispatch.compose import Composer
from streams.agents.dispatch.composed import Composes
from streams.agents.dispatch.staging import StagedComposer
from streams.agents.gaps import Gaps
from streams.agents.intake import Intake
from streams.agents.intake.fetching import Fetching
from streams.agents.lookups import Lookups, LookupsConfig
from streams.agents.normalise import Normalise, NormaliseConfig, Reader
from streams.agents.quotas import Quotas
from streams.agents.suppression_view import SuppressionView
from streams.agents.track import Track, TrackConfig
from streams.attachments import Fetcher
from streams.bounces.configured import readers_of
from streams.configured import (
    alert_sender,
    breaker_policy,
    configured_tenants,
    dispatch_config,
    fetcher_config,
    intake_config,
    staging,
    suppression_policy,
    topics_of,
)
from streams.content.render import Renderer
from streams.core.clock import FleetClock
from streams.core.message import Message, RecordRef
from streams.engine import Backlog, BytesTable, EngineApp, EngineFailure, Unit
from streams.fleet_clock import BrokerTime
from streams.gauges import measure
from streams.metrics import (
    AlertsMetrics,
    BreakersMetrics,
    DispatchMetrics,
    GapMetrics,
    IntakeMetrics,
    LookupsMetrics,
    Metrics,
    NormaliseMetrics,
    SuppressionSyncMetrics,
    TrackMetrics,
)
from streams.providers._http import HttpExchange
from streams.providers.base import Provider, may_forget_our_id, webhook_answers_of
from streams.readers import compacted_readers
from streams.registering import register_schemas
from streams.renewal import Renewal
from streams.serde.internal import unpack
from streams.settings import Settings, aiokafka_options
from streams.suppression_sync import job_of, syncing
from streams.tables import (
    ALERT_DIGESTS,
    ATTEMPTS,
    BREAKER_WINDOWS,
    MESSAGES,
    PROVIDER_IDS,
    SUPPRESSIONS,
    TABLES,
    TOKENS,
    WATERMARKS,
)
from streams.tenant_events import EventTopics
from streams.topics import (
    BREAKERS,
    CLOCK,
    CONTENTS,
    CONTROLS,
    QUOTAS,
    SUPPRESSION_RULES,
    TEMPLATES,
    TENANTS,
)
from streams.tracking.setup import reader_of, tracker_of
from streams.webhook_backlog import WebhookBacklog

_SWEEP_S = 10.0
_RENEW_S = 2.0

log = logging.getLogger(__name__)


class Parts:
    """The agents of one worker (`intake`, `dispatch`, `track`, `normalise`, `lookups`, `breakers`) and their needs."""

    def __init__(
        self, app: EngineApp, settings: Settings, metrics: Metrics, env: Mapping[str, str] | None = None
    ) -> None:
        topics = topics_of(settings)
        partitions = settings.kafka.partitions
        worker = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        tables = {spec.name: app.bytes_table(spec.name, partitions) for spec in TABLES}
        self._app = app
        self._settings = settings
        self._metrics = metrics
        self._running = AsyncExitStack()
        self._asked_to_renew = asyncio.Event()
        self.clock = FleetClock(lambda: time.time_ns() // 1_000_000, time.monotonic)
        self.broker_time = BrokerTime(self.clock, topics.name(CLOCK), aiokafka_options(settings.kafka), metrics)
        now_ms = self.clock.now_ms
        self.partitions = partitions
        self.renewal = Renewal(settings, env)
        self.adapters = self.renewal.adapters
        main = {name: adapter for name, adapter in self.adapters.items() if "/" not in name}
        readers: dict[str, Reader] = {**main, **readers_of(settings)}
        if (visits := reader_of(settings)) is not None:
            readers[visits.name] = visits
        self.webhook_types = tuple(
            sorted({reader.type for reader in readers.values() if webhook_answers_of(reader) is not None})
        )
        """Only what a configured provider can have sent is read: every further topic makes each fetch dearer."""
        self.exchange = HttpExchange()
        self.view = BreakerView(worker, breaker_policy(settings))
        self.records = RecordReader(aiokafka_options(settings.kafka))
        self.contents = ContentStore(self.records, topics.name(CONTENTS))
        self.everywhere = SuppressionView()
        self.staging = staging(settings)
        self.readers = compacted_readers(
            app,
            topics,
            {
                BREAKERS: self.view.read_breaker,
                CONTROLS: self.view.read_control,
                QUOTAS: lambda _, offer: self.dispatch.lending.read(offer),
                SUPPRESSION_RULES: self.everywhere.read,
                TENANTS: self._tenant_changed,
            },
        )
        self.tenants = tenants(self.readers[TENANTS], configured_tenants(settings))
        self.event_topics = EventTopics(settings, self.tenants)
        lanes = dict(main)  # accounts of tenants come and go in it
        self.fetching = Fetching(
            Fetcher(fetcher_config(settings)),
            settings.attachments.concurrency,
            lambda error: app.fail(f"intake raised {error!r}", error),
        )
        self.intake = self._new_intake()
        self.dispatch = self._new_dispatch(dispatch_config(settings, main, worker), lanes, tables, env)
        self.intake.ahead = self.dispatch.ahead
        self.quotas = Quotas(lanes, self.exchange, self.dispatch.boarding, DispatchMetrics(metrics), now_ms)
        self.gaps = Gaps(app, tables[WATERMARKS], topics, partitions, lanes, self.exchange, GapMetrics(metrics), now_ms)
        self.suppression_job = job_of(
            settings,
            app,
            self.adapters,
            self.exchange,
            self.readers[SUPPRESSION_RULES],
            SuppressionSyncMetrics(metrics),
            now_ms,
        )
        self.backlog = Backlog(app.settings)
        self.dispatch.waker.webhooks_are_read = WebhookBacklog(topics, self.webhook_types, self.backlog).is_read
        self.track = self._new_track(_silent_about_our_id(settings, main), tables)
        self.normalise = Normalise(
            app, tables[TOKENS], Unit, NormaliseConfig(topics, partitions, readers), now_ms, NormaliseMetrics(metrics)
        )
        self.lookups = Lookups(
            app, tables[PROVIDER_IDS], Unit, LookupsConfig(topics, partitions), now_ms, LookupsMetrics(metrics)
        )
        self.breakers = Breakers(
            app,
            tables[BREAKER_WINDOWS],
            topics.name(BREAKERS),
            Unit,
            breaker_policy(settings),
            BreakersMetrics(metrics),
        )
        self.alerts = self._alerts(tables[ALERT_DIGESTS])

    # -- the larger agents

    def _new_intake(self) -> Intake:
        return Intake(
            self._app,
            Unit,
            self.contents,
            templates(self.readers[TEMPLATES]),
            self.tenants,
            intake_config(self._settings),
            self.clock.now_ms,
            observer=IntakeMetrics(self._metrics),
            fetching=self.fetching,
        )

    def _new_dispatch(
        self,
        config: DispatchConfig,
        lanes: dict[str, Provider],
        tables: Mapping[str, BytesTable],
        env: Mapping[str, str] | None,
    ) -> Dispatch:
        dispatch = Dispatch(
            app=self._app,
            attempts=tables[ATTEMPTS],
            suppressions=tables[SUPPRESSIONS],
            everywhere=self.everywhere,
            composer=self._composer(lanes),
            load_message=self._load_message,
            providers=lanes,
            exchange=self.exchange,
            breakers=self.view,
            accounts=Accounts(self._settings, self.tenants, env),
            config=config,
            observer=DispatchMetrics(self._metrics),
            clock=self.clock.now_ms,
            crash=self._crash,
        )
        dispatch.lanes.know({name: replace(opened) for name, opened in self.renewal.watched.items()})
        for tenant in self.tenants.fallback.values():
            dispatch.limits.tenant(tenant.tenant, tenant.rate)
        return dispatch

    def _new_track(self, bound: frozenset[str], tables: Mapping[str, BytesTable]) -> Track:
        """``bound`` are the providers whose ids lookups must know."""
        settings = self._settings
        return Track(
            self._app,
            tables[MESSAGES],
            tables[SUPPRESSIONS],
            Unit,
            TrackConfig(
                topics_of(settings),
                self.partitions,
                bound,
                retention_ms=int(settings.kafka.ledger_days * 86_400_000),
                suppression=suppression_policy(settings),
                spares=self.staging.redirects if self.staging else None,
                alerts=None if alert_sender(settings) is None else lambda tenant: bool(self._alert_address(tenant)),
                tenant_topics=self.event_topics.ready,
            ),
            self.clock.now_ms,
            TrackMetrics(self._metrics),
        )

    # -- life

    async def start(self) -> None:
        """Read the configuration topics to their end and get credentials ready. Raises EngineFailure."""
        self._running.push_async_callback(self.exchange.aclose)
        self._running.push_async_callback(self.records.stop)
        self._running.push_async_callback(self.fetching.stop)
        self._running.push_async_callback(self.backlog.stop)
        self._running.push_async_callback(self.dispatch.lanes.aclose)
        self._running.push_async_callback(self.broker_time.stop)
        for reader in self.readers.values():
            self._running.push_async_callback(reader.stop)
        await asyncio.gather(self.broker_time.start(), *(reader.start() for reader in self.readers.values()))
        await self.event_topics.start()
        for name, adapter in self.adapters.items():
            prepare = getattr(adapter, "prepare", None)
            if prepare is not None:
                try:
                    await asyncio.to_thread(prepare)
                except ValueError as exc:
                    raise EngineFailure(f"[providers.{name}] {exc}") from exc
        registered = await register_schemas(self._settings, self._running)
        if registered is not None:
            self.intake.registry = registered.registry
            self.track.config = replace(
                self.track.config, event_prefix=registered.events, audit_prefix=registered.audit
            )
            self.normalise.config = replace(self.normalise.config, audit_prefix=registered.audit)
            self.intake.config = replace(self.intake.config, audit_prefix=registered.audit)

    async def stop(self) -> None:
        """Give every connection back."""
        self.dispatch.tasks.stop()  # a call that hangs would take the end of its connection for an answer
        await self._running.aclose()

    async def run(self) -> None:
        """Timers, until cancelled: dispatch's own, quotas, gaps of webhooks, forgetting old rows."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.broker_time.run())
            tasks.create_task(self.dispatch.run())
            tasks.create_task(self.quotas.run())
            tasks.create_task(self.gaps.run())
            tasks.create_task(self.event_topics.run())
            if self.suppression_job.providers:
                tasks.create_task(self.suppression_job.run())
            if self.alerts is not None:
                tasks.create_task(self.alerts.run())
            tasks.create_task(self._sweep())
            tasks.create_task(self._renew())

    def reread_secrets(self) -> None:
        """Somebody asks for it."""
        self.dispatch.lanes.reopen()
        self._asked_to_renew.set()

    async def partition_ready(self, partition: int) -> None:
        """The engine has restored the tables of a partition."""
        self.gaps.partition_ready(partition)
        if self.alerts is not None:
            self.alerts.partition_ready(partition)
        await self.dispatch.partition_ready(partition)

    async def partition_lost(self, partition: int) -> None:
        """The engine is giving a partition away."""
        self.gaps.partition_lost(partition)
        await self.dispatch.partition_lost(partition)
        for agent in (self.track, self.normalise, self.lookups):
            agent.lost(partition)
        if self.alerts is not None:
            self.alerts.lost(partition)

    def measure(self) -> None:
        """Bring gauges up to date that nobody sets while working."""
        measure(self._metrics, self._settings, self.view, self.dispatch, self.adapters)

    # -- what agents are given

    def _tenant_changed(self, key: bytes, value: bytes | None) -> None:
        name = key.decode("utf-8", "replace")
        self.dispatch.tenant_changed(name)
        if self.alerts is None and self._alert_address(name):
            log.error("tenant %s has an alert address, but [alerts] from is not set: nobody is told", name)
        self.event_topics.changed(name)

    def _composer(self, adapters: Mapping[str, Provider]) -> Composes:
        """What stands before every provider call; in a test environment staging stands around it."""
        renderer = Renderer(text_from_html=self._settings.dispatch.text_from_html)
        composer = Composer(self.contents, renderer, adapters, tracker_of(self._settings, self.clock.now_ms))
        return composer if self.staging is None else StagedComposer(composer, self.staging)

    def _alerts(self, digests: BytesTable) -> Alerts | None:
        """Who tells tenants of failures; None where there is no sender."""
        settings, sender = self._settings, alert_sender(self._settings)
        if sender is None:
            return None
        config = AlertsConfig(
            topics_of(settings),
            self.partitions,
            sender,
            self._alert_address,
            60 * settings.alerts.every_min,
            settings.alerts.provider,
        )
        return Alerts(self._app, digests, Unit, config, self.clock.now_ms, AlertsMetrics(self._metrics))

    def _alert_address(self, tenant: str) -> str:
        record = self.tenants.get(tenant)
        return record.alert_address if record is not None else ""

    async def _load_message(self, ref: RecordRef) -> Message | None:
        found = await self.contents.load(ref)
        message = None if isinstance(found, Gone) else unpack(found)
        return message if isinstance(message, Message) else None

    def _crash(self, error: BaseException) -> None:
        self._app.fail(f"dispatch raised {error!r}", error)

    # -- timers

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            for partition in self._owned():
                for agent in (self.dispatch, self.track, self.normalise, self.lookups):
                    await agent.sweep(partition, self.clock.now_ms())
                if self.alerts is not None:
                    await self.alerts.sweep(partition, self.clock.now_ms())
                await asyncio.sleep(0)

    async def _renew(self) -> None:
        """For whom dispatch's lanes are not enough: the comparison of suppression lists, and gauges."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked_to_renew.wait(), _RENEW_S)
            asked = self._asked_to_renew.is_set()
            self._asked_to_renew.clear()
            if await asyncio.to_thread(self.renewal.look, at_all=asked):
                self.suppression_job.providers = syncing(self._settings, self.adapters)

    def _owned(self) -> Iterable[int]:
        receipts = topics_of(self._settings).name("receipts")
        return (number for number in range(self.partitions) if self._app.owns(receipts, number))


def _silent_about_our_id(settings: Settings, adapters: Mapping[str, Provider]) -> frozenset[str]:
    """Providers of whose messages something may be told that carries nothing but their own id."""
    asked = {box.provider for box in settings.mailboxes.values()}  # a bounce may carry nothing but the provider's id
    return frozenset(name for name, adapter in adapters.items() if name in asked or may_forget_our_id(adapter))
