"""Receipts to delivery events, with state: our agent on our engine, the same work on stock Faust, and in a bare loop.

All three read the same preloaded topic and do the same per receipt: decode it, read the message's row, advance the
state machine, write the row, encode and produce the events with their headers. Rules:

1. Ours is the agent as the worker runs it: metrics, suppressions, audit, and its order of writes (events acknowledged,
   then rows, then the offset).
2. Stock Faust is what its documentation shows: one agent, one event at a time, a Table, ``topic.send``; default
   settings. It is given the partition, so that it need not hash the key.
3. The bare loop keeps rows in a dict: no changelog, nothing to restore from after a crash.
4. A slower side gets fewer receipts of the same mix; a figure is receipts per processor second.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

from streams.bench.child import Config, Meter
from streams.bench.figures import Comparison, Reading, Target
from streams.bench.lab import EMBEDDED, Lab, Options, lab, reading, say
from streams.bench.logs import commit_all, fill, make_topics
from streams.bench.mail import receipts
from streams.core.lifecycle import advance
from streams.core.message_state import MessageState
from streams.serde.events import encode_event, event_headers
from streams.serde.internal import Malformed, packer, unpack, unpacker
from streams.topics import RECEIPTS, Topics

PARTITIONS = 4
_OURS, _STOCK, _BARE = 60_000, 10_000, 60_000

_write, _read = packer(MessageState), unpacker(MessageState)


def compare(options: Options) -> list[Comparison]:
    """Four comparisons: with stock Faust and with the bare loop, rows in memory and in RocksDB."""
    with lab(options, preferred=EMBEDDED) as place:
        source = "bench." + RECEIPTS
        make_topics(place.bootstrap, [source], PARTITIONS)
        fill(place.bootstrap, source, receipts(place.amount(_OURS), PARTITIONS))
        ours: dict[str, list[Reading]] = {"memory": [], "rocksdb": []}
        stock: dict[str, list[Reading]] = {"memory": [], "rocksdb": []}
        bare: list[Reading] = []
        for round_ in range(1, options.rounds + 1):
            for store in ours:
                stock[store].append(_run(place, round_, "stock", source, _STOCK, store))
                ours[store].append(_run(place, round_, "ours", source, _OURS, store))
            bare.append(_run(place, round_, "bare", source, _BARE, ""))
        if options.profile:
            for store in ours:
                profile = {"profile": place.profile_of(f"track, rows in {store}")}
                place.run("track:ours", _config(place, "ours", source, _OURS, store) | profile)
        return [
            comparison
            for store, faster, of_bare in (("memory", 8.0, 0.5), ("rocksdb", 5.0, 1 / 3))
            for comparison in (
                _compared(place, store, "stock Faust", ours[store], stock[store], faster),
                _compared(place, store, "bare consume-produce loop", ours[store], bare, round(of_bare, 3)),
            )
        ]


def _compared(
    place: Lab, store: str, peer: str, ours: list[Reading], theirs: list[Reading], least: float
) -> Comparison:
    return Comparison(
        "track",
        f"receipts to delivery events, rows in {store}",
        peer,
        "receipts/CPU-s",
        tuple(ours),
        tuple(theirs),
        Target(least),
        place.broker,
    )


def _run(place: Lab, round_: int, role: str, source: str, count: int, store: str) -> Reading:
    got = reading(place.run(f"track:{role}", _config(place, role, source, count, store)))
    say(f"  round {round_}: {role} {store or 'dict':8} {got.value:>9,.0f} receipts/CPU-s")
    return got


def _config(place: Lab, role: str, source: str, count: int, store: str) -> dict[str, Any]:
    app_id = place.unique(role)
    topics = Topics(prefix=app_id + ".")
    outputs = [spec.name for spec in topics.specs()] if role == "ours" else [topics.name("delivery-events")]
    make_topics(place.bootstrap, outputs, PARTITIONS)
    return {
        "app_id": app_id,
        "source": source,
        "prefix": topics.prefix,
        "events": topics.name("delivery-events"),
        "count": place.amount(count),
        "store": store,
        "data_dir": str(place.directory / app_id),
    }


# --------------------------------------------------------------------------------------------- the three sides


def fold(rows: MutableMapping[bytes, bytes], value: bytes, now_ms: int) -> Iterator[tuple[bytes, bytes, Any]]:
    """One receipt: the row is read and written, and the events follow as key, value, headers."""
    receipt = unpack(value)
    assert not isinstance(receipt, Malformed)
    key = receipt.message_id.encode()
    row = rows.get(key)
    state = None if row is None else _read(row)
    assert not isinstance(state, Malformed)
    step = advance(state, receipt, now_ms)
    if step.state is not None and step.state is not state:
        rows[key] = _write(step.state)
    for event in step.events:
        yield key, encode_event(event), event_headers(event)


def ours(config: Config, meter: Meter) -> int:
    """Track on the engine, until all receipts are folded and their offsets committed."""
    import gc

    from streams.agents.track import Track, TrackConfig
    from streams.engine import EngineApp, EngineSettings, Unit, run
    from streams.metrics import EngineMetrics, Metrics, TrackMetrics

    changes: dict[str, Any] = {"store_url": f"{config['store']}://", "data_dir": Path(config["data_dir"])}
    make = EngineSettings.for_embedded if config["embedded"] else EngineSettings
    metrics = Metrics()
    app = EngineApp(make(config["bootstrap"], config["app_id"], **changes), EngineMetrics(metrics))
    track = Track(
        app,
        app.bytes_table("messages", PARTITIONS),
        app.bytes_table("suppressions", PARTITIONS),
        Unit,
        TrackConfig(Topics(prefix=config["prefix"]), PARTITIONS),
        _now_ms,
        TrackMetrics(metrics),
    )
    source = app.batch_topic(config["source"])
    folded, wanted = 0, int(config["count"])

    @app.agent(source, name="track")
    async def handle(batches: Any) -> None:
        nonlocal folded
        async for batch in batches:
            meter.begin()
            folded += len(batch.records)
            await track.handle(batch)
            if folded >= wanted:
                await _committed(app, wanted)
                meter.end(folded)
                meter.leave()

    gc.freeze()  # as the worker does
    gc.set_threshold(20_000, 50, 100)
    return run(app)


async def _committed(app: Any, wanted: int) -> None:
    """Wait until every offset is committed, which is after every event and row is acknowledged."""
    import asyncio

    while sum(one.tracker.committed or 0 for one in app.consumer.assigned.values()) < wanted:
        await app.consumer.commit()
        await asyncio.sleep(0.002)


def stock(config: Config, meter: Meter) -> int:
    """The same in stock Faust's own words."""
    import faust

    session_s = 6.0 if config["embedded"] else 60.0  # the embedded broker holds a join for half of it
    app = faust.App(
        config["app_id"],
        broker=f"kafka://{config['bootstrap']}",
        store=f"{config['store']}://",
        datadir=config["data_dir"],
        topic_partitions=PARTITIONS,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=1.0,
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
    )
    raw: dict[str, Any] = {"key_type": bytes, "value_type": bytes}
    source, events = app.topic(config["source"], **raw), app.topic(config["events"], **raw)
    rows = app.Table("messages", partitions=PARTITIONS, **raw)
    folded, wanted = 0, int(config["count"])

    @app.agent(source, name="track")
    async def handle(stream: Any) -> None:
        nonlocal folded
        async for event in stream.events():
            meter.begin()
            partition = event.message.partition
            for key, value, headers in fold(rows, event.value, _now_ms()):
                await events.send(key=key, value=value, headers=headers, partition=partition)
            folded += 1
            if folded == wanted:
                await app.producer.flush()
                await app.commit({config["source"]})
                meter.end(folded)
                meter.leave()

    faust.Worker(app, loglevel="info").execute_from_commandline()  # never returns


def bare(config: Config, meter: Meter) -> int:
    """The same in a loop over librdkafka, rows in a dict."""
    from confluent_kafka import Consumer, Producer

    client = {"bootstrap.servers": config["bootstrap"]}
    group = {"group.id": config["app_id"], "session.timeout.ms": 6000, "auto.offset.reset": "earliest"}
    consumer = Consumer({**client, **group, "enable.auto.commit": False})
    producer = Producer({**client, "acks": "all", "enable.idempotence": not config["embedded"]})
    consumer.subscribe([config["source"]])
    rows: dict[bytes, bytes] = {}
    folded, wanted, committed_s = 0, int(config["count"]), time.monotonic()
    while folded < wanted:
        messages = consumer.consume(500, 1.0)
        if messages:
            meter.begin()
        for message in messages:
            for key, value, headers in fold(rows, message.value() or b"", _now_ms()):
                producer.produce(config["events"], value, key, message.partition() or 0, headers=headers)
            folded += 1
        producer.poll(0)
        if time.monotonic() - committed_s > 1.0:
            producer.flush()
            consumer.commit(asynchronous=True)
            committed_s = time.monotonic()
    producer.flush()
    commit_all(consumer)
    meter.end(folded)
    meter.leave()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
