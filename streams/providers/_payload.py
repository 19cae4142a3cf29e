"""Reading foreign JSON without surprises: one meaning per key, values of unknown shape, texts of bounded size.

Rules:

1. A repeated key is refused: two parsers that keep different ones would verify one value and use the other.
2. Every getter takes anything and returns its own type; a wrong shape reads as empty, never as an exception.
3. A text that leaves here can be encoded as UTF-8 (JSON may smuggle in half a surrogate pair) and is bounded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parseaddr
from typing import Any

TEXT_LIMIT = 2000
DETAIL_LIMIT = 300
_LATEST_MS = 253_402_300_799_000  # the year 9999
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_EMPTY: Mapping[str, Any] = {}


def json_object(payload: bytes | str) -> dict[str, Any] | None:
    """The JSON object in ``payload``, or None if it is none, is nested absurdly or repeats a key anywhere."""
    try:
        value = _DECODER.decode(payload if isinstance(payload, str) else payload.decode("utf-8"))
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return value if isinstance(value, dict) else None


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("repeated key")
    return result


_DECODER = json.JSONDecoder(object_pairs_hook=_no_repeats)


def mapping(value: object) -> Mapping[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else _EMPTY


def sequence(value: object) -> Sequence[Any]:
    """``value`` if it is an array, else an empty one."""
    return value if isinstance(value, list) else ()


def text(value: object, limit: int = TEXT_LIMIT) -> str:
    """A string or number as bounded text, anything else as empty."""
    if isinstance(value, str):
        cut = value[:limit]
        return cut if cut.isascii() else cut.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return str(value)[:limit]
        except ValueError:  # more digits than Python converts
            return ""
    return ""


def detail(*values: object) -> str:
    """The first non-empty of ``values`` on one line, short enough for an event, and nothing a terminal would obey."""
    for value in values:
        line = " ".join(text(value).split())
        if line:
            return line[:DETAIL_LIMIT] if line.isprintable() else _CONTROL.sub("\ufffd", line[:DETAIL_LIMIT])
    return ""


def whole_number(value: object, most: int) -> int:
    """A whole number between 0 and ``most`` (also written as text), else 0."""
    digits = text(value, 20)
    number = int(digits) if digits.isascii() and digits.isdigit() else 0
    return number if number <= most else 0


def epoch_ms(value: object) -> int:
    """Seconds since 1970 (number or text) as milliseconds, 0 if it is no usable time."""
    try:
        seconds = float(text(value, 40))
    except ValueError:
        return 0
    if not math.isfinite(seconds) or not 0 < seconds * 1000 < _LATEST_MS:
        return 0
    return round(seconds * 1000)


def iso_ms(value: object) -> int:
    """ISO 8601 as milliseconds (also ``2026-01-08T14:05:45 +0000``; without a zone it is UTC), 0 if it is none."""
    written = text(value, 40).replace(" ", "")
    try:
        moment = datetime.fromisoformat(written)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(0, round(moment.timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        return 0


def address(value: object) -> str:
    """The addr-spec in ``value`` (``Name <a@example.com>`` too), empty if there is none."""
    written = text(value, 998)
    if "<" not in written and "," not in written and " " not in written:
        return written if "@" in written else ""
    parsed = parseaddr(written)[1]
    return parsed if "@" in parsed else ""


def is_key(text: str) -> bool:
    """Whether a key or its secret can stand in a header: printable ASCII (empty too). A stray line end could not."""
    return text.isascii() and text.isprintable()


def no_brackets(value: object) -> str:
    """A message id without its one pair of angle brackets."""
    written = text(value, 998).strip()
    return written[1:-1] if written.startswith("<") and written.endswith(">") else written
