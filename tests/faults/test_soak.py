"""Half an hour at 70 % of what the machine can do: memory, descriptors, lag and the event loop stay where they are.

The capacity is measured first, in the same processes, with the same mixture of messages: how fast a backlog is sent.
Tables are on disk, as in a deployment that remembers its messages for thirty days. `STREAMS_SOAK_S` sets another length;
the picture lies beside the row's figures.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.brokers import KafkaServer
from tests.faults.beside import Beside
from tests.faults.figures import Figures
from tests.faults.sampling import Sampler, descriptors, draw, rss_mb
from tests.fleet import Fleet, campaign, ids_of, single

LENGTH_S = int(os.environ.get("STREAMS_SOAK_S", "1800"))
WARM_S = LENGTH_S / 5
SHARE = 0.7
CAMPAIGN = 90
BACKLOG = 12_000
FATES = ("success", "success", "success", "success", "success", "click", "open", "bounce", "defer", "success")


def traffic() -> Iterator[tuple[dict[str, Any], int]]:
    """Requests without end, and how many messages each makes: half of the messages by campaigns."""
    number = 0
    while True:
        for _ in range(CAMPAIGN):
            yield single(number, FATES[number % len(FATES)]), 1
            number += 1
        yield campaign(number, CAMPAIGN), CAMPAIGN
        number += 1


class Sender:
    """Produces requests; remembers the ids of all messages."""

    def __init__(self, fleet: Fleet) -> None:
        self.ids: set[str] = set()
        self._fleet = fleet
        self._traffic = traffic()
        self._producer = Producer({"bootstrap.servers": fleet.bootstrap, "acks": "all", "linger.ms": 5})

    def send(self, messages: int) -> None:
        """At least so many messages, at once."""
        while messages > 0:
            request, count = next(self._traffic)
            topic = self._fleet.prefix + ("send-requests.bulk" if request["stream"] == "bulk" else "send-requests")
            self._producer.produce(topic, json.dumps(request).encode(), key=request["idempotency_key"].encode())
            self._producer.poll(0)
            self.ids |= ids_of(request)
            messages -= count

    def backlog(self, messages: int) -> float:
        """Send so many, wait for them, and tell the pace in messages per second: from a tenth sent to all sent."""
        sent = self._fleet.seen.sent
        self.send(messages)
        self.flush()
        goal = len(self.ids)
        self._fleet.until("a tenth is sent", lambda: len(sent) >= goal - 0.9 * messages, 240)
        began_s, before = time.monotonic(), len(sent)
        self._fleet.until("the backlog is sent", lambda: len(sent) >= goal, 240)
        return (goal - before) / (time.monotonic() - began_s)

    def flush(self) -> None:
        """Wait until Kafka has it all."""
        assert self._producer.flush(60) == 0


class Pace(Beside):
    """Sends so many messages a second, and waits until Kafka has them all."""

    patience_s = 90.0

    def __init__(self, sender: Sender, per_s: float) -> None:
        super().__init__()
        self._sender = sender
        self._per_s = per_s

    def run(self) -> None:
        began_s, before = time.monotonic(), len(self._sender.ids)
        while not self.pause(0.1):
            due = int((time.monotonic() - began_s) * self._per_s) - (len(self._sender.ids) - before)
            if due > 0:
                self._sender.send(due)
        self._sender.flush()


def taken_twice(ledger: Path) -> tuple[set[str], set[str]]:
    """The messages that a provider took, and those that it took more than once."""
    taken: set[str] = set()
    twice: set[str] = set()
    with ledger.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            if "plan" in entry:
                identity = entry["variables"].get("message_id", "")
                (twice if identity in taken else taken).add(identity)
    return taken, twice


@pytest.mark.long
@pytest.mark.timeout(0)
def test_nothing_grows_at_seventy_percent_of_the_capacity(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, figures: Figures
) -> None:
    environment = {"STREAMS_WORKER__STORE": "rocksdb"}
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, environment=environment, keep=False) as fleet:
        worker, sender = fleet.start_worker("w1"), Sender(fleet)
        fleet.until("the worker is ready", lambda: fleet.is_ready("w1"), 60)
        sender.backlog(BACKLOG // 2)  # what runs for the first time is slower
        capacity = sender.backlog(BACKLOG)
        figures.note("capacity of this machine, everything on it", capacity, "msg/s")
        readings = {
            "worker": rss_mb(worker.pid),
            "ingress": rss_mb(fleet.process("ingress").pid),
            "worker, open files": descriptors(worker.pid),
            "ingress, open files": descriptors(fleet.process("ingress").pid),
            "open messages": lambda: float(len(sender.ids) - len(fleet.seen.ended)),
            "event loop": lambda: 1000 * fleet.metric("w1", "streams_event_loop_delay_seconds"),
        }
        before = len(sender.ids)
        with Sampler(readings, max(1.0, LENGTH_S / 600)) as sampler, Pace(sender, SHARE * capacity):
            fleet.until("the time is over", lambda: sampler.seconds >= LENGTH_S, LENGTH_S + 60)
            pace = (len(sender.ids) - before) / sampler.seconds
        fleet.until("every message has ended", lambda: fleet.seen.ended >= sender.ids, 120)
        restarts = worker.returncode is not None
    series = {name: line.after(WARM_S) for name, line in sampler.series.items()}
    picture = Path(os.environ.get("STREAMS_FAULTS_RESULTS", tmp_path)) / "soak.png"
    panels = (
        ("memory, MB", {name: sampler.series[name] for name in ("worker", "ingress")}),
        ("open files", {name: sampler.series[name] for name in ("worker, open files", "ingress, open files")}),
        ("open messages", {"open messages": sampler.series["open messages"]}),
        ("event loop late, ms", {"event loop": sampler.series["event loop"]}),
    )
    draw(
        picture,
        f"{LENGTH_S / 60:.0f} minutes at {pace:,.0f} messages/s ({pace / capacity:.0%} of capacity)",
        panels,
        WARM_S,
    )
    figures.note("length", LENGTH_S / 60, "min")
    figures.note("pace", pace, "msg/s")
    figures.note("messages", len(sender.ids))
    figures.at_least("pace, of the capacity", pace / capacity, SHARE - 0.03)
    taken, twice = taken_twice(tmp_path / "sandbox" / "ledger.jsonl")
    figures.none("lost", (sender.ids - taken) | (sender.ids - fleet.seen.ended))
    figures.none("sent twice", twice)
    figures.equal("worker ended by itself", int(restarts), 0)
    for name in ("worker", "ingress"):
        figures.at_most(f"memory of the {name}: slope", series[name].slope_per_min(), 1.0, "MB/min")
        figures.note(f"memory of the {name}: most", max(series[name].values), "MB")
        files = series[f"{name}, open files"]
        figures.at_most(f"open files of the {name}: slope", files.slope_per_min(), 0.2, "per min")
        figures.note(f"open files of the {name}: most", max(files.values))
    open_ = series["open messages"]
    figures.at_most("open messages: slope, of the pace", open_.slope_per_min() / (60 * pace), 0.005)
    figures.at_most("open messages: median, in seconds of the pace", open_.quantile(0.5) / pace, 5.0, "s")
    figures.at_most("event loop late: 95 % below", series["event loop"].quantile(0.95), 100, "ms")
    figures.note("event loop late: most", max(series["event loop"].values), "ms")
    figures.note("picture", picture.name)
