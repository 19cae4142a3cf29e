"""Commands: retry, cancel, and track's answers about uncertain attempts.

A command acts on a row at rest and carries the attempt it expects; where the ledger has moved on it does nothing. So a
redelivered command is harmless, and its offset is released as soon as its row is acknowledged.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from streams.agents.dispatch.flight import Flight
from streams.agents.ports import BatchPort
from streams.core.command import Cancel, Command, NoProof, Retry, Settle
from streams.core.event import Reason, ReasonKind
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.receipt import ReceiptKind
from streams.core.retry import POLICIES, next_due_ms

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch

log = logging.getLogger(__name__)

_RETRIABLE = frozenset(
    {
        LedgerState.HELD,
        LedgerState.REJECTED,
        LedgerState.FAILED,
        LedgerState.EXPIRED,
        LedgerState.SUPPRESSED,
        LedgerState.SENT,
    }
)
"""States that a person may send again from."""

_TAKEN = frozenset({LedgerState.SENT, LedgerState.UNCERTAIN, LedgerState.HELD})
"""States that policies retry from: what was sent and then failed softly. Its failure is proof where we were in doubt:
an answer may have come after the partition had gone to somebody who could not know it.
"""


class Orders:
    """Carries commands out on the desk of a :class:`Dispatch`."""

    def __init__(self, desk: Dispatch) -> None:
        self._desk = desk

    def take(self, command: Command, batch: BatchPort) -> None:
        """Obey now, or as soon as the message is no longer busy. The batch is released when it is done."""
        desk = self._desk
        message_id = command.message_id
        flight = desk.busy.get(message_id)
        if isinstance(command, Cancel) and flight is not None and self._cancel_waiting(flight, command):
            desk.after(message_id, batch.release)  # when its row is safe
        elif message_id in desk.busy:
            desk.after(message_id, lambda: self.take(command, batch))
        else:
            desk.busy[message_id] = None
            desk.tasks.spawn(self._obey(command, batch), batch.partition)

    async def _obey(self, command: Command, batch: BatchPort) -> None:
        desk = self._desk
        row = desk.book.row(batch.partition, command.message_id)
        match command:
            case Retry():
                await self._retry(command, row, batch)
            case Cancel():
                await self._cancel(command, row, batch)
            case Settle():
                await self._settle(command, row, batch)
            case NoProof():
                await desk.waker.no_proof(command, row, batch)
            case _:
                assert_never(command)

    def _cancel_waiting(self, flight: Flight, command: Cancel) -> bool:
        """Cancel what stands in line; what is in a call already cannot be called back."""
        taken = self._desk.boarding.withdraw(flight)
        if taken:
            flight.cancelled_by = command.actor
            self._desk.boarding.board(flight)
        return taken

    async def _cancel(self, command: Cancel, row: AttemptRow | None, batch: BatchPort) -> None:
        desk = self._desk
        reason = Reason(ReasonKind.CANCELLED, detail=f"cancelled by {command.actor}")
        if row is None:  # unknown so far: remembered, in case the message comes later
            cancelled = AttemptRow(LedgerState.CANCELLED, 0, desk.clock(), reason=reason)
            await desk.book.write(batch.partition, command.message_id, cancelled)
        elif row.state is LedgerState.PARKED:
            cancelled = replace(row, state=LedgerState.CANCELLED, changed_ms=desk.clock(), reason=reason)
            await self.rest_in(command.message_id, row, cancelled, batch)
            return
        elif row.state is LedgerState.SENT:
            log.info("%s cannot be cancelled: %s has it", command.message_id, row.provider)
        self.done(command.message_id, batch)

    async def _retry(self, command: Retry, row: AttemptRow | None, batch: BatchPort) -> None:
        expected = row is not None and command.expected_attempt == row.attempt
        if row is None or not expected or row.state not in (_TAKEN if command.final_soft else _RETRIABLE):
            self.done(command.message_id, batch)
        elif command.final_soft:
            await self._retry_by_policy(command, row, batch)
        else:
            parked = replace(
                row,
                state=LedgerState.PARKED,
                changed_ms=self._desk.clock(),
                due_ms=self._desk.clock(),
                tries=0,
                provider_message_id="",
                told=ReceiptKind.RETRY.value,
                reason=Reason(ReasonKind.OTHER, detail=f"sent again by {command.actor or 'an operator'}"),
            )
            await self.rest_in(command.message_id, row, parked, batch)

    async def _retry_by_policy(self, command: Retry, row: AttemptRow, batch: BatchPort) -> None:
        desk = self._desk
        message = await desk.message_of(command.message_id, row)
        if message is None:
            self.done(command.message_id, batch)
            return
        desk.remember(message)
        policy = desk.config.policies.get(message.retry_policy or desk.config.default_policy, POLICIES["backoff"])
        now_ms, tries = desk.clock(), row.tries + 1
        due_ms = next_due_ms(policy, tries=tries, now_ms=now_ms, jitter=0.5, expires_at_ms=message.expires_at_ms)
        if due_ms is None:
            after = replace(
                row,
                state=LedgerState.FAILED,
                changed_ms=now_ms,
                tries=tries,
                reason=Reason(ReasonKind.RETRIES_EXHAUSTED, detail=f"{tries} tries ended without delivery"),
            )
        else:
            after = replace(
                row,
                state=LedgerState.PARKED,
                changed_ms=now_ms,
                tries=tries,
                due_ms=due_ms,
                told=ReceiptKind.RETRY.value,
            )
        await self.rest_in(command.message_id, row, after, batch)

    async def _settle(self, command: Settle, row: AttemptRow | None, batch: BatchPort) -> None:
        """Track has proof of acceptance: an uncertain attempt is a sent one."""
        open_question = row is not None and row.state in (LedgerState.UNCERTAIN, LedgerState.HELD)
        if row is None or not open_question or row.attempt != command.expected_attempt:
            self.done(command.message_id, batch)
            return
        self._desk.observer.reconciled(row.provider, "found")
        await self.rest_in(command.message_id, row, found(row, command.provider_message_id, self._desk.clock()), batch)

    async def rest_in(self, message_id: str, row: AttemptRow, after: AttemptRow, batch: BatchPort | None) -> None:
        """Write the new row of a message that this command holds, tell track, and let the batch go."""
        desk = self._desk
        message = await desk.message_of(message_id, row)
        if message is None or row.source is None:
            log.error("the record of %s is gone: its row stays %s", message_id, row.state.value)
            self.done(message_id, batch)
            return
        partition = batch.partition if batch is not None else desk.partition_of(message_id)
        flight = Flight(message, partition, row.source, batch, row=row, commanded=True)
        desk.take_off(flight)
        await desk.settle([(flight, after)])

    def done(self, message_id: str, batch: BatchPort | None) -> None:
        """Nothing more to do: let go of the message and of the record."""
        if batch is not None:
            batch.release()
        self._desk.unlock(message_id)


def found(row: AttemptRow, provider_message_id: str, now_ms: int) -> AttemptRow:
    """The row of an attempt that was proven to be accepted."""
    return replace(
        row,
        state=LedgerState.SENT,
        changed_ms=now_ms,
        provider_message_id=provider_message_id or row.provider_message_id,
        reason=None,
        due_ms=0,
        lease_until_ms=0,
    )
