"""Lookups: provider events without our message id find their message by the provider's.

Rules:

1. Track tells whose a provider id is (:class:`Bind`), normalise asks (:class:`Find`); both arrive in the partition of
   the provider id, in any order. Only this agent writes ``provider_ids``.
2. Where several recipients share one provider id, the recipient decides; without one, nothing is guessed.
3. A question that comes too early waits, a bounded number per id and for a limited time; then it is a counted orphan.
4. Answers are receipts with our message id, sent home; acknowledged before the rows are logged.
5. The first message bound to an id and recipient stays: a provider does not reuse ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from streams.agents.bindings import Bind, Find
from streams.agents.dead_letters import dead_letter
from streams.agents.expiry import Expiry
from streams.agents.ports import BatchPort, EnginePort, RecordPort, TablePort, UnitFactory, UnitPort
from streams.core.ids import fingerprint, normalise_address, partition_of
from streams.serde.internal import Malformed, pack, packer, unpack, unpacker
from streams.topics import DEAD_LETTERS, RECEIPTS, Topics

MAX_WAITING = 64
"""Early questions kept per provider id; one more pushes the oldest out."""

_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Binding:
    """Whose a provider id is, for one recipient (by hash); ``shared`` on the first one if there are others."""

    message_id: str
    attempt: int
    recipient_hash: str
    bound_ms: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """Questions that came before their binding, oldest first."""

    finds: tuple[Find, ...]


@dataclass(slots=True)
class LookupsCounts:
    """Sums over one batch or sweep, by provider."""

    bound: int = 0
    found: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    orphans: Counter[str] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)


class LookupsObserver(Protocol):
    """Called once per batch, synchronously."""

    def batch(self, counts: LookupsCounts) -> None: ...


class SilentLookups:
    """Tells nobody."""

    def batch(self, counts: LookupsCounts) -> None: ...


@dataclass(frozen=True, slots=True)
class LookupsConfig:
    """Bindings live as long as the ledger; orphans as long as a send result may be late."""

    topics: Topics
    partitions: int
    binding_ms: int = 31 * 24 * _HOUR_MS
    orphan_ms: int = 6 * _HOUR_MS


_write_binding, _read_binding = packer(Binding), unpacker(Binding)
_write_waiting, _read_waiting = packer(Waiting), unpacker(Waiting)


@dataclass(slots=True)
class Lookups:
    """``clock`` gives epoch milliseconds."""

    app: EnginePort
    provider_ids: TablePort
    unit: UnitFactory
    config: LookupsConfig
    clock: Callable[[], int]
    observer: LookupsObserver = field(default_factory=SilentLookups)
    _old: Expiry = field(init=False)

    def __post_init__(self) -> None:
        self._old = Expiry(self.provider_ids)

    async def handle(self, batch: BatchPort) -> None:
        """Bind and answer a run of records; then keep the rows, then let the offset go."""
        run = _Run(self, batch, self.unit(self.app, batch), self.clock())
        for record in batch.records:
            run.take(record)
        run.unit.finish()
        self.observer.batch(run.counts)
        await run.unit.room()

    async def sweep(self, partition: int, now_ms: int) -> None:
        """Forget old bindings and give up old orphans of a partition that is ours; bounded, so call it again."""

        def is_old(key: bytes, row: bytes) -> bool:
            if key.endswith(_WAITING):
                waiting = _read_waiting(row)
                return isinstance(waiting, Malformed) or waiting.finds[-1].asked_ms < now_ms - self.config.orphan_ms
            binding = _read_binding(row)
            return isinstance(binding, Malformed) or binding.bound_ms < now_ms - self.config.binding_ms

        counts = LookupsCounts()
        for row in self._old.sweep(partition, is_old):
            waiting = _read_waiting(row)
            if isinstance(waiting, Waiting):
                counts.orphans.update(find.receipt.provider for find in waiting.finds)
        if counts.orphans:
            self.observer.batch(counts)

    def lost(self, partition: int) -> None:
        """The partition went to another worker."""
        self._old.forget(partition)


_SEPARATOR = b"\x1f"
_WAITING = _SEPARATOR + b"?"  # no address hash ends like that


def _first_key(provider: str, provider_message_id: str) -> bytes:
    """Where the first binding of an id lies."""
    return f"{provider}\x1f{provider_message_id}".encode()


def _hash(recipient: str) -> str:
    """A mailbox as it stands in a row: not in the clear."""
    return fingerprint(normalise_address(recipient).encode()) if recipient else ""


class _Run:
    """The work on one batch."""

    def __init__(self, lookups: Lookups, batch: BatchPort, unit: UnitPort, now_ms: int) -> None:
        self.unit = unit
        self.counts = LookupsCounts()
        self._table = lookups.provider_ids
        self._config = lookups.config
        self._batch = batch
        self._now_ms = now_ms

    def take(self, record: RecordPort) -> None:
        """One record of ``lookups``."""
        asked = unpack(record.value or b"")
        if isinstance(asked, Bind):
            self._bind(asked)
        elif isinstance(asked, Find):
            self._find(asked)
        else:
            detail = asked.detail if isinstance(asked, Malformed) else f"a {type(asked).__name__}"
            self.counts.dead_letters["malformed"] += 1
            topic = self._config.topics.name(DEAD_LETTERS)
            dead_letter(topic, self.unit, self._batch, record, "malformed", detail)

    def _bind(self, bind: Bind) -> None:
        self.counts.bound += 1
        key = _first_key(bind.provider, bind.provider_message_id)
        new = Binding(bind.message_id, bind.attempt, _hash(bind.recipient), bind.bound_ms or self._now_ms)
        first = self._binding(key)
        if first is None or first.message_id == new.message_id:
            shared = first is not None and first.shared
            self._put(key, replace(new, shared=shared, attempt=max(new.attempt, first.attempt if first else 0)))
        elif first.recipient_hash != new.recipient_hash:
            if not first.shared:
                self._put(key, replace(first, shared=True))
            self._put(key + _SEPARATOR + new.recipient_hash.encode(), new)
        self._release(key)

    def _find(self, find: Find) -> None:
        key = _first_key(find.receipt.provider, find.receipt.provider_message_id)
        binding = self._owner(key, find)
        if binding is None:
            self._wait(key, find)
        else:
            self._send_home(find, binding)

    def _owner(self, key: bytes, find: Find) -> Binding | None:
        first = self._binding(key)
        if first is None:
            return None
        asked = _hash(find.recipient)
        if not asked or not first.recipient_hash:
            return None if first.shared else first
        if asked == first.recipient_hash:
            return first
        return self._binding(key + _SEPARATOR + asked.encode())

    def _wait(self, key: bytes, find: Find) -> None:
        kept = self._waiting(key)
        if any(_same(find, other) for other in kept):
            return
        finds = (*kept, find)
        if len(finds) > MAX_WAITING:
            self.counts.orphans[finds[0].receipt.provider] += 1
            finds = finds[1:]
        self.counts.waiting[find.receipt.provider] += 1
        self.unit.put(self._table, key + _WAITING, _write_waiting(Waiting(finds)))

    def _release(self, key: bytes) -> None:
        kept = self._waiting(key)
        if not kept:
            return
        left = []
        for find in kept:
            binding = self._owner(key, find)
            if binding is None:
                left.append(find)
            else:
                self._send_home(find, binding)
        if not left:
            self.unit.delete(self._table, key + _WAITING)
        elif len(left) < len(kept):
            self.unit.put(self._table, key + _WAITING, _write_waiting(Waiting(tuple(left))))

    def _send_home(self, find: Find, binding: Binding) -> None:
        receipt = find.receipt
        self.counts.found[receipt.provider] += 1
        home = replace(receipt, message_id=binding.message_id, attempt=receipt.attempt or binding.attempt)
        partition = partition_of(home.message_id, self._config.partitions)
        self.unit.emit(self._config.topics.name(RECEIPTS), partition, home.message_id.encode(), pack(home))

    def _put(self, key: bytes, binding: Binding) -> None:
        self.unit.put(self._table, key, _write_binding(binding))

    def _binding(self, key: bytes) -> Binding | None:
        kept = self._table.get(self._batch.partition, key)
        read = _read_binding(kept) if kept is not None else None
        return None if isinstance(read, Malformed) else read

    def _waiting(self, key: bytes) -> tuple[Find, ...]:
        kept = self._table.get(self._batch.partition, key + _WAITING)
        read = _read_waiting(kept) if kept is not None else None
        return () if read is None or isinstance(read, Malformed) else read.finds


def _same(one: Find, other: Find) -> bool:
    return one.receipt.receipt_id == other.receipt.receipt_id and one.recipient == other.recipient
