"""Load for as long as a fault lasts: requests at a pace, from a producer that outlives every broker."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from tests.faults.beside import Beside
from tests.fleet import Fleet, campaign, ids_of, single

CAMPAIGN = 900
_STORED_WITHIN_S = 120


class Load(Beside):
    """It begins, and on leaving everything that was asked for is on Kafka.

    Each second ``per_s`` messages: nine in ten in campaigns of at most 900, the others alone. What is in doubt is to be
    sent again, so that nothing waits for a person and every message must end. ``fields`` are further ones of each
    request; ``numbers_from`` keeps several loads of one fleet apart. When ``most`` messages have been asked for,
    only single ones are, at a fifth of the pace: something flows as long as the block lasts.
    """

    patience_s = _STORED_WITHIN_S + 10

    def __init__(
        self, fleet: Fleet, per_s: int, *, numbers_from: int = 0, most: float = math.inf, **fields: Any
    ) -> None:
        super().__init__()
        self.ids: set[str] = set()
        """Grows while it runs."""
        self.refused: list[str] = []
        self.slowest_s = 0.0
        """The longest that a request waited for Kafka."""
        self._fleet = fleet
        self._requests = _mixed(per_s, numbers_from, {"on_uncertain": "resend", **fields})
        self._per_s = per_s
        self._most = most

    def run(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self._fleet.bootstrap, "enable.idempotence": True, "linger.ms": 5, "log_level": 2}
        )
        due_s = time.monotonic()
        for request in self._requests:
            while (left_s := due_s - time.monotonic()) > 0 and not self.ending:
                producer.poll(min(left_s, 0.05))
            if self.ending:
                break
            enough, bulk = len(self.ids) >= self._most, request["stream"] == "bulk"
            if enough and bulk:
                continue
            topic = self._fleet.prefix + ("send-requests.bulk" if bulk else "send-requests")
            key, value = request["idempotency_key"].encode(), json.dumps(request).encode()
            producer.produce(topic, value, key=key, on_delivery=self._reported(time.monotonic()))
            self.ids |= ids_of(request)
            due_s += len(request["recipients"]) / self._per_s * (5 if enough else 1)
        if left := producer.flush(_STORED_WITHIN_S):
            self.refused.append(f"{left} requests were not stored within {_STORED_WITHIN_S} s")
        assert not self.refused, self.refused[:3]

    def _reported(self, began_s: float) -> Callable[[KafkaError | None, Message], None]:
        def report(error: KafkaError | None, message: Message) -> None:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            if error is not None:
                self.refused.append(str(error))

        return report


def _mixed(per_s: int, numbers_from: int, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One campaign and as many single messages as are a tenth of it, again and again."""
    size = min(CAMPAIGN, per_s * 9 // 10)
    numbers = itertools.count(numbers_from)
    for number in itertools.count(numbers_from):
        yield campaign(number, size, **fields)
        yield from (single(next(numbers), **fields) for _ in range(max(1, size // 9)))
