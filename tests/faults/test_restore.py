"""A worker that lost its disk restores its tables from Kafka: at speed, telling how far it is, and exactly.

First a real run: what the worker's tables held before is compared with what a new one restores. Then the changelogs are
made as long as a million messages make them, from the rows of that run under new keys, and restored once more; every
row is accounted for. Tables in memory and on disk.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from streams.tables import TABLES
from tests.brokers import KafkaServer
from tests.faults.digesting import VARIABLE, Digest, read
from tests.faults.figures import Figures
from tests.fleet import Fleet, campaign, single
from tests.fleet.log import records, unread

STORES = ("memory", "rocksdb")
FATES = ("success", "click", "open", "success", "bounce", "complaint", "success", "delayedbounce")
QUIET = {"STREAMS_DISPATCH__RETRY": "none"}
Row = tuple[int, bytes, bytes]
"""Partition, key, value."""


def start(fleet: Fleet, name: str, store: str) -> Path:
    """A digesting worker with nothing on its disk; answers where it will write."""
    path = fleet.folder / f"{name}.digest"
    fleet.start_worker(name, module="tests.faults.digesting", STREAMS_WORKER__STORE=store, **{VARIABLE: str(path)})
    return path


def at_rest(fleet: Fleet) -> None:
    """Everything that was written has been read to its end, and what follows from it too."""
    for topic in ("webhooks.mailgun", "webhooks.ses", "outbound", "outbound.bulk", "lookups", "receipts"):
        fleet.until(f"{topic} is read", lambda topic=topic: not unread(fleet.bootstrap, fleet.prefix, topic), 120)


def asked(fleet: Fleet, name: str, path: Path) -> dict[str, Digest]:
    """What that worker's tables hold now."""
    path.unlink()
    fleet.process(name).signal(signal.SIGUSR1)
    fleet.until("it has written its digest", path.exists, 60)
    return read(path)


def differing(before: dict[str, Digest], after: dict[str, Digest]) -> list[str]:
    return [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]


def changelog(fleet: Fleet, table: str) -> str:
    return f"{fleet.prefix}{fleet.prefix}streams-{table}-changelog"


def kept(fleet: Fleet, table: str) -> list[Row]:
    """The rows of a table as its changelog has them."""
    last = {(r.partition, r.key or b""): r.value for r in records(fleet.bootstrap, changelog(fleet, table))}
    return [(partition, key, value) for (partition, key), value in last.items() if value is not None]


def multiplied(rows: list[Row], copies: int) -> Iterator[Row]:
    """The rows again, under other keys of the same length and kind."""
    for copy in range(copies):
        mark = b"%06x" % copy
        for partition, key, value in rows:
            yield partition, key[:-6] + mark, value


def lengthen(fleet: Fleet, copies: int) -> tuple[dict[str, Digest], int]:
    """Every changelog, by so many copies of its rows; answers what all tables hold then, and how many rows it wrote."""
    producer = Producer({
        "bootstrap.servers": fleet.bootstrap, "acks": "all", "linger.ms": 20, "batch.size": 1_000_000,
        "queue.buffering.max.messages": 200_000,
    })  # fmt: skip
    found, wrote = {}, 0
    for table in (spec.name for spec in TABLES):
        rows = kept(fleet, table)
        digest, topic = Digest.of(rows), changelog(fleet, table)
        known = {(partition, key) for partition, key, _ in rows}
        distinct = list({(partition, key[:-6]): (partition, key, value) for partition, key, value in rows}.values())
        long = [row for row in distinct if len(row[1]) >= 20]  # names of providers stay what they are
        for partition, key, value in multiplied(long, copies):
            if (partition, key) not in known:
                digest.add(partition, key, value)
                wrote += 1
                while True:
                    try:
                        producer.produce(topic, value, key=key, partition=partition)
                        break
                    except BufferError:
                        producer.poll(0.1)
        found[table] = digest
    assert producer.flush(60) == 0
    return found, wrote


def restored(fleet: Fleet, store: str, expected: dict[str, Digest], figures: Figures, *, told: bool) -> None:
    """A new worker, watched while it restores."""
    name = f"long-{store}"
    path = start(fleet, name, store)
    remaining: list[float] = []
    early = []

    def is_done() -> bool:
        try:
            ready = fleet.is_ready(name)
            left = fleet.metric(name, "streams_table_restore_remaining_records")
        except httpx.HTTPError:
            return False  # not up yet, or digesting, when it answers nobody
        remaining.append(left)
        if ready and left:
            early.append(left)
        return ready

    fleet.until(f"tables in {store} are restored", is_done, 240)
    figures.equal(f"{store}: tables that differ", len(differing(expected, read(path))), 0)
    log = (fleet.folder / f"{name}.log").read_text(encoding="utf-8")
    (found,) = re.findall(r"Restored ([\d,]+) records in ([\d.]+) s", log)
    count, seconds = int(found[0].replace(",", "")), float(found[1])
    figures.at_least(f"{store}: records restored", count, sum(digest.rows for digest in expected.values()))
    figures.note(f"{store}: time", seconds, "s")
    figures.note(f"{store}: rate", count / seconds, "/s")
    figures.none(f"{store}: ready while records were still to be restored", early)
    if told:
        lines = re.findall(r"Restored [\d,]+ of [\d,]+ records, \d+ s left", log)
        figures.at_least(f"{store}: lines that say how far it is", len(lines), 1)
        figures.at_least(f"{store}: different values of the metric", len({left for left in remaining if left}), 2)


@pytest.mark.timeout(400)
def test_restore(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    messages, wanted = sized(10_000, 1_000), sized(1_000_000, 20_000)
    with Fleet(tmp_path / "fleet", apache_kafka.bootstrap, prefix=topic_prefix, environment=QUIET) as fleet:
        path = start(fleet, "w1", "memory")
        ids = fleet.produce(single(n, FATES[n % len(FATES)]) for n in range(messages // 2))
        ids |= fleet.produce(campaign(n, messages // 20, FATES[n % len(FATES)]) for n in range(10))
        fleet.until("every message has ended", lambda: fleet.seen.ended >= ids, 30 + messages / 50)
        fleet.until("all is reported", lambda: not fleet.stats()["pending_webhooks"], 60)
        at_rest(fleet)
        before = asked(fleet, "w1", path)
        figures.note("messages of the real run", len(ids))
        figures.note("rows of all tables before", sum(digest.rows for digest in before.values()))
        fleet.kill_worker("w1")
        for store in STORES:
            path = start(fleet, f"again-{store}", store)
            fleet.until("it is restored", path.exists, 60)
            figures.none(f"{store}: tables that are not what they were", differing(before, read(path)))
            fleet.kill_worker(f"again-{store}")
        began_s = time.monotonic()
        expected, wrote = lengthen(fleet, wanted // messages - 1)
        figures.note("rows written in addition", wrote)
        figures.note("in", time.monotonic() - began_s, "s")
        figures.at_least("tracked messages", expected["messages"].rows, 0.95 * wanted)
        figures.note("rows of all tables", sum(digest.rows for digest in expected.values()))
        for store in STORES:
            restored(fleet, store, expected, figures, told=wanted >= 1_000_000)
            if store != STORES[-1]:
                fleet.kill_worker(f"long-{store}")  # before it changes a row
        began_s = time.monotonic()
        ids = fleet.produce(single(9_000_000 + n) for n in range(20))
        fleet.until("and it works", lambda: fleet.seen.ended >= ids, 60)
        figures.note("the next twenty mails, to their end", time.monotonic() - began_s, "s")
