"""Alerts: tells tenants by mail what was given up of theirs. One owner per tenant: who has the partition of its name.

Track writes troubles to the topic ``alerts``, keyed by tenant; this agent gathers them (:mod:`streams.core.alerts`) and
asks for a mail like everybody else does, on ``send-requests``. Rules:

1. An alert is frozen in the row, acknowledged, before it is asked for, and taken out of the row when the request is
   acknowledged. Whoever finds it there after a crash asks again: same key, same content, one mail.
2. While an alert is under way troubles go on being gathered; the next one tells of them.
3. A tenant without an address gets none, and what was gathered for it is forgotten when it is due.
4. Offsets go when the rows are logged; what is redelivered was counted and is not counted again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from streams.agents.dead_letters import dead_letter
from streams.agents.expiry import Expiry
from streams.agents.ports import BatchPort, EnginePort, TablePort, UnitFactory
from streams.core.alert_mail import alert_request
from streams.core.alerts import AlertRow, Digest, Trouble, due_ms, frozen, gathered, told, total
from streams.core.message import Mailbox
from streams.engine.errors import PartitionLost
from streams.failpoints import failpoint
from streams.serde.internal import Malformed, packer, unpack, unpacker
from streams.serde.public import encode_request
from streams.topics import ALERTS, DEAD_LETTERS, SEND_REQUESTS, Topics

log = logging.getLogger(__name__)

_LOOK_S = 1.0
_DAY_MS = 86_400_000

_write, _read = packer(AlertRow), unpacker(AlertRow)


class AlertsObserver(Protocol):
    """Metrics. ``result``: ``asked`` (for a mail), ``no_address``, ``unsendable``."""

    def alert(self, result: str, troubles: int) -> None: ...


class SilentAlerts:
    """Tells nobody."""

    def alert(self, result: str, troubles: int) -> None: ...


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    """``address_of`` gives a tenant's alert address, empty for none. ``provider`` empty: by the routing rules."""

    topics: Topics
    partitions: int
    sender: Mailbox
    address_of: Callable[[str], str]
    interval_s: float = 900.0
    provider: str = ""
    kept_ms: int = 31 * _DAY_MS


@dataclass(slots=True)
class Alerts:
    """Sole writer of the table ``alert_digests``. ``clock`` gives epoch milliseconds."""

    app: EnginePort
    digests: TablePort
    unit: UnitFactory
    config: AlertsConfig
    clock: Callable[[], int]
    observer: AlertsObserver = field(default_factory=SilentAlerts)
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    _open: set[tuple[int, bytes]] = field(default_factory=set, init=False)
    """Rows that have something to tell."""
    _old: Expiry = field(init=False)

    def __post_init__(self) -> None:
        self._old = Expiry(self.digests)

    async def handle(self, batch: BatchPort) -> None:
        """Gather a run of troubles; keep the rows, then let the offset go."""
        unit = self.unit(self.app, batch)
        rows: dict[bytes, AlertRow] = {}
        changed: set[bytes] = set()
        for record in batch.records:
            trouble = unpack(record.value or b"")
            if not isinstance(trouble, Trouble):
                detail = trouble.detail if isinstance(trouble, Malformed) else f"a {type(trouble).__name__}"
                dead_letter(self.config.topics.name(DEAD_LETTERS), unit, batch, record, "malformed", detail)
                continue
            key = trouble.tenant.encode()
            before = rows[key] if key in rows else self._row(batch.partition, key)
            rows[key] = gathered(before, trouble)
            if rows[key] is not before:
                changed.add(key)
        for key in changed:
            unit.put(self.digests, key, _write(rows[key]))
            self._open.add((batch.partition, key))
        unit.finish()
        await unit.room()

    async def run(self) -> None:
        """Tell what is due, for ever."""
        while True:
            await self.pause(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Tell every tenant of ours whose next alert is due."""
        now_ms, interval_ms = self.clock(), int(1000 * self.config.interval_s)
        for partition, key in sorted(self._open):
            if not self._is_ours(partition):
                continue
            try:
                row = self._row(partition, key)
                at_ms = due_ms(row, interval_ms)
                if at_ms is None:
                    self._open.discard((partition, key))
                elif at_ms <= now_ms:
                    await self._tell(partition, key, row, now_ms)
            except PartitionLost:  # the next owner tells it
                self._open.discard((partition, key))

    def partition_ready(self, partition: int) -> None:
        """Its rows have been restored: find those that have something to tell."""
        for key, kept in self.digests.items(partition):
            row = _read(kept)
            if isinstance(row, AlertRow) and due_ms(row, 0) is not None:
                self._open.add((partition, key))

    def lost(self, partition: int) -> None:
        """The partition went to another worker."""
        self._open = {(home, key) for home, key in self._open if home != partition}
        self._old.forget(partition)

    async def sweep(self, partition: int, now_ms: int) -> None:
        """Forget tenants of which nothing has been heard for long; bounded, so call it again."""

        def is_old(_: bytes, kept: bytes) -> bool:
            row = _read(kept)
            if isinstance(row, Malformed):
                return True
            return due_ms(row, 0) is None and row.changed_ms < now_ms - self.config.kept_ms

        self._old.sweep(partition, is_old)

    async def _tell(self, partition: int, key: bytes, row: AlertRow, now_ms: int) -> None:
        address = self.config.address_of(row.tenant)
        if not address:
            self.observer.alert("no_address", total(row.open))
            await self.digests.put(partition, key, _write(replace(row, open=Digest(), frozen=None)))
            return
        if row.frozen is None:
            row = frozen(row, now_ms)
            await self.digests.put(partition, key, _write(row))
            failpoint("alerts.after_row")
            if not self._is_ours(partition):
                return
        digest = row.frozen
        assert digest is not None
        await self._ask(partition, key, row.tenant, digest, address)
        failpoint("alerts.after_request")
        if self._is_ours(partition):  # troubles may have come meanwhile: the row is read again
            await self.digests.put(partition, key, _write(told(self._row(partition, key), digest.number)))

    async def _ask(self, partition: int, key: bytes, tenant: str, digest: Digest, address: str) -> None:
        config = self.config
        request = alert_request(
            tenant, digest, config.sender, address, config.provider, round(config.interval_s / 60, 1)
        )
        try:
            value = encode_request(request)
        except ValueError:  # an address that no request may have: nobody can be told, but somebody may read the log
            log.exception("the alert of tenant %s cannot be sent", tenant)
            self.observer.alert("unsendable", total(digest))
            return
        await self.app.emit(config.topics.name(SEND_REQUESTS), partition, key, value)
        self.observer.alert("asked", total(digest))
        log.warning("tenant %s is told by mail: %d messages in trouble", tenant, total(digest))

    def _row(self, partition: int, key: bytes) -> AlertRow:
        kept = self.digests.get(partition, key)
        row = _read(kept) if kept is not None else None
        return row if isinstance(row, AlertRow) else AlertRow(key.decode("utf-8", "replace"))

    def _is_ours(self, partition: int) -> bool:
        return self.app.owns(self.config.topics.name(ALERTS), partition)
