"""Finding a gate: where a message stands in line, who is moved when a door shuts, and what is held in the ledger.

Rules:

1. Held is parked, not in flight: what finds no open gate goes to the ledger, and its offset advances.
2. A run of records is taken in whole before its formers line up, so that company meets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from streams.agents.breaker_view import Door
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.gate import Former, Gate
from streams.core.event import Reason, ReasonKind
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Message, Stream
from streams.core.receipt import ReceiptKind
from streams.core.routing import route

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch


class Boarding:
    """Works on the desk of a :class:`Dispatch`; owns its gates."""

    def __init__(self, desk: Dispatch) -> None:
        config = desk.config
        self._desk = desk
        self._touched: dict[Former, Gate] = {}
        self._gates = {
            name: Gate(name, lane, config.bulk_share, desk.clock, desk.start_call, desk.wake_in)
            for name, lane in config.lanes.items()
        }

    def board(self, flight: Flight) -> None:
        """Stand in line at the first open gate of the route; decide at once what needs no provider."""
        now_ms = self._desk.clock()
        message = flight.message
        row = self._desk.refusals.row_of(flight, now_ms)
        if row is not None:
            self._desk.decide(flight, row)
        elif message.send_at_ms > now_ms and not flight.attempts and flight.batch is not None:
            self._desk.decide(flight, self._parked(flight, message.send_at_ms, ReceiptKind.SCHEDULED))
        else:
            self._choose_gate(flight, now_ms)

    def _choose_gate(self, flight: Flight, now_ms: int) -> None:
        message = flight.message
        wanted = [name for name in self.route_of(message) if name in self._gates]
        if not wanted:
            named = f" {message.provider!r}" if message.provider else ""
            reason = Reason(ReasonKind.NO_ROUTE, detail=f"no provider{named} is configured for this message")
            self._desk.decide(flight, self._desk.refusals.row(flight, LedgerState.REJECTED, reason, now_ms))
            return
        if not self._desk.breakers.paused(message.tenant, message.stream.value):
            for name in wanted:
                if self._desk.breakers.provider_paused(name):
                    continue
                door = self._desk.breakers.door(name, now_ms)
                if door is Door.SHUT:
                    continue
                if door is Door.PROBE:
                    flight.probe_epoch, flight.single = self._desk.breakers.spend_probe(name), True
                if name != wanted[0]:
                    self._desk.observer.failover(wanted[0], name)
                self._line_up(flight, self._gates[name])
                return
        self.hold(flight, wanted, now_ms)

    def hold(self, flight: Flight, wanted: Sequence[str], now_ms: int) -> None:
        """No gate is open: the message waits in the ledger, its lane is asked again soon."""
        due_ms = now_ms + int(1000 * self._desk.config.hold_poll_s)
        row = flight.row
        if row is not None and row.state is LedgerState.PARKED and flight.batch is None:
            self._desk.end(flight)
            self._desk.remember(flight.message)
            self._desk.schedule.add(flight.partition, due_ms, flight.message.message_id)
        else:
            self._desk.decide(flight, self._parked(flight, due_ms, ReceiptKind.ACCEPTED))

    def withdraw(self, flight: Flight) -> bool:
        """Take one flight out of whichever line it stands in; False if it is past that."""
        return any(gate.withdraw(lambda waiting: waiting is flight) for gate in self._gates.values())

    def route_of(self, message: Message) -> tuple[str, ...]:
        """Provider names in order of preference."""
        return route(message, self._desk.config.rules, self._desk.config.default_route)

    def _line_up(self, flight: Flight, gate: Gate) -> None:
        former = gate.add(flight)
        if len(former.flights) >= gate.config.batch_size or flight.single:
            gate.line_up(former)
            gate.pump()
        elif not former.ready:
            self._touched[former] = gate

    def send_off(self, stream: Stream = Stream.TRANSACTIONAL) -> None:
        """The run has been taken in: what gathered goes out, after a moment for company where the stream allows."""
        wait_ms = self._desk.config.batch_wait_ms.get(stream, 0)
        if self._touched:
            touched, self._touched = self._touched, {}
            if wait_ms:
                self._desk.wake_in(wait_ms / 1000, lambda: self._line_up_all(touched))
            else:
                self._line_up_all(touched)
        self._desk.settle_decided()

    def _line_up_all(self, touched: Mapping[Former, Gate]) -> None:
        for former, gate in touched.items():
            if former.flights:
                gate.line_up(former)
        for gate in dict.fromkeys(touched.values()):
            gate.pump()

    def stand_alone(self, gate: Gate, flights: Sequence[Flight]) -> None:
        for flight in flights:
            flight.single = True
            gate.line_up(gate.add(flight))

    def give_back(self, partition: int) -> None:
        """The partition leaves: what has not begun a call goes back untouched."""
        for gate in self._gates.values():
            for flight in gate.withdraw(lambda flight: flight.partition == partition):
                self._give_back(flight)
        self._touched.clear()

    def _give_back(self, flight: Flight) -> None:
        if flight.probe_epoch:
            for name in self._gates:
                self._desk.breakers.return_probe(name)
        if flight.batch is not None:
            flight.batch.abandon()
        self._desk.end(flight)

    def reshare(self, share: float) -> None:
        """This worker owns that share of the partitions."""
        for gate in self._gates.values():
            gate.reshare(share)

    def breaker_changed(self, provider: str) -> None:
        """A door shut: whoever waits in front of it looks for another. A door opened: wake the parked."""
        gate = self._gates.get(provider)
        if gate is not None and self._desk.breakers.door(provider, self._desk.clock()) is Door.SHUT:
            for flight in gate.withdraw(lambda flight: not flight.probe_epoch):
                self.board(flight)
            self.send_off()
        self._desk.waker.nudge()

    def limit_rate(self, provider: str, rate: float) -> None:
        """A provider told the account's own rate (messages per second for the whole fleet)."""
        if provider in self._gates:
            self._gates[provider].limit(rate)

    def pause(self, provider: str, seconds: float) -> None:
        """Send nothing through a provider for a while, as when its account says that sending is off."""
        if provider in self._gates:
            self._gates[provider].pause(self._desk.clock() + int(1000 * seconds))

    def park_paused(self) -> None:
        """What waits behind a long pause goes to the ledger; called every ``sum_interval_s``."""
        now_ms = self._desk.clock()
        for gate in self._gates.values():
            if gate.paused_until_ms > now_ms + 1000 * self._desk.config.held_after_s:
                for flight in gate.withdraw(lambda flight: not flight.probe_epoch):
                    self._desk.decide(flight, self._parked(flight, gate.paused_until_ms, ReceiptKind.ACCEPTED))
        self._desk.settle_decided()

    def _parked(self, flight: Flight, due_ms: int, told: ReceiptKind) -> AttemptRow:
        row = flight.row
        return AttemptRow(
            state=LedgerState.PARKED,
            attempt=flight.attempts,
            changed_ms=self._desk.clock(),
            fingerprint=flight.message.fingerprint,
            source=flight.source,
            tries=flight.tries,
            due_ms=due_ms,
            reason=row.reason if row else None,
            told=told.value,
        )
