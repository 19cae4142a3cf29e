"""Counters, gauges and histograms that cost an addition: no lock, no name lookup, batches welcome.

Rules:

1. Everything here belongs to one event loop's thread; other threads hand their numbers over to it.
2. ``at(...)`` is a dictionary lookup and gives the same object every time: hot paths keep it.
3. A label value outside its bounds counts as ``other``: nothing is lost, nothing grows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from streams.metrics.catalogue import OTHER, PREFIX, Label, Series


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        self.value += amount


class Level:
    """A number that is what it was last set to."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        self.value = value

    def inc(self, amount: float = 1) -> None:
        self.value += amount

    def dec(self, amount: float = 1) -> None:
        self.value -= amount


class Distribution:
    """How often values fell into each bucket, their sum and number."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """``value`` was seen ``times``."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def observe_many(self, values: Iterable[float]) -> None:
        """A batch of values."""
        for value in values:
            self.counts[bisect_left(self.bounds, value)] += 1
            self.total += value


Child = TypeVar("Child", Count, Level, Distribution)


class Family(Generic[Child]):
    """All label combinations of one series."""

    def __init__(self, series: Series, make: Callable[[], Child]) -> None:
        self.series = series
        self._make: Callable[[], Child] = make
        self._children: dict[tuple[str, ...], Child] = {}
        self._aliases: dict[tuple[str, ...], Child] = {}
        self._bounds = tuple(_Bound(label) for label in series.labels)

    def at(self, *labels: str) -> Child:
        """The child with these label values, in the catalogue's order."""
        child = self._children.get(labels)
        if child is None:
            child = self._aliases.get(labels)
        return child if child is not None else self._new(labels)

    def drop(self, *labels: str) -> None:
        """Forget a label combination: its series ends."""
        self._children.pop(labels, None)
        self._aliases.clear()
        for bound, value in zip(self._bounds, labels, strict=True):
            if not any(value in known for known in self._children):
                bound.forget(value)

    def items(self) -> Iterator[tuple[tuple[str, ...], Child]]:
        return iter(self._children.items())

    def _new(self, labels: tuple[str, ...]) -> Child:
        if len(labels) != len(self._bounds):
            raise ValueError(f"{self.series.name} has {len(self._bounds)} labels, not {len(labels)}")
        bounded = tuple(bound.admit(value) for bound, value in zip(self._bounds, labels, strict=True))
        child = self._children.get(bounded)
        if child is None:
            child = self._children[bounded] = self._make()
        if bounded != labels and len(self._aliases) < 1024:
            self._aliases[labels] = child
        return child


class _Bound:
    """Admits a label's values while they are within its bounds."""

    def __init__(self, label: Label) -> None:
        self._closed = frozenset(label.values)
        self._limit = label.limit
        self._seen: set[str] = set()

    def admit(self, value: str) -> str:
        if self._closed:
            return str(value) if value in self._closed else OTHER
        if value not in self._seen and value != OTHER:
            if len(self._seen) >= self._limit:
                return OTHER
            self._seen.add(value)
        return value

    def forget(self, value: str) -> None:
        self._seen.discard(value)


def exported(family: Family[Count] | Family[Level] | Family[Distribution]) -> Metric:
    """The family as prometheus_client exposes it."""
    series = family.series
    name = PREFIX + series.name
    labels = [label.name for label in series.labels]
    if series.buckets:
        histogram = HistogramMetricFamily(name, series.doc, labels=labels)
        for values, child in family.items():
            assert isinstance(child, Distribution)
            histogram.add_metric(values, _cumulated(child), child.total)
        return histogram
    plain: CounterMetricFamily | GaugeMetricFamily
    if series.name.endswith("_total"):
        plain = CounterMetricFamily(name, series.doc, labels=labels)
    else:
        plain = GaugeMetricFamily(name, series.doc, labels=labels)
    for values, child in family.items():
        assert not isinstance(child, Distribution)
        plain.add_metric(values, child.value)
    return plain


def _cumulated(child: Distribution) -> list[tuple[str, float]]:
    rows: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip((*child.bounds, float("inf")), child.counts, strict=True):
        so_far += count
        rows.append(("+Inf" if bound == float("inf") else repr(float(bound)), so_far))
    return rows
