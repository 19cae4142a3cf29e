"""Rows that workers of several releases read and write in turn."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.message_state import MessageState
from streams.serde.internal import Malformed, packer
from streams.serde.rows import Rows


@dataclass
class Last:
    name: str
    count: int = 0


@dataclass
class Next:
    name: str
    count: int = 0
    colour: str = "none"
    size: int = 7


def never() -> bytes | None:
    raise AssertionError("nobody need look at the row before")


def test_a_row_of_the_same_release_is_written_without_a_look_at_the_one_before() -> None:
    rows = Rows(Last)
    assert rows.read(rows.write(Last("a", 1), never)) == Last("a", 1)
    assert rows.write(Last("a", 2), never) == packer(Last)(Last("a", 2))


def test_a_row_of_an_older_release_takes_the_defaults() -> None:
    assert Rows(Next).read(packer(Last)(Last("a", 5))) == Next("a", 5)


def test_what_a_newer_release_has_put_into_a_row_stays_there() -> None:
    newer = packer(Next)(Next("a", 1, "red", 9))
    older = Rows(Last)
    row = older.read(newer)
    assert row == Last("a", 1)
    written = older.write(Last("a", 2), lambda: newer)
    assert Rows(Next).read(written) == Next("a", 2, "red", 9)
    again = older.write(Last("a", 3), lambda: written)
    assert Rows(Next).read(again) == Next("a", 3, "red", 9)


def test_a_row_that_is_new_or_has_nothing_unknown_stays_as_it_is() -> None:
    rows = Rows(Last)
    rows.read(packer(Next)(Next("a")))
    for before in (None, b"", b"\xc1", packer(Last)(Last("b"))):
        assert rows.write(Last("a", 2), lambda before=before: before) == packer(Last)(Last("a", 2))  # type: ignore[misc]


@pytest.mark.parametrize("size", [14, 15, 16, 17, 70_000 % 65_536])
def test_maps_of_any_size_are_counted(size: int) -> None:
    newer = msgspec.msgpack.encode({"name": "a", **{f"f{n}": n for n in range(size - 1)}})
    rows = Rows(Last)
    assert rows.read(newer) == Last("a")
    found = msgspec.msgpack.decode(rows.write(Last("b"), lambda: newer))
    assert found == {"name": "b", "count": 0, **{f"f{n}": n for n in range(size - 1)}}


@given(st.binary(max_size=60))
def test_any_bytes_are_a_row_or_a_reason(data: bytes) -> None:
    rows = Rows(MessageState)
    assert isinstance(rows.read(data), (Malformed, MessageState))
