"""The worker as a Faust application: topics, tables, agents, readers, provider adapters, status pages, timers.

    app = create_app(load_settings())
    code = streams.engine.run(app)          # `streams worker`; or: faust -A streams.app worker -l info

Order of a start: status pages, topics, configuration read to its end, what is frozen compared, membership, tables
restored, delivery. Nothing is sent before the breakers and controls have been read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.types import TP

from streams import __version__
from streams.agents.ports import BatchPort
from streams.configured import check_supported, engine_security, engine_settings, topic_specs, topics_of
from streams.deployment import check_frozen
from streams.engine import EngineApp, EngineFailure, ensure_topics
from streams.failpoints import failpoint
from streams.hangup import no_hangup, on_hangup
from streams.metrics import EngineMetrics, Metrics, watch_event_loop
from streams.parts import Parts
from streams.settings import Settings, load_settings
from streams.status import StatusServer
from streams.tables import ATTEMPTS
from streams.topics import (
    ALERTS,
    CONTROLS,
    HURRIED,
    LOOKUPS,
    OUTBOUND,
    OUTBOUND_BULK,
    PROVIDER_OUTCOMES,
    RECEIPTS,
    SEND_REQUESTS,
    SEND_REQUESTS_BULK,
    Topics,
)

_SILENCE_S = 10.0
"""So long may heartbeats and records stay unanswered before the worker calls itself not ready."""

log = logging.getLogger(__name__)

Handler = Callable[[BatchPort], Awaitable[None]]


class StreamsApp(EngineApp):
    """One worker with everything it runs."""

    def __init__(self, settings: Settings, env: Mapping[str, str] | None = None) -> None:
        check_supported(settings)
        self._assigned = False
        self.deployment = settings
        self.metrics = Metrics(tenants=settings.tenants, version=__version__)
        super().__init__(engine_settings(settings), _Observer(self.metrics, self._on_assigned, self._on_restoring))
        self.parts = Parts(self, settings, self.metrics, env)
        attempts = next(table for table in self.bytes_tables if table.name == ATTEMPTS)
        self._hurried = frozenset(map(topics_of(settings).name, HURRIED)) | {attempts.changelog}
        self._outbound = topics_of(settings).name(OUTBOUND)
        self.status = StatusServer(
            settings.worker,
            self.metrics,
            is_live=lambda: self.failure is None,
            is_ready=lambda: self._assigned and self._hears_kafka(),
            before_scrape=self.parts.measure,
        )
        self.on_partition_ready(self.parts.partition_ready)
        self.on_partition_lost(self.parts.partition_lost)
        for topic, handler in _sources(topics_of(settings), self.parts):
            self.agent(self.batch_topic(topic), name=topic)(_agent(topic, handler))
        self.task(self._timers)

    def is_patient(self, topic: str, partition: int) -> bool:
        """What tells of a message, not what sends it; and a message that dispatch has already: its row comes soon."""
        if topic == self._outbound:
            return self.parts.dispatch.ahead.takes(partition)
        return topic not in self._hurried

    async def on_start(self) -> None:
        """Everything that must be there before the first record is delivered."""
        on_hangup(self._reread_secrets)
        await self.status.start()
        await self.create_topics()
        await self.parts.start()
        await check_frozen(self.parts.readers[CONTROLS], self.deployment)
        await super().on_start()

    async def on_stop(self) -> None:
        """Drain, then give the connections back."""
        self._assigned = False
        no_hangup()
        try:
            await super().on_stop()
        finally:
            await self.parts.stop()
            await self.status.stop()

    async def create_topics(self) -> None:
        """Create what is missing; raises EngineFailure if something is there and wrong, or no broker answers."""
        specs = [*topic_specs(self.deployment), *self.changelog_specs()]
        bootstrap = self.deployment.kafka.bootstrap
        try:
            problems = await ensure_topics(bootstrap, specs, engine_security(self.deployment))
        except (KafkaError, TimeoutError) as exc:
            raise EngineFailure(f"Kafka at {bootstrap} does not answer: {exc or type(exc).__name__}") from exc
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise EngineFailure(f"{problems[0]}{more}")

    async def _timers(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watch_event_loop(self.metrics))
                tasks.create_task(self.parts.run())
        except ExceptionGroup as exc:
            self.fail(f"a timer raised {exc.exceptions[0]!r}", exc)

    def _reread_secrets(self) -> None:
        log.info("SIGHUP: secrets are read again")
        self.parts.reread_secrets()

    def _hears_kafka(self) -> bool:
        """Whether the group answers, and what is written is acknowledged."""
        silence_s = min(_SILENCE_S, self.settings.session_timeout_s)
        return self.heartbeat_age_s() < silence_s and self.producer.oldest_unacked_s < silence_s

    def _on_assigned(self) -> None:
        self._assigned = True

    def _on_restoring(self) -> None:
        self._assigned = False


def create_app(settings: Settings, env: Mapping[str, str] | None = None) -> StreamsApp:
    """The worker of these settings, not started. Raises SettingsError for provider options that cannot be used."""
    return StreamsApp(settings, env)


class _Observer(EngineMetrics):
    """Metrics, the knowledge that an assignment is ready, and the failpoints around logged rows and commits."""

    def __init__(self, metrics: Metrics, on_assigned: Callable[[], None], on_restoring: Callable[[], None]) -> None:
        super().__init__(metrics)
        self._on_assigned = on_assigned
        self._on_restoring = on_restoring

    def on_logging(self) -> None:
        failpoint("unit.acknowledged")

    def on_committing(self) -> None:
        failpoint("commit.before")

    def on_commit(self, tp: TP, offset: int) -> None:  # type: ignore[override]
        super().on_commit(tp, offset)
        failpoint("commit.after")

    def on_restoring(self, done: int, total: int) -> None:
        super().on_restoring(done, total)
        if done < total:
            self._on_restoring()

    def on_rebalance(self, generation: int, partitions: Collection[TP]) -> None:  # type: ignore[override]
        super().on_rebalance(generation, partitions)
        self._on_assigned()


def _sources(topics: Topics, parts: Parts) -> list[tuple[str, Handler]]:
    """Every topic that the worker consumes, and who handles its batches."""
    handlers: list[tuple[str, Handler]] = [
        (SEND_REQUESTS, parts.intake.handle),
        (SEND_REQUESTS_BULK, parts.intake.handle),
        (OUTBOUND, parts.dispatch.handle),
        (OUTBOUND_BULK, parts.dispatch.handle),
        (RECEIPTS, parts.track.handle),
        (LOOKUPS, parts.lookups.handle),
        (PROVIDER_OUTCOMES, parts.breakers.handle),
    ]
    if parts.alerts is not None:
        handlers.append((ALERTS, parts.alerts.handle))
    handlers += [(door, parts.intake.handle) for door in topics.doors]
    named = [(topics.name(name), handler) for name, handler in handlers]
    return named + [(topics.webhooks(kind), parts.normalise.handle) for kind in parts.webhook_types]


def _agent(topic: str, handler: Handler) -> Callable[[Any], Awaitable[None]]:
    async def work(batches: AsyncIterator[BatchPort]) -> None:
        async for batch in batches:
            await handler(batch)
            batch.forget()

    work.__qualname__ = work.__name__ = f"agent of {topic}"  # what its log lines say
    return work


def __getattr__(name: str) -> Any:
    """``streams.app.app``, made from the configuration when somebody asks for it (`faust -A streams.app`)."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = create_app(load_settings())
    globals()["app"] = made
    return made
