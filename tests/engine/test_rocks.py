"""Rows in RocksDB: on disk only when acknowledged, equal after a restart."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.engine import EngineSettings, Ticket
from streams.engine.errors import EngineFailure, StoreFailure
from streams.engine.rocks import RocksStore, RocksStores, database_options
from tests.engine.fakes import FakeRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows" / "0"


@pytest.fixture
def store(path: Path) -> Iterator[RocksStore]:
    store = _open(path)
    yield store
    store.close()


def _open(path: Path) -> RocksStore:
    return RocksStore(path, database_options())


def _write(store: RocksStore, ticket: Ticket, **rows: str | None) -> None:
    for key, value in rows.items():
        data = None if value is None else value.encode()
        store.write(key.encode(), data)
        store.logged(ticket, key.encode(), data)


def _ack(store: RocksStore, ticket: Ticket, base: int, records: int) -> None:
    ticket.resolve(base, records)
    store.acked(ticket)


def test_nothing_is_on_disk_before_the_changelog_has_acknowledged(store: RocksStore, path: Path) -> None:
    _write(store, Ticket(), a="1")
    assert store.get(b"a") == b"1"
    store.close()
    again = _open(path)
    assert (again.get(b"a"), again.next_offset) == (None, None)
    again.close()


def test_rows_and_offset_are_equal_after_a_restart(store: RocksStore, path: Path) -> None:
    first, second = Ticket(), Ticket()
    _write(store, first, a="1", b="2", c="3")
    _write(store, second, b=None, c="4")
    _ack(store, first, 0, 3)
    _ack(store, second, 3, 2)
    rows = dict(store.items())
    store.close()
    again = _open(path)
    assert dict(again.items()) == rows == {b"a": b"1", b"c": b"4"}
    assert (again.next_offset, again.count()) == (5, 2)
    again.close()


def test_reads_see_the_newest_write_while_older_ones_are_acknowledged(store: RocksStore) -> None:
    first, second = Ticket(), Ticket()
    _write(store, first, a="1", b="1")
    _write(store, second, a="2", b=None)
    _ack(store, first, 0, 2)
    assert (store.get(b"a"), store.get(b"b")) == (b"2", None)
    assert dict(store.items()) == {b"a": b"2"}


def test_an_acknowledgement_with_a_gap_before_it_does_not_move_the_offset(store: RocksStore) -> None:
    ticket = Ticket()
    _write(store, ticket, a="1")
    _ack(store, ticket, 7, 1)
    assert store.next_offset is None
    assert store.get(b"a") == b"1"


def test_unlogged_rows_can_be_forgotten_without_losing_the_others(store: RocksStore) -> None:
    kept, lost = Ticket(), Ticket()
    _write(store, kept, a="1")
    _ack(store, kept, 0, 1)
    _write(store, lost, a="2")
    store.forget_unlogged()
    _ack(store, lost, 1, 1)
    assert (store.get(b"a"), store.next_offset) == (b"1", 1)


def test_restoring_writes_rows_and_offset(store: RocksStore) -> None:
    store.apply([FakeRecord(0, b"a", b"1"), FakeRecord(3, b"a", b"2"), FakeRecord(4, b"b", None)], 5)
    assert (dict(store.items()), store.next_offset) == ({b"a": b"2"}, 5)
    store.wipe()
    assert (dict(store.items()), store.next_offset) == ({}, None)


def test_a_database_that_cannot_be_opened_is_started_anew(store: RocksStore, path: Path) -> None:
    store.apply([FakeRecord(0, b"a", b"1")], 1)
    store.close()
    (path / "CURRENT").write_text("nonsense")
    again = _open(path)
    assert (again.get(b"a"), again.next_offset) == (None, None)
    again.close()


def test_a_data_directory_belongs_to_one_worker(tmp_path: Path) -> None:
    settings = EngineSettings(bootstrap="nowhere:1", app_id="a", store_url="rocksdb://", data_dir=tmp_path)
    first = RocksStores(settings)
    with pytest.raises(EngineFailure, match="used by another worker"):
        RocksStores(settings)
    first.close()
    RocksStores(settings).close()


@contextlib.contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Writes beyond it fail, as they do on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_the_disk_does_not_take_is_said_and_what_it_has_taken_is_whole(store: RocksStore, path: Path) -> None:
    def write_much() -> None:
        for number in range(1000):
            ticket = Ticket()
            _write(store, ticket, **{f"key-{number}": "x" * 1000})
            _ack(store, ticket, number, 1)

    with files_of_at_most(64 * 1024), pytest.raises(StoreFailure, match=f"{path}: .*too large"):
        write_much()
    store.close()
    again = _open(path)
    assert again.next_offset is not None and 30 < again.next_offset < 70
    assert dict(again.items()).keys() == {f"key-{number}".encode() for number in range(again.next_offset)}
    again.close()


def test_a_database_that_somebody_holds_is_not_taken_for_a_damaged_one(store: RocksStore, path: Path) -> None:
    ticket = Ticket()
    _write(store, ticket, a="1")
    _ack(store, ticket, 0, 1)
    with pytest.raises(StoreFailure, match=str(path)):
        _open(path)
    store.close()
    again = _open(path)
    assert (again.get(b"a"), again.next_offset) == (b"1", 1)
    again.close()


def test_many_tables_share_their_memory_and_what_does_not_fit_goes_to_disk(tmp_path: Path) -> None:
    stores = RocksStores(EngineSettings("127.0.0.1:1", "app", store_url="rocksdb://", data_dir=tmp_path))
    tables = [stores("rows", number) for number in range(12)]
    for row in range(7_000):
        for table in tables:
            ticket = Ticket()
            _write(table, ticket, **{f"key{row}": "x" * 900})
            _ack(table, ticket, row, 1)
    for table in tables:
        assert (table.get(b"key0"), table.get(b"key6999")) == (b"x" * 900, b"x" * 900)
    flushed = sum(file.stat().st_size > 0 for file in tmp_path.rglob("*.sst"))
    for table in tables:
        table.close()
    stores.close()
    assert flushed  # 75 MB in twelve tables, of which each alone might keep 16 MB
