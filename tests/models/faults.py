"""What may go wrong in a ledger world just now. A world allows a limited number of them, each at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from streams.providers.base import CannotTell
from streams.serde.internal import unpack
from tests.models.log import RECEIPTS
from tests.models.scenario import (
    AGAIN,
    CANNOT_TELL,
    CRASH,
    CUT,
    DEFERRED,
    LATE_ROW,
    LOST,
    REBALANCE,
    REFUSED,
    REPORT_AGAIN,
    TIMEOUT,
    TRACK_CRASH,
)
from tests.models.words import said, whose, words

if TYPE_CHECKING:
    from tests.models.ledger_world import LedgerWorld

Fault = tuple[str, str, Callable[[], None]]
"""Its kind, what happens in words, and how."""


def possible(world: LedgerWorld) -> Iterator[Fault]:
    """Every fault that could happen now."""
    yield from _of_workers(world)
    yield from _of_calls(world)
    yield from _of_repetition(world)


def _of_workers(world: LedgerWorld) -> Iterator[Fault]:
    for name, worker in world.workers.items():
        heard = name not in world.heartbeat_ms
        if worker.assignment is not None:
            yield CRASH, f"{name} is killed", partial(world.crash, name)
            if heard:
                yield CUT, f"{name} is cut off from the group", partial(world.cut, name)
            if heard and worker.active and world.is_owner(worker):
                yield REBALANCE, f"{name} has to give the partition away", partial(worker.leave, lost=False)
        late = next((one for one in worker.engine.outgoing if not one.held and world.is_late(name, one)), None)
        if late is not None:
            yield LATE_ROW, f"Kafka takes {said(world, late)} of {name}, late", partial(world.takes, worker, late)


def _of_calls(world: LedgerWorld) -> Iterator[Fault]:
    for call in world.calls:
        if call.open:
            what = f"attempt {call.attempt}{whose(world, call.message_id)} of {call.worker}"
            yield LOST, f"the connection of {what} is reset", partial(world.lose, call, timeout=False)
            yield TIMEOUT, f"{what} is not answered in time", partial(world.time_out, call)
            if not call.taken:
                yield REFUSED, f"the provider refuses {what}: 503", partial(world.answer, call, 503)
                yield DEFERRED, f"the provider refuses {what}: try later", partial(world.answer, call, 450)
    for asked in world.questions:
        label = f"the provider cannot be asked about attempt {asked.question.attempt}"
        yield (
            CANNOT_TELL,
            f"{label}{whose(world, asked.question.message_id)}",
            partial(world.say, asked, CannotTell("down")),
        )


def _of_repetition(world: LedgerWorld) -> Iterator[Fault]:
    if world.asks:
        record = world.kafka.logs[RECEIPTS][world.tracked - 1]
        label = f"track is killed, and asks again after {words(unpack(record.value or b''))}"
        yield TRACK_CRASH, label, partial(world.ask, record.key)
    for one in world.taken:
        for kind in one.reported:
            label = f"the provider reports attempt {one.attempt}{whose(world, one.message_id)} as {kind} again"
            yield REPORT_AGAIN, label, partial(world.report, one, kind)
    for number, message in enumerate(world.messages):
        if world.is_on_kafka(message.message_id):
            yield AGAIN, f"intake takes request {number + 1} in again", partial(world.request_again, number)
