"""All series of one process, ready to be counted on and to be scraped.

Nothing is created at import: a process makes one :class:`Metrics`, hands it to whoever counts, and serves
:func:`exposition`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streams.metrics import catalogue
from streams.metrics.catalogue import Kind, Series
from streams.metrics.families import Count, Distribution, Family, Level, exported
from streams.metrics.tenants import TenantRanking

F = TypeVar("F", Family[Count], Family[Level], Family[Distribution])


class Metrics(Collector):
    """Each attribute is one series of the catalogue; ``metrics.requests.at("bulk", "accepted").inc(n)``.

    ``tenants`` are configured ones, which always have a label of their own. Belongs to one event loop's thread.
    """

    def __init__(
        self, registry: CollectorRegistry | None = None, *, tenants: Iterable[str] = (), version: str = ""
    ) -> None:
        self._families: list[Family[Count] | Family[Level] | Family[Distribution]] = []
        self.requests = self._counter(catalogue.REQUESTS)
        self.stage_duration = self._histogram(catalogue.STAGE_DURATION)
        self.provider_attempts = self._counter(catalogue.PROVIDER_ATTEMPTS)
        self.provider_request_duration = self._histogram(catalogue.PROVIDER_REQUEST_DURATION)
        self.provider_batch_size = self._histogram(catalogue.PROVIDER_BATCH_SIZE)
        self.inflight_sends = self._gauge(catalogue.INFLIGHT_SENDS)
        self.quota_remaining = self._gauge(catalogue.QUOTA_REMAINING)
        self.quota_limit = self._gauge(catalogue.QUOTA_LIMIT)
        self.account_standing = self._gauge(catalogue.ACCOUNT_STANDING)
        self.breaker_states = self._gauge(catalogue.BREAKER_STATE)
        self.breaker_transitions = self._counter(catalogue.BREAKER_TRANSITIONS)
        self.failovers = self._counter(catalogue.FAILOVERS)
        self.scheduled_messages = self._gauge(catalogue.SCHEDULED_MESSAGES)
        self.held_messages = self._gauge(catalogue.HELD_MESSAGES)
        self.oldest_due = self._gauge(catalogue.OLDEST_DUE)
        self.messages_terminal = self._counter(catalogue.MESSAGES_TERMINAL)
        self.handoff_latency = self._histogram(catalogue.HANDOFF_LATENCY)
        self.oldest_open = self._gauge(catalogue.OLDEST_OPEN)
        self.delivery_events = self._counter(catalogue.DELIVERY_EVENTS)
        self.delivery_latency = self._histogram(catalogue.DELIVERY_LATENCY)
        self.tenant_events = self._counter(catalogue.TENANT_EVENTS)
        self.double_sends = self._counter(catalogue.DOUBLE_SENDS)
        self.ingress_requests = self._counter(catalogue.INGRESS_REQUESTS)
        self.ingress_duration = self._histogram(catalogue.INGRESS_DURATION)
        self.tracking_visits = self._counter(catalogue.TRACKING_VISITS)
        self.webhook_event_age = self._histogram(catalogue.WEBHOOK_EVENT_AGE)
        self.polls = self._counter(catalogue.POLLS)
        self.poll_messages = self._counter(catalogue.POLL_MESSAGES)
        self.poll_repeats = self._counter(catalogue.POLL_REPEATS)
        self.poll_message_age = self._histogram(catalogue.POLL_MESSAGE_AGE)
        self.poll_waiting = self._gauge(catalogue.POLL_WAITING)
        self.poll_dead_letters = self._gauge(catalogue.POLL_DEAD_LETTERS)
        self.webhook_orphans = self._counter(catalogue.WEBHOOK_ORPHANS)
        self.webhook_foreign = self._counter(catalogue.WEBHOOK_FOREIGN)
        self.gap_events = self._counter(catalogue.GAP_EVENTS)
        self.gap_watermark = self._gauge(catalogue.GAP_WATERMARK)
        self.webhook_out_of_order = self._counter(catalogue.WEBHOOK_OUT_OF_ORDER)
        self.unknown_vocabulary = self._counter(catalogue.UNKNOWN_VOCABULARY)
        self.consumer_lag = self._gauge(catalogue.CONSUMER_LAG)
        self.last_commit = self._gauge(catalogue.LAST_COMMIT)
        self.rebalances = self._counter(catalogue.REBALANCES)
        self.table_restore = self._histogram(catalogue.TABLE_RESTORE)
        self.restore_remaining = self._gauge(catalogue.RESTORE_REMAINING)
        self.table_entries = self._gauge(catalogue.TABLE_ENTRIES)
        self.data_dir_free = self._gauge(catalogue.DATA_DIR_FREE)
        self.requests_foreign = self._counter(catalogue.REQUESTS_FOREIGN)
        self.dead_letters = self._counter(catalogue.DEAD_LETTERS)
        self.suppressions = self._gauge(catalogue.SUPPRESSIONS)
        self.suppression_changes = self._counter(catalogue.SUPPRESSION_CHANGES)
        self.suppression_syncs = self._counter(catalogue.SUPPRESSION_SYNCS)
        self.reconciliations = self._counter(catalogue.RECONCILIATIONS)
        self.alerts = self._counter(catalogue.ALERTS)
        self.credential_expiry = self._gauge(catalogue.CREDENTIAL_EXPIRY)
        self.clock_offset = self._gauge(catalogue.CLOCK_OFFSET)
        self.credential_reloads = self._counter(catalogue.CREDENTIAL_RELOADS)
        self.event_loop_delay = self._gauge(catalogue.EVENT_LOOP_DELAY)
        self.build_info = self._gauge(catalogue.BUILD_INFO)
        self._ranking = TenantRanking(catalogue.TENANT.limit, tenants)
        if version:
            self.build_info.at(version).set(1)
        self.registry = CollectorRegistry() if registry is None else registry
        self.registry.register(self)
        if registry is None:
            ProcessCollector(registry=self.registry)

    def collect(self) -> Iterable[Metric]:
        """For prometheus_client: every family, those without values too, so that each series is known by name."""
        return [exported(family) for family in self._families]

    def breaker(self, provider: str, state: str) -> None:
        """Show the state of a provider's breaker. (Changes are counted by whoever decides them.)"""
        for other in catalogue.STATE:
            self.breaker_states.at(provider, other).set(1 if other == state else 0)

    def tenant_event(self, tenant: str, kind: str, count: int = 1) -> None:
        """Count ``count`` events (sent, delivered, bounced_hard, complained) of a tenant."""
        placing = self._ranking.place(tenant, count)
        if placing.dropped:
            for known in catalogue.TENANT_EVENTS.labels[1].values:
                self.tenant_events.drop(placing.dropped, known)
        self.tenant_events.at(placing.label, kind).inc(count)

    def _counter(self, series: Series) -> Family[Count]:
        assert series.kind is Kind.COUNTER
        family: Family[Count] = Family(series, Count)
        return self._known(family)

    def _gauge(self, series: Series) -> Family[Level]:
        assert series.kind is Kind.GAUGE
        family: Family[Level] = Family(series, Level)
        return self._known(family)

    def _histogram(self, series: Series) -> Family[Distribution]:
        assert series.kind is Kind.HISTOGRAM
        family: Family[Distribution] = Family(series, lambda: Distribution(series.buckets))
        return self._known(family)

    def _known(self, family: F) -> F:
        self._families.append(family)
        if not family.series.labels:
            family.at()
        return family


def exposition(registry: CollectorRegistry, accept: str = "") -> tuple[str, bytes]:
    """The content type and body of ``/metrics`` for a client with this ``Accept`` header."""
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)
