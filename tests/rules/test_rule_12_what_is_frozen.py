"""Rule 12: partition count and the rule for addresses are frozen, and compared before a worker touches anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

import streams.core.frozen
from streams.app import StreamsApp, create_app
from streams.core.frozen import KEY, Frozen, difference, frozen
from streams.engine import EngineApp, EngineFailure
from streams.settings import load_settings
from streams.topics import Topics
from tests.agents.dispatch_desk import PARTITIONS, Desk
from tests.engine.support import produce, read

CONFIG = """
[kafka]
bootstrap = "{bootstrap}"
profile = "embedded"
partitions = {partitions}
prefix = "{prefix}"
group = "{prefix}streams"
{more}

[worker]
port = 0
data_dir = "{folder}"
"""


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        (frozen(4), ""),
        (frozen(12), "made with 12"),
        (Frozen(4, normaliser=0), "rule 0"),
        (Frozen(4, address_key="ab"), "address_secret"),
    ],
)
def test_rule_12_each_difference_is_named_with_what_to_do(kept: Frozen, words: str) -> None:
    why = difference(kept, frozen(4))
    assert bool(why) == bool(words)
    assert words in why and (not why or "[kafka]" in why)


def test_rule_12_the_address_secret_is_compared_and_not_shown() -> None:
    mark = frozen(4, b"a secret").address_key
    assert mark != frozen(4, b"another").address_key
    assert mark and "secret" not in mark


class Started(Exception):
    """The worker would have joined its group now."""


@pytest.fixture
def make(embedded_kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker that comes as far as joining its group, and is stopped there."""

    async def joined(app: EngineApp) -> None:
        raise Started

    monkeypatch.setattr(EngineApp, "on_start", joined)

    async def start(partitions: int = 4, more: str = "") -> None:
        path = tmp_path / "streams.toml"
        path.write_text(
            CONFIG.format(
                bootstrap=embedded_kafka, prefix=topic_prefix, partitions=partitions, folder=tmp_path, more=more
            )
        )
        app: StreamsApp = create_app(load_settings(path, env={"SECRET": "s1", "OTHER": "s2"}))
        app.status.bind()
        try:
            await app.on_start()
        finally:
            await app.parts.stop()
            await app.status.stop()

    return start


async def test_rule_12_a_second_start_with_another_partition_count_is_refused(make: Any) -> None:
    with pytest.raises(Started):
        await make(4)
    with pytest.raises(EngineFailure, match="has 4 partitions, needs 8"):
        await make(8)
    with pytest.raises(Started):
        await make(4)


async def test_rule_12_a_release_with_another_rule_for_addresses_is_refused(
    make: Any, embedded_kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Started):
        await make()
    (record,) = await read(embedded_kafka, Topics(topic_prefix).name("controls"), partitions=1)
    assert (record.key, msgspec.json.decode(record.value, type=Frozen)) == (KEY, frozen(4))
    monkeypatch.setattr(streams.core.frozen, "NORMALISER_VERSION", 2)
    with pytest.raises(EngineFailure, match="by rule 2, but this deployment was made with rule 1"):
        await make()


async def test_rule_12_another_address_secret_is_refused(make: Any) -> None:
    with pytest.raises(Started):
        await make(more='address_secret = "env:SECRET"')
    with pytest.raises(EngineFailure, match="address_secret"):
        await make(more='address_secret = "env:OTHER"')
    with pytest.raises(EngineFailure, match="address_secret"):
        await make()


async def test_rule_12_of_two_first_starts_the_one_that_was_overruled_ends(
    make: Any, embedded_kafka: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both find nothing; the other one writes last."""
    import streams.deployment

    write = streams.deployment._write

    async def overruled(settings: Any, ours: Frozen) -> None:
        await write(settings, ours)
        other = msgspec.json.encode(replace(ours, partitions=12))
        await produce(embedded_kafka, Topics(topic_prefix).name("controls"), [(0, KEY, other)])

    monkeypatch.setattr(streams.deployment, "_write", overruled)
    with pytest.raises(EngineFailure, match="made with 12"):
        await make()


@pytest.mark.parametrize("value", [b"garbage", b'{"partitions": "four"}', b"[]"])
async def test_rule_12_a_record_that_nobody_can_read_is_no_permission(
    make: Any, embedded_kafka: str, topic_prefix: str, value: bytes
) -> None:
    with pytest.raises(Started):
        await make()
    await produce(embedded_kafka, Topics(topic_prefix).name("controls"), [(0, KEY, value)])
    with pytest.raises(EngineFailure, match="cannot be read"):
        await make()


async def test_rule_12_a_row_that_still_owes_its_receipt_is_not_forgotten() -> None:
    desk = await Desk().open()
    message = desk.message()
    await desk.give(message)
    row = desk.row(message)
    assert row is not None
    home = desk.dispatch.partition_of(message.message_id)
    desk.dispatch.book.write(home, message.message_id, replace(row, owed=True))
    desk.clock.advance(31 * 86_400)
    for partition in range(PARTITIONS):
        await desk.dispatch.sweep(partition, desk.clock())
    assert desk.row(message) is not None
