"""A producer of requests, for threads and for asyncio.

Rules:

1. A request is checked completely before anything is produced; sent means acknowledged by all in-sync replicas.
2. Message ids are known when a request is built: they follow from tenant, idempotency key and address.
3. Producing again after :class:`NotProduced` is safe, the same idempotency key sends once.
4. Nothing is contacted before the first request; two threads of its own (acknowledgements, events) end with `close`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, Unpack

from confluent_kafka import KafkaException, Producer

from streams.client.errors import InvalidRequest, NotProduced
from streams.client.request import Address, Fields, Request, request
from streams.client.sent import Sent
from streams.client.watch import Watch
from streams.core.event import DeliveryEvent, EventType
from streams.core.request import Retention, times_fault
from streams.kafka import KafkaClient, KafkaUnavailable, TopicMissing
from streams.topics import DELIVERY_EVENTS

_MAX_BYTES = 26_214_400  # the topics' own limit
_POLL_S = 0.2
_DAY_MS = 86_400_000


class Client:
    """``prefix`` and ``address_secret`` are the deployment's own (``[kafka]``); ``options`` librdkafka's, as for TLS.

    ``sender`` and ``tenant`` are for requests that name none. ``timeout_s`` is how long Kafka may take to acknowledge.
    Safe to use from several threads; not across a fork.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        prefix: str = "",
        address_secret: bytes = b"",
        sender: Address | None = None,
        tenant: str = "",
        options: Mapping[str, Any] | None = None,
        ledger_days: float = 0.0,
        schema_registry: str = "",
        timeout_s: float = 30.0,
        topic: str = "",
    ) -> None:
        """``ledger_days``, where given, refuses times that lie further ahead than the deployment remembers.
        ``schema_registry`` is needed to read events where one is configured. ``topic`` is that of a door (``[doors]``),
        for those who may write no other.
        """
        self._prefix = prefix
        self._topic = topic
        self._secret = address_secret
        self._sender = sender
        self._tenant = tenant
        self._timeout_s = timeout_s
        ledger_ms = int(ledger_days * _DAY_MS)
        self._retention = Retention(ledger_ms, min(_DAY_MS, ledger_ms // 10)) if ledger_ms else None
        self._options = {"client.id": "streams-client", **(options or {})}
        self._kafka = KafkaClient(bootstrap, self._options)
        events = prefix + DELIVERY_EVENTS
        self._watch = Watch({"bootstrap.servers": bootstrap, **self._options}, events, schema_registry)
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._topics: set[str] = set()
        self._closed = threading.Event()
        self._polling: threading.Thread | None = None
        self._unheard: list[BaseException] = []

    @classmethod
    def from_config(
        cls,
        path: str | None = None,
        *,
        env: Mapping[str, str] | None = None,
        sender: Address | None = None,
        tenant: str = "",
        timeout_s: float = 30.0,
        topic: str = "",
    ) -> Self:
        """As ``streams.toml`` says (a file with nothing but ``[kafka]`` will do). Raises SettingsError."""
        from streams.settings import librdkafka_options, load_settings

        kafka = load_settings(path, env).kafka
        return cls(
            kafka.bootstrap,
            prefix=kafka.prefix,
            address_secret=kafka.address_secret.reveal().encode() if kafka.address_secret else b"",
            sender=sender,
            tenant=tenant,
            options=librdkafka_options(kafka),
            ledger_days=kafka.ledger_days,
            schema_registry=kafka.schema_registry,
            timeout_s=timeout_s,
            topic=topic,
        )

    # -- asking

    def request(self, idempotency_key: str, **fields: Unpack[Fields]) -> Request:
        """A checked request with this client's defaults; nothing is produced. Raises InvalidRequest."""
        if self._sender is not None and fields.get("sender") is None:
            fields["sender"] = self._sender
        if self._tenant:
            fields.setdefault("tenant", self._tenant)
        asked = request(idempotency_key, **fields)
        if self._retention is not None:
            now_ms = time.time_ns() // 1_000_000
            fault = times_fault(asked.parsed, now_ms, now_ms, self._retention)
            if fault is not None:
                raise InvalidRequest(fault.reason.detail, fault.field)
        return asked

    def message_ids(self, asked: Request) -> dict[str, str]:
        """The id of the message to each address."""
        return asked.message_ids(self._secret)

    def send(self, idempotency_key: str, **fields: Unpack[Fields]) -> Sent:
        """Build, check, produce, and wait for Kafka. Raises InvalidRequest, NotProduced."""
        return self._settled(self._offered(self.request(idempotency_key, **fields)))

    async def send_async(self, idempotency_key: str, **fields: Unpack[Fields]) -> Sent:
        """The same without blocking the event loop; many at once are one batch for Kafka."""
        asked = self.request(idempotency_key, **fields)
        if (topic := self._topic or asked.topic) not in self._topics:
            await asyncio.to_thread(self._ready, topic)
        while (future := self._produced(asked)) is None:  # noqa: ASYNC110 (a full buffer tells nobody when it has room)
            await asyncio.sleep(0.01)
        return await asyncio.wrap_future(future)

    def submit(self, asked: Request) -> Future[Sent]:
        """Hand over a request (see :meth:`request`) without waiting, for many in a row; `flush` tells of failures."""
        future = self._offered(asked)
        future.add_done_callback(self._noted)
        return future

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until everything handed over is acknowledged. Raises NotProduced for what was not."""
        if self._producer is None:
            return
        left = self._producer.flush(self._timeout_s if timeout_s is None else timeout_s)
        unheard, self._unheard = self._unheard, []
        if unheard:
            raise NotProduced(f"{len(unheard)} requests were not produced: {unheard[0]}") from unheard[0]
        if left:
            raise NotProduced(f"{left} requests were not acknowledged in time")

    # -- what became of it

    def wait_for(
        self,
        message_id: str,
        *types: EventType | str,
        timeout_s: float = 30.0,
        since_ms: int = 0,
    ) -> DeliveryEvent:
        """The first recorded event of one of ``types`` (``message.delivered`` or ``delivered``); it may have been
        recorded already.

        Raises EndedOtherwise as soon as the message ended in a way that none of ``types`` names, NotSeen after
        ``timeout_s``. ``since_ms`` leaves out what was recorded before. No consumer group is joined.
        """
        return self._watch.wait(message_id, types, timeout_s, since_ms)

    async def wait_for_async(
        self, message_id: str, *types: EventType | str, timeout_s: float = 30.0, since_ms: int = 0
    ) -> DeliveryEvent:
        """The same without blocking the event loop; a thousand at once share one reader."""
        return await self._watch.wait_async(message_id, types, timeout_s, since_ms)

    def events(self, message_id: str) -> list[DeliveryEvent]:
        """What is recorded about a message, in order, each event once."""
        return self._watch.recorded(self._kafka, message_id)

    # -- life

    def close(self) -> None:
        """Wait for what is under way, and end the threads. Raises NotProduced as `flush` does; safe to call twice."""
        try:
            self.flush()
        finally:
            self._closed.set()
            self._watch.close()
            if self._polling is not None:
                self._polling.join(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except NotProduced as exc:
            assert error is not None
            error.add_note(str(exc))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    # -- inside

    def _settled(self, future: Future[Sent]) -> Sent:
        try:
            return future.result(self._timeout_s + 10)
        except TimeoutError:
            raise NotProduced(f"Kafka did not acknowledge the request within {self._timeout_s:g} s") from None

    def _noted(self, future: Future[Sent]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._unheard.append(error)

    def _offered(self, asked: Request) -> Future[Sent]:
        self._ready(self._topic or asked.topic)
        deadline_s = time.monotonic() + self._timeout_s
        while (future := self._produced(asked)) is None:
            if time.monotonic() > deadline_s:
                raise NotProduced("the producer's buffer has been full for too long")
            self._closed.wait(0.01)
        return future

    def _ready(self, topic: str) -> Producer:
        """The producer, once the topic is known to exist: a mistyped prefix must not create topics."""
        if self._producer is not None and topic in self._topics:
            return self._producer
        with self._lock:
            if self._closed.is_set():
                raise NotProduced("the client is closed")
            try:
                self._kafka.partitions(self._prefix + topic)
            except (KafkaUnavailable, TopicMissing) as exc:
                raise NotProduced(str(exc)) from exc
            if self._producer is None:
                own = {"acks": "all", "linger.ms": 2, "message.max.bytes": _MAX_BYTES, "log_level": 0}
                patience = {"delivery.timeout.ms": round(self._timeout_s * 1000)}
                servers = {"bootstrap.servers": self._kafka.bootstrap, "error_cb": lambda _: None}
                self._producer = Producer({**own, **patience, **servers, **self._options})
                self._polling = threading.Thread(target=self._poll, name="streams-client-acks", daemon=True)
                self._polling.start()
            self._topics.add(topic)
            return self._producer

    def _produced(self, asked: Request) -> Future[Sent] | None:
        """None while the buffer is full."""
        producer = self._producer
        if producer is None or self._closed.is_set():
            raise NotProduced("the client is closed")
        future: Future[Sent] = Future()
        future.set_running_or_notify_cancel()  # it cannot be called back
        at_ms = time.time_ns() // 1_000_000

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                future.set_exception(NotProduced(f"Kafka did not take the request: {error.str()}"))
            else:
                ids = self.message_ids(asked)
                where = (message.topic(), message.partition(), message.offset())
                future.set_result(Sent(asked.idempotency_key, asked.tenant, ids, *where, at_ms, self))

        try:
            topic = self._prefix + (self._topic or asked.topic)
            producer.produce(topic, asked.value, asked.key, on_delivery=delivered)
        except BufferError:
            return None
        except KafkaException as exc:
            raise NotProduced(f"Kafka did not take the request: {exc}") from exc
        return future

    def _poll(self) -> None:
        assert self._producer is not None
        while not self._closed.is_set():
            self._producer.poll(_POLL_S)
