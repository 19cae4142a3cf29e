"""Kafka down, slow or full: the answer is 503, never a false 200, and memory is bounded."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import aiohttp
import pytest

from streams.broker import EmbeddedBroker
from streams.ingress import KafkaProducer, PortTaken, Unavailable, listen, running
from streams.producer import producer_options
from streams.providers.base import HttpRequest, HttpResponse
from streams.settings import IngressSettings, KafkaSettings, Profile, Settings
from tests.brokers import KafkaServer
from tests.ingress.conftest import Open
from tests.ingress.fakes import create_topics, provider, records, signed


async def test_with_kafka_unreachable_the_answer_is_503_and_readiness_says_so(opened: Open, unused_port: int) -> None:
    async with opened(bootstrap=f"127.0.0.1:{unused_port}", produce_timeout_s=1.0) as client:
        began = time.monotonic()
        status, headers = await client.post("/webhooks/mailgun", signed("t"))
        assert (status, headers["Retry-After"]) == (503, "30")
        assert time.monotonic() - began < 15  # SNS gives up then
        assert client.counted("mailgun", "unavailable") == 1
        assert (await client.get("/health/live"))[0] == 200
        ready, why = await client.get("/health/ready")
        assert ready == 503
        assert "Kafka does not answer" in why


async def test_a_topic_that_does_not_exist_is_503(opened: Open) -> None:
    adapters = {"directmail": provider(name="directmail", type="directmail")}
    async with opened(adapters, produce_timeout_s=1.0) as client:
        assert (await client.post("/webhooks/directmail", signed("t")))[0] == 503


async def test_a_broker_that_dies_and_returns_costs_503s_but_no_false_200(topic_prefix: str, unused_port: int) -> None:
    topic = f"{topic_prefix}webhooks.mailgun"
    settings = Settings(
        kafka=KafkaSettings(bootstrap=f"127.0.0.1:{unused_port}", profile=Profile.EMBEDDED, prefix=topic_prefix),
        ingress=IngressSettings(port=0, produce_timeout_s=1.0, drain_timeout_s=2.0),
    )
    broker = EmbeddedBroker(unused_port).start()
    try:
        create_topics(broker.bootstrap, topic)
        async with (
            running(settings, {"mailgun": provider()}) as (host, port),
            aiohttp.ClientSession(f"http://{host}:{port}") as session,
        ):

            async def post(token: str) -> int:
                async with session.post("/webhooks/mailgun", data=signed(token)) as answer:
                    return answer.status

            assert await post("before") == 200
            broker.stop()
            assert set(await asyncio.gather(*(post(f"down-{n}") for n in range(10)))) == {503}
            broker.start()
            create_topics(broker.bootstrap, topic)  # the embedded broker forgets
            answered: list[str] = []
            async with asyncio.timeout(40):
                while len(answered) < 5:
                    token = f"after-{time.monotonic_ns()}"
                    if await post(token) == 200:
                        answered.append(token)
            found = await asyncio.to_thread(records, broker.bootstrap, topic, 1000, 2, 3.0)
        assert set(answered) <= {record.key().decode() for record in found}
    finally:
        broker.stop()


async def test_what_waits_for_kafka_is_bounded(unused_port: int) -> None:
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{unused_port}", profile=Profile.EMBEDDED)
    producer = KafkaProducer(kafka, IngressSettings(max_pending=10, produce_timeout_s=1.0))
    producer.start()
    try:
        results = await asyncio.gather(*(producer.send("t", b"k", b"v", []) for _ in range(50)), return_exceptions=True)
        assert all(isinstance(result, Unavailable) for result in results)
        assert sum("waiting for Kafka already" in str(result) for result in results) == 40
        assert producer.pending == 0
    finally:
        await producer.stop(1.0)
    with pytest.raises(Unavailable):
        await producer.send("t", b"k", b"v", [])


async def test_stopping_ends_what_is_still_open_as_unavailable(unused_port: int) -> None:
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{unused_port}", profile=Profile.EMBEDDED)
    producer = KafkaProducer(kafka, IngressSettings(produce_timeout_s=14.0))
    producer.start()
    waiting = asyncio.create_task(producer.send("t", b"k", b"v", []))
    await asyncio.sleep(0)
    await producer.stop(0.2)
    with pytest.raises(Unavailable):
        await waiting


async def test_requests_under_way_are_finished_at_shutdown(embedded_kafka: str, topic_prefix: str) -> None:
    create_topics(embedded_kafka, f"{topic_prefix}webhooks.ses")
    settings = Settings(
        kafka=KafkaSettings(bootstrap=embedded_kafka, profile=Profile.EMBEDDED, prefix=topic_prefix),
        ingress=IngressSettings(port=0, drain_timeout_s=5.0),
    )
    reached, release = asyncio.Event(), asyncio.Event()

    async def exchange(request: HttpRequest, deadline_s: float) -> HttpResponse:
        reached.set()
        await release.wait()
        return HttpResponse(200, {}, b"pem")

    async def post(address: tuple[str, int]) -> int:
        url = f"http://{address[0]}:{address[1]}/webhooks/ses"
        async with session.post(url, data=signed("t")) as answer:
            return answer.status

    adapters = {"ses": provider(name="ses", type="ses", needs_certificate=True)}
    async with aiohttp.ClientSession() as session:
        async with running(settings, adapters, exchange=exchange) as address:
            under_way = asyncio.create_task(post(address))
            await asyncio.wait_for(reached.wait(), 10)
            asyncio.get_running_loop().call_later(0.2, release.set)
        assert await under_way == 200
        with pytest.raises(aiohttp.ClientConnectionError):
            await post(address)


def test_a_port_that_is_taken_is_one_clear_sentence(unused_port: int) -> None:
    options = IngressSettings(port=unused_port)
    with (
        listen(options),
        pytest.raises(PortTaken, match=rf"cannot listen on 127\.0\.0\.1:{unused_port}: address already"),
    ):
        listen(options)


def test_an_address_that_is_not_ours_is_one_clear_sentence() -> None:
    with pytest.raises(PortTaken, match=r"\[ingress\] cannot listen on 192\.0\.2\.1:0"):
        listen(IngressSettings(host="192.0.2.1", port=0))


def test_real_kafka_gets_an_idempotent_producer_that_waits_for_all_replicas() -> None:
    kafka = KafkaSettings(bootstrap="localhost:9092")
    options = producer_options(kafka, IngressSettings())
    assert (options["acks"], options["enable.idempotence"]) == ("all", True)
    embedded = producer_options(replace(kafka, profile=Profile.EMBEDDED), IngressSettings())
    assert (embedded["acks"], embedded["enable.idempotence"]) == ("all", False)
    stubborn = replace(kafka, librdkafka={"acks": "1", "enable.idempotence": "false"})
    assert producer_options(stubborn, IngressSettings())["acks"] == "all"


@pytest.mark.timeout(180)
async def test_a_frozen_kafka_costs_503s_but_no_false_200(apache_kafka: KafkaServer, topic_prefix: str) -> None:
    topic = f"{topic_prefix}webhooks.mailgun"
    create_topics(apache_kafka.bootstrap, topic)
    settings = Settings(
        kafka=KafkaSettings(bootstrap=apache_kafka.bootstrap, prefix=topic_prefix),
        ingress=IngressSettings(port=0, produce_timeout_s=2.0, drain_timeout_s=3.0),
    )
    async with (
        running(settings, {"mailgun": provider()}) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):

        async def post(token: str) -> tuple[str, int]:
            async with session.post("/webhooks/mailgun", data=signed(token)) as answer:
                return token, answer.status

        answers = await asyncio.gather(*(post(f"before-{n}") for n in range(100)))
        apache_kafka.pause()
        try:
            frozen = await asyncio.gather(*(post(f"frozen-{n}") for n in range(50)))
        finally:
            apache_kafka.resume()
        assert {status for _, status in frozen} == {503}
        after: list[tuple[str, int]] = []
        async with asyncio.timeout(60):
            while [status for _, status in after[-5:]] != [200] * 5:
                after.append(await post(f"after-{time.monotonic_ns()}"))
    stored = await asyncio.to_thread(records, apache_kafka.bootstrap, topic, 10_000, 2, 5.0)
    keys = {record.key().decode() for record in stored}
    accepted = {token for token, status in answers + after if status == 200}
    assert len(accepted) >= 105
    assert accepted <= keys
