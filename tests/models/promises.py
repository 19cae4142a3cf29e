"""What must hold in a ledger world, asked where it could break: before a call, a question, a commit; at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streams.core.event import Status
from streams.core.ledger import AttemptRow, LedgerState, receipt_kind
from streams.core.message import Message, OnUncertain
from streams.core.receipt import ReceiptKind
from streams.providers.base import Question
from streams.serde.internal import unpack
from tests.models.log import OUTBOUND
from tests.models.provider import Acceptance, Call
from tests.models.worker import Worker, read_row

if TYPE_CHECKING:
    from tests.models.ledger_world import LedgerWorld


def called(world: LedgerWorld, name: str, message_id: str, attempt: int, deadline_s: float) -> None:
    """A call begins: the ledger on Kafka must say so, for longer than it lasts, and nobody else may own it."""
    row, ends_ms = world.row(message_id), world.now() + int(1000 * deadline_s)
    here = world.workers[name].engine
    if row is None or (row.state, row.attempt) != (LedgerState.SENDING, attempt):
        world.wrong.append(f"{name} calls for attempt {attempt}, but the ledger does not say so")
    elif row.lease_until_ms < ends_ms:
        world.wrong.append(f"{name} calls for attempt {attempt} beyond its lease")
    if world.kafka.owner != name or world.kafka.generation != here.member_generation:
        world.wrong.append(f"{name} calls, but the partition is no longer its own")
    if not world.is_on_kafka(message_id):
        world.wrong.append(f"{name} calls for a message that Kafka does not have")


def asked(world: LedgerWorld, name: str, question: Question) -> None:
    """A question begins: what the provider does not know now must never come."""
    for call in world.calls:
        if call.attempt == question.attempt and call.message_id == question.message_id and world.may_come(call):
            world.wrong.append(f"{name} asks about attempt {call.attempt}, which may still be taken")


def taken_again(world: LedgerWorld, call: Call, before: Sequence[Acceptance]) -> None:
    """An acceptance that is not the first: somebody must have heard of the doubt, or of the failure, before."""
    holds = world.scenario.on_uncertain is OnUncertain.HOLD
    for earlier in before:
        said = {kind for mid, kind, attempt in world.told if (mid, attempt) == (call.message_id, earlier.attempt)}
        person = (call.message_id, earlier.attempt) in world.resent
        doubt = ReceiptKind.UNCERTAIN in said or ReceiptKind.UNCERTAIN_FINAL in said
        if earlier.attempt == call.attempt or not (doubt or "bounced" in earlier.reported or person):
            world.wrong.append(f"attempt {call.attempt} is sent although attempt {earlier.attempt} was, in silence")
        elif doubt and not person and "bounced" not in earlier.reported and holds:
            world.wrong.append("a doubtful attempt is sent again although the request asked to hold it")


def reached(world: LedgerWorld, worker: Worker) -> None:
    """If the worker may commit more than before, everything before that must be safe without it."""
    if worker.assignment is None or not world.is_owner(worker) or worker.assignment.tracker.closed:
        return
    point = worker.assignment.tracker.commit_point()
    if point is None or point <= world.points[-1]:
        return
    before = world.points[-1]
    world.points.append(point)
    log = world.kafka.logs[OUTBOUND]
    waits = {record.key for record in log[point:]}
    for offset, record in enumerate(log[:point]):
        row = world.row(record.key.decode())
        if record.key in world.repairing:  # a late row of a former owner stands over it, but not for long
            row = read_row(worker.ledger.rows[record.key]) if record.key in worker.ledger.rows else None
        assert row is None or isinstance(row, AttemptRow)
        if offset >= before and row is not None and _is_of(row, offset) and not _has_rested(world, record.key, row):
            world.wrong.append(f"{worker.name} may commit offset {point}, and the row still says sending")
        is_message = isinstance(unpack(record.value or b""), Message)
        if row is None and record.key not in waits:
            if is_message:
                world.wrong.append(f"{worker.name} may commit offset {point}, and the ledger has no row")
        elif row is not None and record.key not in waits and not _is_told(world, record.key.decode(), row):
            world.wrong.append(f"{worker.name} may commit offset {point}, and “{row.state.value}” was not told")
        elif row is not None and record.key not in waits and row.source is None and is_message:
            world.wrong.append(f"{worker.name} may commit offset {point}, and the row names no record")


def _is_told(world: LedgerWorld, message_id: str, row: AttemptRow) -> bool:
    if row.source is None:
        return True  # its message has not come yet, and brings about that it is told
    kind = receipt_kind(row)
    return kind is None or row.owed or (message_id, kind, row.attempt) in world.told


def _has_rested(world: LedgerWorld, key: bytes, row: AttemptRow) -> bool:
    """Whether the row is at rest, or was so before its present attempt."""
    rested = any(mid == key.decode() and attempt < row.attempt for mid, _, attempt in world.told)
    return row.state is not LedgerState.SENDING or rested or row.attempt > 1


def _is_of(row: AttemptRow, offset: int) -> bool:
    return row.source is not None and row.source.offset == offset


def has_ended(world: LedgerWorld, message_id: str) -> bool:
    row, state = world.row(message_id), world.track.get(message_id)
    if row is None or state is None or not state.terminal or row.owed:
        return False
    taken = [one for one in world.taken if one.message_id == message_id]
    attempts = [one.attempt for one in taken]
    if len(taken) > 1 and not any("bounced" in one.reported for one in taken) and not state.double_sends:
        return False  # it was sent twice, and nobody has counted it
    if row.attempt in attempts:  # proven: what the provider has reported must have settled it
        bounced = state.status is Status.BOUNCED or row.state is LedgerState.FAILED
        withdrawn = row.state is LedgerState.CANCELLED  # before another attempt that was due
        return row.state is LedgerState.SENT or bounced or withdrawn
    if row.state is LedgerState.SENT:
        return False
    given_up = {LedgerState.FAILED: Status.FAILED, LedgerState.CANCELLED: Status.CANCELLED}
    if row.state in given_up:
        return bool(attempts) or state.status is given_up[row.state]
    return row.state is LedgerState.HELD
