"""The client on the embedded broker: what it produces, what it says when it cannot, and that it is light."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from streams.broker import free_port
from streams.client import Client, InvalidRequest, NotProduced, attachment, attachment_url, idempotency_key
from streams.configured import topic_specs
from streams.core.ids import is_message_id, message_id, recipient_key
from streams.engine import ensure_topics
from streams.kafka import KafkaClient, Record
from streams.serde.public import decode_request
from streams.settings import load_settings

SECRET = b"an address secret"


@pytest.fixture
def topics(embedded_kafka: str, topic_prefix: str) -> str:
    env = {
        "STREAMS_KAFKA_BOOTSTRAP": embedded_kafka,
        "STREAMS_KAFKA_PROFILE": "embedded",
        "STREAMS_KAFKA_PREFIX": topic_prefix,
    }
    assert asyncio.run(ensure_topics(embedded_kafka, topic_specs(load_settings(None, env)))) == []
    return topic_prefix


@pytest.fixture
def client(embedded_kafka: str, topics: str) -> Iterator[Client]:
    with Client(embedded_kafka, prefix=topics, address_secret=SECRET, sender="Shop <shop@example.com>") as client:
        yield client


def records(bootstrap: str, topic: str) -> list[Record]:
    with KafkaClient(bootstrap) as kafka:
        return list(kafka.read(topic))


def test_what_is_sent_is_a_request_under_the_recipients_key(client: Client, embedded_kafka: str, topics: str) -> None:
    sent = client.send("order-1", to="Ann <Ann@Example.net>", subject="Hi", text="Hello", tags=["order"])
    (record,) = records(embedded_kafka, f"{topics}send-requests")
    assert (record.partition, record.offset, record.key) == (sent.partition, sent.offset, b"ann@example.net")
    request = decode_request(record.value)
    assert isinstance(request, dict)
    assert request["from"] == {"email": "shop@example.com", "name": "Shop"}
    assert request["tags"] == ["order"]


def test_message_ids_are_those_that_intake_will_make(client: Client) -> None:
    sent = client.send(
        "k", to="ann@example.net", cc=["c@example.net", "ANN@example.net"], bcc="b@example.net", subject="x", text="x"
    )
    addresses = ["ann@example.net", "c@example.net", "b@example.net"]
    assert sent.message_ids == {a: message_id("default", "k", recipient_key("default", a, SECRET)) for a in addresses}
    with pytest.raises(ValueError, match="too many values"):
        _ = sent.message_id


def test_bulk_goes_through_its_own_door(client: Client, embedded_kafka: str, topics: str) -> None:
    sent = client.send("news", to=[f"r{n}@example.net" for n in range(3)], stream="bulk", subject="News", text="x")
    assert sent.topic == f"{topics}send-requests.bulk"
    assert len({*sent.message_ids.values()}) == 3
    assert records(embedded_kafka, f"{topics}send-requests") == []


def test_files_templates_and_times_travel_as_the_schema_wants(client: Client, tmp_path: Path) -> None:
    invoice = tmp_path / "invoice.pdf"
    invoice.write_bytes(b"%PDF")
    when = datetime(2027, 1, 31, 8, tzinfo=UTC)
    asked = client.request(
        "k",
        to={"email": "ann@example.net", "data": {"name": "Ann"}},
        template_id="welcome",
        data={"shop": {"city": "Ghent"}},
        attachments=[
            attachment(invoice),
            attachment(b"PNG", "logo.png", content_id="logo"),
            attachment_url("https://files.example.com/t.pdf", "terms.pdf"),
        ],
        send_at=when,
        expires_at=int(when.timestamp() * 1000) + 60_000,
    )
    record = decode_request(asked.value)
    assert isinstance(record, dict)
    assert [(one["filename"], one["content_type"]) for one in record["attachments"]] == [
        ("invoice.pdf", "application/pdf"),
        ("logo.png", "image/png"),
        ("terms.pdf", "application/pdf"),
    ]
    assert record["attachments"][0]["data"] == b"%PDF"
    assert record["send_at"] == int(when.timestamp() * 1000)
    assert record["data"] == {"shop": {"city": "Ghent"}}


def test_nothing_is_produced_of_what_intake_would_refuse(client: Client, embedded_kafka: str, topics: str) -> None:
    with pytest.raises(InvalidRequest, match="not an address"):
        client.send("k", to=["good@example.net", "nobody"], subject="x", text="x")
    with pytest.raises(InvalidRequest, match="time zone"):
        client.send("k", to="a@example.net", subject="x", text="x", send_at=datetime(2027, 1, 1))  # noqa: DTZ001
    assert records(embedded_kafka, f"{topics}send-requests") == []


def test_a_time_beyond_the_ledgers_memory_is_refused_where_that_is_known(embedded_kafka: str) -> None:
    with Client(embedded_kafka, ledger_days=30) as client:
        far = datetime(2090, 1, 1, tzinfo=UTC)
        with pytest.raises(InvalidRequest, match="further ahead") as caught:
            client.send("k", to="a@example.net", subject="x", text="x", send_at=far)
        assert caught.value.field == "send_at"


def test_the_configuration_file_is_enough(embedded_kafka: str, topics: str, tmp_path: Path) -> None:
    path = tmp_path / "streams.toml"
    path.write_text(
        f'[kafka]\nbootstrap = "{embedded_kafka}"\nprefix = "{topics}"\nprofile = "embedded"\n'
        'address_secret = "env:ADDRESSES"\n'
    )
    with Client.from_config(str(path), env={"ADDRESSES": "s3cret"}, tenant="acme") as client:
        sent = client.send("k", to="a@example.net", subject="x", text="x")
    assert sent.message_id == message_id("acme", "k", recipient_key("acme", "a@example.net", b"s3cret"))


def test_a_topic_that_does_not_exist_is_said_and_not_made(embedded_kafka: str) -> None:
    with (
        Client(embedded_kafka, prefix="mistyped.") as client,
        pytest.raises(NotProduced, match=r"mistyped\.send-requests does not exist"),
    ):
        client.send("k", to="a@example.net", subject="x", text="x")
    with KafkaClient(embedded_kafka) as kafka:
        assert not any(name.startswith("mistyped.") for name in kafka.topics())


def test_a_broker_that_is_away_is_an_exception_with_its_name() -> None:
    address = f"127.0.0.1:{free_port()}"
    with Client(address) as client, pytest.raises(NotProduced, match=f"Kafka at {address} does not answer"):
        client.send("k", to="a@example.net", subject="x", text="x")


def test_what_kafka_takes_not_in_time_is_an_exception(embedded_kafka: str, topics: str) -> None:
    slow = {"sticky.partitioning.linger.ms": 0, "linger.ms": 60_000, "delivery.timeout.ms": 60_001}
    client = Client(embedded_kafka, prefix=topics, options=slow, timeout_s=0.05)
    future = client.submit(client.request("k", to="a@example.net", subject="x", text="x"))
    with pytest.raises(NotProduced, match="not acknowledged in time"):
        client.flush(0.0)
    client.close()
    assert future.result(0).offset >= 0  # close waits as long as it takes to hand over


def test_many_are_handed_over_at_once_and_flushed(client: Client, embedded_kafka: str, topics: str) -> None:
    futures = [
        client.submit(client.request(f"k{n}", to=f"r{n}@example.net", subject="x", text="x")) for n in range(500)
    ]
    client.flush()
    assert all(is_message_id(future.result(0).message_id) for future in futures)
    assert len(records(embedded_kafka, f"{topics}send-requests")) == 500


async def test_asyncio_is_not_blocked(embedded_kafka: str, topics: str) -> None:
    async with Client(embedded_kafka, prefix=topics) as client:
        sent = await asyncio.gather(
            *(client.send_async(f"k{n}", to=f"r{n}@example.net", subject="x", text="x") for n in range(200))
        )
    assert len({(one.partition, one.offset) for one in sent}) == 200


def test_a_closed_client_says_so(client: Client) -> None:
    client.close()
    with pytest.raises(NotProduced, match="closed"):
        client.send("k", to="a@example.net", subject="x", text="x")


def test_an_idempotency_key_says_what_is_meant() -> None:
    assert idempotency_key("order", 4711, "shipped") == "order/4711/shipped"
    assert idempotency_key("a", "b") != idempotency_key("a/b")
    assert idempotency_key("a", "b/c") != idempotency_key("a/b", "c")
    assert len(idempotency_key("x" * 1000)) < 255
    with pytest.raises(InvalidRequest):
        idempotency_key("order", "")


def test_importing_it_imports_nothing_of_the_worker() -> None:
    heavy = "faust", "mode", "aiokafka", "aiohttp", "boto3", "httpx", "jinja2", "uvloop"
    program = f"import sys, streams.client; print(sorted({{m.partition('.')[0] for m in sys.modules}} & set({heavy})))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert done.stdout.strip() == "[]"
