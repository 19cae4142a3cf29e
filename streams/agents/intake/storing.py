"""The third step: each content that several messages share is written once, and acknowledged."""

from __future__ import annotations

import asyncio

from streams.agents.intake.items import Item
from streams.agents.intake.run import Run
from streams.core import ids
from streams.core.event import ReasonKind
from streams.core.fanout import Shared, mentions_of
from streams.core.message import RecordRef
from streams.engine.errors import RecordTooLarge
from streams.topics import CONTENTS


async def write_contents(run: Run, items: list[Item]) -> list[Item]:
    """The items whose content is where their messages will look for it; those that no record can hold are refused."""
    writing: dict[str, asyncio.Task[RecordRef | None]] = {}
    for item in items:
        shared = item.shared
        assert shared is not None
        if mentions_of(item.request) == 1 and len(shared.body) <= run.config.max_inline_bytes:
            continue
        item.ref = run.intake.contents.ref_of(shared.content_hash)
        if item.ref is None and shared.content_hash not in writing:
            writing[shared.content_hash] = asyncio.ensure_future(_store(run, shared))
    if not writing:
        return items
    await asyncio.gather(*writing.values())
    return [item for item in items if _has_place(run, item, writing)]


def _has_place(run: Run, item: Item, written: dict[str, asyncio.Task[RecordRef | None]]) -> bool:
    assert item.shared is not None
    task = written.get(item.shared.content_hash)
    if task is None or item.ref is not None:
        return True
    item.ref = task.result()
    if item.ref is None:
        detail = f"the content has {len(item.shared.body)} bytes when encoded, more than a record may have"
        run.cannot(item, ReasonKind.MESSAGE_TOO_LARGE, "", detail)
    return item.ref is not None


async def _store(run: Run, shared: Shared) -> RecordRef | None:
    """Where the content lies now; None if no record can be as large."""
    key, topic = shared.content_hash, run.config.topics.name(CONTENTS)
    partition = ids.partition_of_text(key, run.config.partitions)
    try:
        offset = await run.intake.app.store(topic, partition, key.encode(), shared.body)
    except RecordTooLarge:
        return None
    if offset < 0:
        raise RuntimeError("the broker did not tell where it put a content")
    ref = RecordRef(topic, partition, offset)
    run.intake.contents.remember(key, shared.body, ref)
    return ref
