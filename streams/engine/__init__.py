"""The batch path on Faust: fast, and safe under kill -9 and rebalance. It knows Faust and Kafka, nothing else.

| module | what |
|---|---|
| app, faust_options, run | `EngineApp`, the worker, what Faust is told, and how to run it |
| settings, observer, errors | what can be set, what is told, what can go wrong |
| batch, stream, units | what agents work with: batches, and units of work (events, then state, then offset) |
| tables, table_partition, stores, rocks | tables, and where rows live |
| tickets, producer | emitting records and knowing that they are safe |
| offsets, consumer, consumer_thread, watch | delivery, commits, rebalances, liveness |
| recovery, log_reading, reader | restoring tables; following a compacted topic |
| backlog | whether the group has worked off a topic |
| topics | creating topics |
"""

from __future__ import annotations

from streams.engine.app import EngineApp
from streams.engine.backlog import Backlog
from streams.engine.batch import Batch
from streams.engine.errors import EngineError, EngineFailure, PartitionLost, ProduceError, RecordTooLarge, StoreFailure
from streams.engine.observer import EngineObserver, SilentObserver
from streams.engine.producer import NO_HEADERS, Headers
from streams.engine.reader import CompactedReader
from streams.engine.run import run
from streams.engine.settings import EngineSettings
from streams.engine.stream import BatchTopic
from streams.engine.tables import BytesTable
from streams.engine.tickets import Ticket, acked
from streams.engine.topics import TopicProblem, TopicSpec, ensure_topics, partition_counts
from streams.engine.units import Unit

__all__ = [
    "NO_HEADERS",
    "Backlog",
    "Batch",
    "BatchTopic",
    "BytesTable",
    "CompactedReader",
    "EngineApp",
    "EngineError",
    "EngineFailure",
    "EngineObserver",
    "EngineSettings",
    "Headers",
    "PartitionLost",
    "ProduceError",
    "RecordTooLarge",
    "SilentObserver",
    "StoreFailure",
    "Ticket",
    "TopicProblem",
    "TopicSpec",
    "Unit",
    "acked",
    "ensure_topics",
    "partition_counts",
    "run",
]
