"""Ears for agents that hand over sums once per batch. The sums are seen as shapes: metrics know no agent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from streams.core.event import EventType
from streams.metrics.registry import Metrics

_RECEIPTS = "receipts"
_LOOKUPS = "lookups"


class IntakeSums(Protocol):
    """What intake counts, by stream; dead letters by reason. Acceptance is counted by dispatch."""

    @property
    def duplicates(self) -> Mapping[str, int]: ...
    @property
    def refused(self) -> Mapping[str, int]: ...
    @property
    def dead_letters(self) -> Mapping[str, int]: ...
    @property
    def foreign(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class TrackSums(Protocol):
    """What track counts: events by (provider, type), endings by (stream, status), and so on."""

    @property
    def events(self) -> Mapping[Any, int]: ...
    @property
    def ended(self) -> Mapping[Any, int]: ...
    @property
    def tenant_events(self) -> Mapping[Any, int]: ...
    @property
    def double_sends(self) -> Mapping[str, int]: ...
    @property
    def out_of_order(self) -> Mapping[str, int]: ...
    @property
    def orphans(self) -> Mapping[str, int]: ...
    @property
    def foreign(self) -> Mapping[str, int]: ...
    @property
    def filled(self) -> Mapping[str, int]: ...
    @property
    def dead_letters(self) -> Mapping[str, int]: ...
    @property
    def delivery_s(self) -> Iterable[tuple[str, float]]: ...
    @property
    def suppressed(self) -> Mapping[str, int]: ...
    @property
    def lifted(self) -> int: ...
    @property
    def seconds(self) -> float: ...


class NormaliseSums(Protocol):
    """What normalise counts, by provider; dead letters by (topic, reason)."""

    @property
    def orphans(self) -> Mapping[str, int]: ...
    @property
    def unknown_words(self) -> Mapping[str, int]: ...
    @property
    def repeats(self) -> Mapping[str, int]: ...
    @property
    def replays(self) -> Mapping[str, int]: ...
    @property
    def dead_letters(self) -> Mapping[Any, int]: ...
    @property
    def age_s(self) -> Iterable[tuple[str, float]]: ...
    @property
    def seconds(self) -> float: ...


class LookupsSums(Protocol):
    """What lookups counts, by provider; dead letters by reason."""

    @property
    def orphans(self) -> Mapping[str, int]: ...
    @property
    def dead_letters(self) -> Mapping[str, int]: ...


class IntakeMetrics:
    """Listens to intake."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._duration = metrics.stage_duration.at("intake")

    def batch(self, topic: str, counts: IntakeSums) -> None:
        for stream, count in counts.duplicates.items():
            self._metrics.requests.at(stream, "duplicate").inc(count)
        for stream, count in counts.refused.items():
            self._metrics.requests.at(stream, "invalid").inc(count)
        for reason, count in counts.dead_letters.items():
            self._metrics.dead_letters.at(topic, reason).inc(count)
        if counts.foreign:
            self._metrics.requests_foreign.at(topic).inc(counts.foreign)
        self._duration.observe(counts.seconds)


class TrackMetrics:
    """Listens to track."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def batch(self, counts: TrackSums) -> None:
        metrics = self._metrics
        for (provider, kind), count in counts.events.items():
            metrics.delivery_events.at(provider, EventType(kind).value).inc(count)
        for (stream, status), count in counts.ended.items():
            metrics.messages_terminal.at(stream, str(status)).inc(count)
        for (tenant, kind), count in counts.tenant_events.items():
            metrics.tenant_event(tenant, kind, count)
        for sums, family in (
            (counts.double_sends, metrics.double_sends),
            (counts.out_of_order, metrics.webhook_out_of_order),
            (counts.orphans, metrics.webhook_orphans),
            (counts.foreign, metrics.webhook_foreign),
        ):
            for provider, count in sums.items():
                family.at(provider).inc(count)
        for provider, count in counts.filled.items():
            metrics.gap_events.at(provider, "filled").inc(count)
        for reason, count in counts.dead_letters.items():
            metrics.dead_letters.at(_RECEIPTS, reason).inc(count)
        for provider, seconds in counts.delivery_s:
            metrics.delivery_latency.at(provider).observe(seconds)
        for kind, count in counts.suppressed.items():
            metrics.suppression_changes.at(kind).inc(count)
        if counts.lifted:
            metrics.suppression_changes.at("lifted").inc(counts.lifted)
        metrics.stage_duration.at("track").observe(counts.seconds)

    def suppressions(self, in_force: Mapping[str, int]) -> None:
        for reason, count in in_force.items():
            self._metrics.suppressions.at(reason).set(count)


class GapMetrics:
    """Listens to the search for lost webhooks."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def gaps(self, provider: str, read: int, watermark_ms: int, *, failed: bool) -> None:
        self._metrics.gap_events.at(provider, "read").inc(read)
        self._metrics.gap_watermark.at(provider).set(watermark_ms / 1000)
        if failed:
            self._metrics.gap_events.at(provider, "failed").inc()


class SuppressionSyncMetrics:
    """Listens to the comparison with providers' suppression lists."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def synced(self, provider: str, changes: Mapping[str, int], *, failed: bool) -> None:
        for result, count in changes.items():
            self._metrics.suppression_syncs.at(provider, result).inc(count)
        if failed:
            self._metrics.suppression_syncs.at(provider, "failed").inc()


class NormaliseMetrics:
    """Listens to normalise. A repeat is the ingress's ``duplicate``, a replay its ``bad_signature``: decided late."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def batch(self, counts: NormaliseSums) -> None:
        metrics = self._metrics
        for provider, count in counts.orphans.items():
            metrics.webhook_orphans.at(provider).inc(count)
        for provider, count in counts.unknown_words.items():
            metrics.unknown_vocabulary.at(provider).inc(count)
        for provider, count in counts.repeats.items():
            metrics.ingress_requests.at(provider, "duplicate").inc(count)
        for provider, count in counts.replays.items():
            metrics.ingress_requests.at(provider, "bad_signature").inc(count)
        for (topic, reason), count in counts.dead_letters.items():
            metrics.dead_letters.at(topic, reason).inc(count)
        for provider, seconds in counts.age_s:
            metrics.webhook_event_age.at(provider).observe(seconds)
        metrics.stage_duration.at("normalise").observe(counts.seconds)


class LookupsMetrics:
    """Listens to lookups."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def batch(self, counts: LookupsSums) -> None:
        for provider, count in counts.orphans.items():
            self._metrics.webhook_orphans.at(provider).inc(count)
        for reason, count in counts.dead_letters.items():
            self._metrics.dead_letters.at(_LOOKUPS, reason).inc(count)
