"""Partitions come and go: what the ledger tells when one is ours, and what is left behind when it goes.

Whoever loses a partition finishes its calls, gives the rest back untouched, and writes no row afterwards.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streams.agents.dispatch.resting import stream_of
from streams.core.accounts import lane_of
from streams.core.ledger import AttemptRow, LedgerState, is_foreign

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000


class Partitions:
    """Works on the desk of a :class:`Dispatch`."""

    def __init__(self, desk: Dispatch) -> None:
        self._desk = desk
        self._open: set[int] = set()
        self._leaving: set[int] = set()
        limit = desk.config.recipient_limit
        self._recent_ms = max(_DAY_MS, limit.window_ms if limit else 0)

    def __contains__(self, partition: int) -> bool:
        return partition in self._open

    def takes(self, partition: int) -> bool:
        """Whether new messages of it may begin here: it is ours, and not being given away."""
        return partition in self._open and partition not in self._leaving

    @property
    def share(self) -> float:
        """Which part of all is ours."""
        return len(self._open) / self._desk.config.partitions

    def ready(self, partition: int, owner: str) -> None:
        """The table is recovered: rebuild due times, and mark what an older owner left unfinished."""
        desk = self._desk
        now_ms = desk.clock()
        self._open.add(partition)
        self._leaving.discard(partition)
        self._reshare()
        unfinished = []
        for message_id, row in list(desk.book.rows(partition)):
            if is_foreign(row, owner) or row.state is LedgerState.SENDING:
                unfinished.append((message_id, row))
            elif row.state in (LedgerState.PARKED, LedgerState.UNCERTAIN):
                desk.resting.add(message_id, partition, row)
            if now_ms - row.sent_ms < self._recent_ms:
                self._recall(partition, message_id, row, now_ms)
            if row.owed:
                desk.tasks.spawn(desk.waker.pay(partition, message_id, row), partition)
        for message_id, row in unfinished:
            desk.busy[message_id] = None
            desk.tasks.spawn(desk.waker.doubt(message_id, row, now_ms), partition)
        if unfinished:
            log.warning("partition %d: %d sends of an older owner are uncertain", partition, len(unfinished))
        desk.waker.nudge()

    def leaving(self, partition: int) -> None:
        """It is being given away: what has not begun goes back, and nobody is woken any more."""
        desk = self._desk
        self._leaving.add(partition)
        desk.boarding.give_back(partition)
        desk.resting.drop(partition)
        desk.waker.left(partition)
        desk.lanes.sent_today.drop(partition)
        desk.limits.drop(partition)

    def left(self, partition: int) -> None:
        """It is gone."""
        self._open.discard(partition)
        self._leaving.discard(partition)
        self._desk.book.lost(partition)
        self._reshare()

    def _reshare(self) -> None:
        self._desk.boarding.reshare(self.share)
        self._desk.lending.regroup(self._desk.app.generation())

    def _recall(self, partition: int, message_id: str, row: AttemptRow, now_ms: int) -> None:
        """Limits count what was sent before this worker came."""
        self._desk.lanes.sent_today.recall(partition, row, lane_of(row.provider, row.account), now_ms)
        self._desk.limits.recall(partition, message_id, row, stream_of(row).value, now_ms)
