"""The real Apache Kafka of the tests survives what the fault tests do to it."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from streams.broker import answers_metadata
from tests.brokers import KafkaServer


def _produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def _consume(bootstrap: str, topic: str, count: int) -> list[bytes | str | None]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    try:
        messages = consumer.consume(count, timeout=30)
        return [message.value() for message in messages]
    finally:
        consumer.close()


@pytest.mark.timeout(120)
def test_acknowledged_records_survive_kill_and_restart(apache_kafka: KafkaServer, topic_prefix: str) -> None:
    topic = f"{topic_prefix}kept"
    admin = AdminClient({"bootstrap.servers": apache_kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    _produce(apache_kafka.bootstrap, topic, b"before")
    address = apache_kafka.bootstrap
    apache_kafka.kill()
    apache_kafka.restart()
    assert apache_kafka.bootstrap == address
    _produce(apache_kafka.bootstrap, topic, b"after")
    assert _consume(apache_kafka.bootstrap, topic, 2) == [b"before", b"after"]


def test_a_paused_server_does_not_answer_until_it_is_resumed(apache_kafka: KafkaServer) -> None:
    host, _, port = apache_kafka.bootstrap.partition(":")
    apache_kafka.pause()
    assert not answers_metadata(host, int(port), timeout_s=0.3)
    apache_kafka.resume()
    assert answers_metadata(host, int(port))
