"""Following a compacted topic."""

from __future__ import annotations

import asyncio

import pytest

from streams.engine import CompactedReader, EngineFailure
from tests.engine.conftest import MakeSettings
from tests.engine.support import create, produce, until


async def test_every_process_sees_every_key_and_every_change(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    topic = f"{topic_prefix}config"
    await create(kafka, topic)
    await produce(kafka, topic, [(0, b"a", b"1"), (1, b"b", b"1"), (0, b"a", b"2"), (1, b"b", None), (3, b"c", b"1")])
    seen: list[tuple[bytes, bytes | None]] = []

    async def on_change(key: bytes, value: bytes | None) -> None:
        seen.append((key, value))

    readers = [CompactedReader(settings(), topic, on_change), CompactedReader(settings(), topic)]
    for reader in readers:
        await reader.start()
    try:
        assert all(reader.ready.is_set() for reader in readers)
        assert [dict(reader.items()) for reader in readers] == [{b"a": b"2", b"c": b"1"}] * 2
        assert sorted(seen[:5], key=str) == sorted(
            [(b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"b", None), (b"c", b"1")], key=str
        )
        await produce(kafka, topic, [(2, b"d", b"1"), (0, b"a", None)])
        await until(lambda: all(dict(r.items()) == {b"c": b"1", b"d": b"1"} for r in readers), "both follow")
        assert seen[5:] == [(b"d", b"1"), (b"a", None)] or seen[5:] == [(b"a", None), (b"d", b"1")]
        assert len(readers[0]) == 2
    finally:
        for reader in readers:
            await reader.stop()


async def test_caught_up_returns_when_what_is_there_now_has_been_read(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    topic = f"{topic_prefix}config"
    await create(kafka, topic)
    reader = CompactedReader(settings(), topic)
    await reader.start()
    try:
        await reader.caught_up()
        for turn in range(5):
            await produce(kafka, topic, [(n % 4, b"key-%d" % n, b"%d" % turn) for n in range(20)])
            await reader.caught_up()
            assert reader.get(b"key-19") == b"%d" % turn
            assert len(reader) == 20
    finally:
        await reader.stop()
    with pytest.raises(EngineFailure, match="not running"):
        await reader.caught_up()


async def test_a_topic_that_does_not_exist_is_an_error(kafka: str, topic_prefix: str, settings: MakeSettings) -> None:
    with pytest.raises(EngineFailure, match="nowhere does not exist"):
        await CompactedReader(settings(), f"{topic_prefix}nowhere").start()


async def test_a_reader_whose_callback_fails_tells_and_stops(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    topic = f"{topic_prefix}config"
    await create(kafka, topic)
    failures: list[str] = []

    async def stumble(key: bytes, value: bytes | None) -> None:
        raise LookupError("cannot read this")

    reader = CompactedReader(settings(), topic, stumble, failures.append)
    await reader.start()
    try:
        waiting = asyncio.create_task(_caught_up_until_it_fails(reader))
        await produce(kafka, topic, [(0, b"k", b"v")])
        await until(lambda: bool(failures), "the failure is told")
        assert "cannot read this" in failures[0]
        with pytest.raises(EngineFailure, match="has stopped"):
            await waiting
    finally:
        await reader.stop()


async def _caught_up_until_it_fails(reader: CompactedReader) -> None:
    while True:
        await reader.caught_up()
        await asyncio.sleep(0.01)
