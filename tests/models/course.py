"""What happens in a ledger world sooner or later, as long as nothing is broken; and what people may ask for.

The faults beside it are in :mod:`tests.models.faults`; what a move does is done by the world.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from streams.serde.internal import unpack
from tests.models.explorer import Move
from tests.models.log import ATTEMPTS, OUTBOUND, RECEIPTS, SESSION_MS
from tests.models.words import said, whose, words
from tests.models.worker import HEARTBEAT_LIMIT_S

if TYPE_CHECKING:
    from tests.models.ledger_world import LedgerWorld

_MOST_UNREAD = 2
"""Time does not pass a worker or track by that has so much to read: nobody is slower than that for ever."""


def ordinary(world: LedgerWorld) -> Iterator[Move]:
    """Every move of this kind that is possible now."""
    yield from _worker_moves(world)
    yield from _provider_moves(world)
    yield from _group_moves(world)
    yield from _other_moves(world)


def _worker_moves(world: LedgerWorld) -> Iterator[Move]:
    for name, worker in world.workers.items():
        for topic in (OUTBOUND, RECEIPTS, ATTEMPTS):
            one = next((one for one in worker.engine.outgoing if one.topic == topic), None)
            if one is not None and not one.held and not world.is_late(name, one):
                yield Move(f"Kafka takes {said(world, one)} of {name}", partial(world.takes, worker, one))
        if worker.active and worker.position < len(world.kafka.logs[OUTBOUND]):
            record = unpack(world.kafka.logs[OUTBOUND][worker.position].value or b"")
            yield Move(f"{name} reads {words(record)} (offset {worker.position})", worker.read)
        if worker.active and world.scenario.ahead:
            for number, message in enumerate(world.messages):
                if not _is_requested(world, message.message_id):
                    take = partial(worker.take_in, message, world.packed[number])
                    yield Move(f"intake on {name} takes request {number + 1} in", take)


def _is_requested(world: LedgerWorld, message_id: str) -> bool:
    key = message_id.encode()
    if any(one.topic == OUTBOUND and one.key == key for w in world.workers.values() for one in w.engine.outgoing):
        return True
    return world.is_on_kafka(message_id)


def _provider_moves(world: LedgerWorld) -> Iterator[Move]:
    for call in world.calls:
        what = f"attempt {call.attempt}{whose(world, call.message_id)} of {call.worker}"
        if world.may_come(call):
            yield Move(f"the provider takes {what}", partial(world.take, call), fair=call.open)
        elif call.taken and call.open:
            theirs = world.theirs(call)
            yield Move(f"the answer to {what} arrives", partial(world.answer, call, 200, theirs))
    for asked in world.questions:
        of = f"attempt {asked.question.attempt}{whose(world, asked.question.message_id)}"
        yield Move(f"the provider says what it knows of {of}", partial(world.say, asked, None))
    for one in world.taken:
        if len(one.reported) < len(one.reports):
            kind = one.reports[len(one.reported)]
            label = f"the provider reports attempt {one.attempt}{whose(world, one.message_id)} as {kind}"
            yield Move(label, partial(world.report, one, kind))


def _group_moves(world: LedgerWorld) -> Iterator[Move]:
    if not world.kafka.owner:
        for name, worker in world.workers.items():
            if name not in world.heartbeat_ms and worker.assignment is None and name != world.fresh:
                yield from _giving(world, "the group gives the partition to", name)
    for name in world.heartbeat_ms:
        yield Move(f"{name} hears from the group again", partial(world.heal, name))
        if world.kafka.owner == name and world.heartbeat_age_ms(name) >= SESSION_MS:
            (other,) = (w for w in world.workers if w != name)
            if world.workers[other].assignment is None:
                yield from _giving(world, f"the group gives up {name}: the partition goes to", other)


def _giving(world: LedgerWorld, label: str, name: str) -> Iterator[Move]:
    for at in world.points:
        yield Move(f"{label} {name}, from offset {at} on", partial(world.give, name, at))


def _other_moves(world: LedgerWorld) -> Iterator[Move]:
    if world.tracked < len(world.kafka.logs[RECEIPTS]):
        receipt = unpack(world.kafka.logs[RECEIPTS][world.tracked].value or b"")
        yield Move(f"track reads {words(receipt)}", world.read_receipt)
    if (until_ms := _next_ms(world)) is not None:
        yield Move(f"{(until_ms - world.now()) / 1000:g} s pass", partial(world.wait_until, until_ms))
    for message in world.messages:
        state = world.track.get(message.message_id)
        if world.cancels:
            yield Move(f"a person cancels{whose(world, message.message_id)}", partial(world.cancel, message), False)
        if world.retries and state is not None and state.terminal and state.attempts:
            label = f"a person sends attempt {state.attempts[-1].number}{whose(world, message.message_id)} again"
            yield Move(label, partial(world.retry, message, state.attempts[-1].number), False)


def _next_ms(world: LedgerWorld) -> int | None:
    """The next time at which anything could be different; None while somebody is too far behind to wait."""
    log = world.kafka.logs
    if len(log[RECEIPTS]) - world.tracked >= _MOST_UNREAD:
        return None
    times: list[int] = []
    for worker in world.workers.values():
        if worker.active and len(log[OUTBOUND]) - worker.position >= _MOST_UNREAD:
            return None
        if worker.active and (due_ms := worker.dispatch.schedule.next_due_ms()) is not None:
            times.append(due_ms)
        heard = worker.name not in world.heartbeat_ms  # else it looks again and again whether it is
        if heard and (timer_ms := worker.loop.next_timer_ms()) is not None:
            times.append(timer_ms)
    for name, heard_ms in world.heartbeat_ms.items():
        times.append(heard_ms + int(1000 * HEARTBEAT_LIMIT_S))
        if world.kafka.owner == name:
            times.append(heard_ms + SESSION_MS)
    until = [call.deadline_ms for call in world.calls if call.open]
    times += [call.deadline_ms + 1 for call in world.calls if not call.open and world.may_come(call)]
    later = [at for at in times if at > world.now()]
    if not later or min(later) >= min(until, default=min(later) + 1):
        return None
    return min(later)
