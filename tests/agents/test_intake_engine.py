"""Intake on the real engine and a real broker: what a message names is what lies there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable
from typing import Any

from streams.agents.configuration import templates, tenants
from streams.agents.contents import ContentStore, RecordReader
from streams.agents.intake import Intake, IntakeConfig
from streams.core import ids
from streams.core.message import Content, Message
from streams.engine import Batch, CompactedReader, EngineApp, EngineSettings, Unit
from streams.serde.internal import pack, unpack
from streams.serde.public import encode_request, encode_template
from streams.topics import Topics
from tests.agents.test_intake import TEMPLATE, request, templated
from tests.engine.support import committed, create, eventually, produce, read, running, settings_for

PARTITIONS = 4


def app_of(
    settings: EngineSettings, topics: Topics, readers: list[CompactedReader], records: RecordReader
) -> EngineApp:
    app = EngineApp(settings)
    intake = Intake(
        app=app,
        unit=Unit,
        contents=ContentStore(records, topics.name("contents")),
        templates=templates(readers[0]),
        tenants=tenants(readers[1]),
        config=IntakeConfig(topics, PARTITIONS),
        clock=lambda: time.time_ns() // 1_000_000,
    )

    @app.agent(app.batch_topic(topics.name("send-requests")))
    async def work(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            await intake.handle(batch)

    return app


async def test_every_message_names_the_content_that_it_was_made_for(
    kafka: str, topic_prefix: str, request: Any
) -> None:
    embedded = request.node.callspec.params["kafka"] == "embedded"
    topics = Topics(topic_prefix)
    settings = settings_for(kafka, f"{topic_prefix}app", embedded=embedded)
    source = topics.name("send-requests")
    await create(kafka, source, topics.name("outbound"), topics.name("contents"), topics.name("receipts"))
    await create(kafka, topics.name("templates"), topics.name("tenants"), topics.name("dead-letters"), partitions=1)
    await produce(kafka, topics.name("templates"), [(0, b"welcome", encode_template(TEMPLATE))])
    await produce(kafka, source, [(n % PARTITIONS, b"k", value) for n, value in enumerate(requests())])
    readers = [CompactedReader(settings, topics.name(name)) for name in ("templates", "tenants")]
    records = RecordReader({"bootstrap_servers": kafka}, give_up_s=10)
    app = app_of(settings, topics, readers, records)
    for reader in readers:
        await reader.start()
    try:
        async with running(app):

            async def all_committed() -> bool:
                return sum((await committed(kafka, app.settings.app_id, source)).values()) == 61

            await eventually(all_committed, "every request is taken in")
        assert app.failure is None
        outbound = await read(kafka, topics.name("outbound"))
        unpacked = [unpack(r.value) for r in outbound]
        messages = [m for m in unpacked if isinstance(m, Message)]
        assert len(messages) == 20 + 40 * 3
        assert all(r.partition == ids.partition_of(r.key.decode(), PARTITIONS) for r in outbound)
        for message in messages:
            content = message.content
            if content is None:
                assert message.content_ref is not None
                found = unpack(await records.read(message.content_ref))  # type: ignore[arg-type]
                assert isinstance(found, Content)
                content = found
            assert ids.fingerprint(pack(content)) == message.content_hash
        assert len(await read(kafka, topics.name("contents"))) <= 40
        assert len(await read(kafka, topics.name("dead-letters"), 1)) == 1
    finally:
        for reader in readers:
            await reader.stop()
        await records.stop()


def requests() -> list[bytes]:
    """20 for one recipient, 40 for three with a content of their own each, and one that cannot be read."""
    alone = [encode_request(templated(f"u{n}@example.com", data={"name": "x"})) for n in range(20)]
    three = [f"{name}@example.com" for name in "abc"]
    shared = [encode_request(request(*three, idempotency_key=f"s{n}", text=f"text {n}")) for n in range(40)]
    return [*alone, *shared, b"rubbish"]
