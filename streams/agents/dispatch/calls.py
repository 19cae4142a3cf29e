"""One provider call, from the waiting batch to rows at rest.

The order is the product's promise:

    still wanted?  ->  compose  ->  ``sending`` rows acknowledged  ->  still the owner?  ->  call  ->  rows at rest

Rules:

1. Nothing is handed over before Kafka has acknowledged that it may be (write-ahead), and the message itself.
2. Right before the call the ownership of the partition, the age of the group's heartbeat and what is left of the lease
   are checked: a worker that may have been replaced does not call, nor does one whose lease could end before the call.
   Nor is anybody called who has asked for patience since.
3. A whole-batch refusal for the sake of one entry halves the batch; the attempt number stays, nobody pays a try.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from streams.agents.breaker_view import BreakerView
from streams.agents.dispatch.answers import Answers, sending
from streams.agents.dispatch.book import Book, unwritten
from streams.agents.dispatch.composed import Composes
from streams.agents.dispatch.config import DispatchConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.gate import Gate
from streams.agents.dispatch.observer import DispatchObserver
from streams.agents.ports import EnginePort, acked
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.outcome import (
    Accepted,
    AttemptResult,
    BatchOutcome,
    Outcome,
    Scope,
    Split,
)
from streams.core.receipt import ReceiptKind
from streams.failpoints import failpoint
from streams.providers.base import Batch, Earlier, Exchange, Provider, Resends, dialogue_of, resender_of

log = logging.getLogger(__name__)

Settled = tuple[Flight, AttemptRow]

_HEARTBEAT_POLL_S = 0.2


@dataclass(slots=True)
class Calls:
    """Performs calls for all gates of a process."""

    app: EnginePort
    book: Book
    config: DispatchConfig
    composer: Composes
    providers: Mapping[str, Provider]
    exchange: Exchange
    breakers: BreakerView
    observer: DispatchObserver
    clock: Callable[[], int]
    unwanted: Callable[[Flight, int], AttemptRow | None]
    """The row of a flight that must not be sent any more (expired, cancelled, suppressed), else None."""
    owner: Callable[[], str]
    may_write: Callable[[Flight], bool]
    give_back: Callable[[Sequence[Flight]], None]
    """They are another owner's, or ours by another generation: nothing is done to them."""
    back: Callable[[Gate, Sequence[Flight]], None]
    """Stand in line again, each as a batch of its own."""
    halve: Callable[[Gate, Sequence[Flight]], None]
    """Call again with just these."""
    rest: Callable[[Sequence[Settled]], None]
    """Told after rows have come to rest, so that flights end and due times are scheduled."""
    answers: Answers = field(init=False)

    def __post_init__(self) -> None:
        self.answers = Answers(self.config, self.clock)

    async def perform(self, gate: Gate, flights: Sequence[Flight], answered: Callable[[], None]) -> None:
        """Carry a batch through one call; all its flights rest, or stand in line again, or were taken over by others.

        ``answered`` is called when the provider's answer has been read: the call is over, what is left is Kafka's.
        """
        began_s = perf_counter()
        settled, wanted = self._sorted(self._ours(flights))
        sorted_s = perf_counter()
        probe = max((flight.probe_epoch for flight in wanted), default=0)
        composed = await self.composer.compose(gate.lane, wanted)
        self.observer.stage("suppress", sorted_s - began_s)
        self.observer.stage("render", perf_counter() - sorted_s)
        settled += [(flight, self.answers.rejected(flight, gate, reason)) for flight, reason in composed.refused]
        if composed.one_by_one:
            self.back(gate, composed.one_by_one)
        if composed.batch is not None:
            settled += await self._call(gate, composed.batch, composed.flights, probe, answered)
        if settled:
            await self._settle(settled)

    def _ours(self, flights: Sequence[Flight]) -> Sequence[Flight]:
        """Without those that have stood in line since before their partition went."""
        if all(map(self.may_write, flights)):
            return flights
        self.give_back([flight for flight in flights if not self.may_write(flight)])
        return [flight for flight in flights if self.may_write(flight)]

    async def _settle(self, settled: Sequence[Settled]) -> None:
        """Rows at rest; but a worker that lost the partition meanwhile only tells what it knows, and writes no row. It
        does not tell of another try: the new owner, who is in doubt, would not keep that promise.
        """
        began_s = perf_counter()
        if self.may_write(settled[0][0]):
            await self.book.settle(settled)
        else:
            known = [(flight, row) for flight, row in settled if row.state is not LedgerState.PARKED]
            await acked(
                ticket for flight, row in known if (ticket := self.book.tell(flight.partition, flight.message, row))
            )
        self.observer.stage("record", perf_counter() - began_s)
        failpoint("dispatch.after_receipt")
        self.rest(settled)

    def _sorted(self, flights: Sequence[Flight]) -> tuple[list[Settled], list[Flight]]:
        now_ms = self.clock()
        settled: list[Settled] = []
        wanted: list[Flight] = []
        for flight in flights:
            row = self.unwanted(flight, now_ms)
            if row is None:
                wanted.append(flight)
            else:
                settled.append((flight, row))
        return settled, wanted

    async def _call(
        self, gate: Gate, batch: Batch, flights: Sequence[Flight], probe: int, answered: Callable[[], None]
    ) -> list[Settled]:
        """Write ahead, call, and say in which row each flight rests (none for those that others took over)."""
        provider = self.providers[gate.lane]
        dialogue = dialogue_of(provider)
        request = None if dialogue is not None else provider.build_request(batch, self.clock())
        earlier = _answers(gate, provider, flights)
        failpoint("dispatch.before_ledger")
        if not self.may_write(flights[0]):
            self.give_back(flights)  # composing took longer than the partition was ours
            return []
        began_s = perf_counter()
        await self._write_ahead(gate, flights)
        self.observer.stage("record", perf_counter() - began_s)
        failpoint("dispatch.after_ledger")
        if not self._may_call(flights[0]) or not self._is_leased(gate, flights[0]):
            log.warning("%d messages wait: this worker may have lost their partition", len(flights))
            return await self._not_called(flights)
        if gate.paused_until_ms > self.clock():
            return self._held_back(gate, flights)
        failpoint("dispatch.before_call")
        began_ms = self.clock()
        outcomes: BatchOutcome
        if dialogue is not None:
            outcomes = await dialogue.send(batch, gate.config.deadline_s, began_ms)
            failpoint("dispatch.after_answer")
            now_ms = self.clock()
        else:
            assert request is not None
            deadline_s, again = gate.config.deadline_s, None
            if earlier is not None:
                resender, before = earlier
                again = await resender.resend(batch, before, self.exchange, deadline_s, began_ms)
                deadline_s = max(1.0, deadline_s - (self.clock() - began_ms) / 1000)
            answer = None if again is not None else await self.exchange(request, deadline_s)
            failpoint("dispatch.after_answer")
            now_ms = self.clock()
            outcomes = provider.read_response(batch, answer, now_ms) if answer is not None else again or ()
        self.observer.call(gate.provider, (now_ms - began_ms) / 1000, len(flights))
        if isinstance(outcomes, Split):
            self._learn(gate, flights, (), probe, now_ms)
            return self._halved(gate, flights, outcomes)
        self._learn(gate, flights, outcomes, probe, now_ms)
        self._count(gate, flights, outcomes, now_ms)
        failpoint("dispatch.before_result")
        rows = [
            self.answers.row(gate, flight, outcome, now_ms) for flight, outcome in zip(flights, outcomes, strict=True)
        ]
        answered()  # only now: the answer may have paused the gate
        return list(zip(flights, rows, strict=True))

    async def _write_ahead(self, gate: Gate, flights: Sequence[Flight]) -> None:
        now_ms = self.clock()
        lease_ms = now_ms + int(1000 * (gate.config.deadline_s + self.config.lease_margin_s))
        owner = self.owner()
        tickets = []
        for flight in flights:
            flight.row = AttemptRow(
                state=LedgerState.SENDING,
                attempt=flight.next_attempt,
                changed_ms=now_ms,
                fingerprint=flight.message.fingerprint,
                source=flight.source,
                tries=flight.tries,
                provider=gate.provider,
                account=gate.account,
                lease_until_ms=lease_ms,
                owner=owner,
                sent_ms=now_ms,
                reason=flight.note,
            )
            tickets.append(self.book.write(flight.partition, flight.message.message_id, flight.row))
        ahead = unwritten(flights)
        await acked(tickets)
        if ahead:
            failpoint("dispatch.ahead_of_record")
            await acked(ahead)

    def _may_call(self, flight: Flight) -> bool:
        return self.may_write(flight) and self.app.heartbeat_age_s() < self.config.heartbeat_limit_s

    def _is_leased(self, gate: Gate, flight: Flight) -> bool:
        """Whether the call ends before anybody may reconcile it; not so if Kafka was slow to acknowledge the row."""
        return self.clock() + int(1000 * gate.config.deadline_s) <= sending(flight).lease_until_ms

    async def _not_called(self, flights: Sequence[Flight]) -> list[Settled]:
        """Nothing was sent. If the group confirms us again the rows are taken back, else they are the new owner's."""
        while self.may_write(flights[0]):
            if self._may_call(flights[0]):
                now_ms = self.clock()
                return [
                    (flight, replace(sending(flight), state=LedgerState.PARKED, changed_ms=now_ms, due_ms=now_ms))
                    for flight in flights
                ]
            await asyncio.sleep(_HEARTBEAT_POLL_S)
        for flight in flights:
            if flight.batch is not None:
                flight.batch.abandon()
        self.rest([(flight, sending(flight)) for flight in flights])
        return []

    def _held_back(self, gate: Gate, flights: Sequence[Flight]) -> list[Settled]:
        """While their rows were on the way to Kafka, another call was told to wait: so do these, and pay nothing."""
        now_ms = self.clock()
        wait_s = (gate.paused_until_ms - now_ms) / 1000
        told = ReceiptKind.ACCEPTED if gate.trouble is None else ReceiptKind.RETRY
        rows = (self.answers.held(gate, sending(one), gate.trouble or one.note, wait_s, now_ms) for one in flights)
        return [(flight, replace(row, told=told.value)) for flight, row in zip(flights, rows, strict=True)]

    def _halved(self, gate: Gate, flights: Sequence[Flight], split: Split) -> list[Settled]:
        if len(flights) == 1:  # an adapter that splits one entry has misread the answer: the message pays
            return [(flights[0], self.answers.rejected(flights[0], gate, split.reason))]
        log.info(
            "%s refused a batch of %d for one entry (%s): trying halves",
            gate.provider,
            len(flights),
            split.reason.detail,
        )
        middle = len(flights) // 2
        self.halve(gate, flights[:middle])
        self.halve(gate, flights[middle:])
        return []

    # ------------------------------------------------------------------ what the answer taught

    def _learn(
        self, gate: Gate, flights: Sequence[Flight], outcomes: Sequence[Outcome], probe: int, now_ms: int
    ) -> None:
        """One call is one lesson for the breaker, however many messages it carried. A permit is used by it."""
        for flight in flights:
            flight.probe_epoch = 0
        for outcome in outcomes:
            if not isinstance(outcome, Accepted) and outcome.scope is Scope.PROVIDER:
                self.breakers.failed(gate.provider, now_ms, outcome.reason.detail, probe)
                return
        self.breakers.succeeded(gate.provider, probe)

    def _count(self, gate: Gate, flights: Sequence[Flight], outcomes: Sequence[Outcome], now_ms: int) -> None:
        results = Counter(
            AttemptResult.ACCEPTED if isinstance(outcome, Accepted) else outcome.result for outcome in outcomes
        )
        for result, count in results.items():
            self.observer.attempts(gate.provider, result.value, count)
        if taken := results[AttemptResult.ACCEPTED]:
            message = flights[0].message
            self.observer.handed_over(message.stream.value, max(0, now_ms - message.requested_ms) / 1000, taken)


def _answers(gate: Gate, provider: Provider, flights: Sequence[Flight]) -> tuple[Resends, Earlier] | None:
    """The attempt whose final soft failure this call answers by sending what the provider has stored, if it does."""
    first = flights[0]
    if len(flights) > 1 or first.batch is not None or first.earlier is None or first.row is None:
        return None
    resender = resender_of(provider)
    here = (first.row.provider, first.row.account) == (gate.provider, gate.account)
    return (resender, first.earlier) if resender is not None and here else None
