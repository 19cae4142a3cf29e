"""What tells two states apart: values without identities, and times by what they can still mean.

A time that lies ahead is told as the milliseconds until then, past times by their order alone: so a world that waits
for the second time in the same way is the same world.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any

from streams.core.breaker import BreakerRecord
from streams.core.ledger import AttemptRow
from streams.core.message_state import MessageState
from streams.serde.internal import packer, unpacker

_EARLIEST_MS, _LATEST_MS = 1_600_000_000_000, 1_900_000_000_000
_TIME = "@"


class Canon:
    """Collects the parts of one state, then gives its key."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms
        self._parts: list[Hashable] = []
        self._times: list[int] = []

    def add(self, *values: Any) -> None:
        """Anything made of plain values, dataclasses, tuples, lists, sets and dictionaries."""
        for value in values:
            self._parts.append(_skeleton(value, self._times))

    def add_bytes(self, data: bytes | None, read: Callable[[bytes], Any]) -> None:
        """A record or a row; ``read`` says what it holds."""
        skeleton, times = _of_bytes(data, read)
        self._parts.append(skeleton)
        self._times += times

    def key(self) -> bytes:
        """16 bytes; equal for states that cannot be told apart."""
        past = {at: rank for rank, at in enumerate(sorted({at for at in self._times if at <= self._now_ms}))}
        times = [(past[at] if at in past else f"+{at - self._now_ms}") for at in self._times]
        return blake2b(repr((self._parts, times)).encode(), digest_size=16).digest()


@lru_cache(maxsize=50_000)
def _of_bytes(data: bytes | None, read: Callable[[bytes], Any]) -> tuple[Hashable, tuple[int, ...]]:
    """The same few rows and records are met again and again."""
    times: list[int] = []
    return (None if data is None else _fields_of(read(data), times)), tuple(times)


_pack = packer(object)


@cache
def _reader(cls: type) -> Callable[[bytes], Any]:
    return unpacker(cls)


@cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls))


def _skeleton(value: Any, times: list[int]) -> Hashable:
    if value is None or isinstance(value, str | bytes | bool | Enum):
        return str(value) if isinstance(value, Enum) else value
    if isinstance(value, int):
        if _EARLIEST_MS < value < _LATEST_MS:
            times.append(value)
            return _TIME
        return value
    if isinstance(value, tuple | list):
        return tuple(_skeleton(one, times) for one in value)
    if isinstance(value, Mapping):
        return tuple((_skeleton(name, times), _skeleton(value[name], times)) for name in sorted(value, key=repr))
    if isinstance(value, set | frozenset):
        return tuple(_skeleton(one, times) for one in sorted(value, key=repr))
    if isinstance(value, AttemptRow | MessageState | BreakerRecord):
        skeleton, found = _of_bytes(_pack(value), _reader(type(value)))
        times += found
        return skeleton
    return _fields_of(value, times)


def _fields_of(value: Any, times: list[int]) -> Hashable:
    if is_dataclass(value):
        cls = type(value)
        return (cls.__name__, *(_skeleton(getattr(value, name), times) for name in _names(cls)))
    raise TypeError(f"{type(value).__name__} has no canonical form")
