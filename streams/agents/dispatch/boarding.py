"""Finding a gate: where a message stands in line, who is moved when a door shuts, and what is held in the ledger.

Rules:

1. Held is parked, not in flight: what finds no open gate goes to the ledger, and its offset advances.
2. A run of records is taken in whole before its formers line up, so that company meets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from streams.agents.breaker_view import Door
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.gate import Former, Gate
from streams.core.breaker import BreakerState
from streams.core.event import Reason, ReasonKind
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Message, Stream
from streams.core.receipt import ReceiptKind
from streams.core.routing import route

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch

_NO_ACCOUNTS: Mapping[str, Gate] = MappingProxyType({})
_ASKING = 500


class Boarding:
    """Works on the desk of a :class:`Dispatch`; owns its gates."""

    def __init__(self, desk: Dispatch) -> None:
        self._desk = desk
        self._touched: dict[Former, Gate] = {}
        self._lanes = desk.lanes
        self._providers = frozenset(desk.config.lanes)
        self._ahead = any(lane.ahead_s for lane in desk.config.lanes.values())

    def board(self, flight: Flight) -> None:
        """Stand in line at the first open gate of the route; decide at once what needs no provider."""
        now_ms = self._desk.clock()
        message = flight.message
        row = self._desk.refusals.row_of(flight, now_ms)
        if row is not None:
            self._desk.decide(flight, row)
        elif message.send_at_ms > now_ms and not flight.attempts and (due_ms := self._begins_ms(flight)) > now_ms:
            self._desk.decide(flight, self._parked(flight, due_ms, ReceiptKind.SCHEDULED))
        elif self._desk.limits.active and (waiting := self._desk.limits.row_of(flight, now_ms)) is not None:
            self._desk.decide(flight, waiting)
        else:
            self._choose_gate(flight, now_ms)

    def _begins_ms(self, flight: Flight) -> int:
        """When a message with a ``send_at`` may be handed over; 0 for one that a person has sent off already."""
        if not self._ahead:
            return flight.message.send_at_ms if flight.batch is not None else 0
        first = next((n for n in self.route_of(flight.message) if n in self._desk.config.lanes), "")
        lane = self._desk.config.lanes.get(first)
        return flight.message.send_at_ms - int(1000 * lane.ahead_s if lane else 0)

    def board_again(self, flights: Sequence[Flight]) -> None:
        """They were taken out of their line: find another, or the same."""
        for flight in flights:
            self._leave(flight)
            self.board(flight)
        if flights:
            self.send_off()

    def _choose_gate(self, flight: Flight, now_ms: int) -> None:
        message = flight.message
        wanted = [name for name in self.route_of(message) if name in self._providers]
        if not wanted:
            self._desk.decide(flight, self._nowhere(flight, now_ms))
            return
        breakers = self._desk.breakers
        if breakers.paused(message.tenant, message.stream.value):
            self.hold(flight, wanted, now_ms)
            return
        own = self._lanes.of(message.tenant) if self._lanes.active else _NO_ACCOUNTS
        if len(wanted) > 1 and breakers.ramping:
            wanted = breakers.eased(wanted, message.message_id, now_ms)
        full: Gate | None = None
        early = False
        for name in self._overflowing(wanted, own) if self._lanes.capped else wanted:
            if breakers.provider_paused(name):
                continue
            door = breakers.door(name, now_ms)
            if door is Door.SHUT:
                continue
            gate = own.get(name) or self._lanes.gates[name]
            if self._ahead and message.send_at_ms - now_ms > 1000 * gate.config.ahead_s:
                early = True
                continue
            if gate.allowance is not None and not self._take(flight, gate, now_ms):
                full = full or gate
                continue
            if door is Door.PROBE:
                flight.probe_epoch, flight.probe_of, flight.single = breakers.spend_probe(name), name, True
            if name != wanted[0]:
                self._desk.observer.failover(wanted[0], name)
            self._line_up(flight, gate)
            return
        self._wait(flight, wanted, full, now_ms, early=early)

    def _wait(self, flight: Flight, wanted: Sequence[str], full: Gate | None, now_ms: int, *, early: bool) -> None:
        """No gate takes it now: those that could are shut, or full for today, or would send too early."""
        if early:  # who keeps messages until their time is not open
            self._desk.decide(flight, self._parked(flight, flight.message.send_at_ms, ReceiptKind.SCHEDULED))
        elif full is not None and full.allowance is not None:
            self._desk.decide(flight, self._capped(flight, full, full.allowance.again_ms(now_ms)))
        else:
            self.hold(flight, wanted, now_ms)

    def _nowhere(self, flight: Flight, now_ms: int) -> AttemptRow:
        named = f" {flight.message.provider!r}" if flight.message.provider else ""
        reason = Reason(ReasonKind.NO_ROUTE, detail=f"no provider{named} is configured for this message")
        return self._desk.refusals.row(flight, LedgerState.REJECTED, reason, now_ms)

    def _overflowing(self, wanted: Sequence[str], own: Mapping[str, Gate]) -> list[str]:
        """The route, with what takes a warm-up's overflow right behind it."""
        route: list[str] = []
        for name in wanted:
            allowance = (own.get(name) or self._lanes.gates[name]).allowance
            warm = allowance.plan.overflow if allowance is not None else ""
            route += [name, warm] if warm in self._providers else [name]
        return list(dict.fromkeys(route))

    def _take(self, flight: Flight, gate: Gate, now_ms: int) -> bool:
        """A place of today's warm-up cap; it goes back when the flight does not (see :meth:`_leave`)."""
        assert gate.allowance is not None
        if gate.allowance.take(flight.partition, now_ms):
            flight.place = gate.allowance
            return True
        return False

    def return_probe(self, flight: Flight) -> None:
        """A permit that the flight has not used goes to the next."""
        if flight.probe_epoch:
            self._desk.breakers.return_probe(flight.probe_of, flight.probe_epoch)
            flight.probe_epoch = 0

    def _leave(self, flight: Flight) -> None:
        self.return_probe(flight)
        if flight.place is not None:
            flight.place.give_back(flight.partition)
            flight.place = None

    def _capped(self, flight: Flight, gate: Gate, due_ms: int) -> AttemptRow:
        reason = Reason(ReasonKind.RATE_LIMITED, "warm_up", detail=f"today's warm-up cap of {gate.lane} is reached")
        return replace(self._parked(flight, due_ms, ReceiptKind.RETRY), reason=reason)

    def hold(self, flight: Flight, wanted: Sequence[str], now_ms: int) -> None:
        """No gate is open: the message waits in the ledger, its lane is asked again soon."""
        holds = self._desk.resting.holds
        crowd = len(holds) >= _ASKING  # enough of them look whether the door is open; the others are told
        due_ms = now_ms + int(1000 * (self._desk.config.hold_long_s if crowd else self._desk.config.hold_poll_s))
        holds.add(flight.message.message_id, flight.partition, wanted[0])
        row = flight.row
        if row is not None and row.state is LedgerState.PARKED and flight.batch is None:
            self._desk.end(flight)
            self._desk.remember(flight.message, flight.size_bytes)
            self._desk.resting.add(flight.message.message_id, flight.partition, row, due_ms)
        else:
            self._desk.decide(flight, self._parked(flight, due_ms, ReceiptKind.ACCEPTED))

    def withdraw(self, flight: Flight) -> bool:
        """Take one flight out of whichever line it stands in; False if it is past that."""
        taken = any(gate.withdraw(lambda waiting: waiting is flight) for gate in self._lanes)
        if taken:
            self._leave(flight)
        return taken

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
        for gate in self._lanes:
            self.give_back_all(gate.withdraw(lambda flight: flight.partition == partition))
        self._touched.clear()

    def give_back_all(self, flights: Iterable[Flight]) -> None:
        """They are whoever's their partition is now: their rows stay as they are, their offsets are not let go."""
        for flight in flights:
            if flight.batch is not None:
                flight.batch.abandon()
            self._desk.end(flight)

    def reshare(self, share: float) -> None:
        """This worker owns that share of the partitions."""
        self._lanes.reshare(share)
        self._desk.limits.reshare(share)

    def breaker_changed(self, provider: str) -> None:
        """A door shut: whoever waits in front of it looks for another. A door opened: wake the parked."""
        breakers = self._desk.breakers
        shut = provider in self._providers and breakers.door(provider, self._desk.clock()) is Door.SHUT
        if shut:
            for gate in self._lanes.of_provider(provider):
                self.board_again(gate.withdraw(lambda flight: not flight.probe_epoch))
        elif breakers.pauses:
            for gate in self._lanes:
                name = gate.provider
                self.board_again(gate.withdraw(lambda flight, name=name: self._is_paused(flight, name)))  # type: ignore[misc]
        if not shut:
            self._desk.wake_held()
        if breakers.state(provider) is BreakerState.CLOSED:
            self._desk.waker.provider_is_back(provider)
        self._desk.waker.nudge()

    def _is_paused(self, flight: Flight, provider: str) -> bool:
        message, breakers = flight.message, self._desk.breakers
        return breakers.paused(message.tenant, message.stream.value) or breakers.provider_paused(provider)

    def limit_rate(self, provider: str, rate: float) -> None:
        """A provider told the account's own rate (messages per second for the whole fleet)."""
        if (gate := self._lanes.gates.get(provider)) is not None:
            gate.limit(rate)

    def pause(self, provider: str, seconds: float, reason: Reason | None = None) -> None:
        """Send nothing through a provider for a while, as when its account says that sending is off."""
        if (gate := self._lanes.gates.get(provider)) is not None:
            gate.pause(self._desk.clock() + int(1000 * seconds))
            gate.trouble = Reason(ReasonKind.ACCOUNT, detail=f"sending is switched off at {provider}")
            gate.trouble = reason or gate.trouble

    def park_paused(self) -> None:
        """What waits behind a long pause goes to the ledger; called every ``sum_interval_s``."""
        now_ms = self._desk.clock()
        config = self._desk.config
        for gate in self._lanes:
            if not gate.ready and gate.trouble is not None:
                self._park(gate, now_ms + int(1000 * config.account_hold_s))
            elif gate.paused_until_ms > now_ms + 1000 * config.held_after_s:
                self._park(gate, gate.paused_until_ms)
        self._desk.settle_decided()

    def _park(self, gate: Gate, due_ms: int) -> None:
        told = ReceiptKind.ACCEPTED if gate.trouble is None else ReceiptKind.RETRY
        for flight in gate.withdraw(lambda flight: not flight.probe_epoch):
            self._leave(flight)
            row = self._parked(flight, due_ms, told)
            if gate.trouble is not None:
                row = replace(row, reason=gate.trouble, provider=gate.provider, account=gate.account)
            self._desk.decide(flight, row)

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
