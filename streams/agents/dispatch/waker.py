"""Wakes rows whose time has come: parked messages stand in line again, uncertain attempts are asked about.

An uncertain attempt is settled in this order: proof that track already has (it answers the uncertain receipt itself),
the provider's own records once its visibility delay is over, then a last probe to track, and only then the message's
policy: ``hold`` for a person, or ``resend``. Absence is not proof before lease and visibility delay have passed, nor
while webhooks lie unread that may hold the proof.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.orders import found
from streams.agents.dispatch.recent import size_of
from streams.agents.dispatch.resting import stream_of
from streams.agents.ports import BatchPort
from streams.core.accounts import lane_of
from streams.core.command import NoProof
from streams.core.event import Reason, ReasonKind
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import Message, OnUncertain, Stream
from streams.core.receipt import ReceiptKind
from streams.providers.base import CannotTell, Exchange, Found, NotFound, Provider, Question, resender_of

if TYPE_CHECKING:
    from streams.agents.dispatch.agent import Dispatch

log = logging.getLogger(__name__)

_AT_ONCE = 500


async def _assume_read(provider_type: str) -> bool:
    return True


class Waker:
    """Works on the desk of a :class:`Dispatch`."""

    def __init__(self, desk: Dispatch, providers: Mapping[str, Provider], exchange: Exchange) -> None:
        self._desk = desk
        self._providers = providers
        self._exchange = exchange
        self.webhooks_are_read: Callable[[str], Awaitable[bool]] = _assume_read
        """Whether all webhooks of a provider type that have arrived by now have reached track's topic."""
        self._nudged = asyncio.Event()
        self._absent: set[tuple[str, int]] = set()
        """Attempts whose provider was asked in time and knows nothing of them."""
        self._unasked: dict[str, str] = {}
        """Messages in doubt whose provider could not be asked, and that provider: again when it is well."""
        self._early: set[str] = set()
        self._crowd: dict[Stream, deque[tuple[int, str]]] = {stream: deque() for stream in Stream}
        """Due, while too much of their stream is under way."""

    def nudge(self) -> None:
        """Something has changed: look at the due times again."""
        self._nudged.set()

    async def run(self) -> None:
        """Wake what is due, for ever."""
        desk = self._desk
        while True:
            self._nudged.clear()
            if await self.wake_due():
                continue
            due_ms = desk.schedule.next_due_ms()
            wait_s = 60.0 if due_ms is None else max(0.001, (due_ms - desk.clock()) / 1000)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), wait_s)

    async def wake_due(self) -> int:
        """Wake some of the rows whose time has come; answers how many."""
        desk = self._desk
        woken = [*self._with_room(), *desk.schedule.due(desk.clock(), _AT_ONCE)]
        await asyncio.gather(*(self._wake(partition, message_id) for partition, message_id in woken))
        desk.boarding.send_off()
        return len(woken)

    def _with_room(self) -> list[tuple[int, str]]:
        """Of those who are due, as many as there is room for now; who came first goes first."""
        return [
            crowd.popleft()
            for stream, crowd in self._crowd.items()
            for _ in range(min(len(crowd), _AT_ONCE, self._desk.under_way.room_to_wake(stream)))
        ]

    def left(self, partition: int) -> None:
        """The partition is being given away."""
        for stream, crowd in self._crowd.items():
            self._crowd[stream] = deque(one for one in crowd if one[0] != partition)

    async def _wake(self, partition: int, message_id: str) -> None:
        desk = self._desk
        if not desk.owns(partition):
            return
        if message_id in desk.busy:  # by a command that may leave the row as it is: then its time has come all the same
            desk.after(message_id, lambda: self._look_again(partition, message_id))
            return
        self._unasked.pop(message_id, None)
        row = desk.book.row(partition, message_id)
        if row is not None and row.source is None:
            return  # its record is on its way: see Admission
        if row is not None and row.state is LedgerState.PARKED:
            stream = stream_of(row)
            if not desk.under_way.room_to_wake(stream):
                self._crowd[stream].append((partition, message_id))
                return
        if row is None or (row.due_ms > desk.clock() and not self._is_early(message_id)):
            return
        if row.state is LedgerState.PARKED:
            desk.busy[message_id] = None
            await self._send_again(partition, message_id, row)
        elif row.state is LedgerState.UNCERTAIN:
            desk.busy[message_id] = None
            desk.tasks.spawn(self._reconcile(partition, message_id, row), partition)

    def _look_again(self, partition: int, message_id: str) -> None:
        if self._desk.owns(partition):
            self._desk.schedule.add(partition, self._desk.clock(), message_id)
            self.nudge()

    def _is_early(self, message_id: str) -> bool:
        early = message_id in self._early
        self._early.discard(message_id)
        return self._desk.resting.holds.hastened(message_id) or early

    def provider_is_back(self, provider: str) -> None:
        """Its breaker is closed: who could not be asked while it was down is asked now."""
        for message_id in [name for name, whom in self._unasked.items() if whom == provider]:
            del self._unasked[message_id]
            self._early.add(message_id)
            self._desk.schedule.add(self._desk.partition_of(message_id), self._desk.clock(), message_id)

    async def _send_again(self, partition: int, message_id: str, row: AttemptRow) -> None:
        desk = self._desk
        message = await desk.message_of(message_id, row)
        if message is None or row.source is None:
            log.error("the record of parked message %s is gone; it cannot be sent", message_id)
            desk.unlock(message_id)
            return
        flight = Flight(message, partition, row.source, None, row=row, size_bytes=size_of(message))
        if flight.earlier is not None:
            flight.single = resender_of(self._providers.get(row.provider)) is not None
        desk.take_off(flight)
        desk.boarding.board(flight)

    # ------------------------------------------------------------------ what an older owner left

    async def doubt(self, message_id: str, row: AttemptRow, now_ms: int) -> None:
        """A ``sending`` row whose writer is gone: perhaps sent. The message is busy already."""
        desk = self._desk
        lane = desk.config.lanes.get(row.provider)
        delay_ms = int(1000 * (lane.visibility_delay_s if lane else 0.0))
        reason = Reason(ReasonKind.UNCERTAIN, detail="the worker ended between handing over and recording the answer")
        doubtful = replace(
            row,
            state=LedgerState.UNCERTAIN,
            changed_ms=now_ms,
            reason=reason,
            due_ms=max(row.lease_until_ms, now_ms) + delay_ms,
        )
        if row.source is None:  # its message is not known yet, and comes again
            await desk.book.write(desk.partition_of(message_id), message_id, doubtful)
            desk.unlock(message_id)
            return
        await self._rest(message_id, row, doubtful)

    async def pay(self, partition: int, message_id: str, row: AttemptRow) -> None:
        """Emit the receipt that a row still owes after a crash."""
        desk = self._desk
        message = await desk.message_of(message_id, row)
        if message is None:
            log.error("the record of %s is gone; its receipt cannot be told", message_id)
            return
        ticket = desk.book.tell(partition, message, row)
        if ticket is not None:
            await ticket
        if message_id not in desk.busy and desk.book.row(partition, message_id) == row:
            await desk.book.write(partition, message_id, replace(row, owed=False))

    # ------------------------------------------------------------------ uncertain attempts

    async def _reconcile(self, partition: int, message_id: str, row: AttemptRow) -> None:
        desk = self._desk
        provider = self._providers.get(lane_of(row.provider, row.account))
        message = await desk.message_of(message_id, row)
        if provider is None and row.account and message is not None:
            await self._ask_later(partition, message_id, row)  # the tenant has another account now
            return
        if message is None or provider is None:
            log.error("%s stays uncertain: its record or its provider %r is gone", message_id, row.provider)
            desk.unlock(message_id)
            return
        desk.remember(message)
        if provider.can_find:
            question = Question(message_id, row.attempt, message.recipient.email, row.sent_ms)
            finding = await provider.find(question, self._exchange, desk.clock())
        else:
            finding = NotFound()  # its events are the answer, and the visibility delay has passed without any
        match finding:
            case Found(provider_message_id):
                desk.observer.reconciled(row.provider, "found")
                await self._rest(message_id, row, found(row, provider_message_id, desk.clock()))
            case NotFound() if not await self.webhooks_are_read(provider.type):
                desk.observer.reconciled(row.provider, "unknown")
                log.warning("webhooks of %s lie unread: %s is asked about again later", row.provider, message_id)
                await self._ask_later(partition, message_id, row)
            case NotFound():
                self._absent.add((message_id, row.attempt))
                await self._ask_track(partition, message, row)
            case CannotTell(detail):
                desk.observer.reconciled(row.provider, "unknown")
                log.warning("%s could not be asked about %s: %s", row.provider, message_id, detail)
                self._unasked[message_id] = row.provider
                await self._ask_later(partition, message_id, row)
            case _:
                assert_never(finding)

    async def _ask_track(self, partition: int, message: Message, row: AttemptRow) -> None:
        """The last word is track's: it has read everything that was recorded before this probe."""
        desk = self._desk
        again = replace(row, checks=row.checks + 1, due_ms=desk.clock() + int(1000 * desk.config.recheck_s))
        await desk.book.write(partition, message.message_id, again)
        await desk.book.probe(partition, message, again, desk.clock())
        self._rest_asked(partition, message.message_id, again)

    async def _ask_later(self, partition: int, message_id: str, row: AttemptRow) -> None:
        desk = self._desk
        now_ms = desk.clock()
        if now_ms - row.sent_ms > 1000 * desk.config.uncertain_limit_s:
            reason = Reason(ReasonKind.UNCERTAIN, detail=f"{row.provider} could not be asked for a whole day")
            held = replace(row, state=LedgerState.HELD, changed_ms=now_ms, reason=reason)
            await self._rest(message_id, row, held)
            return
        again = replace(row, checks=row.checks + 1, due_ms=now_ms + int(1000 * desk.config.recheck_s))
        await desk.book.write(partition, message_id, again)
        self._rest_asked(partition, message_id, again)

    def _rest_asked(self, partition: int, message_id: str, row: AttemptRow) -> None:
        self._desk.schedule.add(partition, row.due_ms, message_id)
        self._desk.unlock(message_id)
        self.nudge()

    async def no_proof(self, command: NoProof, row: AttemptRow | None, batch: BatchPort) -> None:
        """Track knows nothing either. If the provider was asked too, the message's policy decides."""
        desk = self._desk
        asked = (command.message_id, command.expected_attempt) in self._absent
        if (
            row is None
            or row.state is not LedgerState.UNCERTAIN
            or row.attempt != command.expected_attempt
            or not asked
        ):
            desk.orders.done(command.message_id, batch)
            return
        self._absent.discard((command.message_id, command.expected_attempt))
        desk.observer.reconciled(row.provider, "not_found")
        message = await desk.message_of(command.message_id, row)
        if message is None:
            desk.orders.done(command.message_id, batch)
            return
        desk.remember(message)
        after = self._given_up(row, message, desk.clock())
        await desk.orders.rest_in(command.message_id, row, after, batch)

    def _given_up(self, row: AttemptRow, message: Message, now_ms: int) -> AttemptRow:
        detail = f"{row.provider} shows no trace of attempt {row.attempt}"
        if message.on_uncertain is OnUncertain.RESEND:
            return replace(
                row,
                state=LedgerState.PARKED,
                changed_ms=now_ms,
                due_ms=now_ms,
                told=ReceiptKind.RETRY.value,
                reason=Reason(ReasonKind.UNCERTAIN, detail=f"{detail}: sent again, as the request asked"),
            )
        reason = Reason(ReasonKind.UNCERTAIN, detail=f"{detail}: held until a person decides")
        return replace(row, state=LedgerState.HELD, changed_ms=now_ms, reason=reason)

    async def _rest(self, message_id: str, row: AttemptRow, after: AttemptRow) -> None:
        await self._desk.orders.rest_in(message_id, row, after, None)
