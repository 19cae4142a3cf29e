"""Kafka as seen from outside a worker: commands and the demo read topics to their end, follow them, and write records.

Rules:

1. Reads are assignments, never a consumer group: looking at a topic changes nothing for anybody.
2. "The end" of a partition is where a fetch finds nothing more (the embedded broker's offset listing is not exact).
3. A write has happened when all in-sync replicas acknowledged it; a repeat is harmless, every record of ours is
   idempotent by its content.
4. A foreign error leaves this module as `KafkaUnavailable` or `TopicMissing`, one sentence each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka_refusals import hung_up, refusal

GROUP = "streams-cli"
"""Named by those who read without a group; nobody ever joins it."""

_METADATA_TIMEOUT_S = 6.0
_FIRST_TIMEOUT_S = 1.5
_READ_TIMEOUT_S = 30.0
_FETCH = 2000


class KafkaUnavailable(RuntimeError):
    """No broker answered, or it refused us. The message is one sentence."""


class TopicMissing(RuntimeError):
    """A topic that must exist does not."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies in Kafka; a repeated header keeps its last value."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to be written. `partition` -1 lets Kafka choose; `value` None is a tombstone."""

    topic: str
    key: bytes
    value: bytes | None
    partition: int = -1
    headers: tuple[tuple[str, bytes], ...] = ()


class KafkaClient:
    """One process's access. `options` are librdkafka's (security, certificates).

    Connects at the first use. Use it as a context manager.
    """

    def __init__(self, bootstrap: str, options: Mapping[str, Any] | None = None) -> None:
        self.bootstrap = bootstrap
        self._options: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "client.id": "streams-cli",
            "log_level": 0,
            "error_cb": lambda _: None,
            **(options or {}),
        }
        self._admin: AdminClient | None = None
        self._producer: Producer | None = None
        self._counts: dict[str, int] = {}
        self._failed: list[str] = []
        self._nobody_listens = False
        self._refusal = ""
        self._errors: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None and kind is None:
            self.flush()

    @property
    def admin(self) -> AdminClient:
        """The administration client; raises KafkaUnavailable when no broker answers."""
        if self._admin is None:
            admin = AdminClient(self._options | {"error_cb": self._noticed})
            self._counts = self._first_counts(admin)
            self._admin = admin
        return self._admin

    def _first_counts(self, admin: AdminClient) -> dict[str, int]:
        """Ask for the topics, with patience for a slow broker, but none for an address where nobody listens."""
        deadline_s = time.monotonic() + _METADATA_TIMEOUT_S
        while True:
            try:
                return _counted(admin, self.bootstrap, _FIRST_TIMEOUT_S)
            except KafkaUnavailable:
                admin.poll(0)  # calls `_noticed`
                if self._refusal:
                    raise KafkaUnavailable(self._refusal) from None
                if self._nobody_listens and (why := hung_up(self._errors, self.bootstrap)):
                    raise KafkaUnavailable(why) from None
                if self._nobody_listens or time.monotonic() > deadline_s:
                    raise

    def _noticed(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 (its public name)
            self._nobody_listens = True
        else:
            self._errors.add(error.str())
        self._refusal = self._refusal or refusal(error, self.bootstrap)

    def topics(self) -> dict[str, int]:
        """Every topic with its number of partitions, read now."""
        self._counts = _counted(self.admin, self.bootstrap)
        return dict(self._counts)

    def partitions(self, topic: str) -> int:
        """The number of partitions of a topic; raises TopicMissing."""
        count = self._counts.get(topic) or self.topics().get(topic)
        if not count:
            raise TopicMissing(f"topic {topic} does not exist; create the topics with: streams topics create")
        return count

    # reading

    def read(
        self,
        topic: str,
        partitions: Iterable[int] | None = None,
        *,
        since_ms: int = 0,
        timeout_s: float = _READ_TIMEOUT_S,
    ) -> Iterator[Record]:
        """The records of a topic (or some of its partitions) up to the end that is met; old ones first per partition.

        Raises KafkaUnavailable when nothing arrives for `timeout_s` seconds.
        """
        wanted = list(range(self.partitions(topic)) if partitions is None else partitions)
        consumer = self._consumer()
        try:
            consumer.list_topics(topic, timeout=_METADATA_TIMEOUT_S)  # else it looks for leaders half a second later
            consumer.assign(self._starts(consumer, topic, wanted, since_ms))
            left = set(wanted)
            heard_s = time.monotonic()
            while left:
                for message in consumer.consume(_FETCH, 0.02):
                    heard_s = time.monotonic()
                    error = message.error()
                    if error is None:
                        yield _record(message)
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 (its public name)
                        left.discard(message.partition())
                    else:
                        raise KafkaUnavailable(f"reading {topic} failed: {error.str()}")
                if time.monotonic() - heard_s > timeout_s:
                    raise KafkaUnavailable(f"reading {topic} failed: no answer from {self.bootstrap}")
        except KafkaException as exc:
            raise KafkaUnavailable(f"reading {topic} failed: {_text(exc)}") from exc
        finally:
            consumer.close()

    def follow(
        self,
        topic: str,
        partitions: Iterable[int] | None = None,
        *,
        from_beginning: bool = False,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[list[Record]]:
        """Runs of records as they come, for ever (until `stop` says so); an empty run about ten times a second."""
        wanted = list(range(self.partitions(topic)) if partitions is None else partitions)
        start = OFFSET_BEGINNING if from_beginning else OFFSET_END
        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(topic, number, start) for number in wanted])
            while not stop():
                yield [_record(message) for message in consumer.consume(_FETCH, 0.1) if message.error() is None]
        except KafkaException as exc:
            raise KafkaUnavailable(f"reading {topic} failed: {_text(exc)}") from exc
        finally:
            consumer.close()

    def table(self, topic: str) -> dict[bytes, bytes]:
        """A compacted topic as it stands: the last value of every key that has not been removed."""
        rows: dict[bytes, bytes] = {}
        for record in self.read(topic):
            if record.key is None:
                continue
            if record.value:
                rows[record.key] = record.value
            else:
                rows.pop(record.key, None)
        return rows

    # writing

    def send(self, record: NewRecord) -> None:
        """Hand a record to the producer; `flush` tells what became of it. Blocks while its buffer is full."""
        if self._producer is None:
            _ = self.admin  # a clear sentence at once, instead of a delivery timeout later
            self._producer = Producer(
                self._options
                | {"acks": "all", "linger.ms": 5, "delivery.timeout.ms": 30_000, "message.max.bytes": 26_214_400}
            )
        while True:
            try:
                self._producer.produce(
                    record.topic,
                    key=record.key,
                    value=record.value,
                    partition=record.partition,
                    headers=list(record.headers) or None,
                    on_delivery=self._delivered,
                )
            except BufferError:
                self._producer.poll(0.1)
                continue
            except KafkaException as exc:
                raise KafkaUnavailable(f"writing to {record.topic} failed: {_text(exc)}") from exc
            self._producer.poll(0)
            return

    def flush(self, timeout_s: float = 40.0) -> None:
        """Wait until everything sent is acknowledged; raises KafkaUnavailable with the first reason otherwise."""
        if self._producer is None:
            return
        left = self._producer.flush(timeout_s)
        failed, self._failed = self._failed, []
        if failed:
            raise KafkaUnavailable(f"{len(failed)} records were not written: {failed[0]}")
        if left:
            raise KafkaUnavailable(f"{left} records were not acknowledged within {timeout_s:.0f} s")

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._failed.append(error.str())

    def _consumer(self) -> Consumer:
        return Consumer(
            self._options
            | {
                "group.id": GROUP,  # asked for by the library; nothing is ever committed
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 50,
                "auto.offset.reset": "earliest",
            }
        )

    def _starts(self, consumer: Consumer, topic: str, wanted: list[int], since_ms: int) -> list[TopicPartition]:
        if not since_ms:
            return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in wanted]
        asked = [TopicPartition(topic, number, since_ms) for number in wanted]
        return list(consumer.offsets_for_times(asked, timeout=_METADATA_TIMEOUT_S))


def _counted(admin: AdminClient, bootstrap: str, timeout_s: float = _METADATA_TIMEOUT_S) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=timeout_s)
    except KafkaException as exc:
        raise KafkaUnavailable(f"Kafka at {bootstrap} does not answer ({_text(exc)})") from exc
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _record(message: Any) -> Record:
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        timestamp_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers={name: value or b"" for name, value in message.headers() or ()},
    )


def _text(exc: KafkaException) -> str:
    error = exc.args[0] if exc.args else exc
    return error.str() if isinstance(error, KafkaError) else str(error)
