"""Waiting for events: one thread reads ``delivery-events`` for all who wait, and nothing while nobody does.

Rules:

1. Partitions are assigned by hand, no group is joined: waiting changes nothing for anybody.
2. A message's partition follows from its id. What was recorded before the wait began counts: a short partition is read
   from its beginning, a long one from some minutes back.
3. Who waits is answered once: by the event, by another end of the message, or by their own patience.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from streams.client.errors import ClientError, EndedOtherwise, InvalidRequest, NotSeen
from streams.client.reading import Reading
from streams.client.schemas import Schemas
from streams.core.event import DeliveryEvent, EventType
from streams.core.ids import is_message_id, partition_of
from streams.kafka import GROUP, KafkaClient
from streams.serde.events import decode_event
from streams.serde.records import NeedsSchema

ENDS = frozenset(
    {
        EventType.BOUNCED,
        EventType.SUPPRESSED,
        EventType.REJECTED,
        EventType.FAILED,
        EventType.EXPIRED,
        EventType.CANCELLED,
    }
)
"""After these nothing else is to be expected (``delivered`` is none: opens and even a late bounce may follow)."""


@dataclass(eq=False, slots=True)
class _Waiting:
    message_id: str
    types: frozenset[EventType]
    since_ms: int
    found: Future[DeliveryEvent] = field(default_factory=Future)
    last: DeliveryEvent | None = None

    def look_at(self, event: DeliveryEvent) -> None:
        if self.found.done() or event.recorded_ms < self.since_ms:
            return
        self.last = event
        if event.type in self.types:
            self.answer(event)
        elif event.type in ENDS:
            self.answer(EndedOtherwise(event))

    def answer(self, with_: DeliveryEvent | Exception) -> None:
        with suppress(InvalidStateError):  # somebody else was faster
            if isinstance(with_, Exception):
                self.found.set_exception(with_)
            else:
                self.found.set_result(with_)


class Watch:
    """``options`` are librdkafka's; ``schema_registry`` is a URL, for events in Confluent's wire format."""

    def __init__(self, options: dict[str, Any], topic: str, schema_registry: str = "") -> None:
        self._options = options
        self._topic = topic
        self._schemas = Schemas(schema_registry)
        self._changed = threading.Condition()
        self._waiting: dict[str, list[_Waiting]] = {}
        self._new: list[_Waiting] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    def wait(self, message_id: str, types: Sequence[str], timeout_s: float, since_ms: int = 0) -> DeliveryEvent:
        """Block until one of ``types`` is recorded. Raises EndedOtherwise, NotSeen, ClientError."""
        waiting = self._begun(message_id, types, since_ms)
        try:
            return waiting.found.result(timeout_s)
        except TimeoutError:
            raise self._not_seen(waiting, timeout_s) from None
        finally:
            self._over(waiting)

    async def wait_async(
        self, message_id: str, types: Sequence[str], timeout_s: float, since_ms: int = 0
    ) -> DeliveryEvent:
        """The same for asyncio."""
        waiting = self._begun(message_id, types, since_ms)
        try:
            async with asyncio.timeout(timeout_s) as patience:
                return await asyncio.shield(asyncio.wrap_future(waiting.found))
        except TimeoutError:
            if not patience.expired():
                raise
            raise self._not_seen(waiting, timeout_s) from None
        finally:
            self._over(waiting)

    def recorded(self, kafka: KafkaClient, message_id: str) -> list[DeliveryEvent]:
        """What lies in the topic about a message, each event once."""
        partition = partition_of(_checked(message_id), kafka.partitions(self._topic))
        key = message_id.encode()
        events = (
            self._event(record.value, list(record.headers.items()))
            for record in kafka.read(self._topic, [partition])
            if record.key == key
        )
        return list({event.event_id: event for event in events if event is not None}.values())

    def close(self) -> None:
        """End the thread; who still waits is told."""
        with self._changed:
            self._closed = True
            left = [*self._new, *(one for many in self._waiting.values() for one in many)]
            self._changed.notify_all()
        for waiting in left:
            waiting.answer(ClientError("the client was closed"))
        if self._thread is not None:
            self._thread.join(10)

    # -- those who wait

    def _begun(self, message_id: str, types: Sequence[str], since_ms: int) -> _Waiting:
        waiting = _Waiting(_checked(message_id), _types(types), since_ms)
        with self._changed:
            if self._closed:
                raise ClientError("the client is closed")
            self._new.append(waiting)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="streams-client-events", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return waiting

    def _over(self, waiting: _Waiting) -> None:
        with self._changed:
            if waiting in self._new:
                self._new.remove(waiting)
            many = self._waiting.get(waiting.message_id, [])
            if waiting in many:
                many.remove(waiting)
                if not many:
                    del self._waiting[waiting.message_id]

    def _not_seen(self, waiting: _Waiting, timeout_s: float) -> NotSeen:
        wanted = " or ".join(sorted(kind.value for kind in waiting.types))
        last = f"the last event is {waiting.last.type.value}" if waiting.last else "there is no event of it at all"
        return NotSeen(
            f"{wanted} of {waiting.message_id} was not recorded within {timeout_s:g} s; {last}", waiting.last
        )

    # -- the thread

    def _run(self) -> None:
        try:
            consumer = Consumer(
                {
                    "log_level": 0,
                    "error_cb": lambda _: None,
                    "fetch.wait.max.ms": 50,
                    **self._options,
                    "group.id": GROUP,  # asked for by the library; nothing is ever committed
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "auto.offset.reset": "earliest",
                }
            )
        except KafkaException as exc:
            self._fail(_text(exc))
            return
        try:
            self._read(consumer)
        except KafkaException as exc:
            self._fail(_text(exc))
        except ClientError as exc:
            self._fail(str(exc))
        finally:
            consumer.close()

    def _read(self, consumer: Consumer) -> None:
        reading = Reading(consumer, self._topic)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or bool(self._new or self._waiting or reading.places))
                if self._closed:
                    return
                new, self._new = self._new, []
                for waiting in new:
                    self._waiting.setdefault(waiting.message_id, []).append(waiting)
                ids = list(self._waiting)
            reading.turn_to(ids, [waiting.message_id for waiting in new])
            for message in reading.run():
                self._look_at(message)

    def _look_at(self, message: Any) -> None:
        with self._changed:
            many = list(self._waiting.get((message.key() or b"").decode("ascii", "replace"), ()))
        if not many:
            return
        event = self._event(message.value(), message.headers() or ())
        if event is not None:
            for waiting in many:
                waiting.look_at(event)

    def _event(self, value: bytes | None, headers: Any) -> DeliveryEvent | None:
        found = decode_event(value, headers, self._schemas)
        if isinstance(found, NeedsSchema) and self._schemas.fetch(found.schema_id):
            found = decode_event(value, headers, self._schemas)
        return found if isinstance(found, DeliveryEvent) else None

    def _fail(self, why: str) -> None:
        with self._changed:
            left = [*self._new, *(one for many in self._waiting.values() for one in many)]
            self._new, self._waiting, self._thread = [], {}, None
        for waiting in left:
            waiting.answer(ClientError(f"{self._topic} cannot be read: {why}"))


def _checked(message_id: str) -> str:
    if not is_message_id(message_id):
        raise InvalidRequest(f"{message_id!r} is not a message id", "message_id")
    return message_id


def _types(types: Sequence[str]) -> frozenset[EventType]:
    names = [str(name) if str(name).startswith("message.") else f"message.{name}" for name in types]
    unknown = [name for name in names if name not in set(EventType)]
    if unknown or not names:
        known = ", ".join(kind.value for kind in EventType)
        raise InvalidRequest(
            f"there is no event type {unknown[0] if unknown else '(none)'}; known are {known}", "types"
        )
    return frozenset(EventType(name) for name in names)


def _text(exc: KafkaException) -> str:
    error = exc.args[0] if exc.args else exc
    return error.str() if isinstance(error, KafkaError) else str(error)
