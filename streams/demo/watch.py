"""Reads ``delivery-events`` and ``breakers`` while they come, in threads of their own, and counts."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from streams.demo.oracle import Event
from streams.demo.plan import Plan
from streams.kafka import KafkaClient, Record
from streams.serde.records import decode
from streams.topics import BREAKERS, DELIVERY_EVENTS, Topics

_RATE_WINDOW_S = 3.0


@dataclass
class Transitions:
    """How often a breaker left the closed state, and came back to it."""

    state: str = "closed"
    opened: int = 0
    closed: int = 0


@dataclass
class Progress:
    """What has been seen. Written by the watching threads, read by others (counts may be a moment old)."""

    events: list[Event] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    sent_by: Counter[str] = field(default_factory=Counter)
    breakers: dict[str, Transitions] = field(default_factory=dict)
    waiting_for: set[tuple[str, str]] = field(default_factory=set)
    """Message id and event type, of everything that must still come."""
    last_s: float = 0.0
    """Monotonic time of the latest event."""
    recent: deque[tuple[float, int]] = field(default_factory=deque)

    def rate(self, now_s: float) -> float:
        """Events per second over the last seconds."""
        counted = sum(count for at_s, count in list(self.recent) if now_s - at_s <= _RATE_WINDOW_S)
        return counted / _RATE_WINDOW_S

    def fold_events(self, run: list[Record], now_s: float) -> None:
        """Count a run of records of ``delivery-events``."""
        for record in run:
            event = _event(record)
            self.events.append(event)
            self.counts[event.type] += 1
            if event.type == "message.sent":
                self.sent_by[event.provider] += 1
            if not (event.type == "message.deferred" and event.retry_at_ms):
                self.waiting_for.discard((event.message_id, event.type))
        if run:
            self.last_s = now_s
            self.recent.append((now_s, len(run)))
            while self.recent and now_s - self.recent[0][0] > _RATE_WINDOW_S:
                self.recent.popleft()

    def fold_breakers(self, run: list[Record]) -> None:
        """Follow a run of records of ``breakers``."""
        for record in run:
            if record.key is None or not record.value:
                continue
            seen = self.breakers.setdefault(record.key.decode(), Transitions())
            state = str(json.loads(record.value)["state"])
            if state == "open" and seen.state == "closed":
                seen.opened += 1
            elif state == "closed" and seen.state != "closed":
                seen.closed += 1
            seen.state = state


class Watcher:
    """Follows both topics from their beginning until `stop`. ``failure`` is set if a thread could not go on."""

    def __init__(self, client: Callable[[], KafkaClient], topics: Topics, plan: Plan) -> None:
        self.progress = Progress()
        ends = {(identity, kind.value) for identity, kinds in plan.ends.items() for kind in kinds}
        self.progress.waiting_for = ends | {(identity, "message.sent") for identity in plan.sent}
        self.failure: str = ""
        self._client = client
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(topics.name(name), fold), name=f"watch {name}", daemon=True)
            for name, fold in ((DELIVERY_EVENTS, self._events), (BREAKERS, self.progress.fold_breakers))
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(5.0)

    def _events(self, run: list[Record]) -> None:
        self.progress.fold_events(run, time.monotonic())

    def _watch(self, topic: str, fold: Callable[[list[Record]], None]) -> None:
        try:
            for run in self._client().follow(topic, from_beginning=True, stop=self._ended.is_set):
                fold(run)
        except Exception as exc:  # noqa: BLE001 - told by the main thread, which ends the demo
            self.failure = f"watching {topic} failed: {exc}"


def _event(record: Record) -> Event:
    found = decode("DeliveryEvent", record.value)
    if not isinstance(found, dict):
        raise ValueError(f"a record at offset {record.offset} is no event: {getattr(found, 'detail', found)}")
    return Event(
        found["event_id"],
        found["message_id"],
        found["type"],
        found["provider"] or "",
        found["status"],
        found["retry_at"] or 0,
    )
