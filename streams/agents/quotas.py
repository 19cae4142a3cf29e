"""Asks providers what their accounts may send, and tells the lanes and the metrics.

Rules:

1. A quota that cannot be read changes nothing: the lane keeps what it knew.
2. An account whose sending is switched off or shut down is paused until a later question finds it on again; what waits
   is held with that reason.
3. An account that has sent all it may in a day is paused too: every call would be refused, and room comes back bit by
   bit.
4. A change of an account's standing is one log line. Being on probation stops nothing: it is for a person to act.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from streams.core.event import Reason, ReasonKind
from streams.providers.base import Exchange, Provider, Quota, TellsQuota

log = logging.getLogger(__name__)

_EVERY_S = 60.0
_DEADLINE_S = 10.0


class Lanes(Protocol):
    """Who obeys: dispatch."""

    def limit_rate(self, provider: str, rate: float) -> None: ...
    def pause(self, provider: str, seconds: float, reason: Reason | None = None) -> None: ...


class QuotaObserver(Protocol):
    """Metrics."""

    def quota(self, provider: str, limit: float, remaining: float) -> None: ...
    def standing(self, provider: str, standing: str) -> None: ...


_WORDS: Mapping[str, str] = {"": "healthy", "HEALTHY": "healthy", "PROBATION": "probation", "SHUTDOWN": "shutdown"}
"""What SES calls them."""


def standing_of(quota: Quota) -> str:
    """``healthy``, ``probation``, ``paused``, ``shutdown`` or ``unknown``: the labels of the metric."""
    standing = _WORDS.get(quota.enforcement, "unknown")
    return standing if quota.sending_enabled or standing == "shutdown" else "paused"


@dataclass(slots=True)
class Quotas:
    """``providers`` by name, accounts as ``name/account``; those that cannot tell are left alone."""

    providers: Mapping[str, Provider]
    exchange: Exchange
    lanes: Lanes
    observer: QuotaObserver
    clock: Callable[[], int]
    every_s: float = _EVERY_S
    _standings: dict[str, str] = field(default_factory=dict)
    _spent: set[str] = field(default_factory=set)

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
        remaining = max(0.0, quota.max_24h - quota.sent_24h)
        standing = standing_of(quota)
        if "/" not in name:  # accounts of tenants are no labels
            self.observer.standing(name, standing)
            if quota.max_24h >= 0:
                self.observer.quota(name, quota.max_24h, remaining)
        self._tell(name, standing, quota)
        if standing in ("paused", "shutdown"):
            word = quota.enforcement or standing
            reason = Reason(ReasonKind.ACCOUNT, word, "", f"sending is switched off for this account ({word})")
            self.lanes.pause(name, 1.5 * self.every_s, reason)
        elif quota.max_24h >= 0 and remaining < 1:
            if name not in self._spent:
                log.warning("%s: all %.0f messages of 24 hours are sent; it waits for room", name, quota.max_24h)
            self._spent.add(name)
            self.lanes.pause(name, 1.5 * self.every_s)
        else:
            self._spent.discard(name)

    def _tell(self, name: str, standing: str, quota: Quota) -> None:
        before = self._standings.get(name, "healthy")
        self._standings[name] = standing
        if standing == before:
            return
        if standing == "healthy":
            log.info("%s: the account is in good standing again", name)
        elif standing == "probation":
            log.warning("%s: the account is on probation: look at its bounces and complaints", name)
        elif standing == "unknown":
            log.warning("%s: the account's standing has a new word: %s", name, quota.enforcement)
        else:
            log.error("%s: sending is switched off for this account (%s)", name, quota.enforcement or "no reason given")
