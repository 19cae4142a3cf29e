"""One record in a hundred is poison: it becomes a dead letter, its neighbours keep their pace, every agent stays alive.

The pace is compared within one run, in turns: rounds with poison and rounds without, on the same worker, as messages
per second of the worker's processor time. What poison costs by itself is part of it.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from streams.kafka import NewRecord, Record
from streams.serde.records import encode
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.fleet import Fleet, ids_of, single
from tests.fleet.log import records, write

TEN_MEGABYTES = 10 * 1024 * 1024
FIELDS = {key: value for key, value in single(0).items() if key != "headers"}
AVRO = encode("SendRequest", FIELDS | {"from": {"email": "shop@mg.example.com", "name": ""}})
REQUESTS: dict[str, bytes] = {
    "noise": bytes(range(1, 256)) * 8,
    "text": b"hello",
    "nothing": b"",
    "JSON nested too deep": b'{"data":' * 50_000,
    "JSON of lists nested too deep": b'{"metadata":' + b"[" * 100_000,
    "JSON cut off": json.dumps(single(0)).encode()[:-5],
    "JSON of no request": b'{"colour": 1}',
    "JSON with a number without end": b'{"idempotency_key": ' + b"9" * 200_000 + b"}",
    "Avro cut off": AVRO[:-20],
    "Avro with lengths that lie": AVRO[:10] + b"\xff" * 400,
    "unknown schema": AVRO[:2] + b"\x00" * 8 + AVRO[10:],
    "schema id without a registry": b"\x00\x00\x00\x00\x07" + AVRO[10:],
}
GIANT = b"\x01" * TEN_MEGABYTES
PAYLOADS: dict[str, bytes] = {
    "noise": bytes(range(1, 256)) * 8,
    "JSON nested too deep": b'{"event-data":' * 50_000,
    "a list": b"[1, 2]",
    "cut off": b'{"event-data": {"event": "deliv',
}
WEBHOOK_HEADERS = (("verified", b"1"), ("received_at", b"1790000000000"))


def poison(prefix: str, chance: random.Random) -> Iterator[NewRecord]:
    """Records that nobody can read, without end: of every kind in turn, on every public topic that we read."""
    kinds = [NewRecord(f"{prefix}send-requests", b"poison", value) for value in REQUESTS.values()]
    kinds += [NewRecord(f"{prefix}send-requests.bulk", b"poison", value) for value in REQUESTS.values()]
    for name in ("mailgun", "ses"):
        headers = (("provider", name.encode()), *WEBHOOK_HEADERS)
        kinds += [NewRecord(f"{prefix}webhooks.{name}", b"poison", v, headers=headers) for v in PAYLOADS.values()]
    chance.shuffle(kinds)
    return itertools.cycle(kinds)


def key(record: Record | NewRecord) -> tuple[str, bytes]:
    """Which record it was, as a dead letter and as it was written."""
    if isinstance(record, NewRecord):
        return record.topic, (record.value or b"")[:1024]
    return record.headers["dlq.topic"].decode(), (record.value or b"")[:1024]


@pytest.mark.timeout(300)
def test_poison_becomes_dead_letters_and_slows_nobody(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    chance, bootstrap = random.Random(7), apache_kafka.bootstrap
    size, rounds, share = sized(4_000, 600), sized(5, 2), sized(1, 4) / 100
    source = poison(topic_prefix, chance)
    with Fleet(tmp_path, bootstrap, prefix=topic_prefix) as fleet:
        worker = fleet.start_worker("w1")
        process = psutil.Process(worker.pid)
        wanted, injected = fleet.produce(single(n) for n in range(size)), []  # a round that does not count
        fleet.until("the worker is warm", lambda: fleet.seen.ended >= wanted, 120)
        pace: dict[str, list[float]] = {"clean": [], "poisoned": []}
        for number in range(1, 2 * rounds + 1):
            name = ("clean", "poisoned")[number // 2 % 2]  # one, two, two, one
            bad = list(itertools.islice(source, round(size * share))) if name == "poisoned" else []
            good = [single(number * size + n) for n in range(size)]
            lines = [NewRecord(f"{topic_prefix}send-requests", b"good", json.dumps(one).encode()) for one in good]
            mixed = lines + bad
            chance.shuffle(mixed)
            before = process.cpu_times()
            write(bootstrap, mixed)
            ids = {identity for one in good for identity in ids_of(one)}
            wanted |= ids
            injected += bad
            fleet.until(f"round {number} has ended", lambda ids=ids: fleet.seen.ended >= ids, 120)
            after = process.cpu_times()
            pace[name].append(size / (after.user + after.system - before.user - before.system))
        giants = [NewRecord(f"{topic_prefix}send-requests", b"poison", GIANT) for _ in range(sized(10, 2))]
        giants.append(NewRecord(f"{topic_prefix}send-requests.bulk", b"poison", os.urandom(TEN_MEGABYTES)))
        write(bootstrap, giants)
        injected += giants
        last = fleet.produce([single(10**6)])
        fleet.until("a message behind all of it has ended", lambda: fleet.seen.ended >= last, 60)

        def letters() -> list[Record]:
            return records(bootstrap, f"{topic_prefix}dead-letters")

        fleet.until("every poison is a dead letter", lambda: len(letters()) >= len(injected), 60)
        missing = Counter(map(key, injected))
        missing.subtract(map(key, letters()))
        figures.note("poison injected", len(injected))
        figures.note("kinds of it", len(REQUESTS) + len(PAYLOADS) + 1)
        figures.none("poison that is no dead letter", +missing)
        figures.none("dead letters that were no poison", -missing)
        figures.equal("restarts of the worker", fleet.restarts["w1"] - 1 + (worker.returncode is not None), 0)
        figures.account(fleet.account(wanted | last))
        ratios = [bad / good for good, bad in zip(pace["clean"], pace["poisoned"], strict=True)]
        figures.note("pace without poison", statistics.median(pace["clean"]), "msg/CPU-s")
        figures.note("ratio, least and greatest of its rounds", f"{min(ratios):.2f} … {max(ratios):.2f}")
        ratio = statistics.median(pace["poisoned"]) / statistics.median(pace["clean"])
        if sized(1, 0):
            figures.at_least("pace with poison, of the pace without", ratio, 0.95)
        else:
            figures.note("pace with poison, of the pace without (too few to tell)", ratio)
