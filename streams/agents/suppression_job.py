"""The periodic comparison of providers' suppression lists with ours: each provider's is one worker's job.

Rules:

1. The worker that owns the partition of the provider's name in ``provider-outcomes`` does it, as with its breaker. Who
   loses the partition meanwhile finishes: a repeat by the next owner changes nothing.
2. Our side is what the changelog of ``suppressions`` has got since the last comparison: whoever owns which rows.
3. A provider that cannot be compared now is logged, counted, and tried again at the next turn; nothing else suffers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from streams.agents.ports import EnginePort, ReaderPort, TicketPort, acked
from streams.agents.suppression_orders import Order, mark_of, order_of, read_mark
from streams.agents.suppression_sync import (
    EVERYBODY,
    OVERLAP_MS,
    Ours,
    Sync,
    SyncFailed,
    SyncReport,
    ours_of_row,
    ours_of_rule,
    owners_of,
)
from streams.agents.suppression_view import SYNC, read_rule
from streams.core.ids import normalise_address, partition_of_text
from streams.core.suppression import Suppression, SuppressionChange
from streams.core.suppression_rules import SuppressionRule
from streams.providers.base import Exchange, SyncsSuppressions
from streams.serde.internal import unpacker
from streams.topics import PROVIDER_OUTCOMES, Topics

log = logging.getLogger(__name__)

_FIRST_S = 30.0
_LOOK_S = 60.0
_MANY = 1000

_read_row = unpacker(Suppression)

Rows = Callable[[int], Iterable[tuple[bytes, bytes | None]]]
"""Key and value of the rows of ``suppressions`` that changed since a time (epoch ms), the last value of a key last.
Blocking: called in a thread."""


class SyncObserver(Protocol):
    """Metrics."""

    def synced(self, provider: str, changes: Mapping[str, int], *, failed: bool) -> None: ...


def rows_of(records: Iterable[tuple[bytes, bytes | None]], tenants: Sequence[str]) -> dict[str, Ours]:
    """Our side of a comparison: the rows of these tenants, by normalised address."""
    found: dict[str, Ours] = {}
    for _, value in records:
        row = _read_row(value) if value else None
        if isinstance(row, Suppression) and row.tenant in tenants and (one := ours_of_row(row)) is not None:
            found[normalise_address(one.address)] = one
    return found


def rules_of(records: Iterable[tuple[bytes, bytes]], since_ms: int) -> dict[str, Ours]:
    """Our side where the entries are everybody's: the rules for addresses that changed since then."""
    found: dict[str, Ours] = {}
    for key, value in records:
        rule = None if key.startswith(SYNC.encode()) else read_rule(value)
        if rule is not None and max(rule.since_ms, rule.lifted_ms) >= since_ms:
            one = ours_of_rule(rule)
            if one is not None:
                found[normalise_address(one.address)] = one
    return found


@dataclass(slots=True)
class SuppressionJob:
    """``providers`` by ``PROVIDER`` or ``PROVIDER/ACCOUNT``; ``accounts_of`` are the tenants' accounts at them."""

    app: EnginePort
    providers: Mapping[str, object]
    exchange: Exchange
    rules: ReaderPort
    rows: Rows
    accounts_of: Mapping[str, Mapping[str, str]]
    fallback: str
    topics: Topics
    partitions: int
    clock: Callable[[], int]
    observer: SyncObserver
    secret: bytes = b""
    every_s: float = 6 * 3600.0

    async def run(self) -> None:
        """Look now and then whether a comparison of ours is due."""
        await asyncio.sleep(_FIRST_S)
        while True:
            for name in self.providers:
                if self._is_mine(name) and self._is_due(name):
                    await self.compare(name)
            await asyncio.sleep(min(_LOOK_S, self.every_s))

    async def compare(self, name: str) -> SyncReport | None:
        """One comparison; None if it failed (which is logged)."""
        provider = self.providers[name]
        if not isinstance(provider, SyncsSuppressions):
            return None
        since_ms, began_ms = self._mark(name), self.clock()
        tenants = owners_of(name, self.accounts_of, self.fallback)
        tickets: list[TicketPort] = []

        async def emit(wish: SuppressionChange | SuppressionRule) -> None:
            tickets.append(self._write(order_of(wish, self.topics, self.partitions, self.secret)))
            if len(tickets) >= _MANY:
                await acked(tickets)
                tickets.clear()

        sync = Sync(name, provider, self.exchange, tenants, emit, self.clock, self.secret)
        try:
            report = await sync.run(await self._ours(tenants, since_ms), since_ms)
            await acked(tickets)
        except SyncFailed as exc:
            await acked(tickets)
            log.warning("suppression lists: %s; the next comparison is in %g h", exc, self.every_s / 3600)
            self.observer.synced(name.partition("/")[0], {}, failed=True)
            await acked([self._write(mark_of(f"{name}#tried", began_ms, self.topics))])
            return None
        await acked([self._write(mark_of(name, began_ms, self.topics))])
        changes = {"pulled": report.pulled, "pushed": report.pushed, "removed": report.removed}
        log.info("suppression lists of %s: %d read, %s", name, report.read, changes)
        self.observer.synced(name.partition("/")[0], changes, failed=False)
        return report

    async def _ours(self, tenants: Sequence[str], since_ms: int) -> dict[str, Ours]:
        begin_ms = max(0, since_ms - OVERLAP_MS)
        if EVERYBODY in tenants:
            return rules_of(self.rules.items(), begin_ms)
        return await asyncio.to_thread(lambda: rows_of(self.rows(begin_ms), tenants))

    def _mark(self, name: str) -> int:
        return read_mark(self.rules.get(f"{SYNC}{name}".encode()))

    def _is_due(self, name: str) -> bool:
        last_ms = max(self._mark(name), self._mark(f"{name}#tried"))
        return self.clock() >= last_ms + 1000 * self.every_s

    def _is_mine(self, name: str) -> bool:
        topic = self.topics.name(PROVIDER_OUTCOMES)
        return self.app.owns(topic, partition_of_text(name.partition("/")[0], self.partitions))

    def _write(self, order: Order) -> TicketPort:
        return self.app.emit(order.topic, order.partition, order.key, order.value)
