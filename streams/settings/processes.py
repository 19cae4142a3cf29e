"""Settings of the processes: worker, ingress, pollers; see :mod:`streams.settings.model` for the rules."""
# ruff: noqa: RUF009  (key() makes a field, like dataclasses.field)

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.settings.keys import key


class Store(StrEnum):
    """Where a worker keeps its tables."""

    MEMORY = "memory"
    ROCKSDB = "rocksdb"


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The process that runs the agents."""

    host: str = key("127.0.0.1", "Address of the worker's `/metrics` and `/health`.")
    port: int = key(8090, "Port of the worker's `/metrics` and `/health`; 0 takes a free one.", least=0, most=65535)
    data_dir: str = key(
        "data",
        "Directory of the tables on disk; each worker of a machine needs its own. Without room there a worker ends "
        "(Kafka has the tables: nothing is lost); `streams_data_dir_free_bytes` tells of it before.",
    )
    store: Store = key(Store.MEMORY, "`memory`, or `rocksdb` for tables that do not fit (needs the extra `rocksdb`).")
    chunk: int = key(128, "Records an agent gets at once, at most.", least=1, most=100_000)
    max_in_flight: int = key(8, "Batches of one partition under way at once, at most.", least=1, most=1024)
    linger_ms: float = key(
        0.0, "How long a record waits for company before it is sent to the broker.", least=0, most=1000
    )
    commit_interval_s: float = key(1.0, "How often offsets are committed.", least=0.05, most=60)
    session_timeout_s: float = key(
        30.0, "After this silence the group gives a worker's partitions away.", least=6, most=300
    )
    stall_timeout_s: float = key(
        120.0,
        "A worker with lag that finishes nothing for so long ends, to be restarted; what waits its turn is no lag.",
        least=10,
        most=3600,
    )
    shutdown_timeout_s: float = key(20.0, "How long sends in flight may take at shutdown.", least=1, most=600)
    outcome_interval_ms: float = key(
        250.0, "How often outcomes are summed up for the circuit breakers.", least=50, most=10_000
    )


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """The process that takes webhooks. It speaks plain HTTP: put TLS in front of it."""

    host: str = key("127.0.0.1", "Address to listen on.")
    port: int = key(8080, "Port to listen on; 0 takes a free one.", least=0, most=65535)
    workers: int = key(1, "Processes that share the port.", least=1, most=64)
    metrics_port: int = key(
        0,
        "With several processes: the first one's own port for `/metrics`, the next ones count up; 0 for none.",
        least=0,
        most=65535,
    )
    public_url: str = key("", "Where providers reach us, for `streams doctor`.", example="https://hooks.example.com")
    max_body_bytes: int = key(1_048_576, "Largest webhook, after decompression.", least=1024, most=67_108_864)
    read_timeout_s: float = key(
        10.0, "How long headers, and after them a body, may take to arrive.", least=0.1, most=120
    )
    max_connections: int = key(
        4096,
        "Connections of one process at once; further ones are closed. Its limit of open files must be higher.",
        least=1,
        most=1_000_000,
    )
    produce_timeout_s: float = key(
        8.0, "How long Kafka may take before the answer is 503 (SNS waits 15 s).", least=0.1, most=14
    )
    max_pending: int = key(
        10_000, "Webhooks waiting for Kafka at once; beyond that the answer is 503.", least=1, most=1_000_000
    )
    retry_after_s: int = key(30, "`Retry-After` of a 503.", least=1, most=3600)
    drain_timeout_s: float = key(20.0, "How long requests under way may take at shutdown.", least=0, most=600)
    confirm_subscriptions: bool = key(True, "Confirm SNS subscriptions to allowed topics by ourselves.")


@dataclass(frozen=True, slots=True)
class PollSettings:
    """The process that fetches events from queues and mailboxes. What it fetches from is said at each provider."""

    host: str = key("127.0.0.1", "Address of its `/metrics` and `/health`.")
    port: int = key(8091, "Port of its `/metrics` and `/health`; 0 takes a free one.", least=0, most=65535)
    concurrency: int = key(
        4, "Receives under way at once while much is waiting, per queue (a mailbox has one).", least=1, most=64
    )
    gather_s: float = key(
        0.2,
        "Pause after a receive, unless much is waiting: the next brings more at once (queues charge by the request).",
        least=0,
        most=60,
    )
    max_pause_s: float = key(30.0, "Longest pause after errors of a source.", least=0.1, most=3600)
    produce_timeout_s: float = key(10.0, "How long Kafka may take before it is asked again.", least=0.1, most=60)
    max_pending: int = key(10_000, "Items waiting for Kafka at once.", least=1, most=1_000_000)
    max_body_bytes: int = key(
        1_000_000, "Larger items are stored cut to this size (the topics take 1 MiB).", least=1024, most=25_000_000
    )
    drain_timeout_s: float = key(10.0, "How long Kafka may take at shutdown.", least=0, most=600)
