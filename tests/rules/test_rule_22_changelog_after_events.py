"""Rule 22: track's rows are logged after its events are acknowledged, and its offset is committed after the rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streams.agents.track import Track, TrackConfig
from streams.core.ids import partition_of
from streams.core.receipt import ReceiptKind
from streams.engine import Batch, EngineApp, Headers, Ticket, Unit
from streams.engine.producer import NO_HEADERS
from streams.serde.internal import pack
from streams.topics import Topics
from tests.core.receipts import MESSAGE_ID, NOW_MS, receipt
from tests.engine.support import PARTITIONS, committed, create, eventually, produce, read, running, settings_for, until

HOME = partition_of(MESSAGE_ID, PARTITIONS)


class Slow(EngineApp):
    """Acknowledgements of the topics in `held` are told to nobody before `let_go`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.held: set[str] = set()
        self._kept: list[tuple[Ticket, Ticket]] = []

    def emit(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = NO_HEADERS
    ) -> Ticket:
        real = super().emit(topic, partition, key, value, headers)
        if topic not in self.held:
            return real
        told = Ticket()
        self._kept.append((real, told))
        return told

    async def let_go(self, topic: str) -> None:
        self.held.discard(topic)
        kept, self._kept = self._kept, []
        for real, told in kept:
            await real
            told.resolve(real.base_offset, 1)


async def test_rule_22_events_then_changelog_then_offset_on_the_real_engine(
    kafka: str, topic_prefix: str, request: pytest.FixtureRequest
) -> None:
    """At each stop a crash would repeat the events under the same ids, and would lose none."""
    topics = Topics(topic_prefix)
    source, events = topics.name("receipts"), topics.name("delivery-events")
    await create(kafka, source, events, topics.name("outbound"), topics.name("lookups"))
    await create(kafka, topics.name("audit-log"), topics.name("dead-letters"), partitions=1)
    app = Slow(settings_for(kafka, f"{topic_prefix}app", embedded=request.node.callspec.params["kafka"] == "embedded"))
    messages, suppressions = (app.bytes_table(name, PARTITIONS) for name in ("messages", "suppressions"))
    track = Track(app, messages, suppressions, Unit, TrackConfig(topics, PARTITIONS), lambda: NOW_MS)

    @app.agent(app.batch_topic(source))
    async def work(batches: AsyncIterator[Batch]) -> None:
        async for batch in batches:
            await track.handle(batch)

    app.held = {events, messages.changelog}
    records = [receipt(ReceiptKind.SENT, 1), receipt(ReceiptKind.DELIVERED, 1)]
    await produce(kafka, source, [(HOME, MESSAGE_ID.encode(), pack(one)) for one in records])

    async def rows() -> int:
        return len(await read(kafka, messages.changelog))

    async def offsets() -> dict[int, int]:
        return await committed(kafka, app.settings.app_id, source)

    async with running(app):
        await until(lambda: messages.owned() != () and messages.count(HOME) == 1, "the row is visible")
        await asyncio.sleep(3 * app.settings.commit_interval_s)  # what could go wrong has the time to
        assert len(await read(kafka, events)) == 3
        assert (await rows(), await offsets()) == (0, {})
        await app.let_go(events)

        async def is_logged() -> bool:
            return await rows() == 1

        await eventually(is_logged, "the row is logged")
        await asyncio.sleep(3 * app.settings.commit_interval_s)
        assert await offsets() == {}
        await app.let_go(messages.changelog)

        async def is_committed() -> bool:
            return await offsets() == {HOME: 2}

        await eventually(is_committed, "the offset is committed")
    assert app.failure is None
