"""Series are those of the catalogue, labels stay bounded, and a scrape reads what was counted."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from streams.agents.breakers import BreakersObserver
from streams.agents.dispatch.observer import DispatchObserver
from streams.agents.intake.counts import IntakeCounts, IntakeObserver
from streams.agents.lookups import LookupsCounts, LookupsObserver
from streams.agents.normalise import NormaliseCounts, NormaliseObserver
from streams.agents.track_counts import TrackCounts, TrackObserver
from streams.core.event import EventType, Status
from streams.metrics import (
    CATALOGUE,
    BreakersMetrics,
    DispatchMetrics,
    Distribution,
    EngineMetrics,
    IntakeMetrics,
    Kind,
    LookupsMetrics,
    Metrics,
    NormaliseMetrics,
    TrackMetrics,
    exposition,
    watch_event_loop,
)


def scraped(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and sorted labels, read as Prometheus reads it."""
    text = exposition(metrics.registry)[1].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_series_of_the_catalogue_is_exported_and_nothing_else_of_ours() -> None:
    text = exposition(Metrics().registry)[1].decode()
    declared = dict(re.findall(r"^# TYPE (streams_\S+) (\S+)$", text, re.MULTILINE))
    assert declared == {f"streams_{series.name}": series.kind.value for series in CATALOGUE}


@pytest.mark.parametrize("series", CATALOGUE, ids=lambda series: series.name)
def test_names_and_labels_follow_the_rules(series: object) -> None:
    from streams.metrics import Series

    assert isinstance(series, Series)
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", series.name)
    assert series.name.endswith("_total") == (series.kind is Kind.COUNTER)
    assert bool(series.buckets) == (series.kind is Kind.HISTOGRAM)
    assert list(series.buckets) == sorted(set(series.buckets))
    assert series.doc.endswith(".")
    for label in series.labels:
        assert bool(label.values) != bool(label.limit), f"{label.name} is not bounded"


def test_what_is_counted_is_what_a_scrape_reads() -> None:
    metrics = Metrics(version="1.2.3")
    metrics.requests.at("bulk", "accepted").inc(3)
    metrics.requests.at("bulk", "accepted").inc()
    metrics.inflight_sends.at("ses").set(7)
    metrics.inflight_sends.at("ses").dec(2)
    metrics.handoff_latency.at("bulk").observe(0.3, 10)
    metrics.handoff_latency.at("bulk").observe_many([0.04, 99999.0])
    read = scraped(metrics)
    assert read["streams_requests_total", (("result", "accepted"), ("stream", "bulk"))] == 4
    assert read["streams_inflight_sends", (("provider", "ses"),)] == 5
    assert read["streams_handoff_latency_seconds_count", (("stream", "bulk"),)] == 12
    assert read["streams_handoff_latency_seconds_bucket", (("le", "0.05"), ("stream", "bulk"))] == 1
    assert read["streams_handoff_latency_seconds_bucket", (("le", "0.5"), ("stream", "bulk"))] == 11
    assert read["streams_handoff_latency_seconds_bucket", (("le", "+Inf"), ("stream", "bulk"))] == 12
    assert read["streams_handoff_latency_seconds_sum", (("stream", "bulk"),)] == pytest.approx(3.0 + 0.04 + 99999)
    assert read["streams_build_info", (("version", "1.2.3"),)] == 1
    assert ("process_resident_memory_bytes", ()) in read


def test_openmetrics_is_spoken_to_whoever_asks_for_it() -> None:
    content_type, body = exposition(Metrics().registry, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_a_label_out_of_bounds_counts_as_other_and_nothing_is_lost() -> None:
    metrics = Metrics()
    for number in range(40):
        metrics.provider_attempts.at(f"p{number}", "accepted").inc()
    metrics.provider_attempts.at("p0", "exploded").inc()
    read = {labels: value for (name, labels), value in scraped(metrics).items() if "attempts_total" in name}
    assert len({dict(labels)["provider"] for labels in read}) == 17
    assert read[("outcome", "accepted"), ("provider", "other")] == 24
    assert read[("outcome", "other"), ("provider", "p0")] == 1
    assert sum(read.values()) == 41


def test_a_wrong_number_of_labels_is_a_bug_that_is_told() -> None:
    with pytest.raises(ValueError, match="requests_total has 2 labels, not 1"):
        Metrics().requests.at("bulk")


def test_the_same_child_is_given_every_time() -> None:
    metrics = Metrics()
    assert metrics.requests.at("bulk", "accepted") is metrics.requests.at("bulk", "accepted")


def test_a_breaker_shows_exactly_one_state() -> None:
    metrics = Metrics()
    for state in ("closed", "open", "half_open"):
        metrics.breaker("ses", state)
        shown = {s: metrics.breaker_states.at("ses", s).value for s in ("closed", "open", "half_open")}
        assert shown == {s: float(s == state) for s in shown}


def test_configured_tenants_keep_their_label_and_the_busiest_win_the_rest() -> None:
    metrics = Metrics(tenants=["shop"])
    for number in range(100):
        metrics.tenant_event(f"small{number}", "sent", 10)
    metrics.tenant_event("giant", "sent", 1000)
    metrics.tenant_event("shop", "sent")
    tenants = {labels[0] for labels, _ in metrics.tenant_events.items()}
    assert {"shop", "giant", "other"} <= tenants
    assert len(tenants) == 51


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 50)), max_size=300))
def test_tenants_never_exceed_their_bound(events: list[tuple[int, int]]) -> None:
    metrics = Metrics(tenants=["a", "b"])
    for tenant, count in events:
        metrics.tenant_event(f"t{tenant}", "sent", count)
    assert len({labels[0] for labels, _ in metrics.tenant_events.items()}) <= 51


@given(st.lists(st.floats(0, 1e6), max_size=200))
def test_a_batch_is_observed_like_its_values_one_by_one(values: list[float]) -> None:
    one_by_one, batch = Distribution((0.1, 1, 10)), Distribution((0.1, 1, 10))
    for value in values:
        one_by_one.observe(value)
    batch.observe_many(values)
    assert (batch.counts, batch.total) == (one_by_one.counts, one_by_one.total)
    assert sum(batch.counts) == len(values)


@dataclass(frozen=True)
class Partition:
    topic: str
    partition: int


def test_the_engine_is_heard_and_lost_partitions_leave_the_page() -> None:
    metrics = Metrics()
    engine = EngineMetrics(metrics, clock=lambda: 1234.5)
    kept, lost = Partition("outbound", 0), Partition("outbound", 1)
    for partition in (kept, lost):
        engine.on_lag(partition, 10)
        engine.on_commit(partition, 99)
    engine.on_rebalance(2, [kept])
    engine.on_restore("attempts", 1000, 0.3)
    engine.on_restoring(700, 1000)
    read = scraped(metrics)
    assert read["streams_table_restore_remaining_records", ()] == 300
    assert read["streams_consumer_lag_records", (("partition", "0"), ("topic", "outbound"))] == 10
    assert read["streams_consumer_last_commit_timestamp_seconds", (("partition", "0"), ("topic", "outbound"))] == 1234.5
    assert ("streams_consumer_lag_records", (("partition", "1"), ("topic", "outbound"))) not in read
    assert read["streams_rebalances_total", ()] == 1
    assert read["streams_table_entries", (("table", "attempts"),)] == 1000


def test_dispatch_is_heard() -> None:
    metrics = Metrics()
    dispatch: DispatchObserver = DispatchMetrics(metrics)
    dispatch.attempts("ses", "accepted", 50)
    dispatch.call("ses", 0.2, 50)
    dispatch.in_flight("ses", 3)
    dispatch.handed_over("bulk", 1.5, 50)
    dispatch.requests("bulk", "accepted", 50)
    dispatch.failover("mailgun", "ses")
    dispatch.reconciled("mailgun", "found")
    dispatch.dead_letter("outbound", "unreadable")
    dispatch.scheduled("retry", 4, 5000)
    read = scraped(metrics)
    assert read["streams_provider_attempts_total", (("outcome", "accepted"), ("provider", "ses"))] == 50
    assert read["streams_provider_batch_size_sum", (("provider", "ses"),)] == 50
    assert read["streams_failovers_total", (("from", "mailgun"), ("to", "ses"))] == 1
    assert read["streams_oldest_due_timestamp_seconds", (("kind", "retry"),)] == 5


def test_agents_that_sum_up_batches_are_heard() -> None:
    metrics = Metrics()
    intake: IntakeObserver = IntakeMetrics(metrics)
    normalise: NormaliseObserver = NormaliseMetrics(metrics)
    lookups: LookupsObserver = LookupsMetrics(metrics)
    intake_counts = IntakeCounts()
    intake_counts.refused["bulk"] += 2
    intake.batch("send-requests.bulk", intake_counts)
    normalise_counts = NormaliseCounts()
    normalise_counts.repeats["mailgun"] += 3
    normalise_counts.dead_letters["webhooks.mailgun", "unreadable"] += 1
    normalise_counts.age_s.append(("mailgun", 2.0))
    normalise.batch(normalise_counts)
    lookups_counts = LookupsCounts()
    lookups_counts.orphans["ses"] += 1
    lookups.batch(lookups_counts)
    track_counts = TrackCounts()
    track_counts.events["ses", EventType.DELIVERED] += 5
    track_counts.ended["bulk", Status.DELIVERED] += 5
    track_counts.tenant_events["shop", "delivered"] += 5
    track_counts.delivery_s.append(("ses", 3.0))
    track_counts.seconds = normalise_counts.seconds = 0.02
    track: TrackObserver = TrackMetrics(metrics)
    track.batch(track_counts)
    track.suppressions({"bounce": 7})
    breakers: BreakersObserver = BreakersMetrics(metrics)
    breakers.breaker_changed("ses", "open")
    read = scraped(metrics)
    assert read["streams_requests_total", (("result", "invalid"), ("stream", "bulk"))] == 2
    assert read["streams_ingress_requests_total", (("provider", "mailgun"), ("result", "duplicate"))] == 3
    assert read["streams_dead_letters_total", (("reason", "unreadable"), ("topic", "webhooks.mailgun"))] == 1
    assert read["streams_webhook_orphans_total", (("provider", "ses"),)] == 1
    assert read["streams_delivery_events_total", (("provider", "ses"), ("type", "message.delivered"))] == 5
    assert read["streams_messages_terminal_total", (("result", "delivered"), ("stream", "bulk"))] == 5
    assert read["streams_tenant_events_total", (("tenant", "shop"), ("type", "delivered"))] == 5
    assert read["streams_suppressions", (("reason", "bounce"),)] == 7
    assert read["streams_breaker_transitions_total", (("provider", "ses"), ("to", "open"))] == 1
    assert read["streams_stage_duration_seconds_sum", (("stage", "track"),)] == 0.02
    assert read["streams_stage_duration_seconds_count", (("stage", "normalise"),)] == 1


async def test_a_blocked_event_loop_shows_as_delay() -> None:
    import time

    metrics = Metrics()
    watch = asyncio.create_task(watch_event_loop(metrics, 0.02))
    try:
        await asyncio.sleep(0)
        time.sleep(0.2)
        async with asyncio.timeout(5):
            while metrics.event_loop_delay.at().value < 0.1:
                await asyncio.sleep(0.001)
    finally:
        watch.cancel()
