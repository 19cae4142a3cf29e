"""Everything that can be set about the engine, with the reasons for the defaults.

`embedded` is a profile, not a switch to flip alone: use `EngineSettings.for_embedded`, which also shortens the
session (the embedded broker holds every group join for half of it) and turns the idempotent producer off (it is
refused there).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

_MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of one worker. Times are seconds, sizes are bytes."""

    bootstrap: str
    """`host:port[,host:port…]`."""
    app_id: str
    """Consumer group, and the prefix of changelog topic names."""
    embedded: bool = False
    """The broker is the embedded one: no idempotence, tables on disk are wiped at start (the log is in memory)."""
    topic_prefix: str = ""
    """Prefix of the topics that the engine names itself, i.e. changelogs."""
    security: Mapping[str, Any] = field(default_factory=dict)
    """aiokafka's own names: security_protocol, ssl_context, sasl_mechanism, sasl_plain_username, …"""
    reader: Mapping[str, Any] = field(default_factory=dict)
    """The same connection in librdkafka's names: security.protocol, ssl.ca.location, sasl.mechanism, …"""

    session_timeout_s: float = 30.0
    heartbeat_interval_s: float = 3.0
    rebalance_timeout_s: float = 60.0
    """How long the group waits for us to hand over; our own deadlines stay below it."""
    request_timeout_s: float = 40.0
    delivery_timeout_s: float = 120.0
    """A record that is not acknowledged for this long ends the process (its fate is unknown)."""

    chunk: int = 500
    """Most records in one `Batch`."""
    chunk_bytes: int = 256 * 1024
    """And most bytes, unless a single record has more."""
    max_pending_records: int = 10_000
    """Delivered but not done, per partition; more pauses delivery. After a crash at most this (plus one chunk) is
    done again."""
    max_pending_bytes: int = 16 * _MEGABYTE
    """Delivered but not done, per topic over all its partitions here; each record counts what an object costs besides
    its bytes. More pauses the topic, except where a partition has nothing in hand: that gets one chunk."""
    max_units: int = 8
    """Units in flight per partition of a source topic before `Unit.room` waits."""
    fetch_max_wait_s: float = 0.25
    """Long poll of a fetch; it ends with the first record."""
    poll_busy_s: float = 0.0005
    """How often the event loop asks for fetched records while some come."""
    gather_s: float = 0.005
    """What `poll_busy_s` and `linger_s` grow to with the traffic: fewer and larger steps."""
    gather_from_per_s: float = 20_000.0
    """Records per second at which they have grown so far."""
    poll_idle_s: float = 0.01
    """How often when none have come for a while."""
    max_partition_fetch_bytes: int = _MEGABYTE
    fetch_max_bytes: int = 16 * _MEGABYTE

    linger_s: float = 0.0
    """Least age of a record batch before it is sent; while an older one is in flight it grows anyway."""
    patience_s: float = 0.01
    """The same for patient topics, unless something else goes to the broker before."""
    batch_bytes: int = 256 * 1024
    """Largest record batch, unless a single record is larger."""
    max_record_bytes: int = 900 * 1024
    """Largest key + value + headers; below the broker's message.max.bytes (1 MiB by default)."""
    max_unacked_records: int = 100_000
    """Emitted but not acknowledged, over all topics; more pauses delivery."""
    max_unacked_bytes: int = 64 * _MEGABYTE
    """The same in bytes."""
    compression: str | None = None
    """None, gzip, snappy, lz4 or zstd (the last three need their packages)."""

    commit_interval_s: float = 1.0
    stall_timeout_s: float = 120.0
    """A partition with lag on which nothing finishes for this long ends the process."""
    recovery_stall_timeout_s: float = 60.0
    """A restore in which no record arrives for this long ends the process."""
    shutdown_timeout_s: float = 20.0
    """Grace for work in flight at SIGTERM, below the orchestrator's own."""

    store_url: str = "memory://"
    """`memory://` or `rocksdb://`."""
    data_dir: Path = Path("data")
    """For RocksDB; one worker per directory."""
    replication_factor: int = 1
    """Of the changelogs that the engine creates; 3 in production."""
    changelog_config: Mapping[str, str] = field(default_factory=dict)
    """Topic settings added to the changelogs (cleanup.policy=compact is always set)."""

    def __post_init__(self) -> None:
        if self.store not in ("memory", "rocksdb"):
            raise ValueError(f"store_url must begin with memory:// or rocksdb://, not {self.store_url!r}")
        if self.session_timeout_s > self.request_timeout_s:
            raise ValueError("session_timeout_s may not exceed request_timeout_s")
        if self.heartbeat_interval_s * 2 >= self.session_timeout_s:
            raise ValueError("heartbeat_interval_s must be well below half of session_timeout_s")
        if self.max_record_bytes + 1024 > 100 * _MEGABYTE or self.chunk < 1 or self.max_units < 1:
            raise ValueError("chunk and max_units must be positive, max_record_bytes below 100 MiB")

    @property
    def store(self) -> str:
        return self.store_url.partition(":")[0]

    @property
    def revoke_deadline_s(self) -> float:
        """How long a revocation waits for work in flight, including flush and commit."""
        if self.embedded:  # it waits for half a session only
            return self.session_timeout_s * 0.4
        return self.rebalance_timeout_s * 0.6

    def changelog_topic(self, table: str) -> str:
        return f"{self.topic_prefix}{self.app_id}-{table}-changelog"

    @classmethod
    def for_embedded(cls, bootstrap: str, app_id: str, **changes: Any) -> Self:
        """The profile of the embedded broker."""
        profile: dict[str, Any] = {
            "embedded": True,
            "session_timeout_s": 6.0,
            "heartbeat_interval_s": 1.0,
            "rebalance_timeout_s": 12.0,
            "commit_interval_s": 0.5,
            "fetch_max_wait_s": 0.02,  # it looks for new records only at intervals of its own, up to 50 ms
        }
        return cls(bootstrap=bootstrap, app_id=app_id, **{**profile, **changes})
