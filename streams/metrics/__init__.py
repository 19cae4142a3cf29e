"""Prometheus series: the catalogue, cheap counters, and what a scrape sees.

metrics = Metrics()                                   # one per process
metrics.requests.at("bulk", "accepted").inc(1000)
content_type, body = exposition(metrics.registry, accept)
"""

from __future__ import annotations

from streams.metrics.catalogue import CATALOGUE, OTHER, PREFIX, Kind, Label, Series
from streams.metrics.families import Count, Distribution, Family, Level
from streams.metrics.observers import AlertsMetrics, BreakersMetrics, DispatchMetrics, EngineMetrics, watch_event_loop
from streams.metrics.registry import Metrics, exposition
from streams.metrics.summaries import (
    GapMetrics,
    IntakeMetrics,
    LookupsMetrics,
    NormaliseMetrics,
    SuppressionSyncMetrics,
    TrackMetrics,
)

__all__ = [
    "CATALOGUE",
    "OTHER",
    "PREFIX",
    "AlertsMetrics",
    "BreakersMetrics",
    "Count",
    "DispatchMetrics",
    "Distribution",
    "EngineMetrics",
    "Family",
    "GapMetrics",
    "IntakeMetrics",
    "Kind",
    "Label",
    "Level",
    "LookupsMetrics",
    "Metrics",
    "NormaliseMetrics",
    "Series",
    "SuppressionSyncMetrics",
    "TrackMetrics",
    "exposition",
    "watch_event_loop",
]
