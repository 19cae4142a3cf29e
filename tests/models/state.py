"""The key of a ledger world: everything that its future can depend on, and nothing else.

What a worker knows is read off its real objects: the messages under way, what rests, and where each of its tasks
stands (the line, and the plain values in its frames). Counters that only metrics read are left out.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streams.agents.dispatch.ahead import Expected
from streams.agents.dispatch.flight import Flight
from streams.core.command import Cancel, NoProof, Retry, Settle
from streams.core.ledger import AttemptRow
from streams.core.receipt import Receipt
from streams.engine.batch import Batch
from streams.engine.tickets import Ticket
from streams.serde.internal import unpack
from tests.models.canon import Canon
from tests.models.log import ATTEMPTS, OUTBOUND, RECEIPTS
from tests.models.worker import Worker, read_row

if TYPE_CHECKING:
    from tests.models.ledger_world import LedgerWorld

_PLAIN = (str, bytes, bool, int, AttemptRow, Receipt, Cancel, NoProof, Retry, Settle)


def key_of(world: LedgerWorld) -> bytes:
    """Equal for worlds that cannot be told apart."""
    kafka = world.kafka
    canon = Canon(world.now())
    log = kafka.logs[OUTBOUND]
    end = len(log)  # places are told from the end: how many commands have come and gone does not matter
    canon.add(
        [point - end for point in world.points],
        world.asks,
        world.fresh,
        kafka.owner,
        kafka.generation,
        world.faults,
        world.cancels,
        world.retries,
    )
    for offset, record in enumerate(log):
        if offset >= world.points[0] or record.writer == "intake" or record.writer in world.workers:
            canon.add(offset - end if record.writer in ("track", "person") else offset)
            canon.add_bytes(record.value, unpack)
    canon.add("unread")
    for record in kafka.logs[RECEIPTS][world.tracked :]:
        canon.add_bytes(record.value, unpack)
    canon.add("rows")
    for key, value in sorted(kafka.rows().items()):
        canon.add(key)
        canon.add_bytes(value, _row)
    canon.add(world.repairing, world.told, world.resent, world.heartbeat_ms, world.track)
    for call in world.calls:
        if call.open or world.now() <= call.deadline_ms:
            canon.add("call", call.worker, call.message_id, call.attempt, call.deadline_ms, call.open, call.taken)
    canon.add([asked.question for asked in world.questions], world.taken)
    for worker in world.workers.values():
        _add_worker(canon, worker, end)
    return canon.key()


def _add_worker(canon: Canon, worker: Worker, end: int) -> None:
    engine, dispatch = worker.engine, worker.dispatch
    canon.add(worker.name, engine.owned, worker.leaving)
    if worker.assignment is None and not engine.outgoing and not worker.loop.tasks:
        return  # nothing that it still remembers can matter before it restores everything again
    canon.add(engine.member_generation, worker.position - end)
    for one in engine.outgoing:
        canon.add(one.topic, one.held, one.generation, one.ticket.done)
        canon.add_bytes(one.value, _row if one.topic == ATTEMPTS else unpack)
    if worker.assignment is not None:
        tracker = worker.assignment.tracker
        canon.add(None if tracker.next is None else tracker.next - end, tracker.closed)
        canon.add([(run.last - end, run.references) for run in tracker._runs])
    rows = worker.ledger.rows if engine.owned else {}
    for key, value in sorted(rows.items()):
        canon.add(key)
        canon.add_bytes(value, _row)
    for message_id, flight in sorted(dispatch.busy.items()):
        canon.add(message_id, None if flight is None else _flight(flight))
    canon.add({name: len(waiting) for name, waiting in dispatch._waiters.items()})
    schedule = dispatch.schedule
    canon.add([sorted(heap) for heap in schedule._heaps.values()], [sorted(h) for h in schedule._timed.values()])
    canon.add(dispatch.resting.holds._lane_of, dispatch.resting.holds._hastened, dispatch.waker._absent)
    canon.add(sorted(dispatch.ahead._coming), sorted(dispatch._recent))
    for gate in dispatch.lanes:
        canon.add(gate.calls, gate.paused_until_ms, [_flight(flight) for flight in gate.waiting()])
    for name, tally in dispatch.breakers._tallies.items():
        canon.add(name, tally.record, tally.run_failed, tally.shut_until_ms, tally.probe_spent)
    canon.add(sorted((_stack(task) for task in worker.loop.tasks), key=repr))
    if worker.name not in worker.world.heartbeat_ms:
        canon.add([round(1000 * when) for when, _, handle in sorted(worker.loop._timers) if not handle.cancelled()])


def _row(value: bytes) -> AttemptRow:
    """How often a provider was asked changes nothing (it numbers the probes, which are answered each time)."""
    row = read_row(value)
    assert isinstance(row, AttemptRow)
    return replace(row, checks=0)


def _flight(flight: Flight) -> tuple[Any, ...]:
    written = flight.written
    return (
        flight.message.message_id,
        flight.source,
        _holder(flight.batch),
        flight.row,
        None if written is None else written.done,
        flight.generation,
        flight.cancelled_by,
        flight.single,
        flight.probe_epoch,
    )


def _holder(batch: Any) -> tuple[Any, ...] | None:
    if isinstance(batch, Expected):
        return batch._released, batch._abandoned, _holder(batch._batch)
    if isinstance(batch, Batch):
        return batch.generation, batch._run.references, batch.abandoned, batch.stale
    return None


def _stack(task: asyncio.Task[Any]) -> tuple[Any, ...]:
    """Where a task stands, frame by frame."""
    frames = []
    coro: Any = task.get_coro()
    while coro is not None:
        frame = getattr(coro, "cr_frame", None) or getattr(coro, "gi_frame", None)
        if frame is None:
            break
        values = {name: _local(value) for name, value in frame.f_locals.items() if _is_told(value)}
        frames.append((frame.f_code.co_qualname, frame.f_lasti, values))
        coro = coro.cr_await if hasattr(coro, "cr_await") else getattr(coro, "gi_yieldfrom", None)
    return tuple(frames)


def _is_told(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_told(one) for one in value)
    return isinstance(value, (*_PLAIN, Flight, Batch, Ticket))


def _local(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_local(one) for one in value)
    if isinstance(value, Flight):
        return _flight(value)
    if isinstance(value, Batch):
        return _holder(value)
    return value.done if isinstance(value, Ticket) else value
