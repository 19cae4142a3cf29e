"""What lies in Kafka: the records of a topic, the last row of each key of a table, how far a group has read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.kafka import KafkaClient, NewRecord, Record
from streams.serde.internal import Malformed

T = TypeVar("T")


def records(bootstrap: str, topic: str) -> list[Record]:
    """Everything in the topic, per partition in order."""
    with KafkaClient(bootstrap) as kafka:
        return list(kafka.read(topic))


def write(bootstrap: str, new: Iterable[NewRecord]) -> None:
    """Write and wait for the acknowledgements."""
    with KafkaClient(bootstrap) as kafka:
        for record in new:
            kafka.send(record)
        kafka.flush()


def rows(bootstrap: str, prefix: str, table: str, read: Callable[[bytes], T | Malformed]) -> dict[bytes, T]:
    """The table as a worker would restore it, read by the writer's own decoder; deleted rows are gone."""
    # The group's name has the prefix too.
    last = {record.key: record.value for record in records(bootstrap, f"{prefix}{prefix}streams-{table}-changelog")}
    found: dict[bytes, T] = {}
    for key, value in last.items():
        if key is None or value is None:
            continue
        row = read(value)
        assert not isinstance(row, Malformed), f"{table}: {row.detail}"
        found[key] = row
    return found


def committed(bootstrap: str, prefix: str, topic: str) -> dict[int, int]:
    """By partition of the topic, how far the workers have committed; 0 for not at all."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    partitions = _partitions(admin, prefix + topic)
    group = ConsumerGroupTopicPartitions(f"{prefix}streams", partitions)
    ((_, found),) = admin.list_consumer_group_offsets([group]).items()
    read = {place.partition: max(place.offset, 0) for place in found.result(10).topic_partitions}
    return {place.partition: read.get(place.partition, 0) for place in partitions}


def unread(bootstrap: str, prefix: str, topic: str) -> int:
    """Records of the topic that the workers have not committed yet."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    read = committed(bootstrap, prefix, topic)
    ends = admin.list_offsets({place: OffsetSpec.latest() for place in _partitions(admin, prefix + topic)})
    return sum(end.result(10).offset - read[place.partition] for place, end in ends.items())


def _partitions(admin: AdminClient, name: str) -> list[TopicPartition]:
    return [TopicPartition(name, number) for number in admin.list_topics(name, timeout=10).topics[name].partitions]
