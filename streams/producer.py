"""Writes payloads to Kafka and tells asyncio when all in-sync replicas have them: for the ingress and the pollers.

Rules:

1. A record is stored when Kafka's delivery report says so; whatever else happens is :class:`Unavailable`. A record that
   is reported late may still be stored: the provider's repeat of it is decided behind the ingress.
2. The event loop itself asks librdkafka for reports, every millisecond while records wait: a thread that did it would
   fight for the interpreter with every request (measured: 20 % of the throughput).
3. What waits is bounded, in records and in bytes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException, Producer

from streams.settings import KafkaSettings, Profile, librdkafka_options

_BUSY_POLL_S = 0.001
_IDLE_POLL_S = 1.0
_PURGE_S = 2.0
_READY_TIMEOUT_S = 2.0
_QUEUE_KBYTES = 32 * 1024

Headers = list[tuple[str, str | bytes | None]]

log = logging.getLogger(__name__)


class Unavailable(Exception):
    """Kafka did not take the record in time, or cannot: the sender must keep it."""


class Bounds(Protocol):
    """How long a record may wait, how many at once, and how large the largest may be."""

    @property
    def produce_timeout_s(self) -> float: ...
    @property
    def max_pending(self) -> int: ...
    @property
    def max_body_bytes(self) -> int: ...


class WebhookProducer(Protocol):
    """What ingress and pollers need of a producer."""

    async def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        """Return when all in-sync replicas have the record; raises :class:`Unavailable`."""

    async def ready(self) -> str:
        """Empty if Kafka answers now, else why not."""

    @property
    def broken(self) -> str:
        """Empty, or why this producer will never work again: the process must be replaced."""


class KafkaProducer:
    """An idempotent producer (where the broker knows it) for one event loop. Create, `start`, `send`…, `stop`."""

    def __init__(self, kafka: KafkaSettings, bounds: Bounds) -> None:
        self._options = producer_options(kafka, bounds)
        self._max_pending = bounds.max_pending
        self._pending = 0
        self._broken = ""
        self._producer: Producer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_poll: asyncio.TimerHandle | None = None
        self._resting = True

    @property
    def pending(self) -> int:
        """Records that wait for their delivery report."""
        return self._pending

    @property
    def broken(self) -> str:
        return self._broken

    def start(self) -> None:
        """Begin, on the running event loop. Does not wait for a broker."""
        self._loop = asyncio.get_running_loop()
        self._producer = Producer({**self._options, "error_cb": self._on_error}, logger=log)
        self._poll()

    async def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        """Return when all in-sync replicas have the record; raises :class:`Unavailable`."""
        if self._producer is None or self._loop is None:
            raise Unavailable("the producer is not running")
        if self._pending >= self._max_pending:
            raise Unavailable(f"{self._pending} records are waiting for Kafka already")
        stored = self._loop.create_future()
        try:
            self._producer.produce(topic, value, key or None, -1, _Report(self, stored), headers=headers)
        except BufferError as exc:
            raise Unavailable("the queue to Kafka is full") from exc
        except KafkaException as exc:
            raise Unavailable(f"Kafka refused the record: {exc}") from exc
        self._pending += 1
        if self._resting:
            self._poll()
        await stored

    async def ready(self) -> str:
        """Empty if Kafka answers now, else why not."""
        producer, loop = self._producer, self._loop
        if producer is None or loop is None:
            return "the producer is not running"
        try:
            await loop.run_in_executor(None, lambda: producer.list_topics(timeout=_READY_TIMEOUT_S))
        except KafkaException as exc:
            return f"Kafka does not answer: {exc.args[0].str()}"
        return self._broken

    async def stop(self, timeout_s: float) -> None:
        """Wait for what is under way, at most so long; what is still open then fails with :class:`Unavailable`."""
        producer, self._producer = self._producer, None  # nothing new from here on
        if producer is None:
            return
        if self._next_poll is not None:
            self._next_poll.cancel()
        await self._settled(producer, timeout_s)
        if self._pending:
            producer.purge()
            await self._settled(producer, _PURGE_S)

    async def _settled(self, producer: Producer, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while self._pending and time.monotonic() < deadline:
            producer.poll(0)
            await asyncio.sleep(_BUSY_POLL_S)

    def _poll(self) -> None:
        """Take the delivery reports that are there, and come back: soon while records wait, seldom otherwise."""
        if self._next_poll is not None:
            self._next_poll.cancel()
        if self._producer is None or self._loop is None:
            return
        self._producer.poll(0)
        self._resting = not self._pending
        self._next_poll = self._loop.call_later(_IDLE_POLL_S if self._resting else _BUSY_POLL_S, self._poll)

    def _settle(self, stored: asyncio.Future[None], error: KafkaError | None) -> None:
        self._pending -= 1
        if stored.done():
            return  # whoever waited has been cancelled
        if error is None:
            stored.set_result(None)
        else:
            stored.set_exception(Unavailable(f"Kafka did not store the record: {error.str()}"))

    def _on_error(self, error: KafkaError) -> None:
        """All but fatal errors pass by themselves, and readiness shows them."""
        if error.fatal():
            self._broken = error.str()
            log.error("the producer has failed for good: %s", error.str())
        else:
            log.warning("kafka: %s", error.str())


class _Report:
    """Takes one record's delivery report, within :meth:`KafkaProducer._poll`."""

    __slots__ = ("_producer", "_stored")

    def __init__(self, producer: KafkaProducer, stored: asyncio.Future[None]) -> None:
        self._producer = producer
        self._stored = stored

    def __call__(self, error: KafkaError | None, record: object) -> None:
        self._producer._settle(self._stored, error)  # noqa: SLF001 - one thing in two classes


def producer_options(kafka: KafkaSettings, bounds: Bounds) -> dict[str, Any]:
    """librdkafka's settings. The embedded broker knows no idempotent producer: a retry there may store twice."""
    return {
        "linger.ms": 2,
        "log_level": 5,  # not each of ten tries a second to reach a broker that hangs up
        **librdkafka_options(kafka),
        "acks": "all",
        "enable.idempotence": kafka.profile is not Profile.EMBEDDED,
        "message.timeout.ms": int(bounds.produce_timeout_s * 1000),
        "request.timeout.ms": max(1000, int(bounds.produce_timeout_s * 500)),
        "socket.connection.setup.timeout.ms": max(1000, int(bounds.produce_timeout_s * 500)),
        "reconnect.backoff.max.ms": 1000,
        "allow.auto.create.topics": False,
        "queue.buffering.max.messages": bounds.max_pending,
        "queue.buffering.max.kbytes": _QUEUE_KBYTES,
        "message.max.bytes": bounds.max_body_bytes + 65_536,
    }
