"""The internal encoding: one kind byte, then msgpack of a dataclass. Nobody outside reads it.

Rules:

1. A kind byte is never reused for another class; 0x00, 0x7B and 0xC3 stay free, so that a record of ours is
   never taken for a public encoding.
2. Fields are written by name: a field that the reader does not know is skipped, one that is missing takes its
   default. So a class may gain (with defaults) and lose fields while old and new workers run side by side.
3. Bytes that cannot be read are a value (:class:`Malformed`), never an exception.
4. Rows of one table have one class and no kind byte: :func:`packer` and :func:`unpacker`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import msgspec

from streams.core.alerts import Trouble
from streams.core.breaker import OutcomeSum
from streams.core.command import Cancel, NoProof, Retry, Settle
from streams.core.message import Content, Message
from streams.core.receipt import Receipt
from streams.core.suppression import SuppressionChange

T = TypeVar("T")

Packable = Any
"""An instance of a class in the table of kinds (checked by :func:`pack`)."""

_CORE_KINDS: tuple[tuple[int, type], ...] = (
    (0x01, Message),
    (0x02, Content),
    (0x03, Receipt),
    (0x04, Retry),
    (0x05, Cancel),
    (0x06, Settle),
    (0x07, NoProof),
    (0x08, OutcomeSum),
    (0x09, SuppressionChange),
    (0x0A, Trouble),
)
"""0x01..0x1F belong to ``streams.core``; owners elsewhere call :func:`register` with 0x20..0x7A."""

_FORBIDDEN = frozenset((0x00, 0x7B, 0xC3))


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes that are no record of ours; ``detail`` says why and carries none of the content."""

    detail: str


def pack(obj: Packable) -> bytes:
    """The bytes of a record. A class that has no kind is a bug and raises ``KeyError``."""
    return _prefixes[type(obj)] + _encode(obj)


def unpack(data: bytes) -> Packable | Malformed:
    """The record in ``data``, or why there is none."""
    if not data:
        return Malformed("empty")
    decode = _decoders.get(data[0])
    if decode is None:
        return Malformed(f"unknown kind 0x{data[0]:02x}")
    try:
        return decode(memoryview(data)[1:])
    except _UNREADABLE as exc:
        return Malformed(_why(exc))


def register(kind: int, cls: type) -> None:
    """Give a dataclass its kind byte; the same pair again is fine.

    A contradiction is a bug and raises ``ValueError``.
    """
    if not 0 < kind < 256 or kind in _FORBIDDEN:
        raise ValueError(f"0x{kind:02x} cannot be a kind byte")
    prefix = bytes((kind,))
    if _prefixes.get(cls, prefix) != prefix or _owners.get(kind, cls) is not cls:
        raise ValueError(f"kind 0x{kind:02x} or class {cls.__qualname__} is taken")
    _owners[kind] = cls
    _prefixes[cls] = prefix
    _decoders[kind] = msgspec.msgpack.Decoder(cls).decode


def pack_like(prototype: Packable, *varying: str) -> Callable[..., bytes]:
    """Packs records that differ from ``prototype`` in the fields ``varying`` alone, given in that order.

    What they share is encoded once, so a campaign's messages cost a third. :func:`unpack` sees no difference.
    """
    if not 0 < len(varying) < _FIXMAP:
        raise ValueError("between 1 and 15 fields may vary")
    names = [f.name for f in fields(prototype)]
    same = [name for name in names if name not in varying]
    head = _prefixes[type(prototype)] + b"\xde" + len(names).to_bytes(2, "big")  # a msgpack map of that many fields
    head += b"".join(_encode(name) + _encode(getattr(prototype, name)) for name in same)

    def write(*values: Any) -> bytes:
        return head + _encode(dict(zip(varying, values, strict=True)))[1:]  # less its own map header, one byte

    return write


def packer(cls: type[T]) -> Callable[[T], bytes]:
    """Writes instances of ``cls`` without a kind byte (rows of a table)."""
    return _encode


def unpacker(cls: type[T]) -> Callable[[bytes], T | Malformed]:
    """Reads what :func:`packer` of the same class wrote, or says why it cannot."""
    decode = msgspec.msgpack.Decoder(cls).decode

    def read(data: bytes) -> T | Malformed:
        try:
            return decode(data)
        except _UNREADABLE as exc:
            return Malformed(_why(exc))

    return read


_FIXMAP = 16  # msgpack writes maps of fewer entries with a header of one byte

# RecursionError: nested deeper than the interpreter allows. UnicodeDecodeError: text that is not UTF-8.
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


def _why(exc: BaseException) -> str:
    return str(exc)[:200] or type(exc).__name__


_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
_prefixes: dict[type, bytes] = {}
_owners: dict[int, type] = {}
_decoders: dict[int, Callable[[Any], Any]] = {}

for _kind, _cls in _CORE_KINDS:
    register(_kind, _cls)
