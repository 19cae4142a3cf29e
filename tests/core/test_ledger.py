from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from streams.core.event import Reason, ReasonKind
from streams.core.ledger import AttemptRow, LedgerState
from streams.core.message import RecordRef


def test_a_row_that_was_accepted_keeps_every_other_field() -> None:
    given: dict[str, Any] = {
        "state": LedgerState.SENDING,
        "source": RecordRef("outbound", 1, 7),
        "reason": Reason(ReasonKind.GREYLISTED),
        "owed": True,
    }
    for number, field in enumerate(fields(AttemptRow)):
        given.setdefault(field.name, number if "int" in str(field.type) else f"{field.name}-{number}")
    row = AttemptRow(**given)
    after = replace(row, state=LedgerState.SENT, changed_ms=99, provider_message_id="<id>", lease_until_ms=0)
    assert row.accepted("<id>", 99) == after
