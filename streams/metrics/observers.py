"""Ears for the parts of a worker that report what they do: each turns calls into series."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Protocol

from streams.metrics import catalogue
from streams.metrics.registry import Metrics


class TopicPartition(Protocol):
    """Anything that names a partition of a topic."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...


class EngineMetrics:
    """Listens to the engine. ``clock`` gives epoch seconds."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._metrics = metrics
        self._clock = clock

    def on_logging(self) -> None:
        """Nothing to be counted."""

    def on_committing(self) -> None:
        """Counted when it is done."""

    def on_commit(self, tp: TopicPartition, offset: int) -> None:
        self._metrics.last_commit.at(tp.topic, str(tp.partition)).set(self._clock())

    def on_lag(self, tp: TopicPartition, records: int) -> None:
        self._metrics.consumer_lag.at(tp.topic, str(tp.partition)).set(records)

    def on_rebalance(self, generation: int, partitions: Collection[TopicPartition]) -> None:
        """Partitions that went elsewhere end here, or their last lag would stay on show for ever."""
        self._metrics.rebalances.at().inc()
        ours = {(tp.topic, str(tp.partition)) for tp in partitions}
        for family in (self._metrics.consumer_lag, self._metrics.last_commit):
            for labels in [known for known, _ in family.items() if known not in ours]:
                family.drop(*labels)

    def on_restoring(self, done: int, total: int) -> None:
        self._metrics.restore_remaining.at().set(total - done)

    def on_restore(self, table: str, entries: int, seconds: float) -> None:
        self._metrics.table_restore.at(table).observe(seconds)
        self._metrics.table_entries.at(table).set(entries)

    def on_produce_error(self, topic: str, error: BaseException) -> None:
        """The process is ending; its log says why."""


class DispatchMetrics:
    """Listens to dispatch."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._stages = {stage: metrics.stage_duration.at(stage) for stage in ("route", "suppress", "render", "record")}

    def attempts(self, provider: str, result: str, count: int) -> None:
        self._metrics.provider_attempts.at(provider, result).inc(count)

    def call(self, provider: str, seconds: float, batch_size: int) -> None:
        self._metrics.provider_request_duration.at(provider).observe(seconds)
        self._metrics.provider_batch_size.at(provider).observe(batch_size)
        self._metrics.stage_duration.at("send").observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        self._stages[stage].observe(seconds)

    def in_flight(self, provider: str, calls: int) -> None:
        self._metrics.inflight_sends.at(provider).set(calls)

    def handed_over(self, stream: str, seconds: float, count: int) -> None:
        self._metrics.handoff_latency.at(stream).observe(seconds, count)

    def requests(self, stream: str, result: str, count: int) -> None:
        self._metrics.requests.at(stream, result).inc(count)

    def failover(self, wanted: str, taken: str) -> None:
        self._metrics.failovers.at(wanted, taken).inc()

    def reconciled(self, provider: str, result: str) -> None:
        self._metrics.reconciliations.at(provider, result).inc()

    def quota(self, provider: str, limit: float, remaining: float) -> None:
        self._metrics.quota_limit.at(provider).set(limit)
        self._metrics.quota_remaining.at(provider).set(remaining)

    def standing(self, provider: str, standing: str) -> None:
        for other in catalogue.ACCOUNT_STANDING.labels[1].values:
            self._metrics.account_standing.at(provider, other).set(1 if other == standing else 0)

    def credentials(self, provider: str, result: str) -> None:
        self._metrics.credential_reloads.at(provider, result).inc()

    def dead_letter(self, topic: str, reason: str) -> None:
        self._metrics.dead_letters.at(topic, reason).inc()

    def scheduled(self, kind: str, count: int, oldest_due_ms: int | None) -> None:
        self._metrics.scheduled_messages.at(kind).set(count)
        self._metrics.oldest_due.at(kind).set((oldest_due_ms or 0) / 1000)


class AlertsMetrics:
    """Listens to who tells tenants of failures."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def alert(self, result: str, troubles: int) -> None:
        self._metrics.alerts.at(result).inc()


class BreakersMetrics:
    """Listens to who decides about the breakers."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def breaker_changed(self, provider: str, to: str) -> None:
        self._metrics.breaker_transitions.at(provider, to).inc()


async def watch_event_loop(metrics: Metrics, interval_s: float = 1.0) -> None:
    """Measure, until cancelled, by how much the event loop is late."""
    loop = asyncio.get_running_loop()
    level = metrics.event_loop_delay.at()
    while True:
        due = loop.time() + interval_s
        await asyncio.sleep(interval_s)
        level.set(max(0.0, loop.time() - due))
