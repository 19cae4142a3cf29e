"""Rows in RocksDB, one database per table partition.

Rules:
1. A row reaches the disk when its changelog record is acknowledged: one WriteBatch of rows and offset per
   acknowledged record batch. Until then it lives in an overlay that reads look at first.
2. One worker per data directory, guarded by a lock file.
3. A database that is damaged is destroyed and restored from the changelog. Not so where the disk or its rights are to
   blame (full, read-only, locked): that raises StoreFailure, and so does a write that fails. The worker ends, with
   the changelog as the truth; nothing is committed meanwhile.
4. All databases of a worker share their memory: what is written and not on disk yet, and what was read, together.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteBufferManager, WriteOptions

from streams.engine.errors import EngineFailure, StoreFailure
from streams.engine.settings import EngineSettings
from streams.engine.tickets import Ticket

_logger = logging.getLogger(__name__)

_OFFSET = b"\x00__next_offset"
_WRITE_BUFFER_BYTES = 16 << 20
"""Of one database; there may be hundreds of them."""
_MEMORY_BYTES = 64 << 20
"""Of all together."""
_WRITE_BUFFERS_BYTES = 48 << 20
"""Part of it, of all together; more sends the fullest to disk."""
_BLOCK_BYTES = 64 << 10
"""What a database takes of it at once: most tables have few rows."""
_NOT_DAMAGED = tuple(
    os.strerror(number)
    for number in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOLCK,
    )
)
"""What rocksdict's exceptions, which are all of one kind, say where the database itself may be whole."""


class RocksStores:
    """Opens the databases of one worker under its data directory."""

    def __init__(self, settings: EngineSettings) -> None:
        self._root = settings.data_dir / settings.app_id
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self._root / "LOCK")
        except OSError as exc:
            raise _failure(self._root, exc) from exc
        if settings.embedded:  # the log it belongs to was in memory
            for child in self._root.iterdir():
                if child.is_dir():
                    shutil.rmtree(child)
        self._options = database_options()

    def __call__(self, table: str, partition: int) -> RocksStore:
        return RocksStore(self._root / table / str(partition), self._options)

    def close(self) -> None:
        """Let another worker have the directory."""
        self._lock.close()


class RocksStore:
    """Rows of one partition; see stores.PartitionStore."""

    def __init__(self, path: Path, options: Options) -> None:
        self._path = path
        self._options = options
        self._overlay: dict[bytes, bytes | None] = {}
        self._logged: dict[Ticket, dict[bytes, bytes | None]] = {}
        self._db = self._open()
        offset = self._db.get(_OFFSET)
        self.next_offset = None if offset is None else int(offset)
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        if key in self._overlay:
            return self._overlay[key]
        value: bytes | None = self._db.get(key)
        return value

    def write(self, key: bytes, value: bytes | None) -> None:
        self._overlay[key] = value

    def logged(self, ticket: Ticket, key: bytes, value: bytes | None) -> None:
        rows = self._logged.get(ticket)
        if rows is None:
            rows = self._logged[ticket] = {}
        rows[key] = value

    def acked(self, ticket: Ticket) -> None:
        rows = self._logged.pop(ticket, None)
        if rows is None or self._closed:
            return
        if ticket.base_offset is not None and ticket.base_offset == (self.next_offset or 0):
            self.next_offset = ticket.base_offset + ticket.records
        self._write_through(rows)
        overlay = self._overlay
        missing = object()
        for key, value in rows.items():
            if overlay.get(key, missing) is value:  # not overwritten meanwhile
                del overlay[key]

    def apply(self, records: Sequence[Any], next_offset: int) -> None:
        self.next_offset = next_offset
        self._write_through({record.key: record.value for record in records})

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        overlay = dict(self._overlay)
        for key, value in self._db.items():
            if key != _OFFSET and key not in overlay:
                yield cast(bytes, key), value
        for key, written in overlay.items():
            if written is not None:
                yield key, written

    def count(self) -> int:
        """Walks over all rows."""
        return sum(1 for _ in self.items())

    def forget_unlogged(self) -> None:
        self._overlay.clear()
        self._logged.clear()

    def wipe(self) -> None:
        self.forget_unlogged()
        self._db.close()
        shutil.rmtree(self._path)
        self._db = self._open()
        self.next_offset = None

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            with contextlib.suppress(Exception):  # after a failed write it complains once more
                self._db.close()

    def _write_through(self, rows: dict[bytes, bytes | None]) -> None:
        batch = WriteBatch(raw_mode=True)
        for key, value in rows.items():
            if value is None:
                batch.delete(key)
            else:
                batch.put(key, value)
        if self.next_offset is not None:
            batch.put(_OFFSET, str(self.next_offset).encode())
        try:
            self._db.write(batch, _write_options())
        except Exception as exc:  # rocksdict has no exceptions of its own
            raise _failure(self._path, exc) from exc

    def _open(self) -> Rdict:
        try:
            return self._open_at()
        except Exception as exc:  # see above
            if any(text in str(exc) for text in _NOT_DAMAGED):
                raise _failure(self._path, exc) from exc
            _logger.warning("%s is damaged and restored from its changelog: %s", self._path, exc)
            shutil.rmtree(self._path, ignore_errors=True)
        try:
            return self._open_at()
        except Exception as exc:
            raise _failure(self._path, exc) from exc

    def _open_at(self) -> Rdict:
        self._path.mkdir(parents=True, exist_ok=True)
        return Rdict(str(self._path), options=self._options)


def _failure(path: Path, exc: Exception) -> StoreFailure:
    return StoreFailure(f"the tables cannot be kept in {path}: {' '.join(str(exc).split())}")


def database_options() -> Options:
    """For all databases of one worker."""
    cache = Cache(_MEMORY_BYTES)
    buffers = WriteBufferManager.new_write_buffer_manager_with_cache(_WRITE_BUFFERS_BYTES, False, cache)
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_write_buffer_manager(buffers)
    options.set_arena_block_size(_BLOCK_BYTES)
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    return options


def _write_options() -> WriteOptions:
    """No sync: after a crash of the machine the changelog is the truth, and the offset is written with the rows."""
    return WriteOptions()


def _lock(path: Path) -> IO[str]:
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        lock.close()
        raise EngineFailure(f"{path.parent} is used by another worker; each needs a data_dir of its own") from exc
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
