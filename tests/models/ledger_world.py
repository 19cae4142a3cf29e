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
from tests.models.course import ordinary
from tests.models.explorer import Move
from tests.models.faults import possible
from tests.models.log import ATTEMPTS, OUTBOUND, RECEIPTS, Kafka, Outgoing
from tests.models.provider import Acceptance, Asked, Call, finding
from tests.models.scenario import NOW, Scenario, message_of
from tests.models.state import key_of
from tests.models.worker import VISIBILITY_S, Worker, read_row

_VISIBILITY_MS = int(1000 * VISIBILITY_S)
_LATE_MS = 2_000


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
        self.give("w1")

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
        yield from ordinary(self)
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

    def take(self, call: Call) -> None:
        before = [one for one in self.taken if one.message_id == call.message_id]
        reports = self.scenario.reports
        theirs = f"p-{call.attempt}-{len(before) + 1}"
        ends_ms = call.deadline_ms if not call.open else self._now_ms
        told = reports[min(len(before), len(reports) - 1)]
        self.taken.append(Acceptance(call.message_id, call.attempt, ends_ms, theirs, (told,)))
        call.taken = True
        promises.taken_again(self, call, before)

    def theirs(self, call: Call) -> str:
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

    def give(self, name: str, committed: int = 0) -> None:
        """``committed`` is where the group goes on: any offset that was safe to commit may have been."""
        self.kafka.owner, self.kafka.generation = name, self.kafka.generation + 1
        self.points = [committed]
        self.repairing.clear()
        self.workers[name].assign(self.kafka.generation, committed)

    def heal(self, name: str) -> None:
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

    def read_receipt(self) -> None:
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
            self.read_receipt()
        return offset

    def _command(self, command: Command) -> None:
        self.kafka.append(OUTBOUND, command.message_id.encode(), pack(command), "person")

    def cancel(self, message: Message) -> None:
        self.cancels -= 1
        self._command(Cancel(message.message_id, "ann"))

    def retry(self, message: Message, attempt: int) -> None:
        self.retries -= 1
        self.resent.add((message.message_id, attempt))
        self._command(Retry(message.message_id, attempt, "ann"))

    def wait_until(self, until_ms: int) -> None:
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
        self.wait_until(self._now_ms)

    def _repair(self, key: bytes) -> None:
        """A row landed over what the owner has restored: it sees that, and logs its own again (``engine.repair``)."""
        owner = self.workers.get(self.kafka.owner)
        if owner is not None and owner.engine.owned:
            self.repairing.add(key)
            owner.engine.send(ATTEMPTS, key, owner.ledger.rows.get(key))

    def request_again(self, number: int) -> None:
        self.kafka.append(OUTBOUND, self.messages[number].message_id.encode(), self.packed[number], "intake")
