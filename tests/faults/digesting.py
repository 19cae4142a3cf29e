"""A worker that can be asked what its tables hold: on SIGUSR1, and when its tables have been restored, it writes a digest.

    python -m tests.faults.digesting          # instead of `streams worker`, with STREAMS_DIGEST=FILE

The digest of a table is the number of its rows and the sum of their hashes, so that order does not matter.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

VARIABLE = "STREAMS_DIGEST"
_MASK = (1 << 64) - 1


@dataclass(slots=True)
class Digest:
    """Of one table."""

    rows: int = 0
    hashes: int = 0

    def add(self, partition: int, key: bytes, value: bytes) -> None:
        """A row more; each key once."""
        hashed = blake2b(b"%d %d %b%b" % (partition, len(key), key, value), digest_size=8).digest()
        self.rows += 1
        self.hashes = (self.hashes + int.from_bytes(hashed)) & _MASK

    @classmethod
    def of(cls, rows: Iterable[tuple[int, bytes, bytes]]) -> Self:
        digest = cls()
        for partition, key, value in rows:
            digest.add(partition, key, value)
        return digest


def read(path: Path) -> dict[str, Digest]:
    """What a worker has written, by table."""
    return {name: Digest(**content) for name, content in json.loads(path.read_text(encoding="utf-8")).items()}


def main() -> int:
    """`streams worker`, digesting."""
    from streams.app import create_app
    from streams.cli.logs import log_to_stderr
    from streams.engine import run
    from streams.settings import load_settings

    log_to_stderr(os.environ)
    app = create_app(load_settings())
    path = Path(os.environ[VARIABLE])

    def write(*_: Any) -> None:
        """All at once, so that who waits for the file reads all of it."""
        found = {
            table.name: Digest.of(
                (number, key, value) for number in table.owned() for key, value in table.items(number)
            )
            for table in app.bytes_tables
        }
        new = path.with_suffix(".new")
        new.write_text(json.dumps({name: {"rows": d.rows, "hashes": d.hashes} for name, d in found.items()}))
        new.rename(path)

    async def restored(partition: int) -> None:
        if partition == 0 and not path.exists():  # the first of all callbacks: nothing has been changed yet
            write()

    app._ready_callbacks.insert(0, restored)
    signal.signal(signal.SIGUSR1, write)
    return run(app)


if __name__ == "__main__":
    sys.exit(main())
