"""The driver's queue of record batches, and when its sender is woken for it.

The sender looks at everything that waits whenever it is woken, and it can send nothing to a broker that has not yet
answered the request before; the answer wakes it anyway. So it is woken when there is something that it could send, not
whenever a batch is begun: at a few hundred records a second most of its looks were in vain.
"""
# The queue belongs to aiokafka; the engine drives it directly.
# ruff: noqa: SLF001

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.producer.message_accumulator import MessageBatch
from aiokafka.structs import TopicPartition


class SendQueue:
    """Of one started `AIOKafkaProducer`."""

    def __init__(self, producer: Any) -> None:
        self._accumulator = producer._message_accumulator
        self._in_flight: set[int] = producer._sender._in_flight
        self._leader_of = producer.client.cluster.leader_for_partition
        self._loop = asyncio.get_running_loop()

    def put(self, tp: TopicPartition, builder: Any, wait_s: float) -> Any:
        """Append a record batch, still open; it leaves when it is full or has waited so long and the broker is free."""
        accumulator = self._accumulator
        batch = MessageBatch(tp, builder, accumulator._batch_ttl, wait_s)
        accumulator._batches[tp].append(batch)
        if self._leader_of(tp) not in self._in_flight:
            self._wake_in(wait_s)
        return batch

    def wake(self) -> None:
        """Let the sender look now."""
        accumulator = self._accumulator
        accumulator._wakeup(accumulator._waiter_future)

    def _wake_in(self, in_s: float) -> None:
        """Let it look not later than that."""
        accumulator = self._accumulator
        waiter = accumulator._waiter_future
        if waiter.done():  # it is about to look, and finds out itself when to look next
            return
        if in_s <= 0.0:
            waiter.set_result(None)
            return
        alarm = accumulator._wakeup_handle
        if alarm is not None:
            when = getattr(alarm, "when", None)  # uvloop's has none if it is due already
            if when is None or when() <= self._loop.time() + in_s:
                return
            alarm.cancel()
        accumulator._wakeup_handle = self._loop.call_later(in_s, accumulator._wakeup, waiter)
