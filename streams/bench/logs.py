"""Topics for a measurement: made, filled, and counted from outside the measured process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.bench.lab import BenchFailed

Row = tuple[int, bytes | None, bytes]
"""Partition, key, value."""

_PATIENCE_S = 60.0


def make_topics(bootstrap: str, names: Iterable[str], partitions: int, compacted: bool = False) -> None:
    """Create topics and wait until they can be used."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    config = {"cleanup.policy": "compact"} if compacted else {}
    wanted = [NewTopic(name, num_partitions=partitions, replication_factor=1, config=config) for name in names]
    for name, made in admin.create_topics(wanted).items():
        try:
            made.result(timeout=_PATIENCE_S)
        except KafkaException as exc:
            raise BenchFailed(f"topic {name} could not be made: {exc.args[0].str()}") from exc


def fill(bootstrap: str, topic: str, rows: Iterable[Row]) -> int:
    """Write rows and wait for all acknowledgements; returns how many."""
    failed: list[str] = []

    def delivered(error: object, _: object) -> None:
        if error is not None:
            failed.append(str(error))

    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": "all",
            "linger.ms": 20,
            "batch.size": 500_000,
            "log_level": 0,
            "message.max.bytes": 20_000_000,
        }
    )
    count = 0
    for partition, key, value in rows:
        while True:
            try:
                producer.produce(topic, value, key, partition=partition, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
        if not count % 1000:
            producer.poll(0)
    left = producer.flush(_PATIENCE_S)
    if failed or left:
        raise BenchFailed(f"{topic} could not be filled: {failed[0] if failed else f'{left} unacknowledged'}")
    return count


def commit_all(consumer: Consumer) -> None:
    """Commit what has been consumed and wait for it; nothing left to commit is fine."""
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as exc:
        if exc.args[0].code() != KafkaError._NO_OFFSET:  # noqa: SLF001 (its public name)
            raise


class Counter:
    """Counts the records of topics as they come, by assignment, from the beginning."""

    def __init__(self, bootstrap: str, topics: Sequence[str], partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "bench-counter",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, n, 0) for topic in topics for n in range(partitions)])
        self.count = 0

    def until(self, count: int, timeout_s: float) -> None:
        """Wait until so many have come since the beginning; raises BenchFailed."""
        deadline = time.monotonic() + timeout_s
        while self.count < count:
            for message in self._consumer.consume(5000, 0.05):
                self.count += message.error() is None
            if time.monotonic() > deadline:
                raise BenchFailed(f"only {self.count:,} of {count:,} records came within {timeout_s:.0f} s")

    def close(self) -> None:
        """Leave."""
        self._consumer.close()
