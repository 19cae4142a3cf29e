"""Dispatch: the only writer of the send ledger, and the only one who calls providers.

A message is admitted once, finds an open gate, waits there for company, and is carried through one call
(:mod:`.calls`) to a row at rest. Rules:

1. Check and reserve without an await between: a message id is busy from its admission until its row rests, across both
   topics and all batches.
2. Held is parked, not in flight: what finds no open gate goes to the ledger, and its offset advances.
3. Commands act on rows at rest; one that meets a busy message waits for it.
4. Whoever loses a partition finishes its calls, gives the rest back untouched, and writes no row afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from streams.agents.breaker_view import BreakerView, Door
from streams.agents.dispatch.book import Book
from streams.agents.dispatch.calls import Calls, Settled
from streams.agents.dispatch.composed import Composes
from streams.agents.dispatch.config import DispatchConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.gate import Former, Gate
from streams.agents.dispatch.observer import DispatchObserver
from streams.agents.dispatch.orders import Orders
from streams.agents.dispatch.refusals import Refusals
from streams.agents.dispatch.schedule import Schedule
from streams.agents.dispatch.tasks import Tasks
from streams.agents.dispatch.waker import Waker
from streams.agents.ports import BatchPort, EnginePort, TablePort
from streams.core.event import Reason, ReasonKind
from streams.core.ids import partition_of, partition_of_text
from streams.core.ledger import AttemptRow, LedgerState, is_foreign
from streams.core.message import Message, RecordRef, Stream
from streams.core.receipt import ReceiptKind
from streams.core.routing import route
from streams.providers.base import Exchange, Provider
from streams.serde.internal import Malformed, pack, unpack
from streams.topics import DEAD_LETTERS, PROVIDER_OUTCOMES

log = logging.getLogger(__name__)

_RECENT = 50_000


class Dispatch:
    """One per worker process. ``crash`` ends the process: an unexpected exception must never be outlived."""

    def __init__(
        self,
        *,
        app: EnginePort,
        attempts: TablePort,
        suppressions: TablePort,
        composer: Composes,
        load_message: Callable[[RecordRef], Coroutine[Any, Any, Message | None]],
        providers: Mapping[str, Provider],
        exchange: Exchange,
        breakers: BreakerView,
        config: DispatchConfig,
        observer: DispatchObserver,
        clock: Callable[[], int],
        crash: Callable[[BaseException], None],
    ) -> None:
        self.app = app
        self.config = config
        self.book = Book(app, attempts, config)
        self.breakers = breakers
        self.observer = observer
        self.clock = clock
        self.schedule = Schedule()
        self.busy: dict[str, Flight | None] = {}
        """Message ids that may not be touched; None while a command holds one."""
        self._refusals = Refusals(suppressions, config)
        self._load = load_message
        self._outbound = config.topics.outbound("transactional")
        self.tasks = Tasks(crash)
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._recent: OrderedDict[str, Message] = OrderedDict()
        self._under_way: Counter[Stream] = Counter()
        self._open_partitions: set[int] = set()
        self._touched: dict[Former, Gate] = {}
        self._decided: list[Settled] = []
        self._landed = asyncio.Event()
        self._gates = {
            name: Gate(name, lane, config.bulk_share, clock, self._start_call, self._wake_in)
            for name, lane in config.lanes.items()
        }
        self._calls = Calls(
            app=app,
            book=self.book,
            config=config,
            composer=composer,
            providers=providers,
            exchange=exchange,
            breakers=breakers,
            observer=observer,
            clock=clock,
            unwanted=self._refusals.row_of,
            owner=self._owner,
            may_write=self.may_write,
            back=self._stand_alone,
            halve=self._halve,
            rest=self._rested,
        )
        self.waker = Waker(self, providers, exchange)
        self.orders = Orders(self)
        breakers.on_change = self._breaker_changed

    # ------------------------------------------------------------------ records in

    async def handle(self, batch: BatchPort) -> None:
        """Admit a run of messages and commands; answers when they have been taken in, not when they are sent."""
        stream = Stream.BULK if batch.topic.endswith(".bulk") else Stream.TRANSACTIONAL
        await self._room(stream)
        batch.retain(len(batch.records))
        for record in batch.records:
            found = unpack(record.value or b"")
            if isinstance(found, Message):
                self.admit(found, batch, RecordRef(batch.topic, batch.partition, record.offset))
            elif isinstance(found, Malformed):
                self._dead_letter(batch, record, found.detail)
            else:
                self.orders.take(found, batch)
        self.flush(stream)
        batch.release()

    def admit(self, message: Message, batch: BatchPort, source: RecordRef) -> None:
        """Take a message in once: new ones stand in line, repeats are told apart from redeliveries and conflicts."""
        message_id = message.message_id
        if message_id in self.busy:
            self._meet_busy(message, batch, source)
            return
        row = self.book.row(batch.partition, message_id)
        if row is not None and not (row.state is LedgerState.CANCELLED and row.source is None):
            self._meet_row(message, row, batch, source)
            return
        flight = Flight(message, batch.partition, source, batch, row=row)
        if row is not None:
            flight.cancelled_by = (row.reason.detail if row.reason else "") or "cancelled before it arrived"
        self.take_off(flight)
        self.observer.requests(message.stream.value, "accepted", 1)
        self.board(flight)

    def _meet_busy(self, message: Message, batch: BatchPort, source: RecordRef) -> None:
        flight = self.busy[message.message_id]
        if flight is None:  # a command is at work: look again when it has finished
            self.after(message.message_id, lambda: self.admit(message, batch, source))
        elif flight.message.fingerprint == message.fingerprint:
            self._repeat(message, batch)
        else:
            self._conflict(message, batch)

    def _meet_row(self, message: Message, row: AttemptRow, batch: BatchPort, source: RecordRef) -> None:
        if row.source == source:  # a redelivery of the record that made the row: it may owe its receipt
            ticket = self.book.tell(batch.partition, message, row)
            if ticket is None:
                batch.release()
            else:
                ticket.add_done_callback(lambda _: batch.release())
        elif row.fingerprint == message.fingerprint:
            self._repeat(message, batch)
        else:
            self._conflict(message, batch)

    def _repeat(self, message: Message, batch: BatchPort) -> None:
        self.observer.requests(message.stream.value, "duplicate", 1)
        batch.release()

    def _conflict(self, message: Message, batch: BatchPort) -> None:
        self.observer.requests(message.stream.value, "conflict", 1)
        ticket = self.book.conflict(batch.partition, message, self.clock())
        ticket.add_done_callback(lambda _: batch.release())

    def _dead_letter(self, batch: BatchPort, record: Any, detail: str) -> None:
        self.observer.dead_letter(batch.topic, "malformed")
        headers = [
            ("dlq.topic", batch.topic.encode()),
            ("dlq.partition", str(batch.partition).encode()),
            ("dlq.offset", str(record.offset).encode()),
            ("dlq.reason", b"malformed"),
            ("dlq.detail", detail.encode()),
        ]
        topic = self.config.topics.name(DEAD_LETTERS)
        self.app.emit(topic, 0, record.key, record.value, headers).add_done_callback(lambda _: batch.release())

    async def _room(self, stream: Stream) -> None:
        while self._under_way[stream] >= self.config.max_in_flight:
            self._landed.clear()
            await self._landed.wait()

    # ------------------------------------------------------------------ finding a gate

    def take_off(self, flight: Flight) -> None:
        """The message is ours alone from here on."""
        flight.generation = self.app.generation()
        self.busy[flight.message.message_id] = flight
        self._under_way[flight.message.stream] += 1

    def board(self, flight: Flight) -> None:
        """Stand in line at the first open gate of the route; decide at once what needs no provider."""
        now_ms = self.clock()
        message = flight.message
        row = self._refusals.row_of(flight, now_ms)
        if row is not None:
            self._decide(flight, row)
        elif message.send_at_ms > now_ms and not flight.attempts and flight.batch is not None:
            self._decide(flight, self._parked(flight, message.send_at_ms, ReceiptKind.SCHEDULED))
        else:
            self._choose_gate(flight, now_ms)

    def _choose_gate(self, flight: Flight, now_ms: int) -> None:
        message = flight.message
        wanted = [name for name in self.route_of(message) if name in self._gates]
        if not wanted:
            named = f" {message.provider!r}" if message.provider else ""
            reason = Reason(ReasonKind.NO_ROUTE, detail=f"no provider{named} is configured for this message")
            self._decide(flight, self._refusals.row(flight, LedgerState.REJECTED, reason, now_ms))
            return
        if not self.breakers.paused(message.tenant, message.stream.value):
            for name in wanted:
                if self.breakers.provider_paused(name):
                    continue
                door = self.breakers.door(name, now_ms)
                if door is Door.SHUT:
                    continue
                if door is Door.PROBE:
                    flight.probe_epoch, flight.single = self.breakers.spend_probe(name), True
                if name != wanted[0]:
                    self.observer.failover(wanted[0], name)
                self._line_up(flight, self._gates[name])
                return
        self.hold(flight, wanted, now_ms)

    def hold(self, flight: Flight, wanted: Sequence[str], now_ms: int) -> None:
        """No gate is open: the message waits in the ledger, its lane is asked again soon."""
        due_ms = now_ms + int(1000 * self.config.hold_poll_s)
        row = flight.row
        if row is not None and row.state is LedgerState.PARKED and flight.batch is None:
            self.end(flight)
            self.remember(flight.message)
            self.schedule.add(flight.partition, due_ms, flight.message.message_id)
        else:
            self._decide(flight, self._parked(flight, due_ms, ReceiptKind.ACCEPTED))

    def withdraw(self, flight: Flight) -> bool:
        """Take one flight out of whichever line it stands in; False if it is past that."""
        return any(gate.withdraw(lambda waiting: waiting is flight) for gate in self._gates.values())

    def partition_of(self, message_id: str) -> int:
        """Where a message's row lives."""
        return partition_of(message_id, self.config.partitions)

    def route_of(self, message: Message) -> tuple[str, ...]:
        """Provider names in order of preference."""
        return route(message, self.config.rules, self.config.default_route)

    def _line_up(self, flight: Flight, gate: Gate) -> None:
        former = gate.add(flight)
        if len(former.flights) >= gate.config.batch_size or flight.single:
            gate.line_up(former)
            gate.pump()
        elif not former.ready:
            self._touched[former] = gate

    def flush(self, stream: Stream = Stream.TRANSACTIONAL) -> None:
        """The run has been taken in: what gathered goes out, after a moment for company where the stream allows."""
        wait_ms = self.config.batch_wait_ms.get(stream, 0)
        if self._touched:
            touched, self._touched = self._touched, {}
            if wait_ms:
                self._wake_in(wait_ms / 1000, lambda: self._line_up_all(touched))
            else:
                self._line_up_all(touched)
        self._settle_decided()

    def _line_up_all(self, touched: Mapping[Former, Gate]) -> None:
        for former, gate in touched.items():
            if former.flights:
                gate.line_up(former)
        for gate in dict.fromkeys(touched.values()):
            gate.pump()

    # ------------------------------------------------------------------ decisions without a provider

    def _decide(self, flight: Flight, row: AttemptRow) -> None:
        if flight.probe_epoch:
            self.breakers.return_probe(row.provider)
        self._decided.append((flight, row))

    def _settle_decided(self) -> None:
        if self._decided:
            decided, self._decided = self._decided, []
            for partition, settled in _by_partition(decided):
                self.tasks.finish(self.settle(settled), partition)

    async def settle(self, decided: Sequence[Settled]) -> None:
        """Let flights rest in their rows and tell track."""
        await self.book.settle(decided)
        self._rested(decided)

    def _parked(self, flight: Flight, due_ms: int, told: ReceiptKind) -> AttemptRow:
        row = flight.row
        return AttemptRow(
            state=LedgerState.PARKED,
            attempt=flight.attempts,
            changed_ms=self.clock(),
            fingerprint=flight.message.fingerprint,
            source=flight.source,
            tries=flight.tries,
            due_ms=due_ms,
            reason=row.reason if row else None,
            told=told.value,
        )

    # ------------------------------------------------------------------ calls

    def _start_call(self, gate: Gate, flights: Sequence[Flight]) -> None:
        self.observer.in_flight(gate.provider, gate.calls)
        self.tasks.finish(self._call(gate, list(flights)), flights[0].partition)

    async def _call(self, gate: Gate, flights: list[Flight]) -> None:
        stream = flights[0].message.stream
        try:
            await self._calls.perform(gate, flights)
        finally:
            gate.call_ended(stream)

    def _halve(self, gate: Gate, flights: Sequence[Flight]) -> None:
        gate.call_again(flights[0].message.stream)
        self._start_call(gate, flights)

    def _stand_alone(self, gate: Gate, flights: Sequence[Flight]) -> None:
        for flight in flights:
            flight.single = True
            gate.line_up(gate.add(flight))

    def _rested(self, settled: Sequence[Settled]) -> None:
        for flight, _ in settled:
            row = flight.row
            message_id = flight.message.message_id
            if row is not None and row.state in (LedgerState.PARKED, LedgerState.UNCERTAIN):
                self.remember(flight.message)
                self.schedule.add(flight.partition, row.due_ms, message_id)
            elif row is not None and row.state in (LedgerState.SUPPRESSED, LedgerState.EXPIRED):
                self.observer.requests(flight.message.stream.value, row.state.value, 1)
            self.end(flight)
        self.waker.nudge()

    def end(self, flight: Flight) -> None:
        """The message may be touched again."""
        message_id = flight.message.message_id
        if self.busy.get(message_id) is flight:  # else a lost partition was cleared in the meantime
            self._under_way[flight.message.stream] -= 1
            self._landed.set()
            self.unlock(message_id)

    def unlock(self, message_id: str) -> None:
        """Let whoever waited for this message have it."""
        self.busy.pop(message_id, None)
        for waiter in self._waiters.pop(message_id, ()):
            waiter()
        self._settle_decided()

    def after(self, message_id: str, then: Callable[[], None]) -> None:
        """Call ``then`` when the message is no longer busy."""
        self._waiters.setdefault(message_id, []).append(then)

    # ------------------------------------------------------------------ messages at rest

    def remember(self, message: Message) -> None:
        """Keep a message that will be wanted soon, so that it need not be read from Kafka again."""
        self._recent[message.message_id] = message
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    async def message_of(self, message_id: str, row: AttemptRow) -> Message | None:
        """The message of a row, or None if its record is gone."""
        kept = self._recent.pop(message_id, None)
        if kept is not None or row.source is None:
            return kept
        return await self._load(row.source)

    # ------------------------------------------------------------------ partitions come and go

    def owns(self, partition: int) -> bool:
        """Whether this worker works on the partition."""
        return partition in self._open_partitions and self.app.owns(self._outbound, partition)

    def may_write(self, flight: Flight) -> bool:
        """Whether the flight's row is still ours: the partition, and in the generation in which the flight began."""
        return self.owns(flight.partition) and flight.generation == self.app.generation()

    async def partition_ready(self, partition: int) -> None:
        """The table is recovered: rebuild due times, and mark what an older owner left unfinished."""
        now_ms = self.clock()
        self._open_partitions.add(partition)
        self._reshare()
        owner = self._owner()
        unfinished = []
        for message_id, row in list(self.book.rows(partition)):
            if is_foreign(row, owner) or row.state is LedgerState.SENDING:
                unfinished.append((message_id, row))
            elif row.state in (LedgerState.PARKED, LedgerState.UNCERTAIN):
                self.schedule.add(partition, row.due_ms, message_id)
            if row.owed:
                self.tasks.spawn(self.waker.pay(partition, message_id, row), partition)
        for message_id, row in unfinished:
            self.busy[message_id] = None
            self.tasks.spawn(self.waker.doubt(message_id, row, now_ms), partition)
        if unfinished:
            log.warning("partition %d: %d sends of an older owner are uncertain", partition, len(unfinished))
        self.waker.nudge()

    async def partition_lost(self, partition: int) -> None:
        """Give back what has not begun, let the calls under way end, then touch no row of it again."""
        for gate in self._gates.values():
            for flight in gate.withdraw(lambda flight: flight.partition == partition):
                self._give_back(flight)
        self._touched.clear()
        self.schedule.drop(partition)
        await self.tasks.leave(partition, self.config.handover_s)
        self._open_partitions.discard(partition)
        for message_id, holder in list(self.busy.items()):
            if self.partition_of(message_id) == partition:
                if holder is not None:
                    self._under_way[holder.message.stream] -= 1
                self._waiters.pop(message_id, None)
                del self.busy[message_id]
        self._landed.set()
        self.book.lost(partition)
        self._reshare()

    def _give_back(self, flight: Flight) -> None:
        if flight.probe_epoch:
            for name in self._gates:
                self.breakers.return_probe(name)
        if flight.batch is not None:
            flight.batch.abandon()
        self.end(flight)

    def _reshare(self) -> None:
        share = len(self._open_partitions) / self.config.partitions
        for gate in self._gates.values():
            gate.reshare(share)

    def _breaker_changed(self, provider: str) -> None:
        """A door shut: whoever waits in front of it looks for another. A door opened: wake the parked."""
        gate = self._gates.get(provider)
        if gate is not None and self.breakers.door(provider, self.clock()) is Door.SHUT:
            for flight in gate.withdraw(lambda flight: not flight.probe_epoch):
                self.board(flight)
            self.flush()
        self.waker.nudge()

    # ------------------------------------------------------------------ the clockwork

    def report(self) -> None:
        """Send what this process learned about its providers; called every ``sum_interval_s``."""
        topic = self.config.topics.name(PROVIDER_OUTCOMES)
        for outcome in self.breakers.sums(self.clock()):
            partition = partition_of_text(outcome.provider, self.config.partitions)
            self.app.emit(topic, partition, outcome.provider.encode(), pack(outcome))
        self.observer.scheduled(len(self.schedule), self.schedule.next_due_ms())

    def limit_rate(self, provider: str, rate: float) -> None:
        """A provider told the account's own rate (messages per second for the whole fleet)."""
        if provider in self._gates:
            self._gates[provider].limit(rate)

    def pause(self, provider: str, seconds: float) -> None:
        """Send nothing through a provider for a while, as when its account says that sending is off."""
        if provider in self._gates:
            self._gates[provider].pause(self.clock() + int(1000 * seconds))

    def park_paused(self) -> None:
        """What waits behind a long pause goes to the ledger; called every ``sum_interval_s``."""
        now_ms = self.clock()
        for gate in self._gates.values():
            if gate.paused_until_ms > now_ms + 1000 * self.config.held_after_s:
                for flight in gate.withdraw(lambda flight: not flight.probe_epoch):
                    self._decide(flight, self._parked(flight, gate.paused_until_ms, ReceiptKind.ACCEPTED))
        self._settle_decided()

    async def sweep(self, partition: int, now_ms: int) -> None:
        """Forget old rows of a partition that is ours; bounded, so call it again."""
        self.book.sweep(partition, now_ms)

    async def run(self) -> None:
        """Report and park until cancelled, beside the waker."""
        self.tasks.spawn(self.waker.run())
        while True:
            await asyncio.sleep(self.config.sum_interval_s)
            self.report()
            self.park_paused()

    def _wake_in(self, seconds: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, callback)

    def _owner(self) -> str:
        return f"{self.config.worker}@{self.app.generation()}"


def _by_partition(settled: Sequence[Settled]) -> Iterable[tuple[int, list[Settled]]]:
    homes: dict[int, list[Settled]] = {}
    for flight, row in settled:
        homes.setdefault(flight.partition, []).append((flight, row))
    return homes.items()
