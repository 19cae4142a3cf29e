"""Which tenants are metric labels: configured ones first, then the busiest, never more than the limit.

A tenant that becomes more than twice as busy as the quietest one with a label takes its place; the quiet one's series
end and its numbers go on under ``other``. How busy a tenant is, is remembered for a bounded number of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streams.metrics.catalogue import OTHER

_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Placing:
    """The label to count under, and a tenant that has just lost its label (empty for none)."""

    label: str
    dropped: str = ""


class TenantRanking:
    """Counts events per tenant and hands out labels."""

    def __init__(self, limit: int, configured: Iterable[str] = ()) -> None:
        self._limit = limit
        self._fixed = frozenset(list(configured)[:limit])
        self._labelled: set[str] = set(self._fixed)
        self._volume: dict[str, int] = {}

    def place(self, tenant: str, events: int) -> Placing:
        """Count ``events`` more of ``tenant`` and say which label they belong to."""
        volume = self._volume.get(tenant, 0) + events
        if tenant not in self._volume and len(self._volume) >= _REMEMBERED:
            self._forget_quiet()
        self._volume[tenant] = volume
        if tenant in self._labelled:
            return Placing(tenant)
        if len(self._labelled) < self._limit:
            self._labelled.add(tenant)
            return Placing(tenant)
        return self._contest(tenant, volume)

    def _contest(self, tenant: str, volume: int) -> Placing:
        movable = self._labelled - self._fixed
        if not movable:
            return Placing(OTHER)
        quietest = min(movable, key=lambda name: self._volume.get(name, 0))
        if volume <= 2 * self._volume.get(quietest, 0):
            return Placing(OTHER)
        self._labelled.remove(quietest)
        self._labelled.add(tenant)
        return Placing(tenant, quietest)

    def _forget_quiet(self) -> None:
        ranked = sorted(self._volume.items(), key=lambda item: item[1])
        for name, _ in ranked[: _REMEMBERED // 4]:
            if name not in self._labelled:
                del self._volume[name]
