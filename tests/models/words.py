"""What happens in a ledger world, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.core.command import Cancel
from streams.core.ledger import AttemptRow
from streams.core.message import Message
from streams.core.receipt import Receipt
from streams.serde.internal import unpack
from tests.models.log import ATTEMPTS, Outgoing
from tests.models.worker import read_row

if TYPE_CHECKING:
    from tests.models.ledger_world import LedgerWorld


def whose(world: LedgerWorld, message_id: str) -> str:
    if len(world.messages) == 1:
        return ""
    return f" of message {1 + [message.message_id for message in world.messages].index(message_id)}"


def said(world: LedgerWorld, one: Outgoing) -> str:
    about = whose(world, one.key.decode())
    if one.topic == ATTEMPTS:
        if one.value is None:
            return f"the end of the row{about}"
        row = read_row(one.value)
        assert isinstance(row, AttemptRow)
        return f"the row “{row.state.value}, attempt {row.attempt}{', owed' if row.owed else ''}”{about}"
    return f"{words(unpack(one.value or b''))}{about}"


def words(record: Any) -> str:
    match record:
        case Message():
            return "the message"
        case Receipt():
            return f"the receipt “{record.kind.value}, attempt {record.attempt}”"
        case Cancel():
            return "“cancel”"
    soft = ", the final soft failure" if getattr(record, "final_soft", False) else ""
    return f"“{type(record).__name__.lower()}, attempt {record.expected_attempt}{soft}”"
