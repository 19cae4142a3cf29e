"""Compares the lists that a provider keeps with our suppressions, both ways.

    theirs, not ours           ->  suppressed here, since the time that their entry names
    ours (and meant for them)  ->  put onto their list
    lifted here after that     ->  taken off their list, so that mail really goes

Rules:

1. Absence proves nothing: what is on no list of theirs stays suppressed here.
2. Only what changed since the last comparison is pushed; of theirs every page is read (not every provider can say
   "since when"). A repeat changes nothing on either side.
3. Ours is pushed only onto lists that stop no more than we mean: no single lists, nothing that ends by itself, and only
   what the provider's adapter says may be written.
4. Nothing is concluded from a list that could not be read to its end; the mark of the comparison moves only when all
   went well.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streams.core.ids import normalise_address, recipient_key
from streams.core.suppression import Suppression, SuppressionChange, SuppressionKind
from streams.core.suppression_rules import SuppressionRule
from streams.providers.base import Exchange, HttpRequest, Listed, ListFailed, ListName, ListPage, SyncsSuppressions

EVERYBODY = "*"
OVERLAP_MS = 600_000
"""Clocks differ, and lists show an entry a little later."""

_DEADLINE_S = 20.0
_TRIES = 4
_LONGEST_WAIT_S = 120.0
_RUN = 200

_KIND_OF = {
    ListName.BOUNCE: SuppressionKind.BOUNCE,
    ListName.COMPLAINT: SuppressionKind.COMPLAINT,
    ListName.UNSUBSCRIBE: SuppressionKind.UNSUBSCRIBE,
}
_LIST_OF = {kind: name for name, kind in _KIND_OF.items()} | {SuppressionKind.MANUAL: ListName.BOUNCE}

Emit = Callable[[SuppressionChange | SuppressionRule], Awaitable[None]]
"""Writes a wish to Kafka; returns when it is safe, or will be by the end of the comparison."""


class SyncFailed(Exception):
    """The comparison did not come to its end; the text says why. What was done stays done."""


@dataclass(frozen=True, slots=True)
class Ours:
    """What we know of one address, in terms of whole lists: when each kind began, and when it was lifted."""

    address: str
    since: Mapping[SuppressionKind, int]
    lifted: Mapping[SuppressionKind, int]
    pushable: frozenset[SuppressionKind]

    def holds(self, kind: SuppressionKind) -> bool:
        """Whether the kind is in force."""
        return self.since.get(kind, 0) > self.lifted.get(kind, 0)


@dataclass(slots=True)
class SyncReport:
    """What a comparison did; ``read`` counts their entries, ``left_out`` those that we have no word for."""

    provider: str
    read: int = 0
    pulled: int = 0
    pushed: int = 0
    removed: int = 0
    left_out: int = 0
    by_list: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Sync:
    """One provider account. ``tenants`` own its entries; :data:`EVERYBODY` alone makes rules for all."""

    name: str
    provider: SyncsSuppressions
    exchange: Exchange
    tenants: Sequence[str]
    emit: Emit
    clock: Callable[[], int]
    secret: bytes = b""
    dry: bool = False
    """Only say what would be done."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, ours: Mapping[str, Ours], since_ms: int, pull: bool = True, push: bool = True) -> SyncReport:
        """Compare. ``ours`` (by normalised address) is what changed here since then. Raises :class:`SyncFailed`."""
        report = SyncReport(self.name)
        there: set[tuple[ListName, str]] = set()
        gone: list[Listed] = []
        begin_ms = 0 if ours and push else max(0, since_ms - OVERLAP_MS)
        for name in self.provider.reads_lists:
            if name is not ListName.ALLOW:
                await self._read(name, begin_ms, since_ms, ours, there, gone, report, pull)
        if push:
            await self._push(ours, there, gone, report)
        return report

    async def _read(
        self,
        name: ListName,
        begin_ms: int,
        since_ms: int,
        ours: Mapping[str, Ours],
        there: set[tuple[ListName, str]],
        gone: list[Listed],
        report: SyncReport,
        pull: bool,
    ) -> None:
        request: HttpRequest | None = self.provider.list_request(name, begin_ms, self.clock())
        while request is not None:
            page = await self._page(name, begin_ms, request)
            for entry in page.entries:
                report.read += 1
                report.by_list[name.value] += 1
                if entry.tags:  # unsubscribed from something that is no list of ours
                    report.left_out += 1
                    continue
                known = ours.get(normalise_address(entry.address))
                kind = SuppressionKind.MANUAL if entry.by_hand else _KIND_OF[name]
                if known is not None:
                    there.add((name, normalise_address(entry.address)))
                    if known.lifted.get(kind, 0) >= max(entry.since_ms, 1):
                        gone.append(entry)
                        continue
                    if known.holds(kind):
                        continue
                elif entry.since_ms and entry.since_ms < since_ms - OVERLAP_MS:
                    continue
                if pull:
                    report.pulled += await self._take_in(entry, kind)
            request = page.next

    async def _take_in(self, entry: Listed, kind: SuppressionKind) -> int:
        wishes = list(self._wishes(entry, kind))
        if not self.dry:
            for wish in wishes:
                await self.emit(wish)
        return len(wishes)

    def _wishes(self, entry: Listed, kind: SuppressionKind) -> Iterable[SuppressionChange | SuppressionRule]:
        since_ms = min(entry.since_ms or 1, self.clock())
        for tenant in self.tenants:
            if tenant == EVERYBODY:
                yield SuppressionRule(kind, since_ms, address=entry.address, actor=self.name, note=entry.detail[:200])
                continue
            yield SuppressionChange(
                recipient_key(tenant, entry.address, self.secret),
                kind,
                since_ms,
                tenant=tenant,
                recipient=entry.address,
                source=self.name,
                note=entry.detail[:200],
            )

    async def _push(
        self, ours: Mapping[str, Ours], there: set[tuple[ListName, str]], gone: Sequence[Listed], report: SyncReport
    ) -> None:
        allowed = self.provider.writes_lists
        additions = [
            Listed(name, one.address, one.since[kind], by_hand=kind is SuppressionKind.MANUAL)
            for address, one in ours.items()
            for kind in sorted(one.pushable)
            if (name := _LIST_OF[kind]) in allowed and one.holds(kind) and (name, address) not in there
        ]
        report.pushed, report.removed = len(additions), len(gone)
        if self.dry:
            return
        for run in _runs(gone):
            for request in self.provider.remove_requests(run, self.clock()):
                await self._change(request)
        for run in _runs(additions):
            for request in self.provider.add_requests(run, self.clock()):
                await self._change(request)

    async def _page(self, name: ListName, begin_ms: int, request: HttpRequest) -> ListPage:
        said = ""
        for _ in range(_TRIES):
            answer = await self.exchange(request, _DEADLINE_S)
            page = self.provider.read_list(name, begin_ms, answer, self.clock())
            if isinstance(page, ListPage):
                return page
            said = page.detail
            await self._wait(page, f"its list of {name.value}s cannot be read")
        raise SyncFailed(f"{self.name}: its list of {name.value}s cannot be read: {said}")

    async def _change(self, request: HttpRequest) -> None:
        for _ in range(_TRIES):
            failed = self.provider.read_change(await self.exchange(request, _DEADLINE_S), self.clock())
            if failed is None:
                return
            await self._wait(failed, "its list cannot be changed")
        raise SyncFailed(f"{self.name}: its list cannot be changed: {failed.detail if failed else ''}")

    async def _wait(self, failed: ListFailed, what: str) -> None:
        if failed.wait_s is None:
            raise SyncFailed(f"{self.name}: {what}: {failed.detail}")
        await self.sleep(min(max(failed.wait_s, 1.0), _LONGEST_WAIT_S))


def _runs(entries: Sequence[Listed]) -> Iterable[Sequence[Listed]]:
    """Requests are signed when they are built, so not all of them at once."""
    return (entries[start : start + _RUN] for start in range(0, len(entries), _RUN))


def ours_of_row(row: Suppression) -> Ours | None:
    """A tenant's row, as far as a provider has words for it; None where the address is not known."""
    if not row.recipient:
        return None
    since: dict[SuppressionKind, int] = {}
    lifted = dict.fromkeys(SuppressionKind, row.lifted_ms)
    pushable = set()
    for hold in row.all_holds():
        if not hold.list_id:
            since[hold.kind] = hold.since_ms
            lifted[hold.kind] = max(row.lifted_ms, hold.lifted_ms)
            if not hold.until_ms:
                pushable.add(hold.kind)
    return Ours(row.recipient, since, lifted, frozenset(pushable))


def ours_of_rule(rule: SuppressionRule) -> Ours | None:
    """A rule for everybody; None for a domain."""
    if not rule.address:
        return None
    pushable = frozenset((rule.kind,)) if not rule.until_ms else frozenset[SuppressionKind]()
    lifted = dict.fromkeys(SuppressionKind, rule.lifted_ms)
    return Ours(rule.address, {rule.kind: rule.since_ms}, lifted, pushable)


def owners_of(name: str, accounts_of: Mapping[str, Mapping[str, str]], fallback: str) -> tuple[str, ...]:
    """The tenants whose ``PROVIDER/ACCOUNT`` it is (``accounts_of``: tenant to its accounts), else ``fallback``."""
    provider, _, account = name.partition("/")
    own = tuple(tenant for tenant, accounts in accounts_of.items() if account and accounts.get(provider) == account)
    return own or (fallback,)
