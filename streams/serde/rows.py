"""The rows of one table, read and written by workers of different releases at once.

Rules:

1. A row is a msgpack map by field names. A field that is missing takes its default, so rows of older releases
   are read.
2. A field that this release does not know is skipped when a row is read, and kept when the row is written again: a
   worker of the release before the last one must not take from a row what the newer ones have put there.
3. As long as no such row has been met, which is always so but during an upgrade, this costs nothing.

What is kept are the fields of the row itself, not those of values within it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Generic, TypeVar

import msgspec

from streams.serde.internal import Malformed, packer, unpacker

T = TypeVar("T")

_FIXMAP, _MAP16 = 0x80, 0xDE
_decode: Callable[[bytes], object] = msgspec.msgpack.Decoder().decode
_encode: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


class Rows(Generic[T]):
    """Reads and writes rows of the dataclass ``cls``."""

    def __init__(self, cls: type[T]) -> None:
        self._names = frozenset(f.name for f in fields(cls))  # type: ignore[arg-type]
        self._size = len(self._names)
        self._write = packer(cls)
        self._read = unpacker(cls)
        self._met_newer = False

    def read(self, data: bytes) -> T | Malformed:
        """The row, or why there is none."""
        if not self._met_newer and _entries(data) > self._size:
            self._met_newer = True
        return self._read(data)

    def write(self, row: T, before: Callable[[], bytes | None]) -> bytes:
        """The bytes of a row that takes the place of ``before()``, which is asked for only when it may matter."""
        data = self._write(row)
        if not self._met_newer:
            return data
        old = before()
        if old is None or _entries(old) <= self._size:
            return data
        return self._with_unknown(data, old)

    def _with_unknown(self, data: bytes, old: bytes) -> bytes:
        known, newer = _decode(data), _decode(old)
        if not isinstance(known, dict) or not isinstance(newer, dict):
            return data
        unknown = {name: value for name, value in newer.items() if name not in self._names}
        return _encode(known | unknown)


def _entries(data: bytes) -> int:
    """How many entries a map has by its header; 0 for what is no map of this size."""
    if not data:
        return 0
    first = data[0]
    if first == _MAP16 and len(data) > 2:
        return data[1] << 8 | data[2]
    return first & 0x0F if first & 0xF0 == _FIXMAP else 0
