"""The rows of the fault bench: what is done to the system, and the module that does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `limit_s` bounds the full size.

    `root`: the fault itself needs root. `alone`: rates are compared, so nothing else runs at the same time. What is not
    `usual` runs only where it is named.
    """

    name: str
    fault: str
    limit_s: int
    root: bool = False
    alone: bool = False
    usual: bool = True

    @property
    def module(self) -> Path:
        return HERE / f"test_{self.name.replace('-', '_')}.py"


ROWS = (
    Row("kills", "kill -9 of a worker at every step", 900),
    Row("broker-killed", "brokers killed and restarted: one node, then each of three", 900),
    Row("broker-frozen", "the broker frozen, silent, resetting; webhooks given up", 600),
    Row("backlog", "50,000 messages wait behind slow providers, 20,000 behind a slow Kafka", 900),
    Row("rebalances", "workers come and go while messages are sent", 800),
    Row("outage", "a provider answers 5xx for five minutes", 500),
    Row("throttling", "a provider throttles in every way in which providers say it", 350, alone=True),
    Row("timeouts", "no answer, resets and noise after a provider has heard the request", 250),
    Row("half-open", "half-open connections, answers and requests of one byte per second", 250),
    Row("webhooks", "webhooks repeated, shuffled, and earlier than the send result", 300),
    Row("poison", "garbage, deep JSON, 10 MB, unknown schemas among the requests", 300, alone=True),
    Row("schemas", "workers of the last, this and the next release together", 300),
    Row("clocks", "clocks that are ten minutes off, and jump back", 300),
    Row("disk-full", "the disk of a worker's tables is full", 200, root=True),
    Row("rotation", "credentials are rotated under load", 200),
    Row("restore", "the tables of 1,000,000 messages are restored", 400),
    Row("soak", "half an hour at 70 % of the capacity", 2400, alone=True, usual=False),
)


def find(name: str) -> Row:
    """The row of that name; raises KeyError that lists all."""
    for row in ROWS:
        if row.name == name:
            return row
    raise KeyError(f"no row {name!r}; there are: {', '.join(row.name for row in ROWS)}")
