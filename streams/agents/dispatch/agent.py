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
from collections.abc import Callable, Coroutine, Iterable, MutableMapping, Sequence
from time import perf_counter
from typing import Any

from streams.agents.breaker_view import BreakerView
from streams.agents.dispatch.account_source import AccountSource
from streams.agents.dispatch.admission import Admission
from streams.agents.dispatch.ahead import Ahead
from streams.agents.dispatch.boarding import Boarding
from streams.agents.dispatch.book import Book
from streams.agents.dispatch.calls import Calls, Settled
from streams.agents.dispatch.composed import Composes
from streams.agents.dispatch.config import DispatchConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.gate import Gate, Slot
from streams.agents.dispatch.in_line import InLine
from streams.agents.dispatch.lanes import Lanes
from streams.agents.dispatch.lending import EVERY_S, Lending
from streams.agents.dispatch.limits import Limits
from streams.agents.dispatch.observer import DispatchObserver
from streams.agents.dispatch.orders import Orders
from streams.agents.dispatch.partitions import Partitions
from streams.agents.dispatch.recent import Recent
from streams.agents.dispatch.refusals import Refusals
from streams.agents.dispatch.resting import Resting
from streams.agents.dispatch.tasks import Tasks
from streams.agents.dispatch.under_way import UnderWay
from streams.agents.dispatch.waker import Waker
from streams.agents.ports import BatchPort, EnginePort, TablePort
from streams.agents.suppression_view import SuppressionView
from streams.core.ids import partition_of, partition_of_text
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Message, RecordRef, Stream
from streams.providers.base import Exchange, Provider
from streams.serde.internal import Malformed, pack, unpack
from streams.topics import PROVIDER_OUTCOMES, QUOTAS

log = logging.getLogger(__name__)


class Dispatch:
    """One per worker process. ``crash`` ends the process: an unexpected exception must never be outlived."""

    def __init__(
        self,
        *,
        app: EnginePort,
        attempts: TablePort,
        suppressions: TablePort,
        everywhere: SuppressionView | None = None,
        composer: Composes,
        load_message: Callable[[RecordRef], Coroutine[Any, Any, Message | None]],
        providers: MutableMapping[str, Provider],
        exchange: Exchange,
        breakers: BreakerView,
        accounts: AccountSource | None = None,
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
        self.resting = Resting()
        self.schedule = self.resting.schedule
        self.busy: dict[str, Flight | None] = {}
        """Message ids that may not be touched; None while a command holds one."""
        self.refusals = Refusals(suppressions, config, SuppressionView() if everywhere is None else everywhere)
        self._load = load_message
        self._outbound = config.topics.outbound("transactional")
        self.tasks = Tasks(crash)
        self._waiters: dict[str, list[Callable[[], None]]] = {}
        self._recent = Recent(config.max_bytes_remembered)
        self.under_way = UnderWay(config.max_in_flight, config.max_bytes_in_flight)
        self._decided: list[Settled] = []
        self.limits = Limits(config.recipient_limit, config.tenant_rate)
        self._accounts = accounts
        self.lanes = Lanes(self, providers, accounts)
        self.lending = Lending(config.worker, self.lanes, clock, self._say)
        self.partitions = Partitions(self)
        self.boarding = Boarding(self)
        self._admission = Admission(self)
        self.ahead = Ahead(self)
        self.in_line = InLine(self)
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
            unwanted=self.refusals.row_of,
            owner=self._owner,
            may_write=self.may_write,
            give_back=self.boarding.give_back_all,
            back=self.boarding.stand_alone,
            halve=self._halve,
            rest=self._rested,
        )
        self.waker = Waker(self, providers, exchange)
        self.orders = Orders(self)
        breakers.on_change = self.boarding.breaker_changed

    # ------------------------------------------------------------------ records in

    async def handle(self, batch: BatchPort) -> None:
        """Admit a run of messages and commands; answers when they have been taken in, not when they are sent."""
        stream = Stream.BULK if batch.topic.endswith(".bulk") else Stream.TRANSACTIONAL
        await self.under_way.room(stream)
        if not self.takes(batch):
            batch.abandon()  # it was delivered before its partition began to leave: the next owner will have it
            return
        began_s = perf_counter()
        batch.retain(len(batch.records))
        for record in batch.records:
            if self.ahead.claim(batch, record.offset):
                continue
            found = unpack(record.value or b"")
            if isinstance(found, Message):
                source = RecordRef(batch.topic, batch.partition, record.offset)
                self._admission.admit(found, batch, source, len(record.value or b""))
            elif isinstance(found, Malformed):
                self._admission.dead_letter(batch, record, found.detail)
            else:
                self.orders.take(found, batch)
        self.boarding.send_off(stream)
        self.observer.stage("route", perf_counter() - began_s)
        batch.release()

    # ------------------------------------------------------------------ finding a gate

    def take_off(self, flight: Flight) -> None:
        """The message is ours alone from here on."""
        flight.generation = self.app.generation()
        self.resting.remove(flight.message.message_id)
        self.busy[flight.message.message_id] = flight
        self.under_way.add(flight)

    def begin(self, flight: Flight) -> None:
        """A message that nobody has heard of, or only its cancellation: it stands in line."""
        self.take_off(flight)
        self.observer.requests(flight.message.stream.value, "accepted", 1)
        self.boarding.board(flight)

    def partition_of(self, message_id: str) -> int:
        """Where a message's row lives."""
        return partition_of(message_id, self.config.partitions)

    # ------------------------------------------------------------------ decisions without a provider

    def decide(self, flight: Flight, row: AttemptRow) -> None:
        self._decided.append((flight, row))

    def settle_decided(self) -> None:
        if self._decided:
            decided, self._decided = self._decided, []
            for partition, settled in _by_partition(decided):
                self.tasks.finish(self.settle(settled), partition)

    async def settle(self, decided: Sequence[Settled]) -> None:
        """Let flights rest in their rows and tell track."""
        await self.book.settle(decided)
        self._rested(decided)

    # ------------------------------------------------------------------ calls

    def start_call(self, gate: Gate, flights: Sequence[Flight]) -> None:
        self.observer.in_flight(gate.provider, gate.calls)
        self.tasks.finish(self._call(gate, list(flights)), flights[0].partition)

    async def _call(self, gate: Gate, flights: list[Flight]) -> None:
        slot = Slot(gate, flights[0].message.stream)
        try:
            await self._calls.perform(gate, flights, slot.free)
        finally:
            slot.free()

    def _halve(self, gate: Gate, flights: Sequence[Flight]) -> None:
        gate.call_again(flights[0].message.stream)
        self.start_call(gate, flights)

    def _rested(self, settled: Sequence[Settled]) -> None:
        for flight, _ in settled:
            row = flight.row
            message_id = flight.message.message_id
            if flight.place is not None:
                self._place_used(flight)
            if row is not None and row.state in (LedgerState.PARKED, LedgerState.UNCERTAIN):
                self.remember(flight.message, flight.size_bytes)
                self.resting.add(message_id, flight.partition, row)
                self._look_again(flight, row)
            elif row is not None and row.state in (LedgerState.SUPPRESSED, LedgerState.EXPIRED):
                self.observer.requests(flight.message.stream.value, row.state.value, 1)
            self.end(flight)
        self.waker.nudge()

    def _look_again(self, flight: Flight, row: AttemptRow) -> None:
        """What held it may have ended while its row was being written: then it was not among those who were woken."""
        holds = self.resting.holds
        message_id = flight.message.message_id
        if holds.is_hastened(message_id):
            self.schedule.add(flight.partition, self.clock(), message_id)
        elif (lane := holds.trouble_of(row)) and not self.lanes.is_troubled(lane):
            holds.hasten(message_id)
            self.schedule.add(flight.partition, self.clock(), message_id)

    def _place_used(self, flight: Flight) -> None:
        """Of a warm-up's cap: what was not handed over gives its place back."""
        place, flight.place = flight.place, None
        row = flight.row
        if place is not None and (row is None or row.state not in (LedgerState.SENT, LedgerState.UNCERTAIN)):
            place.give_back(flight.partition)

    def tenant_changed(self, name: str) -> None:
        """The record of a tenant is another one: its accounts and its rate."""
        record = self._accounts.tenant(name) if self._accounts is not None else None
        self.limits.tenant(name, record.rate if record is not None else 0.0)
        self.lanes.changed(name)

    def wake_held(self, lane: str | None = None) -> None:
        """What held them is over: whoever waits for this lane (None: for any) is woken at once."""
        self.resting.wake(lane, self.clock())
        self.waker.nudge()

    def end(self, flight: Flight) -> None:
        """The message may be touched again."""
        self.boarding.return_probe(flight)
        message_id = flight.message.message_id
        if self.busy.get(message_id) is flight:  # else a lost partition was cleared in the meantime
            self.under_way.remove(flight)
            self.unlock(message_id)

    def unlock(self, message_id: str) -> None:
        """Let whoever waited for this message have it."""
        self.busy.pop(message_id, None)
        for waiter in self._waiters.pop(message_id, ()):
            waiter()
        self.settle_decided()

    def after(self, message_id: str, then: Callable[[], None]) -> None:
        """Call ``then`` when the message is no longer busy."""
        self._waiters.setdefault(message_id, []).append(then)

    # ------------------------------------------------------------------ messages at rest

    def remember(self, message: Message, size_bytes: int = 0) -> None:
        """Keep a message that will be wanted soon, so that it need not be read from Kafka again."""
        self._recent.keep(message, size_bytes)

    async def message_of(self, message_id: str, row: AttemptRow) -> Message | None:
        """The message of a row, or None if its record is gone."""
        kept = self._recent.take(message_id)
        if kept is not None or row.source is None:
            return kept
        return await self._load(row.source)

    # ------------------------------------------------------------------ partitions come and go

    def owns(self, partition: int) -> bool:
        """Whether this worker works on the partition."""
        return partition in self.partitions and self.app.owns(self._outbound, partition)

    def takes(self, batch: BatchPort) -> bool:
        """Whether the records of a run may begin here: delivered since the partition came, and before it leaves."""
        return self.partitions.takes(batch.partition) and batch.generation == self.app.generation()

    def may_write(self, flight: Flight) -> bool:
        """Whether the flight's row is still ours: the partition, and in the generation in which the flight began."""
        return self.owns(flight.partition) and flight.generation == self.app.generation()

    async def partition_ready(self, partition: int) -> None:
        """The table is recovered: rebuild due times, and mark what an older owner left unfinished."""
        self.partitions.ready(partition, self._owner())

    async def partition_lost(self, partition: int) -> None:
        """Give back what has not begun, let the calls under way end, then touch no row of it again."""
        self.partitions.leaving(partition)
        await self.tasks.leave(partition, min(self.config.handover_s, self.app.handover_s()))
        for message_id, holder in list(self.busy.items()):
            if self.partition_of(message_id) == partition:
                if holder is not None:
                    self.under_way.remove(holder)
                self._waiters.pop(message_id, None)
                del self.busy[message_id]
        self.ahead.left(partition)
        self.partitions.left(partition)
        self.waker.nudge()

    # ------------------------------------------------------------------ the clockwork

    def report(self) -> None:
        """Send what this process learned about its providers; called every ``sum_interval_s``."""
        topic = self.config.topics.name(PROVIDER_OUTCOMES)
        for outcome in self.breakers.sums(self.clock()):
            partition = partition_of_text(outcome.provider, self.config.partitions)
            self.app.emit(topic, partition, outcome.provider.encode(), pack(outcome))
        self.resting.report(self.observer)

    def _say(self, offer: bytes) -> None:
        self.app.emit(self.config.topics.name(QUOTAS), 0, self.config.worker.encode(), offer)

    async def sweep(self, partition: int, now_ms: int) -> None:
        """Forget old rows of a partition that is ours; bounded, so call it again."""
        self.book.sweep(partition, now_ms)
        self.limits.sweep(partition, now_ms)

    async def run(self) -> None:
        """Report and park until cancelled, beside the waker."""
        self.tasks.spawn(self.waker.run())
        self.tasks.spawn(self.lanes.run())
        looked_ms = self.clock()
        while True:
            await asyncio.sleep(self.config.sum_interval_s)
            self.report()
            self.boarding.park_paused()
            self.in_line.look()
            if self.config.lends and self.clock() - looked_ms >= 1000 * EVERY_S:
                looked_ms = self.clock()
                self.lending.look(self.partitions.share, self.app.generation())

    def oldest_open_ms(self, stream: Stream) -> int:
        """From when on the oldest message was to be sent that is not handed over; 0 if there is none."""
        return self.resting.oldest_open_ms(stream, self.busy.values(), self.clock())

    def wake_in(self, seconds: float, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_later(seconds, callback)

    def _owner(self) -> str:
        return f"{self.config.worker}@{self.app.generation()}"


def _by_partition(settled: Sequence[Settled]) -> Iterable[tuple[int, list[Settled]]]:
    homes: dict[int, list[Settled]] = {}
    for flight, row in settled:
        homes.setdefault(flight.partition, []).append((flight, row))
    return homes.items()
