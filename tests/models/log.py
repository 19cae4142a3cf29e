"""Kafka as the worlds see it: logs of records, what is on its way to them, and the group that owns the partition.

One partition of everything. A record is on its way until the explorer lets Kafka take it; taking and acknowledging
are one move, for a crash between the two cannot be told from a crash behind them. Records of one worker to one topic
keep their order; between topics there is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from streams.engine.tickets import Ticket

SESSION_MS = 10_000
"""After so long without a heartbeat the group gives the partition to another worker."""

OUTBOUND, RECEIPTS, ATTEMPTS = "outbound", "receipts", "attempts"


class Rec(NamedTuple):
    """A consumed record, in the shape of the driver's."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 0
    headers: tuple[tuple[str, bytes], ...] = ()


class Logged(NamedTuple):
    """A record in a log, and who wrote it."""

    key: bytes
    value: bytes | None
    writer: str


@dataclass(slots=True, eq=False)
class Outgoing:
    """A record on its way. ``generation`` is the writer's; ``held`` while its fence is closed (table rows alone)."""

    topic: str
    key: bytes
    value: bytes | None
    ticket: Ticket
    generation: int
    held: bool = False


@dataclass(slots=True)
class Kafka:
    """Logs by topic."""

    logs: dict[str, list[Logged]] = field(default_factory=lambda: {OUTBOUND: [], RECEIPTS: [], ATTEMPTS: []})
    owner: str = ""
    """Who has the partition, as the group sees it; empty if nobody."""
    generation: int = 0

    def append(self, topic: str, key: bytes, value: bytes | None, writer: str) -> int:
        """The record's offset."""
        log = self.logs[topic]
        log.append(Logged(key, value, writer))
        return len(log) - 1

    def rows(self) -> dict[bytes, bytes]:
        """What a recovery finds: the ledger's last row of each key."""
        rows: dict[bytes, bytes] = {}
        for record in self.logs[ATTEMPTS]:
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
        return rows
