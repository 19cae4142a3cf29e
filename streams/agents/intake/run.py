"""The work on one batch: what its steps share, and the ways to say no."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streams.agents.dead_letters import dead_letter
from streams.agents.intake.counts import IntakeCounts
from streams.agents.intake.items import Item
from streams.agents.intake.refusals import Known, known_of, refusals
from streams.agents.ports import BatchPort, RecordPort, UnitPort
from streams.agents.turns import STEPS_OF_5_US, Turn
from streams.core import ids
from streams.core.event import Reason, ReasonKind
from streams.core.request import Invalid
from streams.serde.internal import pack
from streams.topics import DEAD_LETTERS, RECEIPTS, SEND_REQUESTS_BULK

if TYPE_CHECKING:
    from streams.agents.intake.agent import Intake


class Run:
    """One batch on its way through `intake`, taken in at ``now_ms`` (epoch milliseconds)."""

    __slots__ = ("ahead", "batch", "bulk_door", "config", "counts", "door", "intake", "now_ms", "turn", "unit")

    def __init__(self, intake: Intake, batch: BatchPort, unit: UnitPort, now_ms: int) -> None:
        self.intake = intake
        self.ahead = intake.ahead
        self.config = intake.config
        self.batch = batch
        self.unit = unit
        self.now_ms = now_ms
        self.counts = IntakeCounts()
        self.turn = Turn(STEPS_OF_5_US)
        self.door = intake.config.doors.get(batch.topic)
        is_bulk = self.door is not None and self.door.bulk
        self.bulk_door = is_bulk or batch.topic == intake.config.topics.name(SEND_REQUESTS_BULK)

    async def others(self) -> None:
        """The other agents' turn, and Kafka's; what was taken in ahead does not wait for them."""
        self.ahead.send_off()
        await asyncio.sleep(0)
        await self.intake.app.room()

    def refuse(self, record: RecordPort, invalid: Invalid, known: Known | None) -> None:
        """A dead letter for us, and for each message that can be told of it a refusal for the sender."""
        self.dead(record, invalid.reason.kind, invalid.reason.detail)
        if known is not None:
            self.tell(known, known.emails, invalid.reason)

    def cannot(self, item: Item, kind: ReasonKind, field: str, detail: str) -> None:
        """Refuse a whole request that was read."""
        self.refuse(item.record, Invalid(Reason(kind, code=field, detail=detail), field), known_of(item.request))

    def tell(self, known: Known, emails: tuple[str, ...], reason: Reason, *, but: frozenset[str] = frozenset()) -> None:
        """Refusals for the sender, one for each address, except of the message ids in ``but``."""
        self.counts.refused[known.facts.stream] += len(emails)
        topic = self.config.topics.name(RECEIPTS)
        for receipt in refusals(known, emails, reason, self.now_ms, self.config.secret):
            if receipt.message_id in but:
                continue
            partition = ids.partition_of(receipt.message_id, self.config.partitions)
            self.unit.emit(topic, partition, receipt.message_id.encode(), pack(receipt))

    def dead(self, record: RecordPort, reason: str, detail: str) -> None:
        """A dead letter."""
        self.counts.dead_letters[reason] += 1
        dead_letter(self.config.topics.name(DEAD_LETTERS), self.unit, self.batch, record, reason, detail)
