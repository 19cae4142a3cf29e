"""Notifications from an MNS queue: the sandbox's queue over HTTP with signed requests, the poller around it."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.core.receipt import ReceiptKind
from streams.metrics import Metrics
from streams.pollers.loop import Poller
from streams.pollers.mns import MnsSource, sources
from streams.pollers.source import SourceUnavailable
from streams.providers import directmail
from streams.providers.base import Reading
from streams.sandbox import DirectMailConfig, Sandbox, SandboxConfig
from streams.sandbox.mns_queue import MnsQueue
from streams.settings import KafkaSettings, Settings
from tests.pollers.fakes import FakeProducer

PAYLOADS = Path(__file__).parent.parent / "payloads" / "directmail"
CLICK = (PAYLOADS / "click.txt").read_text()
MAKE = Callable[..., MnsSource]


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[tuple[MnsQueue, str]]:
    """The sandbox's queue, which checks every signature, and its address."""
    config = DirectMailConfig(check=True, queue="events", queue_visibility_s=30)
    sandbox = Sandbox(SandboxConfig(tmp_path / "ledger", directmail=config))
    url = await sandbox.start()
    assert sandbox.mns.queue is not None
    yield sandbox.mns.queue, url
    await sandbox.stop()


@pytest.fixture
async def make(queue: tuple[MnsQueue, str]) -> AsyncIterator[MAKE]:
    made: list[MnsSource] = []

    def making(**options: Any) -> MnsSource:
        keys = {
            "access_key_id": "LTAIsandbox",
            "access_key_secret": "sandbox-secret",
            "mns_queue": "events",
            "mns_endpoint_url": queue[1],
            "mns_wait_s": 0,
            **options,
        }
        adapter = directmail.create("dm", directmail.Config(**keys))
        settings = Settings(kafka=KafkaSettings("localhost:9092", prefix="p."))
        made.extend(sources(settings, {"dm/cn": adapter}))
        return made[-1]

    yield making
    for source in made:
        await source.aclose()


def sightings(payload: bytes) -> Any:
    reading = directmail.create("dm", directmail.Config()).read_events(payload, 1)
    assert isinstance(reading, Reading)
    return reading.sightings


@pytest.mark.parametrize("body", [CLICK, b64encode(CLICK.encode()).decode()], ids=["plain", "base64"])
async def test_a_message_is_stored_with_the_queues_clock(queue: tuple[MnsQueue, str], make: MAKE, body: str) -> None:
    queue[0].put("M-1", body)
    (item,) = await make().receive()
    assert (item.key, item.times, item.headers) == (b"M-1", 1, (("verified", b"mns"),))
    (found,) = sightings(item.payload)
    assert (found.kind, found.occurred_ms) == (ReceiptKind.CLICKED, item.sent_ms)


async def test_a_source_is_named_after_its_account_and_writes_to_its_topic(make: MAKE) -> None:
    source = make()
    assert (source.name, source.provider, source.account) == ("dm/cn", "dm", "cn")
    assert source.topic == "p.webhooks.directmail"


async def test_an_account_without_a_queue_is_no_source() -> None:
    adapter = directmail.create("dm", directmail.Config())
    assert list(sources(Settings(kafka=KafkaSettings("localhost:9092")), {"dm": adapter})) == []


async def test_an_empty_queue_is_no_error_and_a_long_poll_ends_with_the_first_message(
    queue: tuple[MnsQueue, str], make: MAKE
) -> None:
    assert await make().receive() == []
    waiting = asyncio.ensure_future(make(mns_wait_s=30).receive())
    await asyncio.sleep(0)
    queue[0].put("M-1", CLICK)
    async with asyncio.timeout(10):
        assert len(await waiting) == 1


async def test_what_is_done_is_deleted_in_batches_of_sixteen(queue: tuple[MnsQueue, str], make: MAKE) -> None:
    for number in range(20):
        queue[0].put(f"M-{number}", CLICK)
    source = make()
    items = [*await source.receive(), *await source.receive()]
    assert [len(queue[0]), len(items)] == [20, 20]
    waiting = await source.waiting()
    assert waiting.items == 20
    await source.done(items)
    assert (len(queue[0]), queue[0].deleted) == (0, 20)


async def test_a_handle_that_is_no_longer_good_is_an_error_and_the_others_are_deleted(
    queue: tuple[MnsQueue, str], make: MAKE
) -> None:
    queue[0].put("M-1", CLICK)
    queue[0].put("M-2", CLICK)
    source = make()
    one, two = await source.receive()
    queue[0]._messages["M-1"].visible_ms = 0  # its time is over
    with pytest.raises(SourceUnavailable, match="1 of 2"):
        await source.done([one, two])
    (again,) = await source.receive()
    assert (again.key, again.times) == (b"M-1", 2)


async def test_what_is_kept_gets_a_new_handle_with_which_it_is_deleted(queue: tuple[MnsQueue, str], make: MAKE) -> None:
    queue[0].put("M-1", CLICK)
    source = make(mns_visibility_s=600)
    items = await source.receive()
    before = queue[0]._messages["M-1"]
    handle, until = before.handle, before.visible_ms
    await source.extend(items)
    after = queue[0]._messages["M-1"]
    assert after.handle != handle
    assert after.visible_ms > until + 500_000
    await source.done(items)
    assert len(queue[0]) == 0


async def test_what_is_given_back_is_hidden_for_a_second_only(queue: tuple[MnsQueue, str], make: MAKE) -> None:
    queue[0].put("M-1", CLICK)
    source = make()
    items = await source.receive()
    before = queue[0]._messages["M-1"].visible_ms
    await source.release(items)
    assert queue[0]._messages["M-1"].visible_ms < before - 20_000


async def test_an_envelope_of_a_topic_that_is_not_ours_is_not_vouched_for_and_told_once(
    queue: tuple[MnsQueue, str], make: MAKE, caplog: pytest.LogCaptureFixture
) -> None:
    envelope = (PAYLOADS / "notification.xml").read_text()
    queue[0].put("M-1", envelope)
    queue[0].put("M-2", b64encode(envelope.encode()).decode())
    queue[0].put("M-3", CLICK)
    items = await make(topics=("1/other",)).receive()
    assert [dict(item.headers)["verified"] for item in items] == [b"0", b"0", b"mns"]
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1
    for item in items:
        queue[0]._messages[item.key.decode()].visible_ms = 0
    ours = await make(topics=("1234567890123456/directmail-events",)).receive()
    assert {dict(item.headers)["verified"] for item in ours} == {b"mns"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mns_queue": "others"}, "QueueNotExist"),
        ({"access_key_secret": "wrong"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "LTAIother"}, "AccessIDAuthError"),
        ({"mns_endpoint_url": "http://127.0.0.1:9"}, "receive"),
    ],
)
async def test_trouble_names_what_the_service_said(make: MAKE, options: dict[str, str], said: str) -> None:
    with pytest.raises(SourceUnavailable, match=said):
        await make(**options).receive()


async def test_a_poller_stores_everything_and_leaves_nothing(queue: tuple[MnsQueue, str], make: MAKE) -> None:
    for number in range(5):
        queue[0].put(f"M-{number}", CLICK)
    producer, source = FakeProducer(), make()
    poller = Poller(source, producer, Metrics(), lambda: 1)  # type: ignore[arg-type]
    assert await poller.once()
    assert [row[0] for row in producer.stored] == ["p.webhooks.directmail"] * 5
    assert len(queue[0]) == 0


async def test_nothing_is_deleted_while_kafka_does_not_take_it(queue: tuple[MnsQueue, str], make: MAKE) -> None:
    queue[0].put("M-1", CLICK)
    producer = FakeProducer(refusals=100)
    poller = Poller(make(), producer, Metrics(), lambda: 1)  # type: ignore[arg-type]
    assert not await poller.once()
    assert len(queue[0]) == 1


def test_the_poller_visibility_is_prolonged_before_it_ends() -> None:
    config = directmail.Config(access_key_id="a", access_key_secret="b", mns_queue="q", mns_account_id="1")
    access = directmail.create("dm", config).queue
    assert access is not None
    source = MnsSource("dm", access, replace(config, mns_visibility_s=30, mns_wait_s=20), "t", 1)
    assert (source.extend_every_s, source.stop_wait_s) == (15, 25)
