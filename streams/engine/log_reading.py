"""Reading a log to its end with a consumer that belongs to no group: for restoring tables and compacted topics.

The end: Kafka's ListOffsets answers the log end. The embedded broker answers the base offset of the last batch
plus one. Both are right here, because a record batch is consumed as a whole: a position at or behind that answer
is the end. What fetch responses say (the high watermark) is taken into account too.
"""

# ruff: noqa: SLF001

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import aiokafka
from aiokafka.structs import TopicPartition

from streams.engine.errors import EngineFailure
from streams.engine.settings import EngineSettings

Apply = Callable[[TopicPartition, Sequence[Any]], None]
Tell = Callable[[int, int], None]
"""How many offsets are read, and how many there are to be read."""

_POLL_MS = 200
_WAIT_MS = 500
_EMBEDDED_WAIT_MS = 100
_RESTORE_FETCH_BYTES = 4 << 20


def log_consumer(settings: EngineSettings, fetch_bytes: int = _RESTORE_FETCH_BYTES) -> aiokafka.AIOKafkaConsumer:
    """A consumer without a group, positioned by hand. Start and stop it yourself."""
    return aiokafka.AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        request_timeout_ms=int(settings.request_timeout_s * 1000),
        fetch_max_wait_ms=_EMBEDDED_WAIT_MS if settings.embedded else _WAIT_MS,
        max_partition_fetch_bytes=fetch_bytes,
        **settings.security,
    )


async def partitions_of(consumer: aiokafka.AIOKafkaConsumer, topic: str) -> set[int]:
    """The partition numbers of a topic; empty when it does not exist."""
    if topic not in await consumer.topics():
        return set()
    await consumer._client._wait_on_metadata(topic)
    return set(consumer.partitions_for_topic(topic) or ())


async def ends_of(consumer: aiokafka.AIOKafkaConsumer, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """The offset behind the last record of each partition, as the broker tells it now."""
    ends: dict[TopicPartition, int] = await consumer.end_offsets(list(tps))
    return ends


async def read_to_end(
    consumer: aiokafka.AIOKafkaConsumer,
    starts: Mapping[TopicPartition, int | None],
    apply: Apply,
    stall_timeout_s: float,
    tell: Tell = lambda done, total: None,
) -> dict[TopicPartition, int]:
    """Assign, read every partition from its start (None: the beginning) to its current end, run by run.

    Returns the position of each partition, i.e. the end. Raises EngineFailure when no partition gets any further
    for `stall_timeout_s`.
    """
    tps = list(starts)
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    for tp, start in starts.items():
        if start is not None and start > await consumer.position(tp):
            consumer.seek(tp, start)
    ends = await ends_of(consumer, tps)
    positions = {tp: await consumer.position(tp) for tp in tps}
    behind = {tp for tp in tps if positions[tp] < ends[tp]}
    total = left = _left(positions, ends)
    progressed_s = time.monotonic()
    while behind:
        tell(total - left, total)
        for tp, records in (await consumer.getmany(*behind, timeout_ms=_POLL_MS)).items():
            apply(tp, records)
        for tp in list(behind):
            position = await consumer.position(tp)
            if position > positions[tp]:
                positions[tp] = position
                progressed_s = time.monotonic()
            if position >= max(ends[tp], consumer.highwater(tp) or 0):
                behind.discard(tp)
        left = _left(positions, ends)
        if behind and time.monotonic() - progressed_s > stall_timeout_s:
            tp = min(behind)
            raise EngineFailure(
                f"reading {tp.topic}[{tp.partition}] to its end made no progress for {stall_timeout_s:.0f} s: "
                f"offset {positions[tp]} of {ends[tp]}"
            )
    tell(total, total)
    return positions


def _left(positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> int:
    return sum(max(0, end - positions[tp]) for tp, end in ends.items())


async def read_range(consumer: aiokafka.AIOKafkaConsumer, tp: TopicPartition, begin: int, end: int) -> list[Any]:
    """The records of one partition with offsets from `begin` to `end` (exclusive) that still exist."""
    consumer.assign([tp])
    consumer.seek(tp, begin)
    records: list[Any] = []
    while await consumer.position(tp) < end:
        for run in (await consumer.getmany(tp, timeout_ms=_POLL_MS)).values():
            records.extend(record for record in run if record.offset < end)
    return records
