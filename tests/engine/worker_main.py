"""A worker as a process of its own, for tests that kill it. Configured by the environment (`ENGINE_TEST`: JSON).

It counts: the row of a key is the number of its records, and every count is emitted as an event, in one unit per
batch. `faust -A tests.engine.worker_main worker` starts the same worker.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import AsyncIterable
from pathlib import Path
from typing import Any

from streams.engine import Batch, EngineApp, Unit, run
from tests.engine.support import PARTITIONS, settings_for

SOURCE, SINK, TABLE = "in", "out", "counts"


def environment(bootstrap: str, prefix: str, *, embedded: bool, **changes: Any) -> dict[str, str]:
    """What a child process needs to become this worker."""
    setup = {"bootstrap": bootstrap, "prefix": prefix, "embedded": embedded, "changes": changes}
    return {**os.environ, "ENGINE_TEST": json.dumps(setup), "PYTHONPATH": str(Path.cwd())}


def build() -> EngineApp:
    setup = json.loads(os.environ["ENGINE_TEST"])
    prefix, changes = setup["prefix"], setup["changes"]
    if "data_dir" in changes:
        changes["data_dir"] = Path(changes["data_dir"])
    mode = changes.pop("mode", "count")
    app = EngineApp(settings_for(setup["bootstrap"], f"{prefix}app", embedded=setup["embedded"], **changes))
    counts = app.bytes_table(TABLE, PARTITIONS)

    @app.agent(app.batch_topic(prefix + SOURCE), name="count")
    async def count(batches: AsyncIterable[Batch]) -> None:
        async for batch in batches:
            unit = Unit(app, batch)
            for record in batch.records:
                if mode == "raise":
                    raise LookupError("told to raise")
                number = int(counts.get(batch.partition, record.key) or b"0") + 1
                value = b"%d" % number
                unit.emit(prefix + SINK, batch.partition, record.key, value + b" " + record.value)
                unit.put(counts, record.key, value)
            unit.finish()
            await unit.room()

    if mode == "tick":

        @app.timer(0.05)
        async def tick() -> None:
            app.emit(prefix + SINK, 0, b"tick", b"1 tick")

    return app


app = build() if "ENGINE_TEST" in os.environ else None

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    assert app is not None
    sys.exit(run(app))
