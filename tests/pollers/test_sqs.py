"""Events from an SQS queue: moto's SQS and SNS over HTTP, boto3 in threads, the poller around it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from streams.metrics import Metrics
from streams.pollers.loop import Poller
from streams.pollers.source import Item, SourceUnavailable
from streams.pollers.sqs import SqsSource, client, sources
from streams.providers.base import Reading
from streams.providers.ses import Config, create
from streams.providers.ses.events import read_events
from streams.settings import KafkaSettings, Settings
from tests.pollers.conftest import Aws
from tests.pollers.fakes import FakeProducer

PAYLOADS = Path(__file__).parent.parent / "payloads" / "ses"
BOUNCE = (PAYLOADS / "bounce.json").read_text()
MAKE = Callable[[Config], SqsSource]


@pytest.fixture
async def make() -> AsyncIterator[MAKE]:
    made: list[SqsSource] = []

    def making(config: Config) -> SqsSource:
        made.append(SqsSource("ses/eu", config, "webhooks.ses", 2))
        return made[-1]

    yield making
    for source in made:
        await source.aclose()


async def one(source: SqsSource) -> Item:
    (item,) = await source.receive()
    return item


def sightings(payload: bytes) -> Any:
    reading = read_events(payload, 1)
    assert isinstance(reading, Reading)
    return reading.sightings


@pytest.mark.parametrize("raw", [False, True], ids=["envelope", "raw"])
async def test_an_event_that_sns_put_into_the_queue_is_the_same_fact_however_it_was_put(
    aws: Aws, make: MAKE, raw: bool
) -> None:
    aws.subscribe(raw=raw)
    aws.sns.publish(TopicArn=aws.topic_arn, Message=BOUNCE)
    item = await one(make(aws.config()))
    content = json.loads(item.payload)
    assert ("TopicArn" in content) is not raw
    assert item.headers == (("verified", b"sqs"),)
    assert item.key
    assert item.sent_ms > 0
    assert item.times == 1
    assert sightings(item.payload) == sightings(BOUNCE.encode())


async def test_an_event_from_eventbridge_is_the_same_fact(aws: Aws, make: MAKE) -> None:
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=(PAYLOADS / "eventbridge.json").read_text())
    item = await one(make(aws.config(topic_arns=())))
    assert item.headers == (("verified", b"sqs"),)
    assert sightings(item.payload) == sightings(BOUNCE.encode())


async def test_an_envelope_of_a_topic_that_is_not_allowed_is_not_vouched_for_and_told_once(
    aws: Aws, make: MAKE, caplog: pytest.LogCaptureFixture
) -> None:
    aws.subscribe(raw=False)
    for _ in range(2):
        aws.sns.publish(TopicArn=aws.topic_arn, Message=BOUNCE)
    items = await make(aws.config(topic_arns=("arn:aws:sns:eu-west-1:111122223333:other",))).receive()
    assert {item.headers for item in items} == {(("verified", b"0"),)}
    said = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert said == [f"ses/eu: {aws.topic_arn} is not in topic_arns: its messages in the queue become dead letters"]


async def test_what_is_done_is_deleted_in_batches_of_ten(aws: Aws, make: MAKE) -> None:
    for number in range(13):
        aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody=f'{{"n": {number}}}')
    source = make(aws.config())
    items = [*await source.receive(), *await source.receive(), *await source.receive()]
    assert len(items) == 13
    assert aws.left() == (0, 13)
    await source.done(items)
    assert aws.left() == (0, 0)


async def test_an_entry_that_could_not_be_deleted_is_an_error(aws: Aws, make: MAKE) -> None:
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody="{}")
    source = make(aws.config())
    good = await one(source)
    bad = Item(b"", b"", (), "nonsense")
    with pytest.raises(SourceUnavailable, match="delete_message_batch"):
        await source.done([good, bad])


async def test_what_is_given_back_can_be_received_at_once_and_counts_its_times(aws: Aws, make: MAKE) -> None:
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody="{}")
    source = make(aws.config())
    await source.release([await one(source)])
    assert aws.left() == (1, 0)
    again = await one(source)
    assert again.times == 2


async def test_what_is_kept_stays_hidden(aws: Aws, make: MAKE) -> None:
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody="{}")
    source = make(aws.config(sqs_visibility_s=10))
    item = await one(source)
    await source.extend([item])
    assert aws.left() == (0, 1)
    assert source.extend_every_s == 5.0


async def test_the_queue_tells_its_depth_and_its_dead_letter_queue(aws: Aws, make: MAKE) -> None:
    source = make(aws.config())
    assert (await source.facts()).dead_letter_arn == ""
    aws.redrive(5)
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody="{}")
    aws.sqs.send_message(QueueUrl=aws.dead_url, MessageBody="{}")
    facts = await source.facts()
    assert (facts.messages, facts.max_receives, facts.dead) == (1, 5, 1)
    waiting = await source.waiting()
    assert (waiting.items, waiting.dead) == (1, 1)


async def test_a_queue_that_does_not_exist_is_said_in_one_line(aws: Aws, make: MAKE) -> None:
    source = make(aws.config(sqs_queue_url=f"{aws.url}/123456789012/none"))
    with pytest.raises(SourceUnavailable, match=r"receive_message: .*NonExistentQueue"):
        await source.receive()


async def test_a_service_that_does_not_answer_is_said_in_one_line(aws: Aws, make: MAKE) -> None:
    source = make(aws.config(sqs_endpoint_url="http://127.0.0.1:1"))
    with pytest.raises(SourceUnavailable, match="receive_message: Could not connect"):
        await source.receive()


async def test_the_poller_stores_and_then_deletes(aws: Aws, make: MAKE) -> None:
    aws.subscribe(raw=False)
    for _ in range(12):
        aws.sns.publish(TopicArn=aws.topic_arn, Message=BOUNCE)
    producer = FakeProducer()
    poller = Poller(make(aws.config()), producer, Metrics(), lambda: 1)
    assert await poller.once()
    assert len(producer.stored) == 12
    assert aws.left() == (0, 0)
    assert dict(producer.stored[0][3])["provider"] == b"ses"
    assert dict(producer.stored[0][3])["account"] == b"eu"


async def test_while_kafka_is_away_nothing_is_deleted_and_a_stop_gives_everything_back(aws: Aws, make: MAKE) -> None:
    aws.sqs.send_message(QueueUrl=aws.queue_url, MessageBody="{}")
    poller = Poller(make(aws.config()), FakeProducer(refusals=1_000_000), Metrics(), lambda: 1)
    running = asyncio.create_task(poller.run())
    async with asyncio.timeout(10):
        while "Kafka is away" not in poller.trouble:
            await asyncio.sleep(0.01)
    assert aws.left() == (0, 1)
    poller.stop()
    await running
    assert aws.left() == (1, 0)


def test_a_source_is_made_for_each_account_with_a_queue() -> None:
    def ses(name: str, url: str) -> Any:
        return create(name, Config(region="us-east-1", sqs_queue_url=url))

    adapters = {
        "ses": ses("ses", "https://sqs.eu-west-1.amazonaws.com/111122223333/events"),
        "ses/shop": ses("ses", "https://sqs.eu-west-1.amazonaws.com/111122223333/shop.fifo"),
        "quiet": ses("quiet", ""),
    }
    settings = Settings(KafkaSettings("localhost:9092", prefix="prod."))
    found = list(sources(settings, adapters))
    assert [(s.name, s.provider, s.account, s.topic) for s in found] == [
        ("ses", "ses", "", "prod.webhooks.ses"),
        ("ses/shop", "ses", "shop", "prod.webhooks.ses"),
    ]


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/111122223333/q", "eu-west-1"),
        ("https://eu-central-1.queue.amazonaws.com/111122223333/q", "eu-central-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/q", "cn-north-1"),
        ("http://127.0.0.1:4566/111122223333/q", "us-east-1"),
    ],
)
def test_the_region_of_a_queue_is_in_its_url_or_the_providers(url: str, region: str) -> None:
    config = Config(region="us-east-1", sqs_queue_url=url, access_key_id="a", secret_access_key="b")
    assert config.sqs_region == region
    made = client(config, 1)
    assert made.meta.region_name == region
    made.close()


@pytest.mark.parametrize("url", ["https://sqs.eu-west-1.amazonaws.com/q", "sqs:q", "https://h/111122223333/a/b"])
def test_a_queue_url_of_a_wrong_shape_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="sqs_queue_url"):
        Config(region="us-east-1", sqs_queue_url=url)
