"""What can go wrong in the engine, by whose doing.

* `RecordTooLarge`: the caller's record; raised at once by `emit`, `put` and `stage`, nothing has happened yet.
* `ProduceError`: the broker did not acknowledge; the process is already ending, nothing commits any more.
* `StoreFailure`: rows could not be written to disk; the process ends, and its successor restores them from Kafka.
* `EngineFailure`: the reason why the process ends with exit code 1, as one line for people.
"""

from __future__ import annotations


class EngineError(Exception):
    """Base of everything raised by the engine on purpose."""


class RecordTooLarge(EngineError, ValueError):
    """A record exceeds `max_record_bytes`. The caller rejects it or writes a dead letter; never fatal."""

    def __init__(self, topic: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a record of {size_bytes} bytes for {topic} exceeds the limit of {limit_bytes} bytes")
        self.topic = topic
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class ProduceError(EngineError):
    """A record was not acknowledged by all in-sync replicas. Fatal to the process."""


class EngineFailure(EngineError):
    """The process ends with exit code 1 for this reason."""


class StoreFailure(EngineFailure):
    """The disk does not take or give rows. Nothing is lost: the changelog has them."""


class PartitionLost(EngineError):
    """A table row was asked of a partition that is not (or no longer) ours.

    Only possible after an `await` in the middle of a batch: check `batch.stale` or `app.owns` there.
    """

    def __init__(self, table: str, partition: int) -> None:
        super().__init__(f"partition {partition} of table {table} is not ours")
        self.table = table
        self.partition = partition
