"""Restoring a table from its changelog: ours and stock Faust, from the assignment to the first record that may be read.

The embedded broker tells stock Faust a wrong end of the log, and its restore stops early; so this is measured on Kafka.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from streams.bench.child import Config, Meter
from streams.bench.figures import Comparison, Reading, Target
from streams.bench.lab import REAL, Lab, Options, lab, reading, say
from streams.bench.logs import Row, fill, make_topics

_ENTRIES = 400_000
_PARTITIONS = 4
_ROW_BYTES = 260


def compare(options: Options) -> list[Comparison]:
    """One comparison, rows in memory."""
    with lab(options, preferred=REAL) as place:
        entries = place.amount(_ENTRIES, 1000)
        sides: dict[str, list[Reading]] = {"stock": [], "ours": []}
        for side in sides:
            changelog = f"restore-{side}-rows-changelog"
            make_topics(place.bootstrap, [f"restore-{side}-source"], _PARTITIONS)
            make_topics(place.bootstrap, [changelog], _PARTITIONS, compacted=True)
            fill(place.bootstrap, changelog, _rows(entries))
        for round_ in range(1, options.rounds + 1):
            for side, readings in sides.items():
                readings.append(_measure(place, side, entries))
                last = readings[-1]
                say(f"  round {round_}: {side:6} {last.value:>9,.0f} entries/CPU-s, {last.wall_s:.1f} s")
        if options.profile:
            _measure(place, "ours", entries, place.profile_of("restore"))
        return [
            Comparison(
                "restore",
                f"restore of {entries:,} table entries",
                "stock Faust",
                "entries/CPU-s",
                tuple(sides["ours"]),
                tuple(sides["stock"]),
                Target(8.0),
                place.broker,
            )
        ]


def _measure(place: Lab, side: str, entries: int, profile: str = "") -> Reading:
    config = {"app_id": f"restore-{side}", "source": f"restore-{side}-source", "entries": entries, "profile": profile}
    config["data_dir"] = str(place.directory / place.unique(side))
    return reading(place.run(f"restore:{side}", config))


def _rows(count: int) -> Iterator[Row]:
    noise = random.Random(1).randbytes(_ROW_BYTES * 1024)
    for n in range(count):
        begin = n * 37 % (_ROW_BYTES * 1023)
        yield n % _PARTITIONS, b"%020d-%020d" % (n * 7919 % 10**9, n), noise[begin : begin + _ROW_BYTES]


def ours(config: Config, meter: Meter) -> int:
    """The engine's restore."""
    from pathlib import Path

    from streams.engine import EngineApp, EngineSettings, run

    make = EngineSettings.for_embedded if config["embedded"] else EngineSettings
    app = EngineApp(make(config["bootstrap"], config["app_id"], data_dir=Path(config["data_dir"])))
    rows = app.bytes_table("rows", _PARTITIONS)
    app.on_partitions_assigned.connect(_beginning(meter), weak=False)

    @app.agent(app.batch_topic(config["source"]), name="idle")
    async def idle(batches: Any) -> None:
        async for batch in batches:
            batch.release()

    async def ready(partition: int) -> None:
        if partition == _PARTITIONS - 1:
            _end(meter, config, sum(1 for n in range(_PARTITIONS) for _ in rows.items(n)))

    app.on_partition_ready(ready)
    return run(app)


def stock(config: Config, meter: Meter) -> int:
    """Stock Faust's restore."""
    import faust

    app = faust.App(
        config["app_id"],
        broker=f"kafka://{config['bootstrap']}",
        store="memory://",
        datadir=config["data_dir"],
        topic_partitions=_PARTITIONS,
        web_enabled=False,
        key_serializer="raw",
        value_serializer="raw",
    )
    source = app.topic(config["source"], key_type=bytes, value_type=bytes)
    rows = app.Table("rows", partitions=_PARTITIONS, key_type=bytes, value_type=bytes)
    app.on_partitions_assigned.connect(_beginning(meter), weak=False)

    @app.agent(source, name="idle")
    async def idle(stream: Any) -> None:
        async for _ in stream:
            pass

    @rows.on_recover
    async def ready() -> None:
        _end(meter, config, len(rows))

    faust.Worker(app, loglevel="info").execute_from_commandline()  # never returns


def _beginning(meter: Meter) -> Any:
    async def assigned(*_: Any, **__: Any) -> None:
        meter.begin()

    return assigned


def _end(meter: Meter, config: Config, found: int) -> None:
    if not meter.began:
        return
    meter.end(found)
    if found != config["entries"]:
        raise SystemExit(f"{found} of {config['entries']} entries were restored")
    meter.leave()
