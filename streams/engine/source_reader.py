"""Reads the source topics by librdkafka, beside the group membership that Faust's own consumer keeps.

Parsing and fetching happen in threads of C: no interpreter lock is taken for them, a record is at hand a moment after
the broker has it, and the event loop takes whole runs without waiting. Rules:

1. Nobody joins a group here: the partitions and the offsets to begin at are told by whoever owns the membership.
2. `poll` never waits. It is called on the event loop, as everything here: no result can cross an `assign`.
3. Aborted transactions are never seen (read_committed); what holes they leave in the log counts as read.
4. What this worker wrote itself need not be fetched to be delivered: `pass_over` says so, and the reader drops it when
   it comes. Only until it has been passed, since what is written after a truncation may have the same offsets.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from faust.types import TP

from streams.engine.errors import EngineError

if TYPE_CHECKING:
    from streams.engine.settings import EngineSettings

_UNREADABLE = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - the library's name for it
        KafkaError._BAD_MSG,  # noqa: SLF001
        KafkaError._FATAL,  # noqa: SLF001
    }
)
"""Errors that waiting does not heal."""

_NEVER_MS = 86_400_000
_AT_ONCE = 0.0
_logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """One record of a source topic. `timestamp` in epoch milliseconds, -1 when the log has none."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes | None]]


class ReadingFailed(EngineError):
    """A source cannot be read, and will not be by waiting."""


class SourceReader:
    """One per worker. `assign` and `unassign` may come as often as the group likes; `close` ends it."""

    def __init__(self, settings: EngineSettings) -> None:
        self._consumer = Consumer(_options(settings), logger=_logger)
        self._group = settings.app_id
        self._positions: dict[TP, int] = {}
        self._ended: set[TP] = set()
        self._passed_over: dict[TP, int] = {}  # offsets below are known; gone once the reader is there
        self.drained = True
        """Whether the last poll took all that was at hand."""
        self.held: frozenset[TP] = frozenset()
        """Partitions that are assigned, but not read for now."""

    def assign(self, offsets: Mapping[TP, int | None]) -> None:
        """Begin to read: each partition at its offset, None for the beginning."""
        self._forget()
        self._consumer.assign(
            [
                TopicPartition(tp.topic, tp.partition, OFFSET_BEGINNING if offset is None else offset)
                for tp, offset in offsets.items()
            ]
        )

    def unassign(self) -> None:
        """Read nothing any more; what was fetched is dropped."""
        self._forget()
        self._consumer.unassign()

    def close(self) -> None:
        """May take some moments: not for the event loop."""
        self._consumer.close()

    def poll(self, limit: int) -> dict[TP, list[Record]]:
        """What is at hand, at most `limit` records: a run for each partition, in order. Raises ReadingFailed."""
        runs: dict[TP, list[Record]] = {}
        messages = self._consumer.consume(limit, _AT_ONCE)
        self.drained = len(messages) < limit
        for message in messages:
            tp = TP(message.topic() or "", message.partition() or 0)
            error = message.error()
            if error is not None:
                self._troubled(tp, message.offset(), error)
                continue
            if tp in self._passed_over and self._is_known(tp, message.offset() or 0):
                continue
            self._ended.discard(tp)
            run = runs.get(tp)
            if run is None:
                run = runs[tp] = []
            kind, timestamp = message.timestamp()
            run.append(
                Record(
                    message.offset() or 0,
                    message.key(),
                    message.value(),
                    timestamp if kind else -1,
                    message.headers() or (),  # type: ignore[arg-type]
                )
            )
        for tp, run in runs.items():
            self._positions[tp] = max(self._positions.get(tp, 0), run[-1].offset + 1)
        return runs

    def hold(self, tps: Iterable[TP]) -> None:
        """Exactly these partitions are not read for now."""
        held = frozenset(tps)
        if held == self.held:
            return
        if paused := held - self.held:
            self._consumer.pause([TopicPartition(*tp) for tp in paused])
        if resumed := self.held - held:
            self._consumer.resume([TopicPartition(*tp) for tp in resumed])
        self.held = held

    def position(self, tp: TP) -> int | None:
        """The offset that comes next; None before anything is known of the partition."""
        return self._positions.get(tp)

    def pass_over(self, tp: TP, end: int) -> None:
        """What lies before `end` is known from elsewhere: it is not given any more."""
        self._passed_over[tp] = self._positions[tp] = end
        self._ended.discard(tp)

    def unread(self, tp: TP) -> int | None:
        """Records of a partition that have not been polled yet, as far as is known; None before anything is."""
        if tp in self._ended:
            return 0
        position = self._positions.get(tp)
        if position is None:
            return None
        try:
            found = self._consumer.get_watermark_offsets(TopicPartition(*tp), cached=True)
        except KafkaException:
            return None
        return max(0, found[1] - position) if found else None

    def _troubled(self, tp: TP, offset: int | None, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001
            if not self._is_known(tp, offset or 0):
                self._positions[tp] = offset or 0
                self._ended.add(tp)
        elif code in _UNREADABLE or error.fatal():
            what = f"{tp.topic}[{tp.partition}]" if tp.topic else f"what the group {self._group} reads"
            raise ReadingFailed(f"{what} cannot be read: {error.str()}")
        else:
            _logger.warning("Reading %s[%d]: %s; it goes on", tp.topic, tp.partition, error.str())

    def _is_known(self, tp: TP, offset: int) -> bool:
        """Whether this was passed over; if the reader has come to the end of that, it is forgotten."""
        if offset < self._passed_over.get(tp, 0):
            return True
        self._passed_over.pop(tp, None)
        return False

    def _forget(self) -> None:
        self.hold(())  # a pause would outlive the assignment
        self._positions.clear()
        self._passed_over.clear()
        self._ended.clear()


def _options(settings: EngineSettings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.bootstrap,
        "log_level": 5,  # not each of ten tries a second to reach a broker that hangs up
        **settings.reader,
        "group.id": settings.app_id,  # asked for, never joined
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "check.crcs": True,
        "fetch.min.bytes": 1,
        "fetch.wait.max.ms": int(settings.fetch_max_wait_s * 1000),
        "fetch.max.bytes": max(settings.fetch_max_bytes, settings.max_record_bytes),
        "max.partition.fetch.bytes": settings.max_partition_fetch_bytes,
        "fetch.queue.backoff.ms": 5,  # a full queue is looked at again soon: it is emptied fast
        "queued.min.messages": settings.max_pending_records,
        "queued.max.messages.kbytes": settings.fetch_max_bytes // 1024,
        "max.poll.interval.ms": _NEVER_MS,
    }
