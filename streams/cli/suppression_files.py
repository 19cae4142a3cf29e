"""Suppressions as files: CSV with a header (or bare addresses, one a line) and JSONL, in and out.

Rules:

1. A line becomes an :class:`Entry` or a :class:`BadLine` with its number and a sentence; never both, never neither.
2. What is exported is imported again as it was, but for control characters; and no program that opens it obeys it.
3. Columns of other programs are understood where their meaning is plain (``email``, ``created_at``, ``type``); columns
   that nobody knows are left alone.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, Final

from streams.cli.context import as_json, printable
from streams.core.address import address_fault
from streams.core.request_fields import is_name
from streams.core.suppression import SuppressionKind
from streams.core.suppression_rules import domain_pattern

FORMATS: Final = ("csv", "jsonl")
COLUMNS: Final = ("address", "reason", "scope", "tenant", "list_id", "since", "until", "source", "note")
SCOPES: Final = ("tenant", "list", "everywhere")

_ALIASES: Final = {
    "email": "address",
    "email_address": "address",
    "emailaddress": "address",
    "recipient": "address",
    "domain": "address",
    "kind": "reason",
    "type": "reason",
    "list": "list_id",
    "created_at": "since",
    "created": "since",
    "lastupdatetime": "since",
    "expires_at": "until",
    "detail": "note",
    "error": "note",
    "comment": "note",
}
_REASONS: Final = {
    "": SuppressionKind.MANUAL,
    "hard_bounce": SuppressionKind.BOUNCE,
    "bounced": SuppressionKind.BOUNCE,
    "bounces": SuppressionKind.BOUNCE,
    "spam": SuppressionKind.COMPLAINT,
    "spam_complaint": SuppressionKind.COMPLAINT,
    "complained": SuppressionKind.COMPLAINT,
    "unsubscribed": SuppressionKind.UNSUBSCRIBE,
    "unsubscribes": SuppressionKind.UNSUBSCRIBE,
} | {kind.value: kind for kind in SuppressionKind}
_LONGEST_LINE: Final = 1_000_000
_MAX_NOTE: Final = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One suppression as people see it. ``address`` may be a domain pattern; times in epoch ms, 0 for none."""

    address: str
    reason: SuppressionKind
    scope: str
    tenant: str = ""
    list_id: str = ""
    since_ms: int = 0
    until_ms: int = 0
    source: str = ""
    note: str = ""

    @property
    def is_domain(self) -> bool:
        """Whether it concerns a whole domain."""
        return "@" not in self.address


@dataclass(frozen=True, slots=True)
class BadLine:
    """``number`` counts lines from 1, ``text`` is what stood there, ``why`` a sentence."""

    number: int
    text: str
    why: str


class _Wrong(ValueError):
    """Why a line is none."""


Defaults = Mapping[str, str]
"""What a line that does not say it means: ``reason``, ``scope``, ``tenant``, ``list_id``, ``source``."""


def read_entries(
    file: BinaryIO, form: str, defaults: Defaults, count: Callable[[int], None] = lambda _: None
) -> Iterator[Entry | BadLine]:
    """The entries of a file, line by line; ``count`` is told the bytes read so far."""
    lines = _lines(file, count)
    yield from _jsonl(lines, defaults) if form == "jsonl" else _csv(lines, defaults)


def entry_of(fields: Mapping[str, Any], defaults: Defaults) -> Entry:
    """An entry from named texts; raises ValueError with a sentence."""
    given = {_column(name): value for name, value in fields.items() if value not in (None, "")}
    text = {name: str(value).strip() for name, value in given.items() if not isinstance(value, (dict, list))}
    text = {**{name: value for name, value in defaults.items() if value}, **text}
    address = _address(text.get("address", ""))
    reason = _REASONS.get(text.get("reason", "").lower().replace("-", "_").replace(" ", "_"))
    if reason is None:
        raise _Wrong(f"{text['reason']!r:.60} is no reason: {', '.join(SuppressionKind)}")
    scope = text.get("scope", "").lower() or ("list" if text.get("list_id") else "tenant")
    if scope not in SCOPES:
        raise _Wrong(f"{scope!r:.60} is no scope: {', '.join(SCOPES)}")
    tenant = "" if scope == "everywhere" else text.get("tenant", "")
    if tenant and not is_name(tenant):
        raise _Wrong(f"{tenant!r:.60} is no tenant's name")
    if scope != "everywhere" and not tenant:
        raise _Wrong("names no tenant")
    list_id = text.get("list_id", "") if scope == "list" else ""
    if scope == "list" and (not list_id or "@" not in address):
        raise _Wrong("has the scope list, but " + ("a domain has no list" if list_id else "names no list"))
    since_ms, until_ms = when_ms(text.get("since", "")), when_ms(text.get("until", ""))
    note = " ".join(text.get("note", "").split())[:_MAX_NOTE]
    return Entry(address, reason, scope, tenant, list_id, since_ms, until_ms, text.get("source", "")[:64], note)


def when_ms(text: str) -> int:
    """RFC 3339, a date, RFC 2822 or epoch (seconds or milliseconds); 0 for nothing. Raises ValueError."""
    if not text:
        return 0
    if text.isdigit() and len(text) in (10, 13):
        return int(text) * (1000 if len(text) == 10 else 1)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            raise _Wrong(f"{text!r:.60} is no time such as 2026-01-31T12:00:00Z") from None
    at_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    if at_ms <= 0:
        raise _Wrong(f"{text!r:.60} lies before 1970")
    return at_ms


def row_of(entry: Entry) -> dict[str, str]:
    """The entry under the names of the columns, times in RFC 3339."""
    return {
        "address": entry.address,
        "reason": entry.reason.value,
        "scope": entry.scope,
        "tenant": entry.tenant,
        "list_id": entry.list_id,
        "since": time_text(entry.since_ms),
        "until": time_text(entry.until_ms),
        "source": entry.source,
        "note": entry.note,
    }


def time_text(at_ms: int) -> str:
    """RFC 3339 in UTC; empty for none."""
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def written(entries: Iterable[Entry], form: str) -> Iterator[str]:
    """The lines of a file, with their ends."""
    if form == "jsonl":
        for entry in entries:
            yield as_json({k: v for k, v in row_of(entry).items() if v}) + "\n"
        return
    line = io.StringIO()
    writer = csv.DictWriter(line, COLUMNS, lineterminator="\n")
    writer.writeheader()
    yield line.getvalue()
    for entry in entries:
        line.seek(0)
        line.truncate()
        writer.writerow({name: _cell(text) for name, text in row_of(entry).items()})
        yield line.getvalue()


def _cell(text: str) -> str:
    """Neither an order to a terminal nor, in a spreadsheet, a formula; the blank is gone again when it is read."""
    plain = printable(text, lines=False)
    return f" {plain}" if plain[:1] in ("=", "+", "-", "@") else plain


# ------------------------------------------------------------------------------------------------ reading


def _lines(file: BinaryIO, count: Callable[[int], None]) -> Iterator[str]:
    """Text lines with their ends; bytes that are no UTF-8 stay recognisable."""
    size, first = 0, True
    while raw := file.readline(_LONGEST_LINE):
        size += len(raw)
        count(size)
        text = raw.decode("utf-8", "surrogateescape")
        yield text.removeprefix("\ufeff") if first else text
        first = False


def _jsonl(lines: Iterable[str], defaults: Defaults) -> Iterator[Entry | BadLine]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            _check_text(line)
            fields = json.loads(line)
            if isinstance(fields, str):
                fields = {"address": fields}
            if not isinstance(fields, dict):
                raise _Wrong("is no JSON object")
            yield entry_of(fields, defaults)
        except RecursionError:
            yield BadLine(number, line.rstrip("\r\n"), "is nested too deeply")
        except ValueError as exc:
            yield BadLine(number, line.rstrip("\r\n"), str(exc))


def _csv(lines: Iterable[str], defaults: Defaults) -> Iterator[Entry | BadLine]:
    kept: list[str] = []

    def noted() -> Iterator[str]:
        for line in lines:
            kept.append(line)
            yield line

    reader = csv.reader(noted(), strict=True)
    columns: list[str] | None = None
    while True:
        begun = reader.line_num + 1
        kept.clear()
        try:
            row = next(reader, None)
        except csv.Error as exc:
            yield BadLine(begun, "".join(kept).rstrip("\r\n"), f"is no CSV: {exc}")
            continue
        if row is None:
            return
        if not any(cell.strip() for cell in row):
            continue
        if columns is None:
            columns = _header(row)
            if columns:
                continue
        yield _csv_line(begun, row, columns or ["address"], "".join(kept).rstrip("\r\n"), defaults)


def _csv_line(number: int, row: list[str], columns: list[str], text: str, defaults: Defaults) -> Entry | BadLine:
    try:
        _check_text(text)
        if len(row) > len(columns):
            raise _Wrong(f"has {len(row)} columns, the header {len(columns)}")
        return entry_of(dict(zip(columns, row, strict=False)), defaults)
    except ValueError as exc:
        return BadLine(number, text, str(exc))


def _header(row: list[str]) -> list[str]:
    """The columns' names, or nothing if the first line is an entry already."""
    names = [_column(cell) for cell in row]
    return names if "address" in names else []


def _column(name: str) -> str:
    lower = name.strip().lower().replace(" ", "_")
    return _ALIASES.get(lower, lower)


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise _Wrong("is not UTF-8 text")


def _address(text: str) -> str:
    if not text:
        raise _Wrong("names no address")
    if "@" in text.lstrip("@"):
        if fault := address_fault(text):
            raise _Wrong(f"{text!r:.80} {fault}")
        return text
    pattern = domain_pattern(text)
    if not pattern or "." not in pattern.removeprefix("*."):
        raise _Wrong(f"{text!r:.80} is neither an address nor a domain such as example.com or *.example.com")
    return pattern
