"""Topics that are created while a worker runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable

from streams.engine import Batch, EngineApp, acked
from tests.engine.conftest import MakeSettings
from tests.engine.support import create, read, running, until


async def test_writing_to_a_topic_that_is_new_does_not_make_the_producer_forget_the_others(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, old, new = (f"{topic_prefix}{name}" for name in ("in", "old", "new"))
    await create(kafka, source, old)
    app = EngineApp(settings())

    @app.agent(app.batch_topic(source))
    async def work(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            batch.release()

    async with running(app):
        await until(lambda: app.owns(source, 0), "the worker has its partitions")
        await acked([app.emit(old, 0, b"k", b"before")])
        await create(kafka, new)
        async with asyncio.timeout(15):
            await acked([app.emit(new, 1, b"k", b"copy")])
            await acked([app.emit(old, 0, b"k", b"after")])
    assert app.failure is None
    assert [record.value for record in await read(kafka, old)] == [b"before", b"after"]
    assert [(record.partition, record.value) for record in await read(kafka, new)] == [(1, b"copy")]
