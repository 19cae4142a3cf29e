"""Measures the engine: events per CPU-second of one worker process, and how long a restore takes.

    python -m tests.engine.throughput [--events 200000] [--bootstrap HOST:PORT] [--store memory|rocksdb|both]

CPU is that of the worker process (all its threads); broker and loader are other processes.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import tempfile
import time
import uuid
from pathlib import Path

import confluent_kafka
import uvloop

from streams.broker import EmbeddedBroker
from streams.engine import Batch, EngineApp, EngineSettings, TopicSpec, Unit, ensure_topics

_PARTITIONS = 4
_VALUE = b"v" * 260
_KEYS = 50_000


def _load(bootstrap: str, topic: str, events: int) -> None:
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000}
    )
    for i in range(events):
        producer.produce(topic, key=b"key-%d" % (i % _KEYS), value=_VALUE, partition=i % _PARTITIONS)
        if i % 1000 == 0:
            producer.poll(0)
    producer.flush()


def _settings(bootstrap: str, embedded: bool, store: str, data_dir: Path) -> EngineSettings:
    app_id = f"bench-{uuid.uuid4().hex[:8]}"
    extra = {"store_url": f"{store}://", "data_dir": data_dir}
    if embedded:
        return EngineSettings.for_embedded(bootstrap, app_id, **extra)
    return EngineSettings(bootstrap=bootstrap, app_id=app_id, **extra)


async def _process(settings: EngineSettings, source: str, sink: str, events: int, kind: str) -> tuple[float, float]:
    app = EngineApp(settings)
    table = app.bytes_table("rows", _PARTITIONS)
    done = asyncio.Event()
    seen = 0
    began = (0.0, 0.0)

    async def opened(partition: int) -> None:
        nonlocal began
        began = (time.process_time(), time.monotonic())

    app.on_partition_ready(opened)

    @app.agent(app.batch_topic(source))
    async def work(batches) -> None:  # type: ignore[no-untyped-def]
        nonlocal seen
        async for batch in batches:
            if kind == "noop":
                batch.release()
            elif kind == "unit":
                await _unit(app, batch)
            else:
                _direct(app, batch)
            seen += len(batch)
            if seen >= events:
                done.set()

    async def _unit(app: EngineApp, batch: Batch) -> None:
        unit = Unit(app, batch)
        for record in batch.records:
            table.get(batch.partition, record.key)
            unit.put(table, record.key, record.value)
            unit.emit(sink, batch.partition, record.key, record.value)
        unit.finish()
        await unit.room()

    def _direct(app: EngineApp, batch: Batch) -> None:
        partition = batch.partition
        for record in batch.records:
            table.get(partition, record.key)
            table.put(partition, record.key, record.value)
            app.emit(sink, partition, record.key, record.value)
        batch.release()

    gc.collect()
    await app.start()
    await done.wait()
    while not all(assignment.tracker.unfinished == 0 for assignment in app.consumer.assigned.values()):
        await asyncio.sleep(0.001)
    await app.producer.flush()
    cpu_s, wall_s = time.process_time() - began[0], time.monotonic() - began[1]
    await app.stop()
    return cpu_s, wall_s


async def _restore(settings: EngineSettings, source: str) -> tuple[float, float, int]:
    app = EngineApp(settings)
    table = app.bytes_table("rows", _PARTITIONS)
    ready = asyncio.Event()

    @app.agent(app.batch_topic(source))
    async def work(batches) -> None:  # type: ignore[no-untyped-def]
        async for batch in batches:
            batch.release()

    result = (0.0, 0.0, 0)

    class Notes:
        def on_restore(self, name: str, entries: int, seconds: float) -> None:
            nonlocal result
            result = (seconds, time.process_time() - cpu_s, entries)
            ready.set()

        def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
            return lambda *_: None

    app.observer = Notes()  # type: ignore[assignment]
    cpu_s = time.process_time()
    await app.start()
    await ready.wait()
    rows = sum(table.count(number) for number in table.owned())
    await app.stop()
    print(f"    {rows} rows")
    return result


def _bench(bootstrap: str, embedded: bool, store: str, events: int, restore_records: int) -> None:
    prefix = f"b{uuid.uuid4().hex[:8]}."
    source, sink = f"{prefix}in", f"{prefix}out"
    specs = [TopicSpec(name, _PARTITIONS) for name in (source, sink)]
    asyncio.run(ensure_topics(bootstrap, specs))
    loader = multiprocessing.get_context("spawn").Process(target=_load, args=(bootstrap, source, events))
    loader.start()
    loader.join()
    with tempfile.TemporaryDirectory() as directory:
        for kind in ("noop", "direct", "unit"):
            settings = _settings(bootstrap, embedded, store, Path(directory) / kind)
            cpu_s, wall_s = uvloop.run(_process(settings, source, sink, events, kind))
            print(f"  {store:8} {kind:7} {events / cpu_s:10,.0f} events/CPU-s   {events / wall_s:10,.0f} events/s")
        settings = _settings(bootstrap, embedded, store, Path(directory) / "restore")
        changelog = settings.changelog_topic("rows")
        asyncio.run(ensure_topics(bootstrap, [TopicSpec(changelog, _PARTITIONS, config={"cleanup.policy": "compact"})]))
        loader = multiprocessing.get_context("spawn").Process(
            target=_load, args=(bootstrap, changelog, restore_records)
        )
        loader.start()
        loader.join()
        wall_s, cpu_s, entries = uvloop.run(_restore(settings, source))
        print(f"  {store:8} restore {entries:,} records in {wall_s:.2f} s, {cpu_s:.2f} CPU-s with start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--restore", type=int, default=400_000)
    parser.add_argument("--bootstrap", help="a running Kafka; otherwise the embedded broker is started")
    parser.add_argument("--store", choices=("memory", "rocksdb", "both"), default="both")
    args = parser.parse_args()
    stores = ("memory", "rocksdb") if args.store == "both" else (args.store,)
    if args.bootstrap:
        for store in stores:
            _bench(args.bootstrap, False, store, args.events, args.restore)
        return
    for store in stores:
        with EmbeddedBroker() as broker:
            _bench(broker.bootstrap, True, store, args.events, args.restore)


if __name__ == "__main__":
    main()
