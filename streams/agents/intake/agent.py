"""Intake: requests become messages on ``outbound``, one per recipient. Stateless; duplicates are decided by dispatch.

Rules:

1. Whatever cannot be sent is a dead letter with its reason, and, where the sender can be told, a refusal on
   ``receipts`` that becomes ``message.rejected``. Nothing that somebody wrote makes intake raise.
2. A content that several messages share is on ``contents``, acknowledged, before a message names it.
3. Offsets go only after everything emitted for them is acknowledged.
4. What a request names by URL is fetched beside the others' way: a slow server holds up nobody else's mail.
5. A request older than the ledger remembers is never sent, and never spoken of: its messages may be long delivered.
6. What came through the bulk door is bulk.
7. A request speaks for the tenants of its door and for nobody else (:mod:`.doors`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from streams.agents.configuration import Configured
from streams.agents.contents import ContentStore
from streams.agents.intake.ahead import NobodyAhead, TakesAhead
from streams.agents.intake.config import IntakeConfig
from streams.agents.intake.configuring import configure
from streams.agents.intake.counts import IntakeObserver, SilentIntake
from streams.agents.intake.fan_out import fan_out
from streams.agents.intake.fetching import Fetches, LooseUnit, NoFetcher, fill, set_aside
from streams.agents.intake.items import Item
from streams.agents.intake.reading import Registry, read
from streams.agents.intake.run import Run
from streams.agents.intake.storing import write_contents
from streams.agents.ports import BatchPort, EnginePort, UnitFactory
from streams.core.message import Template
from streams.core.tenant import Tenant
from streams.failpoints import failpoint


@dataclass(slots=True)
class Intake:
    """``clock`` gives epoch milliseconds."""

    app: EnginePort
    unit: UnitFactory
    contents: ContentStore
    templates: Configured[Template]
    tenants: Configured[Tenant]
    config: IntakeConfig
    clock: Callable[[], int]
    registry: Registry | None = None
    observer: IntakeObserver = field(default_factory=SilentIntake)
    fetching: Fetches = field(default_factory=NoFetcher)
    ahead: TakesAhead = field(default_factory=NobodyAhead)

    async def handle(self, batch: BatchPort) -> None:
        """Take in a run of requests. Raises only what the engine raises when the process is ending."""
        began_s = time.perf_counter()
        failpoint("intake.before_produce")
        run = Run(self, batch, self.unit(self.app, batch), self.clock())
        read_items = [item for record in batch.records if (item := await read(run, record)) is not None]
        items, aside = set_aside(await configure(run, read_items))
        for item in aside:
            batch.retain()
            await self.fetching.start(self._fetched(batch, item))
        await fan_out(run, await write_contents(run, items))
        failpoint("intake.after_produce")
        run.unit.finish()
        run.counts.seconds = time.perf_counter() - began_s
        self.observer.batch(batch.topic, run.counts)
        await run.unit.room()

    async def _fetched(self, batch: BatchPort, item: Item) -> None:
        """Go on with a request whose attachments have to be fetched; its offset waits for it."""
        unit = LooseUnit(self.app, batch)
        run = Run(self, batch, unit, self.clock())
        if await fill(run, item):
            await fan_out(run, await write_contents(run, [item]))
        await unit.acked()
        self.observer.batch(batch.topic, run.counts)
        batch.release()
