"""What the events topic has said so far, read by a thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from confluent_kafka import Consumer, TopicPartition

from streams.core.event import DeliveryEvent, EventType
from streams.serde.events import decode_event
from tests.fleet.account import TERMINAL

_HELD = "held until a person decides"


@dataclass(slots=True)
class Seen:
    """Written by one thread."""

    events: list[DeliveryEvent] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)
    """Uncertain to the last: they wait for a person."""
    unreadable: list[str] = field(default_factory=list)
    """Events that this release cannot read, with where they lie: whoever waits fails with them."""

    def rests(self, ids: set[str]) -> bool:
        """Whether every message has ended, or waits for a person at last."""
        return ids - self.ended <= self.held


class Watcher:
    """Reads the topic from its beginning until it is closed; a broker that is away is waited for."""

    def __init__(self, bootstrap: str, topic: str, group: str, *, keep: bool = True) -> None:
        """Without ``keep`` only the ids are kept: for a million messages."""
        self.seen = Seen()
        self._keep = keep
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
        self._topic = topic
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def start(self) -> None:
        partitions = self._consumer.list_topics(self._topic, timeout=20).topics[self._topic].partitions
        self._consumer.assign([TopicPartition(self._topic, number, 0) for number in partitions])
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _read(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(1000, timeout=0.1):
                value = message.value()
                if message.error() or value is None:
                    continue
                event = decode_event(value)
                if not isinstance(event, DeliveryEvent):
                    self.seen.unreadable.append(f"{message.partition()}/{message.offset()}: {event}")
                    continue
                if event.type is EventType.SENT:
                    self.seen.sent.add(event.message_id)
                if event.type is EventType.UNCERTAIN and event.reason and _HELD in event.reason.detail:
                    self.seen.held.add(event.message_id)
                if event.type in TERMINAL:
                    self.seen.ended.add(event.message_id)
                if self._keep:
                    self.seen.events.append(event)
        self._consumer.close()
