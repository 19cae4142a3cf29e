"""A dispatch desk for tests: the real agent on an engine in memory, with a provider that is a function."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any

from streams.agents.breaker_view import BreakerView
from streams.agents.dispatch import Dispatch
from streams.agents.dispatch.account_source import AccountSource
from streams.agents.dispatch.composed import Composed
from streams.agents.dispatch.config import DispatchConfig, LaneConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.observer import Silent
from streams.core import ids
from streams.core.breaker import BreakerPolicy
from streams.core.event import Reason, ReasonKind
from streams.core.ledger import AttemptRow, may_become
from streams.core.message import Content, Mailbox, Message, RecordRef, Stream
from streams.core.outcome import Accepted, BatchOutcome, Outcome
from streams.core.receipt import Receipt, ReceiptKind
from streams.providers.base import (
    Batch,
    Entry,
    Finding,
    HttpRequest,
    HttpResponse,
    Limits,
    NoResponse,
    NotFound,
    Question,
)
from streams.serde.internal import Malformed, pack, unpack, unpacker
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeTable, FakeTicket, record

NOW = 1_700_000_000_000
PARTITIONS = 4

_row = unpacker(AttemptRow)


class Attempts(FakeTable):
    """The ledger's table, which takes no step that the ledger's own table of transitions does not know."""

    def put(self, partition: int, key: bytes, value: bytes) -> FakeTicket:
        kept = self.get(partition, key)
        before, after = None if kept is None else _row(kept), _row(value)
        assert not isinstance(before, Malformed)
        assert isinstance(after, AttemptRow)
        if before is None or before.state is not after.state:
            assert may_become(before, after.state), f"{before and before.state.value} -> {after.state.value}"
        return super().put(partition, key, value)


class Clock:
    """Milliseconds that pass when told."""

    def __init__(self) -> None:
        self.now_ms = NOW

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, seconds: float) -> None:
        self.now_ms += int(seconds * 1000)


class FunctionProvider:
    """A provider whose answer is whatever ``answer(batch)`` gives: one outcome for all, a list, or a Split."""

    type = "function"
    can_find = True
    limits = Limits(1000, 1 << 20)

    def __init__(self, name: str) -> None:
        self.name = name
        self.answer: Callable[[Batch], Outcome | BatchOutcome] = lambda batch: Accepted("p-1")
        self.finding: Finding = NotFound()
        self.questions: list[Question] = []
        self.batches: list[Batch] = []

    def fits(self, batch: Batch) -> str:
        return ""

    def build_request(self, batch: Batch, now_ms: int) -> HttpRequest:
        self.batches.append(batch)
        names = [entry.recipient.email for entry in batch.entries]
        return HttpRequest("POST", f"http://{self.name}/", body=json.dumps(names).encode())

    def read_response(self, batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
        told = self.answer(batch)
        if isinstance(told, tuple) or type(told).__name__ == "Split":
            return told  # type: ignore[return-value]
        return tuple(told for _ in batch.entries)  # type: ignore[misc]

    async def find(self, question: Question, exchange: Any, now_ms: int) -> Finding:
        self.questions.append(question)
        return self.finding

    def verify(self, inbound: Any, now_ms: int) -> Any:
        raise AssertionError("not asked here")

    def read_events(self, payload: bytes, received_ms: int) -> Any:
        raise AssertionError("not asked here")


class Desk:
    """Holds everything a test looks at. ``exchange`` may be replaced to see or delay the call."""

    def __init__(
        self,
        *,
        lanes: dict[str, LaneConfig] | None = None,
        automatic: bool = True,
        accounts: AccountSource | None = None,
        **config: Any,
    ) -> None:
        self.accounts = accounts
        self.clock = Clock()
        self.engine = FakeEngine(automatic=automatic)
        self.crashes: list[BaseException] = []
        lanes = lanes or {"mailgun": LaneConfig(visibility_delay_s=10)}
        self.providers = {name: FunctionProvider(name) for name in lanes}
        self.requests: list[HttpRequest] = []
        self.during_call: Callable[[HttpRequest], Any] = lambda request: None
        self.config = DispatchConfig(
            partitions=PARTITIONS, worker="w1", lanes=lanes, default_route=tuple(lanes), **config
        )
        self.stored: dict[RecordRef, Message] = {}
        self.breakers = BreakerView("w1", BreakerPolicy())
        self.dispatch = self._dispatch()
        self._offsets = 0

    def _dispatch(self) -> Dispatch:
        return Dispatch(
            app=self.engine,
            attempts=self.engine.tables.setdefault("attempts", Attempts(self.engine, "attempts")),
            suppressions=self.engine.table("suppressions"),
            composer=Literal(),
            load_message=self._load,
            providers=self.providers,  # type: ignore[arg-type]
            exchange=self._exchange,
            breakers=self.breakers,
            accounts=self.accounts,
            config=self.config,
            observer=Silent(),
            clock=self.clock,
            crash=self.crashes.append,
        )

    async def open(self) -> Desk:
        for partition in range(PARTITIONS):
            await self.dispatch.partition_ready(partition)
        await self.settled()
        return self

    async def restarted(self) -> Desk:
        """A new process over the same tables: nothing that lived in memory is left."""
        self.dispatch.tasks.stop()
        await self.settled()
        self.engine.acknowledge()
        self.engine.current_generation += 1
        self.breakers = BreakerView("w2", BreakerPolicy())
        self.dispatch = self._dispatch()
        return await self.open()

    async def _load(self, ref: RecordRef) -> Message | None:
        return self.stored.get(ref)

    async def _exchange(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        self.requests.append(request)
        seen = self.during_call(request)
        if asyncio.iscoroutine(seen):
            await seen
        return HttpResponse(200, {}, b"")

    def message(self, email: str = "u@example.net", key: str = "k1", **fields: Any) -> Message:
        recipient_key = ids.recipient_key("acme", email)
        values: dict[str, Any] = {
            "message_id": ids.message_id("acme", key, recipient_key),
            "tenant": "acme",
            "stream": Stream.TRANSACTIONAL,
            "idempotency_key": key,
            "recipient": Mailbox(email),
            "content_hash": "content-1",
            "fingerprint": "fingerprint-1",
            "requested_ms": self.clock(),
            "accepted_ms": self.clock(),
            "content": Content(Mailbox("a@example.com"), "hi", "text"),
        } | fields
        return Message(**values)

    async def give(self, *records: Any, topic: str = "outbound", partition: int | None = None) -> list[FakeBatch]:
        """Hand records (messages or commands) to dispatch, a run per partition, and let it come to rest."""
        runs: dict[int, list[Any]] = {}
        for item in records:
            home = ids.partition_of(item.message_id, PARTITIONS) if partition is None else partition
            runs.setdefault(home, []).append(item)
        batches = []
        for home, items in runs.items():
            kept = []
            for item in items:
                if isinstance(item, Message):
                    self.stored[RecordRef(topic, home, self._offsets)] = item
                kept.append(record(pack(item), item.message_id.encode(), offset=self._offsets))
                self._offsets += 1
            batch = FakeBatch(topic, home, kept, generation=self.engine.current_generation)
            batches.append(batch)
            await self.dispatch.handle(batch)
        await self.settled()
        return batches

    async def redeliver(self, batch: FakeBatch) -> FakeBatch:
        generation = self.engine.current_generation
        again = FakeBatch(batch.topic, batch.partition, batch.records, generation=generation)
        await self.dispatch.handle(again)
        await self.settled()
        return again

    async def settled(self) -> None:
        """Until nothing moves any more without the clock or an acknowledgement."""
        for _ in range(60):
            await asyncio.sleep(0)

    async def wake(self, seconds: float) -> None:
        """Let time pass and do what is due."""
        self.clock.advance(seconds)
        await self.dispatch.waker.wake_due()
        await self.settled()

    def row(self, message: Message) -> AttemptRow | None:
        kept = self.engine.table("attempts").get(
            ids.partition_of(message.message_id, PARTITIONS), message.message_id.encode()
        )
        if kept is None:
            return None
        row = _row(kept)
        assert isinstance(row, AttemptRow)
        return row

    def receipts(self, kind: ReceiptKind | None = None) -> list[Receipt]:
        told = [unpack(emitted.value or b"") for emitted in self.engine.on("receipts")]
        return [receipt for receipt in told if kind is None or receipt.kind is kind]

    def sent_to(self) -> list[str]:
        return [email for request in self.requests for email in json.loads(request.body)]


class Literal:
    """Composes messages that carry a finished text."""

    async def compose(self, provider: str, flights: Sequence[Flight]) -> Composed:
        if not flights:
            return Composed()
        entries = tuple(Entry(f.message.message_id, f.next_attempt, f.message.recipient) for f in flights)
        content = flights[0].message.content
        assert content is not None
        return Composed(Batch(content.sender, entries, (content.subject,), (content.text,)), list(flights))


def reason(detail: str = "because", kind: ReasonKind = ReasonKind.OTHER) -> Reason:
    return Reason(kind, detail=detail)
