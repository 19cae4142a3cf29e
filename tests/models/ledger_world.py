"""The world of the send ledger: a message or two, two workers, Kafka, a provider, track, and time.

Dispatch is the real agent (:mod:`tests.models.worker`), track's decisions are the real ``advance``. What the world
makes sure of is in :mod:`tests.models.promises`, what may go wrong in :mod:`tests.models.faults`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

from streams.core.command import Cancel, Command, Retry
from streams.core.event import BounceType
from streams.core.ledger import AttemptRow
from streams.core.lifecycle import advance
from streams.core.message import Message
from streams.core.message_state import MessageState
from streams.core.receipt import Receipt, ReceiptKind
from streams.providers.base import HttpResponse, NoResponse, Question
from streams.serde.internal import pack, unpack
from tests.models import promises
from tests.models.explorer import Move
from tests.models.faults import possible
from tests.models.log import ATTEMPTS, OUTBOUND, RECEIPTS, SESSION_MS, Kafka, Outgoing
from tests.models.provider import Acceptance, Asked, Call, finding
from tests.models.scenario import NOW, Scenario, message_of
from tests.models.state import key_of
from tests.models.words import said, whose, words
from tests.models.worker import HEARTBEAT_LIMIT_S, VISIBILITY_S, Worker, read_row

_VISIBILITY_MS = int(1000 * VISIBILITY_S)
_LATE_MS = 2_000
_MOST_UNREAD = 2
"""Time does not pass a worker or track by that has so much to read: nobody is slower than that for ever."""


class LedgerWorld:
    """See the module. ``wrong`` is filled by whoever sees a promise broken."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.wrong: list[str] = []
        self.kafka = Kafka()
        self._now_ms = NOW
        self.faults = scenario.faults
        self.cancels, self.retries = scenario.cancels, scenario.retries
        self.heartbeat_ms: dict[str, int] = {}
        """Of workers that the group does not hear: when it did for the last time."""
        self.calls: list[Call] = []
        self._questions: list[Asked] = []
        self.taken: list[Acceptance] = []
        self.track: dict[str, MessageState] = {}
        self.tracked = 0
        self.asks: tuple[bytes, ...] = ()
        """What track has asked for last: the commands."""
        self.points = [0]
        """Offsets of ``outbound`` that the owner may commit, or has: the group goes on from any of them."""
        self.repairing: set[bytes] = set()
        """Keys over whose rows a former owner's has landed, until the owner's lands again."""
        self.told: set[tuple[str, ReceiptKind, int]] = set()
        """Receipts that are on Kafka."""
        self.resent: set[tuple[str, int]] = set()
        """Attempts that a person asked to send again."""
        self.messages = [message_of(number, scenario) for number in range(scenario.messages)]
        self.packed = [pack(message) for message in self.messages]
        self.workers = {name: Worker(self, name, scenario.can_find) for name in ("w1", "w2")}
        if not scenario.ahead:
            for message, value in zip(self.messages, self.packed, strict=True):
                self.kafka.append(OUTBOUND, message.message_id.encode(), value, "intake")
        self.fresh = ""
        """Who was killed last: the other one is given the partition (two fresh workers are alike)."""
        self._give("w1")

    def now(self) -> int:
        return self._now_ms

    def heartbeat_age_ms(self, worker: str) -> int:
        return self._now_ms - self.heartbeat_ms.get(worker, self._now_ms)

    # ------------------------------------------------------------------ what an explorer asks

    def key(self) -> bytes:
        return key_of(self)

    def close(self) -> None:
        for worker in self.workers.values():
            worker.die()

    def moves(self) -> Iterator[Move]:
        yield from self._worker_moves()
        yield from self._provider_moves()
        yield from self._group_moves()
        yield from self._other_moves()
        if self.faults:
            for kind, label, act in possible(self):
                if kind in self.scenario.kinds:
                    yield Move(label, partial(self._fault, act), fair=False)

    @property
    def questions(self) -> list[Asked]:
        """Those that somebody still waits for."""
        return [asked for asked in self._questions if not asked.answer.done()]

    def row(self, message_id: str) -> AttemptRow | None:
        """What the ledger on Kafka says."""
        kept = self.kafka.rows().get(message_id.encode())
        row = None if kept is None else read_row(kept)
        assert row is None or isinstance(row, AttemptRow)
        return row

    def ended(self) -> bool:
        """Everything is read and told, every message has its end, and what was proven is known."""
        log, workers = self.kafka.logs, self.workers.values()
        if any(w.leaving or any(not self.is_late(w.name, one) for one in w.engine.outgoing) for w in workers):
            return False
        if self.questions or self.heartbeat_ms or any(call.open for call in self.calls):
            return False
        if not self.kafka.owner or self.points[-1] < len(log[OUTBOUND]) or self.tracked < len(log[RECEIPTS]):
            return False
        if any(len(one.reported) < len(one.reports) for one in self.taken):
            return False
        return all(promises.has_ended(self, message.message_id) for message in self.messages)

    # ------------------------------------------------------------------ workers and Kafka

    def _worker_moves(self) -> Iterator[Move]:
        for name, worker in self.workers.items():
            for topic in (OUTBOUND, RECEIPTS, ATTEMPTS):
                one = next((one for one in worker.engine.outgoing if one.topic == topic), None)
                if one is not None and not one.held and not self.is_late(name, one):
                    yield Move(f"Kafka takes {said(self, one)} of {name}", partial(self.takes, worker, one))
            if worker.active and worker.position < len(self.kafka.logs[OUTBOUND]):
                record = unpack(self.kafka.logs[OUTBOUND][worker.position].value or b"")
                yield Move(f"{name} reads {words(record)} (offset {worker.position})", worker.read)
            if worker.active and self.scenario.ahead:
                for number, message in enumerate(self.messages):
                    if not self._is_requested(message.message_id):
                        take = partial(worker.take_in, message, self.packed[number])
                        yield Move(f"intake on {name} takes request {number + 1} in", take)

    def _is_requested(self, message_id: str) -> bool:
        key = message_id.encode()
        if any(one.topic == OUTBOUND and one.key == key for w in self.workers.values() for one in w.engine.outgoing):
            return True
        return self.is_on_kafka(message_id)

    def is_on_kafka(self, message_id: str) -> bool:
        (value,) = (p for p, m in zip(self.packed, self.messages, strict=True) if m.message_id == message_id)
        return any(record.value == value for record in self.kafka.logs[OUTBOUND])

    def is_owner(self, worker: Worker) -> bool:
        return self.kafka.owner == worker.name and self.kafka.generation == worker.engine.member_generation

    def is_late(self, name: str, one: Outgoing) -> bool:
        """A row of a time that is over for the group: it lands behind what a new owner has restored."""
        return one.topic == ATTEMPTS and one.generation != self.kafka.generation and self.kafka.owner != name

    def takes(self, worker: Worker, one: Outgoing) -> None:
        worker.engine.outgoing.remove(one)
        if one.topic == RECEIPTS:
            offset = self._land(one.key, one.value, worker.name)
        else:
            offset = self.kafka.append(one.topic, one.key, one.value, worker.name)
        if one.topic == ATTEMPTS:
            if one.generation != self.kafka.generation:
                self._repair(one.key)
            else:
                self.repairing.discard(one.key)
        one.ticket.resolve(offset, 1)
        worker.run()

    def reached(self, worker: Worker) -> None:
        """The worker has done something: perhaps it may commit more than before."""
        promises.reached(self, worker)

    def commit_all(self) -> None:
        """Whoever leaves in order commits what it may."""
        del self.points[:-1]

    # ------------------------------------------------------------------ the provider

    def called(self, name: str, message_id: str, attempt: int, deadline_s: float, answer: asyncio.Future[Any]) -> None:
        """A call begins."""
        promises.called(self, name, message_id, attempt, deadline_s)
        ends_ms = self._now_ms + int(1000 * deadline_s)
        self.calls.append(Call(name, message_id, attempt, ends_ms, answer))

    def asked(self, name: str, question: Question, answer: asyncio.Future[Any]) -> None:
        """A question begins."""
        promises.asked(self, name, question)
        self._questions = [*self.questions, Asked(question, answer)]

    def may_come(self, call: Call) -> bool:
        return not call.taken and self._now_ms <= call.deadline_ms

    def _provider_moves(self) -> Iterator[Move]:
        for call in self.calls:
            what = f"attempt {call.attempt}{whose(self, call.message_id)} of {call.worker}"
            if self.may_come(call):
                yield Move(f"the provider takes {what}", partial(self._take, call), fair=call.open)
            elif call.taken and call.open:
                theirs = self._theirs(call)
                yield Move(f"the answer to {what} arrives", partial(self.answer, call, 200, theirs))
        for asked in self.questions:
            of = f"attempt {asked.question.attempt}{whose(self, asked.question.message_id)}"
            yield Move(f"the provider says what it knows of {of}", partial(self.say, asked, None))
        for one in self.taken:
            if len(one.reported) < len(one.reports):
                kind = one.reports[len(one.reported)]
                label = f"the provider reports attempt {one.attempt}{whose(self, one.message_id)} as {kind}"
                yield Move(label, partial(self.report, one, kind))

    def _take(self, call: Call) -> None:
        before = [one for one in self.taken if one.message_id == call.message_id]
        reports = self.scenario.reports
        theirs = f"p-{call.attempt}-{len(before) + 1}"
        ends_ms = call.deadline_ms if not call.open else self._now_ms
        told = reports[min(len(before), len(reports) - 1)]
        self.taken.append(Acceptance(call.message_id, call.attempt, ends_ms, theirs, (told,)))
        call.taken = True
        promises.taken_again(self, call, before)

    def _theirs(self, call: Call) -> str:
        return next(
            one.theirs for one in self.taken if (one.message_id, one.attempt) == (call.message_id, call.attempt)
        )

    def answer(self, call: Call, status: int, body: str = "") -> None:
        assert call.answer is not None
        call.deadline_ms = min(call.deadline_ms, self._now_ms - 1)
        call.answer.set_result(HttpResponse(status, {}, body.encode()))
        self.workers[call.worker].run()

    def lose(self, call: Call, *, timeout: bool) -> None:
        """The worker reads no answer; what is under way may still be taken for a moment."""
        assert call.answer is not None
        if not timeout:
            call.deadline_ms = min(call.deadline_ms, self._now_ms + _LATE_MS)
        call.answer.set_result(NoResponse(True, "reset", timeout))
        self.workers[call.worker].run()

    def say(self, asked: Asked, answer: Any) -> None:
        if answer is None:
            answer = finding(self.taken, asked.question, self._now_ms, _VISIBILITY_MS)
        if not asked.answer.done():
            asked.answer.set_result(answer)
            for worker in self.workers.values():
                worker.run()

    def report(self, one: Acceptance, kind: str) -> None:
        again = kind in one.reported
        one.reported = one.reported if again else (*one.reported, kind)
        receipt = Receipt(
            one.message_id,
            ReceiptKind(kind),
            f"{kind}:{one.theirs}",
            self._now_ms,
            one.attempt,
            "mailgun",
            one.theirs,
            bounce_type=BounceType.SOFT if kind == "bounced" else None,
        )
        self._land(one.message_id.encode(), pack(receipt), "provider")

    # ------------------------------------------------------------------ the group

    def _give(self, name: str, committed: int = 0) -> None:
        """``committed`` is where the group goes on: any offset that was safe to commit may have been."""
        self.kafka.owner, self.kafka.generation = name, self.kafka.generation + 1
        self.points = [committed]
        self.repairing.clear()
        self.workers[name].assign(self.kafka.generation, committed)

    def _giving(self, label: str, name: str) -> Iterator[Move]:
        for at in self.points:
            yield Move(f"{label} {name}, from offset {at} on", partial(self._give, name, at))

    def _group_moves(self) -> Iterator[Move]:
        if not self.kafka.owner:
            for name, worker in self.workers.items():
                if name not in self.heartbeat_ms and worker.assignment is None and name != self.fresh:
                    yield from self._giving("the group gives the partition to", name)
        for name in self.heartbeat_ms:
            yield Move(f"{name} hears from the group again", partial(self._heal, name))
            if self.kafka.owner == name and self.heartbeat_age_ms(name) >= SESSION_MS:
                (other,) = (w for w in self.workers if w != name)
                if self.workers[other].assignment is None:
                    yield from self._giving(f"the group gives up {name}: the partition goes to", other)

    def _heal(self, name: str) -> None:
        worker = self.workers[name]
        del self.heartbeat_ms[name]
        if self.kafka.owner == name:
            worker.unfence()
            worker.run()
        elif worker.assignment is not None and not worker.leaving:
            worker.leave(lost=True)

    def crash(self, name: str) -> None:
        """The process is gone with all it knew; the same name starts again, with nothing."""
        self.workers[name].die()
        for call in self.calls:
            if call.worker == name:
                call.answer = None
        self._questions = [asked for asked in self.questions if not asked.answer.get_loop().is_closed()]
        self.workers[name] = Worker(self, name, self.scenario.can_find)
        if self.kafka.owner == name:
            self.kafka.owner, self.fresh = "", name
        self.heartbeat_ms.pop(name, None)

    # ------------------------------------------------------------------ track, people and time

    def _other_moves(self) -> Iterator[Move]:
        if self.tracked < len(self.kafka.logs[RECEIPTS]):
            receipt = unpack(self.kafka.logs[RECEIPTS][self.tracked].value or b"")
            yield Move(f"track reads {words(receipt)}", self._read_receipt)
        if (until_ms := self._next_ms()) is not None:
            yield Move(f"{(until_ms - self._now_ms) / 1000:g} s pass", partial(self._pass, until_ms))
        for message in self.messages:
            state = self.track.get(message.message_id)
            if self.cancels:
                yield Move(f"a person cancels{whose(self, message.message_id)}", partial(self._cancel, message), False)
            if self.retries and state is not None and state.terminal and state.attempts:
                label = f"a person sends attempt {state.attempts[-1].number}{whose(self, message.message_id)} again"
                yield Move(label, partial(self._retry, message, state.attempts[-1].number), False)

    def _read_receipt(self) -> None:
        record = self.kafka.logs[RECEIPTS][self.tracked]
        receipt = unpack(record.value or b"")
        assert isinstance(receipt, Receipt)
        step = advance(self.track.get(receipt.message_id), receipt, self._now_ms)
        assert step.state is not None
        self.track[receipt.message_id] = step.state
        self.tracked += 1
        self.asks = tuple(pack(command) for command in step.commands)
        self.ask(record.key)

    def ask(self, key: bytes) -> None:
        for command in self.asks:
            self.kafka.append(OUTBOUND, key, command, "track")

    def _land(self, key: bytes, value: bytes | None, writer: str) -> int:
        """A receipt is on Kafka. Track reads it at once, unless it is slow: what it asks for may lie unread anyway."""
        receipt = unpack(value or b"")
        assert isinstance(receipt, Receipt)
        if writer != "provider":
            self.told.add((receipt.message_id, receipt.kind, receipt.attempt))
        offset = self.kafka.append(RECEIPTS, key, value, writer)
        if not self.scenario.slow_track:
            self._read_receipt()
        return offset

    def _command(self, command: Command) -> None:
        self.kafka.append(OUTBOUND, command.message_id.encode(), pack(command), "person")

    def _cancel(self, message: Message) -> None:
        self.cancels -= 1
        self._command(Cancel(message.message_id, "ann"))

    def _retry(self, message: Message, attempt: int) -> None:
        self.retries -= 1
        self.resent.add((message.message_id, attempt))
        self._command(Retry(message.message_id, attempt, "ann"))

    def _next_ms(self) -> int | None:
        """The next time at which anything could be different; None while somebody is too far behind to wait."""
        log = self.kafka.logs
        if len(log[RECEIPTS]) - self.tracked >= _MOST_UNREAD:
            return None
        times: list[int] = []
        for worker in self.workers.values():
            if worker.active and len(log[OUTBOUND]) - worker.position >= _MOST_UNREAD:
                return None
            if worker.active and (due_ms := worker.dispatch.schedule.next_due_ms()) is not None:
                times.append(due_ms)
            heard = worker.name not in self.heartbeat_ms  # else it looks again and again whether it is
            if heard and (timer_ms := worker.loop.next_timer_ms()) is not None:
                times.append(timer_ms)
        for name, heard_ms in self.heartbeat_ms.items():
            times.append(heard_ms + int(1000 * HEARTBEAT_LIMIT_S))
            if self.kafka.owner == name:
                times.append(heard_ms + SESSION_MS)
        until = [call.deadline_ms for call in self.calls if call.open]
        times += [call.deadline_ms + 1 for call in self.calls if not call.open and self.may_come(call)]
        later = [at for at in times if at > self._now_ms]
        if not later or min(later) >= min(until, default=min(later) + 1):
            return None
        return min(later)

    def _pass(self, until_ms: int) -> None:
        self._now_ms = until_ms
        for worker in self.workers.values():
            if worker.name not in self.heartbeat_ms:
                worker.unfence()
            worker.run()

    # ------------------------------------------------------------------ faults

    def _fault(self, act: Any) -> None:
        self.faults -= 1
        act()

    def cut(self, name: str) -> None:
        self.heartbeat_ms[name] = self._now_ms

    def time_out(self, call: Call) -> None:
        self._now_ms = max(self._now_ms, call.deadline_ms)
        self.lose(call, timeout=True)
        self._pass(self._now_ms)

    def _repair(self, key: bytes) -> None:
        """A row landed over what the owner has restored: it sees that, and logs its own again (``engine.repair``)."""
        owner = self.workers.get(self.kafka.owner)
        if owner is not None and owner.engine.owned:
            self.repairing.add(key)
            owner.engine.send(ATTEMPTS, key, owner.ledger.rows.get(key))

    def request_again(self, number: int) -> None:
        self.kafka.append(OUTBOUND, self.messages[number].message_id.encode(), self.packed[number], "intake")
