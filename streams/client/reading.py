"""Which partitions of ``delivery-events`` a waiting client reads, and from where.

Rules:

1. A short partition is read from its beginning, a long one from some minutes back: what was recorded before somebody
   began to wait counts.
2. A partition that is being read back is not turned back again before it has come to where it was: else those who come
   one after another would keep it at its beginning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from streams.client.errors import ClientError
from streams.core.ids import partition_of

_FETCH = 1000
_POLL_S = 0.02
_ASK_S = 6.0
_SHORT = 20_000
"""A partition with so many events is read from its beginning in a moment."""
_BACK_MS = 10 * 60_000
"""How far a long one is read back: clocks differ, and who waits may begin late."""


class Reading:
    """``places`` are the partitions that are read, and the offset that comes next. Owned by one thread."""

    def __init__(self, consumer: Consumer, topic: str) -> None:
        self.places: dict[int, int] = {}
        self._consumer = consumer
        self._topic = topic
        self._partitions = 0
        self._goals: dict[int, int] = {}
        self._back: set[int] = set()

    def turn_to(self, ids: Sequence[str], new: Sequence[str]) -> None:
        """Read the partitions of ``ids`` and no others, those of ``new`` from what came before, too."""
        if not self._partitions:
            self._partitions = _partitions(self._consumer, self._topic)
        wanted = {partition_of(identity, self._partitions) for identity in ids}
        self._back |= {partition_of(identity, self._partitions) for identity in new}
        self._back &= wanted
        back = {n for n in self._back if n not in self.places or self.places[n] >= self._goals.get(n, 0)}
        if not back and self.places.keys() <= wanted:
            return
        self._back -= back
        self.places = {number: place for number, place in self.places.items() if number in wanted}
        for number in back:
            start = self._start(number)
            self._goals[number] = self.places.get(number, 0)
            self.places[number] = min(start, self.places.get(number, start))
        self._consumer.assign([TopicPartition(self._topic, n, place) for n, place in self.places.items()])

    def run(self) -> Iterator[Any]:
        """What has come."""
        for message in self._consumer.consume(_FETCH, _POLL_S) if self.places else ():
            if message.error() is None:
                self.places[message.partition() or 0] = (message.offset() or 0) + 1
                yield message

    def _start(self, partition: int) -> int:
        """From where on a partition is read for who begins to wait."""
        place = TopicPartition(self._topic, partition)
        low, high = self._consumer.get_watermark_offsets(place, timeout=_ASK_S)
        if high - low <= _SHORT:
            return int(low)
        back_ms = time.time_ns() // 1_000_000 - _BACK_MS
        (found,) = self._consumer.offsets_for_times([TopicPartition(self._topic, partition, back_ms)], timeout=_ASK_S)
        return int(found.offset if found.offset >= 0 else high)  # `high` was read first: nothing comes in between


def _partitions(consumer: Consumer, topic: str) -> int:
    found = consumer.list_topics(topic, timeout=_ASK_S).topics[topic]
    if found.error is not None or not found.partitions:
        raise ClientError(f"topic {topic} does not exist")
    return len(found.partitions)
