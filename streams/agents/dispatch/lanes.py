"""The gates of a process: one per provider, and one per account that tenants' messages take there.

Rules:

1. Gates and adapters of accounts are made when a message first needs them, and go when nobody has for a while: a
   thousand tenants cost nothing until they send.
2. Opening an account may block (files, a secrets manager), so it is done in a thread; until then its messages wait.
3. An account that cannot be opened holds its messages with the reason; they go as soon as it can be.
4. Secrets in files are looked at again and again: a new password is in use within seconds, and wakes whoever was held.
   Where the old one still works, files must have rested from one look to the next: who changes two is not cut in half.
5. A rotation that fails leaves the old credentials in use, says so, and is tried again. One that succeeds is told when
   the calls that had begun with the old ones have ended.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from streams.agents.dispatch.account_source import AccountSource, Files, Opened
from streams.agents.dispatch.allowance import Allowance
from streams.agents.dispatch.gate import Gate
from streams.agents.dispatch.sent_today import SentToday
from streams.core.accounts import OWN, Account, account_of, has_accounts
from streams.core.warm_up import WarmUp
from streams.providers.base import Provider, dialogue_of

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
_POLL_S = 0.05
_IDLE_MS = 600_000
_QUICK_MS = 4_000  # an account in trouble whose secret no file tells is opened anew so often for a minute,
_SLOW_MS = 60_000  # and then so often
_MOST_TENANTS = 100_000
_NONE: Mapping[str, Gate] = MappingProxyType({})


class Lanes:
    """Works on the desk of a :class:`Dispatch`. ``providers`` is the mapping of adapters that calls use, by lane."""

    def __init__(
        self, desk: Dispatch, providers: MutableMapping[str, Provider], source: AccountSource | None = None
    ) -> None:
        self._desk = desk
        self._providers = providers
        self._source = source
        self._share = 0.0
        self._of: dict[str, Mapping[str, Gate]] = {}
        self._accounts: dict[str, Account] = {}
        self._opened: dict[str, Opened] = {}
        self._opening: set[str] = set()
        self._moving: dict[str, Files] = {}
        self._retired: list[Gate] = []
        self.sent_today = SentToday()
        self.net: Callable[[str], float] = lambda lane: 0.0
        """What is borrowed less what is lent of a lane."""
        self._capped = False
        self.gates: dict[str, Gate] = {}
        self.active = source is not None and source.any_configured()
        """Whether any tenant may have an account that is not the provider's own."""
        for name in desk.config.lanes:
            self._accounts[name] = Account(name)
            self.gates[name] = self._gate(self._accounts[name], desk.config.warm_ups.get(name))

    # ------------------------------------------------------------------ which gate

    def of(self, tenant: str) -> Mapping[str, Gate]:
        """Provider to gate, for the providers where the tenant has an account that is not the provider's own."""
        found = self._of.get(tenant)
        if found is None:
            if len(self._of) >= _MOST_TENANTS:
                self._of.clear()
            found = self._of[tenant] = self._gates_of(tenant)
        return found

    @property
    def capped(self) -> bool:
        """Whether any lane is under a warm-up plan."""
        return self._capped

    def of_provider(self, provider: str) -> list[Gate]:
        """All gates of a provider."""
        return [gate for gate in self.gates.values() if gate.provider == provider]

    def __iter__(self) -> Iterator[Gate]:
        return iter(list(self.gates.values()))

    def _gates_of(self, tenant: str) -> Mapping[str, Gate]:
        record = self._source.tenant(tenant) if self._source is not None else None
        if record is None or not has_accounts(record):
            return _NONE
        gates: dict[str, Gate] = {}
        for provider in self._desk.config.lanes:
            account = account_of(record, provider)
            if account.name:
                gates[provider] = self._gate_for(account)
        return gates

    def _gate_for(self, account: Account) -> Gate:
        gate = self.gates.get(account.lane)
        if gate is None:
            self._accounts[account.lane] = account
            gate = self.gates[account.lane] = self._gate(account, None)
            gate.ready = False
            gate.reshare(self._share)
            gate.lend(self.net(gate.lane))
            self._open(gate, account, fresh=True)
        elif self._accounts[account.lane].settings != account.settings:
            self._accounts[account.lane] = account
            self._open(gate, account, fresh=True)
        return gate

    def _gate(self, account: Account, warm_up: WarmUp | None) -> Gate:
        desk = self._desk
        config = desk.config.lanes[account.provider]
        start, share = desk.start_call, desk.config.bulk_share
        gate = Gate(account.provider, config, share, desk.clock, start, desk.wake_in, account.name)
        self._allow(gate, warm_up)
        return gate

    def _allow(self, gate: Gate, plan: WarmUp | None) -> None:
        if plan is None:
            gate.allowance = None
        elif gate.allowance is None or gate.allowance.plan != plan:
            self._capped = True
            now_ms = self._desk.clock()
            taken = self.sent_today.of(gate.lane)
            gate.allowance = Allowance(plan, self._desk.config.partitions, taken, now_ms)

    # ------------------------------------------------------------------ what changes

    def changed(self, tenant: str) -> None:
        """The tenant's record is another one: its messages take the gates that it names now."""
        self.active = True
        before = self._of.pop(tenant, None)
        if before is None:
            return
        after = self.of(tenant)
        if {name: gate.lane for name, gate in before.items()} == {name: gate.lane for name, gate in after.items()}:
            return
        for gate in before.values():
            if gate.account.startswith(OWN) and gate not in after.values():
                self._retire(gate)
        moved = [one for gate in self for one in gate.withdraw(lambda flight: flight.message.tenant == tenant)]
        self._desk.boarding.board_again(moved)

    def is_troubled(self, lane: str) -> bool:
        """Whether the account takes nothing at present."""
        gate = self.gates.get(lane)
        return gate is not None and (not gate.ready or gate.paused_until_ms > self._desk.clock())

    def reshare(self, share: float) -> None:
        """This worker owns that share of the partitions."""
        self._share = share
        for gate in self:
            gate.reshare(share)

    # ------------------------------------------------------------------ opening accounts

    async def run(self) -> None:
        """Until cancelled: look for changed secrets, open what could not be opened, forget what nobody uses."""
        if self._source is None:
            return
        for lane in self._desk.config.lanes:
            if lane not in self._opened:
                self._opened[lane] = await asyncio.to_thread(self._source.watch, self._accounts[lane])
            self._opened[lane].at_ms = self._desk.clock()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """One look at all accounts that are open or could not be opened."""
        source = self._source
        assert source is not None
        known = [(lane, opened, self._accounts[lane]) for lane, opened in self._opened.items()]
        moving = await asyncio.to_thread(
            lambda: {lane: source.watch(account).files for lane, opened, account in known if source.changed(opened)}
        )
        now_ms = self._desk.clock()
        changed = [lane for lane, files in moving.items() if self._is_troubled(lane) or files == self._moving.get(lane)]
        self._moving = moving
        troubled = [lane for lane, opened, _ in known if self._is_due(lane, opened, now_ms)]
        for lane in dict.fromkeys((*changed, *troubled)):
            if lane in self.gates:
                self._open(self.gates[lane], self._accounts[lane], fresh=False)
        self._dismiss(now_ms)

    def reopen(self) -> None:
        """Somebody asks for it: read the secrets of every open account again."""
        for lane, opened in self._opened.items():
            if opened.can_change and lane in self.gates:
                self._open(self.gates[lane], self._accounts[lane], fresh=False)

    def know(self, watched: Mapping[str, Opened]) -> None:
        """What there was to be seen of providers' own accounts before their adapters were built."""
        self._opened.update((lane, opened) for lane, opened in watched.items() if lane in self.gates)

    def _is_troubled(self, lane: str) -> bool:
        gate = self.gates.get(lane)
        return gate is None or not gate.ready or gate.trouble is not None

    def _is_due(self, lane: str, opened: Opened, now_ms: int) -> bool:
        """Whether to open it anew although no file has changed: its secret lies where nobody tells of changes."""
        gate = self.gates.get(lane)
        if gate is None:
            return False
        if gate.ready and gate.trouble is None:
            return opened.is_due(now_ms)
        if gate.trouble is None or not opened.asks:
            return False
        every_ms = _QUICK_MS if now_ms - opened.since_ms < _SLOW_MS else _SLOW_MS
        return now_ms - opened.at_ms >= every_ms

    def _open(self, gate: Gate, account: Account, *, fresh: bool) -> None:
        if fresh or gate.lane not in self._opening:
            self._opening.add(gate.lane)
            self._desk.tasks.spawn(self._reopen(gate, account, fresh=fresh))

    async def _reopen(self, gate: Gate, account: Account, *, fresh: bool) -> None:
        assert self._source is not None
        opened = await asyncio.to_thread(self._source.open, account, self._desk.clock())
        lane = gate.lane
        if self.gates.get(lane) is not gate or self._accounts[lane] is not account:
            return  # another change was faster
        self._opening.discard(lane)
        before = self._opened.get(lane)
        if before is not None and before.digest == opened.digest and not fresh:
            opened.since_ms = before.since_ms
        self._opened[lane] = opened
        if opened.adapter is None:
            self._refuse(gate, opened, before.digest if before is not None else b"", fresh=fresh)
        elif before is None or fresh or before.digest != opened.digest or not gate.ready:
            self._use(gate, opened.adapter, opened)
            if not fresh and before is not None and opened.differs(before):
                self._desk.tasks.spawn(self._tell(gate))

    def _refuse(self, gate: Gate, opened: Opened, digest: bytes, *, fresh: bool) -> None:
        """A rotation that fails half-way leaves the old credentials in use, those of ``digest``; a record that is wrong
        holds the mail.
        """
        if not fresh and gate.ready:
            opened.digest = digest
            log.error("%s keeps its credentials: %s", gate.lane, opened.reason and opened.reason.detail)
            self._desk.observer.credentials(gate.provider, "failed")
            return
        if gate.trouble is None:
            log.warning("%s is held: %s", gate.lane, opened.reason and opened.reason.detail)
        gate.ready, gate.trouble = False, opened.reason

    def _use(self, gate: Gate, adapter: Provider, opened: Opened) -> None:
        old = self._providers.get(gate.lane)
        self._providers[gate.lane] = adapter
        if gate.account:
            gate.configure(opened.limits(self._desk.config.lanes[gate.provider]))
            self._allow(gate, opened.warm_up)
        gate.ready = True
        gate.resume()
        self._desk.wake_held(gate.lane)
        if old is not None:
            self._dispose(old)

    async def _tell(self, gate: Gate) -> None:
        """Told when it is true of every call: then the old credentials may be revoked."""
        begun = frozenset(gate.slots)
        while begun & gate.slots:  # noqa: ASYNC110 - as rare as rotations
            await asyncio.sleep(_POLL_S)
        log.info("credentials of %s were read anew; every call with the old ones has ended", gate.lane)
        self._desk.observer.credentials(gate.provider, "read")

    # ------------------------------------------------------------------ letting go

    def _retire(self, gate: Gate) -> None:
        self.gates.pop(gate.lane, None)
        self._retired.append(gate)
        self._desk.boarding.board_again(gate.withdraw(lambda flight: True))

    def _dismiss(self, now_ms: int) -> None:
        idle = [gate for gate in self if self._is_idle(gate, now_ms)]
        for gate in idle:
            del self.gates[gate.lane]
        if idle:
            self._of.clear()
        for gate in (*idle, *(gate for gate in self._retired if not gate.calls)):
            self._forget(gate)
        self._retired = [gate for gate in self._retired if gate.calls]

    def _is_idle(self, gate: Gate, now_ms: int) -> bool:
        if not gate.account or gate.calls or gate.allowance is not None or gate.lane in self._opening:
            return False
        return now_ms - gate.used_ms > _IDLE_MS and not any(True for _ in gate.waiting())

    def _forget(self, gate: Gate) -> None:
        if gate.lane in self.gates:  # it has come back in the meantime
            return
        self._opened.pop(gate.lane, None)
        self._accounts.pop(gate.lane, None)
        adapter = self._providers.pop(gate.lane, None)
        if adapter is not None:
            self._dispose(adapter)

    async def aclose(self) -> None:
        """End every adapter's dialogue; the worker is stopping."""
        for adapter in list(self._providers.values()):
            if (dialogue := dialogue_of(adapter)) is not None:
                await dialogue.aclose()

    def _dispose(self, adapter: Provider) -> None:
        dialogue = dialogue_of(adapter)
        if dialogue is not None:
            self._desk.tasks.spawn(dialogue.aclose())

    def shares(self) -> Iterable[Gate]:
        """Gates with a rate, which lend and borrow."""
        return (gate for gate in self.gates.values() if gate.rate)
