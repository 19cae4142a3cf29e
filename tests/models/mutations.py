"""The product, broken on purpose in ways that a model must notice: each is what somebody might write in good faith.

A mutation is a function that is given pytest's ``monkeypatch``; what it breaks is put right after the test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from streams.agents import breakers as breaker_agent
from streams.agents.breaker_view import BreakerView, Door
from streams.agents.dispatch.admission import Admission
from streams.agents.dispatch.agent import Dispatch
from streams.agents.dispatch.answers import Answers
from streams.agents.dispatch.book import Book
from streams.agents.dispatch.calls import Calls
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.orders import Orders
from streams.agents.dispatch.waker import Waker
from streams.agents.ports import acked
from streams.core import breaker as core
from streams.core.breaker import BreakerPolicy, BreakerState, BreakerWindow, OutcomeSum
from streams.core.ledger import AttemptRow, LedgerState
from streams.engine.tickets import Ticket

Patch = pytest.MonkeyPatch

# ----------------------------------------------------------------------------------------------- the ledger


def without_waiting_for_the_row(patch: Patch) -> None:
    """Write-ahead without awaiting the acknowledgement."""
    honest = Book.write

    def hasty(self: Book, partition: int, message_id: str, row: AttemptRow) -> Any:
        ticket = honest(self, partition, message_id, row)
        if row.state is not LedgerState.SENDING:
            return ticket
        done = Ticket()
        done.resolve(0, 1)
        return done

    patch.setattr(Book, "write", hasty)


def without_write_ahead(patch: Patch) -> None:
    """The row is written with the result alone."""

    async def nothing(self: Calls, gate: Any, flights: Sequence[Flight]) -> None:
        now_ms = self.clock()
        for one in flights:
            one.row = AttemptRow(
                LedgerState.SENDING, one.next_attempt, now_ms, one.message.fingerprint, one.source,
                provider=gate.provider, lease_until_ms=now_ms + 60_000, owner=self.owner(), sent_ms=now_ms,
            )  # fmt: skip

    patch.setattr(Calls, "_write_ahead", nothing)


def sending_means_never_sent(patch: Patch) -> None:
    """After a recovery, what was being sent is simply sent again."""

    async def again(self: Waker, message_id: str, row: AttemptRow, now_ms: int) -> None:
        parked = replace(row, state=LedgerState.PARKED, changed_ms=now_ms, due_ms=now_ms)
        await self._rest(message_id, row, parked)

    patch.setattr(Waker, "doubt", again)


def the_offset_first(patch: Patch) -> None:
    """The offset is released when the message is taken in, not when its row rests."""
    honest = Dispatch.begin

    def early(self: Dispatch, flight: Flight) -> None:
        batch, flight.batch = flight.batch, None
        honest(self, flight)
        if batch is not None:
            batch.release()

    patch.setattr(Dispatch, "begin", early)


def the_receipt_first(patch: Patch) -> None:
    """Receipt and offset go before the row is acknowledged."""

    async def settle(self: Book, flights: Sequence[tuple[Flight, AttemptRow]]) -> None:
        rows = [self._put(flight, row) for flight, row in flights]
        await acked(t for flight, row in flights if (t := self.tell(flight.partition, flight.message, row)))
        for flight, _ in flights:
            flight.land()
        await acked(rows)

    patch.setattr(Book, "settle", settle)


def the_lease_ignored(patch: Patch) -> None:
    """Whoever takes over asks the provider at once."""
    honest = Waker.doubt

    async def at_once(self: Waker, message_id: str, row: AttemptRow, now_ms: int) -> None:
        await honest(self, message_id, replace(row, lease_until_ms=0), now_ms - 60_000)

    patch.setattr(Waker, "doubt", at_once)


def no_lease_before_the_call(patch: Patch) -> None:
    """A call is made however late Kafka has acknowledged its row."""
    patch.setattr(Calls, "_is_leased", lambda self, gate, flight: True)


def no_owner_before_the_call(patch: Patch) -> None:
    """A call is made whoever owns the partition by now (a short lease alone would still prevent it)."""
    patch.setattr("tests.models.worker.MARGIN_S", 60.0)
    patch.setattr(Calls, "_may_call", lambda self, flight: True)


def calls_nobody_cares_for(patch: Patch) -> None:
    """Track's proof is not written down."""

    async def deaf(self: Orders, command: Any, row: Any, batch: Any) -> None:
        self.done(command.message_id, batch)

    patch.setattr(Orders, "_settle", deaf)

    async def blind(self: Waker, partition: int, message_id: str, row: AttemptRow) -> None:
        self._desk.unlock(message_id)

    patch.setattr(Waker, "_reconcile", blind)


def a_redelivery_is_new(patch: Patch) -> None:
    """A record that is delivered again is not compared with the ledger."""

    def admit(self: Admission, message: Any, batch: Any, source: Any) -> None:
        self._desk.begin(Flight(message, batch.partition, source, batch))

    patch.setattr(Admission, "admit", admit)


def commands_owe_nothing(patch: Patch) -> None:
    """As it was: the row of a command does not owe its receipt."""
    honest = Book._put

    def put(self: Book, flight: Flight, row: AttemptRow) -> Any:
        flight.commanded = False
        return honest(self, flight, row)

    patch.setattr(Book, "_put", put)


def what_was_not_proven_is_sent_at_once(patch: Patch) -> None:
    """An answer that was lost counts as a refusal."""
    honest = Answers.row

    def rest(self: Answers, gate: Any, flight: Flight, outcome: Any, now_ms: int) -> AttemptRow:
        row = honest(self, gate, flight, outcome, now_ms)
        if row.state is LedgerState.UNCERTAIN:
            return replace(row, state=LedgerState.PARKED, due_ms=now_ms + 1_000, told="")
        return row

    patch.setattr(Answers, "row", rest)


def ahead_without_its_record(patch: Patch) -> None:
    """A message taken in ahead is sent although Kafka may not have it."""
    patch.setattr("streams.agents.dispatch.calls.unwritten", lambda flights: [])


# ----------------------------------------------------------------------------------------------- the breaker


def repeats_count(patch: Patch) -> None:
    """A sum counts each time it is read."""

    def forgetful(window: BreakerWindow, outcome: OutcomeSum, policy: BreakerPolicy) -> BreakerWindow:
        return core.fold(replace(window, seen={}), outcome, policy)

    patch.setattr(breaker_agent, "fold", forgetful)


def two_probes(patch: Patch) -> None:
    """The holder's door stays open for probes."""
    honest = BreakerView.door

    def door(self: BreakerView, provider: str, now_ms: int) -> Door:
        record = self._tally(provider).record
        mine = record.state is BreakerState.HALF_OPEN and record.holder == self._worker
        return Door.PROBE if mine and now_ms < record.lease_until_ms else honest(self, provider, now_ms)

    patch.setattr(BreakerView, "door", door)


def a_probe_without_its_lease(patch: Patch) -> None:
    """As it was: the holder may begin when its lease is over, and does not ask again."""
    honest = BreakerView.door

    def door(self: BreakerView, provider: str, now_ms: int) -> Door:
        tally = self._tally(provider)
        if tally.record.state is BreakerState.HALF_OPEN and tally.record.holder == self._worker:
            return Door.PROBE if tally.probe_spent < tally.record.epoch else Door.SHUT
        return honest(self, provider, now_ms)

    patch.setattr(BreakerView, "door", door)


def any_success_closes(patch: Patch) -> None:
    """Half-open closes with any call that went well, whoever made it and when."""
    honest = core.fold

    def generous(window: BreakerWindow, outcome: OutcomeSum, policy: BreakerPolicy) -> BreakerWindow:
        record = window.record
        if record.state is not BreakerState.CLOSED and outcome.succeeded:
            return core._closed(replace(window, seen=window.seen | {outcome.worker: outcome.sequence}), outcome)
        return honest(window, outcome, policy)

    patch.setattr(breaker_agent, "fold", generous)


def nobody_asks_again(patch: Patch) -> None:
    """A worker asks for the probe once in its life."""
    honest = BreakerView.sums

    def sums(self: BreakerView, now_ms: int) -> list[OutcomeSum]:
        told = honest(self, now_ms)
        return [replace(one, asks_probe=one.asks_probe and one.sequence < 2) for one in told]

    patch.setattr(BreakerView, "sums", sums)


def the_run_is_not_counted(patch: Patch) -> None:
    """Failures in a row do not open it."""
    patch.setattr(core, "_tripped", lambda window, policy: "")
