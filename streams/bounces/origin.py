"""Whose mail came back: our message id and attempt, wherever a mail may still carry them.

Rules:

1. Looked at in this order: the address the report was sent to (VERP), what the report says of the envelope, the headers
   of the returned mail, then any text. A signed find goes before every unsigned one.
2. Whoever sends a report chooses its contents: an id that nobody signed is a claim (see :mod:`streams.bounces.reader`
   for what it may do).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streams.bounces.mail import Part, groups, headers_of, walk
from streams.core.ids import is_message_id
from streams.core.verp import Trace, trace

ID_HEADER = "x-streams-message-id"
"""``ID.ATTEMPT``, as return paths have it."""

_ENVELOPE = (
    "delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-delivered-to", "apparently-to", "to", "cc",
)  # fmt: skip
_FIELDS = ("original-envelope-id", "original-mail-from")
_RETURNED = (ID_HEADER, "return-path", "x-return-path", "message-id", "x-mailgun-variables", "x-ses-message-tags")
_THREAD = ("in-reply-to", "references")
_VARIABLES = frozenset({"x-mailgun-variables", "x-ses-message-tags"})
_ID = re.compile(r"(?<![a-z2-7])[a-z2-7]{20}-[a-z2-7]{20}(?![a-z2-7])", re.ASCII)
_ATTEMPT = re.compile(r"attempt\W{1,6}(\d{1,4})(?!\d)", re.ASCII)
_MESSAGE_ID = re.compile(r"(?im)^[ \t>]*message-id:\s*<([^<>\s]{3,300})>")
_MAX_TEXT = 131_072
_STATUS = ("message/delivery-status", "message/global-delivery-status", "message/feedback-report")
_HEADERS_ONLY = ("text/rfc822-headers", "message/global-headers")


@dataclass(frozen=True, slots=True)
class Origin:
    """``provider_message_id`` is a Message-ID that is not ours; ``to`` is the returned mail's only addressee."""

    trace: Trace | None = None
    provider_message_id: str = ""
    to: str = ""


def find_origin(mail: Part, keys: Sequence[bytes] = ()) -> Origin:
    """Where the mail that ``mail`` reports on came from."""
    returned = _returned(mail)
    best: Trace | None = None
    for name, value in _candidates(mail, returned):
        found = _variables(value) if name in _VARIABLES else trace(value, keys)
        best = best or found
        if found is not None and found.signed:
            best = found
            break
    theirs = next((value for name, value in returned if name == "message-id"), "") or _quoted_id(mail)
    return Origin(best, _foreign_id(theirs), _only_address([v for n, v in returned if n == "to"]))


def is_embedded(part: Part) -> bool:
    """Whether ``part`` holds a returned mail or its headers."""
    return part.type in ("message/rfc822", "message/global", *_HEADERS_ONLY)


def _returned(mail: Part) -> tuple[tuple[str, str], ...]:
    """The headers of the mail that came back: of the last part that holds one (a forwarder's wrapping is outside)."""
    found: tuple[tuple[str, str], ...] = ()
    for part in walk(mail):
        if part.type in _HEADERS_ONLY:
            found = headers_of(part.body)
        elif is_embedded(part) and part.children:
            inner = part.children[0]
            if not any(child.type in _STATUS for child in walk(inner)):
                found = inner.headers
    return found


def _candidates(mail: Part, returned: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, str]]:
    """Names and values that may carry our id, by rule 1."""
    yield from _values(mail.headers, _ENVELOPE)
    parts = list(walk(mail))
    for part in parts:
        if part.type in _STATUS:
            for fields in groups(part.body):
                yield from _values(tuple(fields.items()), _FIELDS)
    yield from _values(returned, _RETURNED)
    yield from _values(mail.headers, _THREAD)
    for part in parts:
        yield from _values(part.headers, (*_ENVELOPE, *_RETURNED))
        if part.body:
            yield "", part.text()[:_MAX_TEXT]


def _values(headers: tuple[tuple[str, str], ...], wanted: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for one in wanted:
        yield from ((name, value) for name, value in headers if name == one)


def _variables(value: str) -> Trace | None:
    """The id in the variables or tags that a provider copied into the mail."""
    found = _ID.search(value)
    if found is None or not is_message_id(found[0]):
        return None
    attempt = _ATTEMPT.search(value)
    return Trace(found[0], int(attempt[1]) if attempt else 0)


def _quoted_id(mail: Part) -> str:
    """The Message-ID in a copy that is mere text."""
    for part in walk(mail):
        if part.body and part.type.startswith("text/"):
            found = _MESSAGE_ID.search(part.text()[:_MAX_TEXT])
            if found:
                return found[1]
    return ""


def _foreign_id(value: str) -> str:
    """A Message-ID as its provider tells it in an answer: no brackets, and of SES the part before the ``@``."""
    bare = value.strip().strip("<>").strip()[:300]
    if not bare or " " in bare or trace(bare):
        return ""
    local, _, domain = bare.rpartition("@")
    return local if domain.lower().endswith("amazonses.com") else bare


def _only_address(values: Sequence[str]) -> str:
    found = {address.lower() for value in values for address in ADDRESS.findall(value)}
    return found.pop() if len(found) == 1 else ""


ADDRESS = re.compile(
    r"(?<![\w.!#$%&+^{|}~@-])"
    r"[\w!#$%&+^{|}~-][\w.!#$%&'*+/=?^`{|}~-]{0,79}@(?:[\w-]{1,63}\.){1,8}[^\W_][\w-]{0,62}(?![\w@-])"
)
"""An address in free text, also with letters beyond ASCII (RFC 6531); quoted local parts are left out."""
