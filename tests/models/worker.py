"""A worker: the real dispatch agent on an engine whose every effect is a record on its way.

What is the engine's here behaves as ``streams.engine`` says: offsets advance by its own tracker and batches, table
rows wait behind the fence when the group has been silent for a session, and are given up with their partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from faust.types import TP

from streams.agents.breaker_view import BreakerView
from streams.agents.dispatch import Dispatch
from streams.agents.dispatch.composed import Composed
from streams.agents.dispatch.config import DispatchConfig, LaneConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.observer import Silent
from streams.agents.ports import Headers
from streams.core.breaker import BreakerPolicy
from streams.core.ledger import AttemptRow, may_become
from streams.core.message import Message, RecordRef
from streams.core.retry import RetryKind, RetryPolicy
from streams.engine.batch import Assignment, Batch
from streams.engine.errors import PartitionLost
from streams.engine.offsets import Tracker
from streams.engine.tickets import Placed, Ticket
from streams.providers.base import Batch as ProviderBatch
from streams.providers.base import Entry
from streams.serde.internal import unpack, unpacker
from tests.models.log import ATTEMPTS, OUTBOUND, RECEIPTS, SESSION_MS, Outgoing, Rec
from tests.models.provider import ModelProvider
from tests.models.stepping import StepLoop

if TYPE_CHECKING:
    from tests.models.ledger_world import LedgerWorld

DEADLINE_S, MARGIN_S, VISIBILITY_S, HEARTBEAT_LIMIT_S = 8.0, 4.0, 6.0, 4.0
HANDOVER_S = 5.0

read_row = unpacker(AttemptRow)


class Engine:
    """:class:`streams.agents.ports.EnginePort` for one process."""

    def __init__(self, world: LedgerWorld, name: str) -> None:
        self._world = world
        self._name = name
        self.outgoing: list[Outgoing] = []
        self.owned = False
        self.member_generation = 0

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers | None = None
    ) -> Ticket:
        return self.send(topic, key or b"", value)

    def place(self, topic: str, partition: int, key: bytes, value: bytes, headers: Headers | None = None) -> Placed:
        return Placed(self.send(topic, key, value), 0, near=True)

    async def store(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> int:
        raise AssertionError("dispatch stores nothing")

    def send(self, topic: str, key: bytes, value: bytes | None, *, held: bool = False) -> Ticket:
        ticket = Ticket()
        if topic in (OUTBOUND, RECEIPTS, ATTEMPTS):
            self.outgoing.append(Outgoing(topic, key, value, ticket, self.member_generation, held))
        else:
            ticket.resolve(0, 1)  # loans and sums are no part of this world
        return ticket

    def owns(self, topic: str, partition: int) -> bool:
        return self.owned

    def generation(self) -> int:
        return self.member_generation

    def heartbeat_age_s(self) -> float:
        return self._world.heartbeat_age_ms(self._name) / 1000

    def handover_s(self) -> float:
        return HANDOVER_S

    @property
    def fence_open(self) -> bool:
        return self._world.heartbeat_age_ms(self._name) < SESSION_MS

    def on_partition_ready(self, callback: Any, /) -> None: ...
    def on_partition_lost(self, callback: Any, /) -> None: ...


class Ledger:
    """The table ``attempts`` of one process; takes no step that the ledger's own transitions do not know."""

    name = "attempts"

    def __init__(self, world: LedgerWorld, engine: Engine, name: str) -> None:
        self._world = world
        self._engine = engine
        self._worker = name
        self.rows: dict[bytes, bytes] = {}

    def get(self, partition: int, key: bytes) -> bytes | None:
        self._check()
        return self.rows.get(key)

    def put(self, partition: int, key: bytes, value: bytes) -> Ticket:
        self._check()
        kept = self.rows.get(key)
        before, after = None if kept is None else read_row(kept), read_row(value)
        assert isinstance(after, AttemptRow) and not (before is not None and not isinstance(before, AttemptRow))
        if (before is None or before.state is not after.state) and not may_become(before, after.state):
            was = before.state.value if before else "none"
            self._world.wrong.append(f"{self._worker} writes {after.state.value} over {was}")
        self.rows[key] = value
        behind = any(one.held for one in self._engine.outgoing)
        return self._engine.send(ATTEMPTS, key, value, held=behind or not self._engine.fence_open)

    def delete(self, partition: int, key: bytes) -> Ticket:
        raise AssertionError("nothing is forgotten in a world this young")

    def items(self, partition: int) -> Iterable[tuple[bytes, bytes]]:
        self._check()
        return list(self.rows.items())

    def _check(self) -> None:
        if not self._engine.owned:
            raise PartitionLost(self.name, 0)


class NoRows:
    """The table of suppressions: nobody is suppressed here."""

    name = "suppressions"

    def get(self, partition: int, key: bytes) -> bytes | None:
        return None


class Literal:
    """Composes messages that carry a finished text."""

    async def compose(self, provider: str, flights: Sequence[Flight]) -> Composed:
        if not flights:
            return Composed()
        entries = tuple(Entry(f.message.message_id, f.next_attempt, f.message.recipient) for f in flights)
        content = flights[0].message.content
        assert content is not None
        return Composed(ProviderBatch(content.sender, entries, (content.subject,), (content.text,)), list(flights))


POLICIES = {"twice": RetryPolicy(RetryKind.CUBED, max_tries=2, unit_s=0.5, answers_final=True)}


class Worker:
    """One process. It dies by :meth:`die`; everything that it knew is gone then."""

    def __init__(self, world: LedgerWorld, name: str, can_find: bool) -> None:
        self.world = world
        self.name = name
        self.loop = StepLoop(world.now)
        self.engine = Engine(world, name)
        self.ledger = Ledger(world, self.engine, name)
        self.assignment: Assignment | None = None
        self.position = 0
        self.leaving = False
        provider = ModelProvider(world, name, can_find)
        lane = LaneConfig(concurrency=4, batch_size=1, deadline_s=DEADLINE_S, visibility_delay_s=VISIBILITY_S)
        self.dispatch = Dispatch(
            app=self.engine,
            attempts=self.ledger,
            suppressions=NoRows(),  # type: ignore[arg-type]
            composer=Literal(),
            load_message=self._load,
            providers={"mailgun": provider},  # type: ignore[dict-item]
            exchange=provider.exchange,
            breakers=BreakerView(name, BreakerPolicy()),
            config=DispatchConfig(
                partitions=1,
                worker=name,
                lanes={"mailgun": lane},
                default_route=("mailgun",),
                policies=POLICIES,
                default_policy="twice",
                lease_margin_s=MARGIN_S,
                heartbeat_limit_s=HEARTBEAT_LIMIT_S,
                handover_s=HANDOVER_S,
                recheck_s=20.0,
                lends=False,
            ),
            observer=Silent(),
            clock=world.now,
            crash=self._crash,
        )
        self.dispatch._calls.answers.jitter = lambda: 0.5

    # ------------------------------------------------------------------ the group

    def assign(self, generation: int, committed: int) -> None:
        """The partition is ours: restore the ledger, then begin."""
        self.engine.owned, self.engine.member_generation, self.leaving = True, generation, False
        self.ledger.rows = self.world.kafka.rows()
        self.position = committed
        consumer: Any = SimpleNamespace(on_batch_done=lambda batch, advanced: None)
        tracker = Tracker(committed, 0.0)
        self.assignment = Assignment(consumer, TP(OUTBOUND, 0), generation, tracker, None)  # type: ignore[arg-type]
        self.run(self.dispatch.partition_ready(0))

    def leave(self, *, lost: bool) -> None:
        """Give the partition away; ``lost``: the group has done so already, and nothing can be committed."""
        self.leaving = True
        if lost and self.assignment is not None:
            self.assignment.tracker.close()
        self.run(self._leave(lost=lost))

    async def _leave(self, *, lost: bool) -> None:
        await self.dispatch.partition_lost(0)
        if not lost:
            self.world.reached(self)
            self.world.commit_all()
        if self.assignment is not None:
            self.assignment.tracker.close()
        self.assignment, self.leaving, self.engine.owned = None, False, False
        for one in [one for one in self.engine.outgoing if one.held]:
            self.engine.outgoing.remove(one)
            one.ticket.resolve(None, 0, PartitionLost("attempts", 0))
        if not lost:
            self.world.kafka.owner = ""

    @property
    def active(self) -> bool:
        """Whether it believes that the partition is its own."""
        return self.engine.owned and not self.leaving

    def unfence(self) -> None:
        """The group has answered: what was held may go."""
        for one in self.engine.outgoing:
            one.held = False

    # ------------------------------------------------------------------ work

    def run(self, work: Any = None) -> None:
        """Do everything that can be done without the world."""
        if work is not None:
            self.loop.call(lambda: self.loop.create_task(work))
        else:
            self.loop.run()
        while self.active and (due_ms := self.dispatch.schedule.next_due_ms()) is not None:
            if due_ms > self.world.now():
                break
            self.loop.call(lambda: self.loop.create_task(self.dispatch.waker.wake_due()))
        self.world.reached(self)
        for error in self.loop.errors:
            self.world.wrong.append(f"{self.name}: {error}")

    def read(self) -> None:
        """The next record of ``outbound`` is delivered."""
        assert self.assignment is not None
        log = self.world.kafka.logs[OUTBOUND]
        record = Rec(self.position, log[self.position].key, log[self.position].value)
        self.position += 1
        self.run(self.dispatch.handle(Batch(self.assignment, [record])))

    def take_in(self, message: Message, value: bytes) -> None:
        """Intake, in this process: emit the message, and tell dispatch at once where it may be told."""
        placed = self.engine.place(OUTBOUND, 0, message.message_id.encode(), value)

        def tell() -> None:
            if self.dispatch.ahead.takes(0):
                self.dispatch.ahead.take(message, 0, placed)
                self.dispatch.ahead.send_off()

        self.loop.call(tell)
        self.run()

    async def _load(self, ref: RecordRef) -> Message | None:
        log = self.world.kafka.logs[OUTBOUND]
        found = unpack(log[ref.offset].value or b"") if ref.offset < len(log) else None
        return found if isinstance(found, Message) else None

    def _crash(self, error: BaseException) -> None:
        self.world.wrong.append(f"{self.name} ends by itself: {error!r}")

    def die(self) -> None:
        """Like kill -9."""
        self.engine.owned = False
        self.loop.throw_away()
