"""The single fields of a send request: each function gives a checked value or raises :class:`Fault` with its place.

``Fault`` never leaves ``core``: :func:`streams.core.request.read_request` makes a value of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from streams.core.address import MAX_NAME, address_fault, header_fault, line_fault
from streams.core.event import ReasonKind
from streams.core.message import Attachment, Mailbox

MAX_COPIES = 50
MAX_DATA_DEPTH = 16
_MAX_KEY = 255
_MAX_TAGS, _MAX_TAG = 10, 128
_MAX_METADATA, _MAX_METADATA_KEY, _MAX_METADATA_VALUE = 32, 64, 1024
_MAX_HEADERS, _MAX_ATTACHMENTS = 50, 50
_LONG = 1 << 63

is_name = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch
_media_type = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(?:;[\x20-\x7e]*)?").fullmatch
_content_id = re.compile(r"[!-;=?-~]{1,200}").fullmatch


class Fault(Exception):
    """``where`` is a field's path, ``what`` goes on with the sentence."""

    def __init__(self, where: str, what: str, kind: ReasonKind = ReasonKind.INVALID_REQUEST) -> None:
        self.where, self.what, self.kind = where, what, kind


def mailbox(entry: Mapping[str, Any], where: str) -> Mailbox:
    email, name = entry["email"], entry.get("name") or ""
    if fault := address_fault(email):
        raise Fault(f"{where}.email", fault, ReasonKind.INVALID_ADDRESS)
    if name and (fault := line_fault(name, MAX_NAME)):
        raise Fault(f"{where}.name", fault)
    return Mailbox(email, name)


def mailboxes(record: Mapping[str, Any], name: str) -> tuple[Mailbox, ...]:
    given = record.get(name)
    if not given:
        return ()
    if len(given) > MAX_COPIES:
        raise Fault(name, f"has {len(given)} entries, at most {MAX_COPIES} are allowed")
    return tuple(mailbox(entry, f"{name}[{index}]") for index, entry in enumerate(given))


def attachments(given: Sequence[Mapping[str, Any]]) -> tuple[Attachment, ...]:
    if not given:
        return ()
    if len(given) > _MAX_ATTACHMENTS:
        raise Fault("attachments", f"has {len(given)} entries, at most {_MAX_ATTACHMENTS} are allowed")
    return tuple(_attachment(entry, f"attachments[{index}]") for index, entry in enumerate(given))


def _attachment(entry: Mapping[str, Any], where: str) -> Attachment:
    filename, data, url = entry["filename"], entry.get("data"), entry.get("url") or ""
    content_type = entry.get("content_type") or "application/octet-stream"
    content_id = entry.get("content_id") or ""
    if not filename or "/" in filename or "\\" in filename or line_fault(filename, 255):
        raise Fault(f"{where}.filename", "is no plain file name")
    if not _media_type(content_type):
        raise Fault(f"{where}.content_type", "is no media type such as application/pdf")
    if (data is None) == (not url):
        raise Fault(where, "needs exactly one of data and url")
    if url and (not url.startswith(("https://", "s3://")) or line_fault(url, 2048) or " " in url):
        raise Fault(f"{where}.url", "is neither an https nor an s3 URL")
    if content_id and not _content_id(content_id):
        raise Fault(f"{where}.content_id", "is no content id (printable ASCII without angle brackets)")
    return Attachment(filename, content_type, data or b"", url, content_id)


def idempotency_key(given: Any) -> str:
    if not isinstance(given, str) or not given.strip():
        raise Fault("idempotency_key", "is missing")
    if len(given) > _MAX_KEY or line_fault(given):
        raise Fault("idempotency_key", f"may have at most {_MAX_KEY} characters and no control characters")
    return given


def matching(record: Mapping[str, Any], name: str, pattern: Any, what: str) -> str:
    text: str = record.get(name) or ""
    if text and not pattern(text):
        raise Fault(name, what)
    return text


def named(record: Mapping[str, Any], name: str) -> str:
    return matching(record, name, is_name, "is no name (letters, digits, dots, hyphens and underscores, at most 64)")


def one_of(record: Mapping[str, Any], name: str, choices: Any, default: Any) -> Any:
    text = record.get(name)
    if not text:
        return default
    try:
        return choices(text)
    except ValueError:
        raise Fault(name, f"is {text!r:.60}, but must be one of {', '.join(choices)}") from None


def headers(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not given:
        return ()
    if len(given) > _MAX_HEADERS:
        raise Fault("headers", f"has {len(given)} entries, at most {_MAX_HEADERS} are allowed")
    seen: set[str] = set()
    for name, value in given.items():
        where = f"headers[{name[:80]!r}]"
        if fault := header_fault(name) or line_fault(value):
            raise Fault(where, fault)
        if name.lower() in seen:
            raise Fault(where, "is given twice")
        seen.add(name.lower())
    return tuple(sorted(given.items()))  # equal headers are equal content, in whatever order they were written


def tags(given: Sequence[str]) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(given))
    if len(tags) > _MAX_TAGS:
        raise Fault("tags", f"has {len(tags)} entries, at most {_MAX_TAGS} are allowed")
    for index, tag in enumerate(tags):
        if not tag or line_fault(tag, _MAX_TAG):
            raise Fault(f"tags[{index}]", f"must have 1 to {_MAX_TAG} characters and no control characters")
    return tags


def metadata(given: Mapping[str, str]) -> dict[str, str]:
    if len(given) > _MAX_METADATA:
        raise Fault("metadata", f"has {len(given)} entries, at most {_MAX_METADATA} are allowed")
    for key, value in given.items():
        if not key or len(key) > _MAX_METADATA_KEY or len(value) > _MAX_METADATA_VALUE:
            limits = f"{_MAX_METADATA_KEY} characters of name and {_MAX_METADATA_VALUE} of value"
            raise Fault(f"metadata[{key[:80]!r}]", f"may have at most {limits}")
    return dict(given)


def data_of(given: dict[str, Any], where: str) -> dict[str, Any]:
    for key, value in given.items():
        if type(value) is not str:
            _check_value(value, f"{where}[{key[:80]!r}]", 1)
    return given


def _check_value(value: Any, where: str, depth: int) -> None:
    """JSON values that fit 64 bits, nested no deeper than people read."""
    if isinstance(value, int):
        if not -_LONG <= value < _LONG:
            raise Fault(where, "is a number beyond 64 bits")
    elif isinstance(value, (list, dict)):
        if depth >= MAX_DATA_DEPTH:
            raise Fault(where, f"is nested more than {MAX_DATA_DEPTH} levels deep")
        for item in value.values() if isinstance(value, dict) else value:
            _check_value(item, where, depth + 1)
    elif value is not None and not isinstance(value, (str, float)):
        raise Fault(where, f"is a {type(value).__name__}, which has no place in a template")
