"""A deployment to measure: the configuration file of ingress and worker, and its secrets, as users write them."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from pathlib import Path

from streams.bench.lab import BenchFailed, Child, Lab

PARTITIONS = 4
SIGNING_KEY = "bench-signing-key"
API_KEY = "key-bench"
DOMAIN = "mg.shop.example.com"

_POLL_S = 0.02


def write_config(place: Lab, prefix: str, port: int, provider_url: str = "http://127.0.0.1:9") -> Path:
    """A ``streams.toml`` for one process that serves on ``port``; topics begin with ``prefix``."""
    path = place.directory / f"{place.unique('streams')}.toml"
    path.write_text(
        f"""\
[kafka]
bootstrap = "{place.bootstrap}"
profile = "{"embedded" if place.embedded else "kafka"}"
partitions = {PARTITIONS}
prefix = "{prefix}"
group = "{prefix}workers"
replication_factor = 1
min_insync_replicas = 1

[worker]
port = {port}
data_dir = "{place.directory / prefix}"

[ingress]
port = {port}

[providers.mailgun]
type = "mailgun"
domain = "{DOMAIN}"
api_key = "env:BENCH_API_KEY"
signing_keys = ["env:BENCH_SIGNING_KEY"]
base_url = "{provider_url}"
concurrency = 32
""",
        encoding="utf-8",
    )
    return path


def environment(config: Path) -> dict[str, str]:
    """What a process of the deployment needs in its environment."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")},
        "STREAMS_CONFIG": str(config),
        "BENCH_API_KEY": API_KEY,
        "BENCH_SIGNING_KEY": SIGNING_KEY,
    }


def wait_ready(child: Child, port: int, path: str = "/health/ready", timeout_s: float = 60.0) -> None:
    """Wait until ``path`` answers 200; raises BenchFailed."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5.0) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        child.check()
        if time.monotonic() > deadline:
            raise BenchFailed(f"{child.name} was not ready within {timeout_s:.0f} s: {child.last_words()}")
        time.sleep(_POLL_S)
