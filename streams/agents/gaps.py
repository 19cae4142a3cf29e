"""Fills the gaps that lost webhooks leave: reads providers' events of the past and hands them in like webhooks.

Rules:

1. One worker per source of events: who owns the partition of its name. While it changes hands two may read; what is
   told twice is one sighting, as with webhooks.
2. What is younger than the provider's settling time is left alone: it may still be incomplete.
3. The watermark (table ``watermarks``) follows what Kafka has acknowledged: after a crash some is read again, nothing
   is skipped. It is kept per source, so it survives the worker, and providers that share a source.
4. Reading is paced: a backlog is worked off at the provider's page rate, other sources meanwhile at theirs.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from streams.agents.ports import EnginePort, Headers, TablePort, TicketPort, acked
from streams.core.ids import partition_of_text
from streams.engine.errors import PartitionLost
from streams.providers.base import EventsPage, Exchange, HttpRequest, ListFailed, Provider, TellsEvents, ToldEvent
from streams.topics import FILLED_BY, PROVIDER_OUTCOMES, Topics

log = logging.getLogger(__name__)

_EVERY_S = 60.0
_DEADLINE_S = 30.0
_FIRST_MS = 3 * 3_600_000
"""How far the first look goes back."""
_LOST_MS = 3 * 86_400_000
"""Providers forget their events; what is older is not asked for any more."""
_MARK = struct.Struct(">q")


class GapObserver(Protocol):
    """Metrics."""

    def gaps(self, provider: str, read: int, watermark_ms: int, *, failed: bool) -> None: ...


@dataclass(slots=True)
class Gaps:
    """``providers`` by name (``name/account`` too); those that cannot tell their events are left alone. ``clock`` gives
    epoch milliseconds.
    """

    app: EnginePort
    watermarks: TablePort
    topics: Topics
    partitions: int
    providers: Mapping[str, Provider]
    exchange: Exchange
    observer: GapObserver
    clock: Callable[[], int]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    every_s: float = _EVERY_S
    _ready: set[int] = field(default_factory=set, init=False)
    _quiet_until_ms: dict[str, int] = field(default_factory=dict, init=False)

    def partition_ready(self, partition: int) -> None:
        """Its watermarks have been restored."""
        self._ready.add(partition)

    def partition_lost(self, partition: int) -> None:
        """Another worker goes on from the watermarks."""
        self._ready.discard(partition)

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.pause(self.every_s)
            await self.look()

    async def look(self) -> None:
        """Every source that is ours, up to what has settled by now."""
        sources: dict[str, tuple[str, TellsEvents]] = {}
        for name, provider in sorted(self.providers.items()):
            if isinstance(provider, TellsEvents) and provider.events_source:
                sources.setdefault(provider.events_source, (name, provider))
        await asyncio.gather(*(self._while_ours(source, *of) for source, of in sources.items()))

    async def _while_ours(self, source: str, name: str, provider: TellsEvents) -> None:
        try:
            if self._is_ours(source):
                await self._fill(source, name, provider)
        except PartitionLost:
            log.info("%s: its events are read on by another worker", name)

    def _is_ours(self, source: str) -> bool:
        partition = partition_of_text(source, self.partitions)
        return partition in self._ready and self.app.owns(self.topics.name(PROVIDER_OUTCOMES), partition)

    async def _fill(self, source: str, name: str, provider: TellsEvents) -> None:
        now_ms = self.clock()
        if self._quiet_until_ms.get(source, 0) > now_ms:
            return
        end_ms = now_ms - int(1000 * provider.events_settle_s)
        mark_ms = self._mark(source, end_ms)
        request: HttpRequest | None = provider.events_request(mark_ms, end_ms) if mark_ms < end_ms else None
        while request is not None:
            answer = await self.exchange(request, _DEADLINE_S)
            page = provider.read_events_page(answer, self.clock())
            if not self._is_ours(source):
                return
            if isinstance(page, ListFailed):
                self._failed(source, name, page, mark_ms)
                return
            await self._hand_in(name, provider, page)
            mark_ms = max(mark_ms, min(page.until_ms, end_ms)) if page.next else end_ms
            if not self._is_ours(source):
                return
            await self.watermarks.put(partition_of_text(source, self.partitions), source.encode(), _MARK.pack(mark_ms))
            self.observer.gaps(_main(name), len(page.events), mark_ms, failed=False)
            request = page.next if page.next != request else None
            if request is not None:
                await self.pause(1 / provider.events_pages_per_s)

    def _mark(self, source: str, end_ms: int) -> int:
        kept = self.watermarks.get(partition_of_text(source, self.partitions), source.encode())
        if kept is None or len(kept) != _MARK.size:
            return end_ms - _FIRST_MS
        mark_ms = int(_MARK.unpack(kept)[0])
        if mark_ms < end_ms - _LOST_MS:
            log.error("%s: its events were not read for more than three days; older ones are not asked for", source)
            return end_ms - _LOST_MS
        return mark_ms

    async def _hand_in(self, name: str, provider: TellsEvents, page: EventsPage) -> None:
        main, _, account = name.partition("/")
        type_: str = getattr(provider, "type", "")  # not by name: a tenant's account may be forgotten by now
        headers: Headers = [
            ("provider", main.encode()),
            ("account", account.encode()),
            ("received_at", b"%d" % self.clock()),
            ("verified", b"1"),  # it came from the provider itself, over TLS, asked with the account's key
            (FILLED_BY, b"events"),
        ]
        tickets = []
        for event in page.events:
            try:
                tickets.append(self._emit(type_, event, headers))
            except ValueError as exc:  # too large for a record
                log.error("%s: an event cannot be handed in: %s", name, exc)
        await acked(tickets)

    def _emit(self, type_: str, event: ToldEvent, headers: Headers) -> TicketPort:
        partition = partition_of_text(event.key.decode("utf-8", "replace"), self.partitions)
        return self.app.emit(self.topics.webhooks(type_), partition, event.key, event.payload, headers)

    def _failed(self, source: str, name: str, failed: ListFailed, mark_ms: int) -> None:
        self.observer.gaps(_main(name), 0, mark_ms, failed=True)
        wait_s = failed.wait_s if failed.wait_s is not None else 3600.0
        self._quiet_until_ms[source] = self.clock() + int(1000 * wait_s)
        log.warning("%s: its events could not be read (%s); asked again in %d s", name, failed.detail, wait_s)


def _main(name: str) -> str:
    return name.partition("/")[0]
