"""Waiting by condition on a running system, and what it has recorded so far."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from streams.demo.system import DemoSystem
from streams.kafka import KafkaClient, Record
from streams.serde.records import decode
from streams.settings import librdkafka_options
from streams.topics import DEAD_LETTERS, DELIVERY_EVENTS

_POLL_S = 0.2


def until(
    what: str,
    holds: Callable[[], bool],
    system: DemoSystem,
    *,
    timeout_s: float = 45.0,
    describe: Callable[[], Any] = lambda: "",
) -> None:
    """Return when it holds; fail with its name after `timeout_s`, or at once when a process has ended."""
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        system.check()
        assert time.monotonic() < deadline_s, f"timed out before {what}: {describe()}"
        time.sleep(_POLL_S)


def kafka_of(system: DemoSystem) -> KafkaClient:
    """Access to the system's broker."""
    kafka = system.settings.kafka
    return KafkaClient(kafka.bootstrap, librdkafka_options(kafka))


class Recorded:
    """What stands in `delivery-events` and `dead-letters`, read anew at each question."""

    def __init__(self, system: DemoSystem) -> None:
        self._kafka = kafka_of(system)
        self._prefix = system.settings.kafka.prefix

    def events(self) -> list[dict[str, Any]]:
        """All delivery events."""
        found = [decode("DeliveryEvent", record.value) for record in self._kafka.read(self._prefix + DELIVERY_EVENTS)]
        assert all(isinstance(event, dict) for event in found)
        return found  # type: ignore[return-value]

    def of_type(self, kind: str) -> set[str]:
        """The ids of messages with an event of this type."""
        return {event["message_id"] for event in self.events() if event["type"] == kind}

    def ended(self) -> set[str]:
        """The ids of messages that were sent, or will never be."""
        ends = {"sent", "suppressed", "rejected", "failed", "expired", "cancelled"}
        return {event["message_id"] for event in self.events() if event["type"].removeprefix("message.") in ends}

    def counts(self, message_id: str) -> Counter[str]:
        """How often each type of event stands there for a message."""
        return Counter(event["type"] for event in self.events() if event["message_id"] == message_id)

    def dead_letters(self) -> list[Record]:
        """All dead letters."""
        return list(self._kafka.read(self._prefix + DEAD_LETTERS))
