"""Texts with `%recipient.key%` placeholders, address lists and times, as Mailgun reads them. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from email.utils import getaddresses, parsedate_to_datetime
from math import isfinite
from typing import Any, Final

_ADDRESS: Final = re.compile(r'[^\s@<>(),;:"\[\]\\]+@(?:[^\s@<>(),;:"\[\]\\.]+\.)+[^\s@<>(),;:"\[\]\\.]+')
_NAMED: Final = re.compile(r"[^<>@]*<\s*([^<>\s]+)\s*>")
_PLACEHOLDER: Final = re.compile(r"%recipient(?:\.([A-Za-z0-9_\-]+))?%")


class Refused(Exception):
    """The call is answered with `status` and nothing is queued."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Text:
    """A value, split once at its placeholders; `constant` when there are none (or no batch that replaces them)."""

    __slots__ = ("_fixed_bytes", "_keys", "_pieces", "constant", "source")

    def __init__(self, source: str, batch: bool) -> None:
        self.source = source
        self.constant = not batch or "%recipient" not in source
        if self.constant:
            return
        self._pieces = _PLACEHOLDER.split(source)
        self._fixed_bytes = sum(len(piece.encode()) for piece in self._pieces[::2])
        self._keys = Counter(self._pieces[1::2])

    def render(self, values: dict[str, Any], address: str) -> str:
        """The value for one recipient."""
        if self.constant:
            return self.source
        pieces = self._pieces.copy()
        for position in range(1, len(pieces), 2):
            pieces[position] = _replacement(pieces[position], values, address)
        return "".join(pieces)

    def size(self, values: dict[str, Any], address: str) -> int:
        """Bytes of the value for one recipient, without building it."""
        if self.constant:
            return len(self.source) if self.source.isascii() else len(self.source.encode())
        placed = (len(_replacement(key, values, address).encode()) * times for key, times in self._keys.items())
        return self._fixed_bytes + sum(placed)


def _replacement(key: str | None, values: dict[str, Any], address: str) -> str:
    if key is None:
        return address
    value = values.get(key, values)
    if value is values:
        return f"%recipient.{key}%"
    return value if isinstance(value, str) else json.dumps(value)


def bare_addresses(values: Iterable[str], parameter: str) -> list[str]:
    """The addresses of comma lists, duplicates dropped in any case. Raises Refused for a malformed one."""
    found: dict[str, str] = {}
    for value in values:
        for piece in [f"<{pair[1]}>" for pair in getaddresses([value])] if '"' in value else value.split(","):
            address = piece.strip()
            if address.endswith(">") and (named := _NAMED.fullmatch(address)):
                address = named[1]
            if _ADDRESS.fullmatch(address) is None or len(address) > 320 or address[0] == "." or ".@" in address:
                raise Refused(400, f"{parameter} parameter is not a valid address. please check documentation")
            found.setdefault(address.lower(), address)
    return list(found.values())


def moment_ms(text: str) -> int:
    """Epoch seconds or an RFC 2822 date, in epoch milliseconds. Raises ValueError for anything else."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp()
        except (TypeError, OverflowError, IndexError) as error:
            raise ValueError(f"not a date: {text!r}") from error
    if not isfinite(seconds):
        raise ValueError(f"not a time: {text!r}")
    return int(seconds * 1000)
