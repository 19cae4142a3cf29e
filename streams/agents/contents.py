"""Where contents lie, and reading single records back: contents, and messages for a retry.

Rules:

1. A content is written once for as long as that is safe: a reference is offered again only while the record is sure to
   outlive every message that would name it (topic retention minus the ledger's, minus a margin).
2. Memory is bounded in bytes; what was used last stays.
3. A record that retention has removed is :class:`Gone`, a value. A broker that does not answer is waited for; after
   ``give_up_s`` :class:`RecordUnavailable` is raised, which ends the process rather than the message.
4. Readers that ask at the same time share the fetches; each record is fetched once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import TopicPartition

from streams.core.message import RecordRef

_POLL_MS = 100
_SILENT_POLLS = 20
"""Polls without a record before the round is begun anew."""
_NEAR = 1000
"""Records that are read over rather than sought across."""
_BACKOFF_S = 0.2
_FETCH_BYTES = 256 * 1024
_FETCH_WAIT_MS = 5
"""What is asked for is there; a longer poll would only keep the next round waiting."""
_OVERHEAD_BYTES = 200
_MAX_PLACES = 50_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gone:
    """The record was removed by retention (or never was)."""

    ref: RecordRef


class RecordUnavailable(Exception):
    """The broker did not give the record within the time allowed."""


class RecordSource(Protocol):
    """Reads the value of one record."""

    async def read(self, ref: RecordRef) -> bytes | Gone: ...


class ContentStore:
    """``reuse_ms`` is how long after its writing a content may be named by new messages."""

    def __init__(
        self,
        records: RecordSource,
        contents_topic: str,
        *,
        max_bytes: int = 64 * 1024 * 1024,
        reuse_ms: int = 12 * 3_600_000,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._records = records
        self._topic = contents_topic
        self._reuse_ms = reuse_ms
        self._clock = clock
        self._max_bytes = max_bytes
        self._places: OrderedDict[str, tuple[RecordRef, int]] = OrderedDict()
        self._values: OrderedDict[RecordRef, bytes] = OrderedDict()
        self._bytes = 0

    def remember(self, content_hash: str, body: bytes, ref: RecordRef) -> None:
        """A content was just written; ``body`` is the record's value."""
        self._places[content_hash] = (ref, self._clock())
        self._places.move_to_end(content_hash)
        if len(self._places) > _MAX_PLACES:
            self._places.popitem(last=False)
        self._keep(ref, body)

    def ref_of(self, content_hash: str) -> RecordRef | None:
        """Where an equal content lies already, if it may still be named by a new message."""
        ref, written_ms = self._places.get(content_hash, (None, 0))
        if ref is None or self._clock() >= written_ms + self._reuse_ms:
            return None
        self._places.move_to_end(content_hash)
        return ref

    async def load(self, ref: RecordRef) -> bytes | Gone:
        """The value of a record; contents are kept in memory. Raises :class:`RecordUnavailable`."""
        value = self._values.get(ref)
        if value is not None:
            self._values.move_to_end(ref)
            return value
        found = await self._records.read(ref)
        if isinstance(found, bytes) and ref.topic == self._topic:
            self._keep(ref, found)
        return found

    @property
    def size_bytes(self) -> int:
        """What is kept in memory, about."""
        return self._bytes

    def _keep(self, ref: RecordRef, body: bytes) -> None:
        if ref not in self._values:
            self._bytes += len(body) + _OVERHEAD_BYTES
        self._values[ref] = body
        self._values.move_to_end(ref)
        while self._bytes > self._max_bytes and self._values:
            _, dropped = self._values.popitem(last=False)
            self._bytes -= len(dropped) + _OVERHEAD_BYTES


class RecordReader:
    """Reads single records by their place, through one consumer that belongs to no group.

    ``options`` are aiokafka's: ``bootstrap_servers`` and whatever security needs. :meth:`stop` at the end.
    """

    def __init__(self, options: Mapping[str, Any], *, give_up_s: float = 60.0) -> None:
        self._options = dict(options)
        self._give_up_s = give_up_s
        self._wanted: dict[TopicPartition, dict[int, asyncio.Future[bytes | Gone]]] = {}
        self._consumer: AIOKafkaConsumer | None = None
        self._worker: asyncio.Task[None] | None = None
        self._fresh = False
        """Somebody has asked since the round began: do not let them wait behind a record that does not come."""

    async def read(self, ref: RecordRef) -> bytes | Gone:
        """The value (empty for a tombstone) of the record at ``ref``. Raises :class:`RecordUnavailable`."""
        wanted = self._wanted.setdefault(TopicPartition(ref.topic, ref.partition), {})
        future = wanted.get(ref.offset)
        if future is None:
            future = wanted[ref.offset] = asyncio.get_running_loop().create_future()
            self._fresh = True
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._give_up_s)
        except TimeoutError:
            if wanted.get(ref.offset) is future:
                del wanted[ref.offset]
            raise RecordUnavailable(f"{ref} could not be read within {self._give_up_s:g} s") from None

    async def stop(self) -> None:
        """Give the connection back; readers that still wait are cancelled."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        for wanted in self._wanted.values():
            for future in wanted.values():
                future.cancel()
        self._wanted.clear()
        await self._disconnect()

    async def _work(self) -> None:
        """Until nobody waits: rounds over all partitions wanted, from the lowest offset of each."""
        while self._prune():
            try:
                await self._round(await self._connected())
            except OffsetOutOfRangeError as exc:
                for tp, offset in dict(exc.args[0]).items():
                    self._answer_between(tp, offset, offset, {})
            except (KafkaError, OSError, TimeoutError) as exc:
                log.warning("records cannot be read back at present: %r", exc)
                await self._disconnect()
                await asyncio.sleep(_BACKOFF_S)

    def _prune(self) -> bool:
        """Forget partitions of which nothing is wanted; whether anything is left."""
        for tp in [tp for tp, wanted in self._wanted.items() if not wanted]:
            del self._wanted[tp]
        return bool(self._wanted)

    async def _round(self, consumer: AIOKafkaConsumer) -> None:
        positions = {tp: min(wanted) for tp, wanted in self._wanted.items()}
        if not positions.keys() <= consumer.assignment():
            consumer.assign(list(consumer.assignment() | positions.keys()))  # which also resumes them all
            consumer.pause(*consumer.assignment())
        for tp, offset in positions.items():
            consumer.seek(tp, offset)
        consumer.resume(*positions)
        silent = 0
        self._fresh = False
        while positions and silent < (1 if self._fresh else _SILENT_POLLS):
            runs = await consumer.getmany(*positions, timeout_ms=_POLL_MS)
            silent = 0 if runs else silent + 1
            for tp, records in runs.items():
                last = records[-1].offset
                self._answer_between(tp, positions[tp], last, {r.offset: r.value or b"" for r in records})
                ahead = [offset for offset in self._wanted.get(tp, ()) if last < offset <= last + _NEAR]
                if ahead:
                    positions[tp] = last + 1
                else:
                    del positions[tp]
                    consumer.pause(tp)
        if positions:
            consumer.pause(*positions)

    def _answer_between(self, tp: TopicPartition, first: int, last: int, values: Mapping[int, bytes]) -> None:
        """Everything from ``first`` to ``last`` has been looked at: what is not in ``values`` does not exist."""
        for offset in [o for o in self._wanted.get(tp, ()) if first <= o <= last]:
            value = values.get(offset)
            self._answer(tp, offset, Gone(RecordRef(tp.topic, tp.partition, offset)) if value is None else value)

    def _answer(self, tp: TopicPartition, offset: int, value: bytes | Gone) -> None:
        future = self._wanted[tp].pop(offset)
        if not future.done():
            future.set_result(value)

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="none",
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
                **self._options,
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
