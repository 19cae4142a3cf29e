"""Asks providers what their accounts may send, and tells the lanes and the metrics.

A quota that cannot be read changes nothing: the lane keeps what it knew. An account whose sending is switched off is
paused until the next question finds it on again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from streams.providers.base import Exchange, Provider, Quota, TellsQuota

log = logging.getLogger(__name__)

_EVERY_S = 60.0
_DEADLINE_S = 10.0


class Lanes(Protocol):
    """Who obeys: dispatch."""

    def limit_rate(self, provider: str, rate: float) -> None: ...
    def pause(self, provider: str, seconds: float) -> None: ...


class QuotaObserver(Protocol):
    """Metrics."""

    def quota(self, provider: str, limit: float, remaining: float) -> None: ...


@dataclass(slots=True)
class Quotas:
    """``providers`` by name; those that cannot tell are left alone."""

    providers: Mapping[str, Provider]
    exchange: Exchange
    lanes: Lanes
    observer: QuotaObserver
    clock: Callable[[], int]
    every_s: float = _EVERY_S

    async def run(self) -> None:
        """Ask at once, and then again and again."""
        while True:
            await self.ask()
            await asyncio.sleep(self.every_s)

    async def ask(self) -> None:
        """One question to each."""
        for name, provider in list(self.providers.items()):  # accounts of tenants come and go meanwhile
            if isinstance(provider, TellsQuota):
                answer = await self.exchange(provider.quota_request(self.clock()), _DEADLINE_S)
                quota = provider.read_quota(answer)
                if quota is None:
                    log.warning("%s did not tell its quota; its lane keeps its limits", name)
                else:
                    self._obey(name, quota)

    def _obey(self, name: str, quota: Quota) -> None:
        self.lanes.limit_rate(name, quota.max_send_rate)
        if quota.max_24h >= 0 and "/" not in name:  # accounts of tenants are no labels
            self.observer.quota(name, quota.max_24h, max(0.0, quota.max_24h - quota.sent_24h))
        if not quota.sending_enabled:
            log.error("%s: sending is switched off for this account (%s)", name, quota.enforcement or "no reason given")
            self.lanes.pause(name, 1.5 * self.every_s)
