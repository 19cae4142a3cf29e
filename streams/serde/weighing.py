"""How many things a value holds, told before they are made.

Rules:

1. A list or map costs a hundred times its bytes once it is Python objects: 24 MB of empty recipients took 25 seconds
   and 2 GB. So large values are looked through first; small ones (:data:`LOOKED_AT`) cannot do harm.
2. Looking through stops at the limit, and costs nothing where the size lies in bodies and attachments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOOKED_AT = 256 * 1024
"""Bytes; values up to here are decoded as they are."""
MAX_ELEMENTS = 100_000
"""Elements of lists and maps in one Avro value, those of lists in lists included."""
MAX_MARKS = 300_000
"""Commas and opening brackets in one JSON value; those in its texts count too."""


class TooMany(ValueError):
    """The value holds more elements than any request needs."""


def check_json(value: bytes) -> None:
    """Raises :class:`TooMany`."""
    if len(value) > LOOKED_AT and value.count(b",") + value.count(b"{") + value.count(b"[") > MAX_MARKS:
        raise TooMany(f"more than {MAX_MARKS} values in {len(value)} bytes")


def check_avro(writer: Any, value: bytes, start: int) -> None:
    """Raises :class:`TooMany`; ``IndexError``, ``KeyError`` or ``RecursionError`` where ``value`` is not of the
    schema ``writer``, which fastavro has parsed.
    """
    if len(value) > LOOKED_AT:
        _Walk(value, start).skip(writer)


class _Walk:
    """Goes over Avro binary without making anything of it (Avro specification, "Binary encoding")."""

    def __init__(self, value: bytes, start: int) -> None:
        self._value = value
        self._at = start
        self._left = MAX_ELEMENTS
        self._named: dict[str, Any] = {}

    def skip(self, node: Any) -> None:
        """Over one value of this type."""
        if isinstance(node, str):
            if node in _FIXED:
                self._at += _FIXED[node]
            elif node in ("int", "long"):
                self._long()
            elif node in ("string", "bytes"):
                self._text()
            else:
                self.skip(self._named[node])
        elif isinstance(node, list):
            self.skip(node[self._length()])
        else:
            self._skip_complex(node)

    def _skip_complex(self, node: Mapping[str, Any]) -> None:
        if "name" in node:
            self._named[node["name"]] = node
        match node["type"]:
            case "record" | "error":
                for field in node["fields"]:
                    self.skip(field["type"])
            case "enum":
                self._long()
            case "fixed":
                self._at += node["size"]
            case "array":
                self._blocks(node["items"], keyed=False)
            case "map":
                self._blocks(node["values"], keyed=True)
            case inner:
                self.skip(inner)

    def _blocks(self, items: Any, *, keyed: bool) -> None:
        while count := self._long():
            if count < 0:
                count = -count
                self._long()  # the block's size in bytes
            self._left -= count
            if self._left < 0:
                raise TooMany(f"more than {MAX_ELEMENTS} elements in {len(self._value)} bytes")
            for _ in range(count):
                if keyed:
                    self._text()
                self.skip(items)

    def _text(self) -> None:
        length = self._length()  # which moves on
        self._at += length

    def _length(self) -> int:
        length = self._long()
        if length < 0:
            raise IndexError("a negative length")
        return length

    def _long(self) -> int:
        value, at, shift, result = self._value, self._at, 0, 0
        while True:
            byte = value[at]
            at += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise IndexError("a number beyond 64 bits")
        self._at = at
        return (result >> 1) ^ -(result & 1)


_FIXED = {"null": 0, "boolean": 1, "float": 4, "double": 8}
