"""From request to acceptance: how long transactional mail takes alone, and beside a campaign. Pure.

Requests are due at fixed times whatever happens to those before. Latency runs from the time a request was due until the
provider's ledger has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

WANTED_RATIO: Final = 2.0
"""Beside a campaign the 99th percentile must not be longer than so many times that without."""

_BROKEN_RATIO: Final = 5.0
_BEHIND: Final = 0.75
_ENOUGH: Final = 200


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one phase."""

    count: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Latencies:
    """Both phases, and how long the campaign took. A machine may be busy with other things, so an error is only what no
    busy machine explains: transactional mail that waited behind the campaign.
    """

    alone: Latency
    beside: Latency
    campaign_ms: float

    @property
    def ratio(self) -> float:
        """How many times longer it took beside the campaign, by the 99th percentile."""
        return self.beside.p99_ms / max(self.alone.p99_ms, 1.0)

    @property
    def broken(self) -> bool:
        """Whether transactional mail had to wait for the campaign; never said of a handful of messages."""
        enough = min(self.alone.count, self.beside.count) >= _ENOUGH
        return enough and self.ratio > _BROKEN_RATIO and self.beside.p99_ms > _BEHIND * self.campaign_ms

    def as_json(self) -> dict[str, Any]:
        """For the report."""
        phases = {"alone_ms": self.alone, "beside_campaign_ms": self.beside}
        return {
            **{
                name: {"count": phase.count, "p50": round(phase.p50_ms), "p99": round(phase.p99_ms)}
                for name, phase in phases.items()
            },
            "campaign_ms": round(self.campaign_ms),
            "p99_ratio": round(self.ratio, 2),
            "wanted_ratio": WANTED_RATIO,
        }


def measure(due_ms: Mapping[str, float], accepted_ms: Mapping[str, int], identities: Iterable[str]) -> Latency:
    """The latency of some messages; those that nobody accepted are left out (they are lost, which others tell)."""
    taken = sorted(accepted_ms[one] - due_ms[one] for one in identities if one in due_ms and one in accepted_ms)
    return Latency(len(taken), _percentile(taken, 0.5), _percentile(taken, 0.99))


def _percentile(ascending: Sequence[float], share: float) -> float:
    """The nearest rank; 0 of nothing."""
    if not ascending:
        return 0.0
    rank = max(1, -(-len(ascending) * share // 1))
    return ascending[min(len(ascending), int(rank)) - 1]
