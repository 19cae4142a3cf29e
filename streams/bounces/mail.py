"""Reads any bytes as a mail, within fixed bounds of time, memory and depth.

Bounces come from anybody and are broken in every way, so nothing here raises and nothing is refused: what is no mail
reads as a mail without headers. Rules:

1. Every step is linear in its input, and the input is cut: ``MAX_BYTES`` of mail, ``MAX_HEADERS`` per part,
   ``MAX_PARTS`` parts, ``MAX_DEPTH`` levels. What lies beyond is not there.
2. A multipart whose closing boundary is missing (a mail cut short) ends where the bytes end.
3. Charsets come from a list: codecs that are slow, warn or execute an escape language are not asked.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import MessageError
from email.header import decode_header
from quopri import decodestring

MAX_BYTES = 1_048_576
MAX_DEPTH = 12
MAX_PARTS = 64
MAX_HEADERS = 400
MAX_VALUE = 4_096
"""Characters of one header's value."""

MAX_GROUPS = 100

_MAX_HEADER_BYTES = 131_072
_MAX_LINES = 20_000
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")
_NAME = re.compile(rb"[!-9;-~]{1,120}(?=[ \t]*:)")
_PARAMETER = re.compile(r';\s*([A-Za-z][A-Za-z0-9_-]{0,40})(?:\*0?\*?)?\s*=\s*(?:"([^"]{0,300})"?|([^\s;"]{1,300}))')
_CHARSET = re.compile(
    r"(?:us-)?ascii|utf-?8|iso-?8859-\d\d?|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|gb2312|gbk|gb18030|big5"
    r"|shift[_-]jis|iso-2022-jp|euc-(?:jp|kr)|ks_c_5601-1987|utf-16(?:[bl]e)?|latin-?1|macintosh|tis-620",
    re.ASCII | re.IGNORECASE,
)
_TAG = re.compile(r"<[^<>]{0,4000}>")
_UNSEEN = ("style", "script", "head")  # elements whose text nobody sees
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/h\d)\b[^<>]{0,200}>", re.IGNORECASE)
_ENTITIES = {"&lt;": "<", "&gt;": ">", "&nbsp;": " ", "&quot;": '"', "&#64;": "@", "&#39;": "'", "&amp;": "&"}


@dataclass(frozen=True, slots=True)
class Part:
    """A mail, or one part of it. ``headers`` have lower-case names and unfolded values; ``type`` is in lower case.

    ``children`` are the parts of a multipart, or the one mail inside a ``message/*``. ``body`` has its transfer
    encoding taken off.
    """

    headers: tuple[tuple[str, str], ...]
    type: str
    parameters: dict[str, str]
    body: bytes = b""
    children: tuple[Part, ...] = ()

    def header(self, name: str) -> str:
        """The first header of that name (lower case), words decoded; empty if there is none."""
        return next((readable(value) for key, value in self.headers if key == name), "")

    def all(self, name: str) -> tuple[str, ...]:
        """Every header of that name, as it stands."""
        return tuple(value for key, value in self.headers if key == name)

    def text(self) -> str:
        """The body as text; of HTML what a person sees."""
        return _without_tags(decoded(self)) if self.type == "text/html" else decoded(self)


@dataclass(slots=True)
class _Room:
    """How many parts may still be read."""

    parts: int = MAX_PARTS


def read(raw: bytes) -> Part:
    """``raw`` as a mail."""
    return _part(raw[:MAX_BYTES].lstrip(b"\r\n"), 0, _Room(), "text/plain")


def walk(part: Part) -> Iterator[Part]:
    """``part`` and everything inside, in order."""
    yield part
    for child in part.children:
        yield from walk(child)


def headers_of(raw: bytes) -> tuple[tuple[str, str], ...]:
    """The header fields at the start of ``raw``; names in lower case, values unfolded, odd lines left out."""
    found: list[tuple[str, list[str]]] = []
    for number, line in enumerate(_LINE.split(raw[:_MAX_HEADER_BYTES], MAX_HEADERS * 20)):
        if line[:1] in (b" ", b"\t"):
            if found and len(found[-1][1]) < 100:
                found[-1][1].append(_ascii_or_utf8(line.strip()))
            continue
        name = _NAME.match(line)
        if name is None:
            if number == 0 and line.startswith((b"From ", b">From ")):
                continue
            if line:
                continue
            break
        if len(found) == MAX_HEADERS:
            break
        value = line[name.end() :].lstrip(b" \t")[1:].strip()
        found.append((name[0].decode("ascii").lower(), [_ascii_or_utf8(value)]))
    return tuple((name, " ".join(lines)[:MAX_VALUE]) for name, lines in found)


def groups(body: bytes) -> tuple[dict[str, str], ...]:
    """Header fields in groups that empty lines separate (RFC 3464 §2.1, RFC 5965 §3); the first of a name counts."""
    found: list[dict[str, str]] = []
    block: list[bytes] = []
    for line in (*_LINE.split(body[:MAX_BYTES], _MAX_LINES), b""):
        if line.strip():
            block.append(line)
            continue
        fields: dict[str, str] = {}
        for name, value in headers_of(b"\n".join(block)) if block else ():
            fields.setdefault(name, value)
        if fields:
            found.append(fields)
        block = []
        if len(found) == MAX_GROUPS:
            break
    return tuple(found)


def readable(value: str) -> str:
    """A header's value with its encoded words (RFC 2047) decoded, where that is possible."""
    if "=?" not in value:
        return value
    try:
        pieces = decode_header(value[:MAX_VALUE])
    except (MessageError, ValueError, LookupError):
        return value
    return "".join(
        piece if isinstance(piece, str) else _decode(piece, charset or "latin-1") for piece, charset in pieces
    )


def decoded(part: Part) -> str:
    """The body as text in the part's charset."""
    return _decode(part.body, part.parameters.get("charset", ""))


def _part(raw: bytes, depth: int, room: _Room, default_type: str) -> Part:
    room.parts -= 1
    end = _END_OF_HEADERS.search(raw[:_MAX_HEADER_BYTES])
    if raw[:1] in (b"\n", b"\r"):  # a part without headers
        head, body = b"", _first_line_off(raw)
    else:
        head, body = (raw[: end.start()], raw[end.end() :]) if end else (raw, b"")
    headers = headers_of(head)
    written = next((value for name, value in headers if name == "content-type"), "")
    kind = written.partition(";")[0].strip().lower() or default_type
    parameters: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(written):
        parameters.setdefault(name.lower(), quoted or plain)
    if kind.startswith("multipart/") and parameters.get("boundary"):
        inner = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        pieces = _pieces(body, parameters["boundary"]) if depth < MAX_DEPTH else iter(())
        children = []
        for piece in pieces:
            if room.parts <= 0:
                break
            children.append(_part(piece, depth + 1, room, inner))
        return Part(headers, kind, parameters, b"" if children else body, tuple(children))
    encoding = next((value for name, value in headers if name == "content-transfer-encoding"), "")
    body = _transferred(body, encoding.strip().lower())
    if kind in ("message/rfc822", "message/global") and depth < MAX_DEPTH and room.parts > 0:
        return Part(headers, kind, parameters, b"", (_part(body.lstrip(b"\r\n"), depth + 1, room, "text/plain"),))
    return Part(headers, kind, parameters, body)


def _pieces(body: bytes, boundary: str) -> Iterator[bytes]:
    """What stands between the boundary's lines; each byte is looked at once."""
    line = re.compile(
        rb"(?:\A|\r\n|\n|\r)--" + re.escape(boundary.encode("utf-8", "replace")) + rb"(--)?[ \t]*(?=[\r\n]|\Z)"
    )
    begin = -1
    for match in line.finditer(body):
        if begin >= 0:
            yield _first_line_off(body[begin : match.start()])
        if match[1]:
            return
        begin = match.end()
    if begin >= 0:
        yield _first_line_off(body[begin:])


def _first_line_off(piece: bytes) -> bytes:
    """A part begins after the line end that closes its boundary."""
    return piece[2:] if piece.startswith(b"\r\n") else piece[1:]


def _transferred(body: bytes, encoding: str) -> bytes:
    if encoding == "base64":
        letters = re.sub(rb"[^A-Za-z0-9+/]", b"", body)
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]
        try:
            return b64decode(letters + b"=" * (-len(letters) % 4))
        except (binascii.Error, ValueError):
            return body
    return decodestring(body) if encoding == "quoted-printable" else body


def _decode(raw: bytes, charset: str) -> str:
    name = charset.strip(" \"'").lower()
    if not name or name == "utf-8" or not _CHARSET.fullmatch(name):
        return _ascii_or_utf8(raw)
    try:
        return raw.decode(name, "replace")
    except (LookupError, ValueError):
        return _ascii_or_utf8(raw)


def _ascii_or_utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _without_tags(html: str) -> str:
    text = html[:MAX_BYTES]
    for name in _UNSEEN:
        text = _without_element(text, name)
    text = _TAG.sub(" ", _BREAK.sub("\n", text))
    for entity, character in _ENTITIES.items():
        text = text.replace(entity, character)
    return text


def _without_element(html: str, name: str) -> str:
    """``html`` without the elements of that name; one that never ends is left alone."""
    folded, kept, begin = html.lower(), [], 0
    if len(folded) != len(html):  # some capitals have longer small letters: then positions would not fit
        return html
    while (start := folded.find(f"<{name}", begin)) >= 0:
        end = folded.find(f"</{name}", start)
        if end < 0:
            break
        kept.append(html[begin:start])
        begin = end
    return "".join((*kept, html[begin:]))
