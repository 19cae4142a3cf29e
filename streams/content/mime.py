"""A whole message (RFC 5322, MIME) for one recipient of a batch.

Rules:

1. The result is pure ASCII with lines of at most 76 characters wherever a fold is possible, whatever comes in: bodies
   travel as quoted-printable, files as base64, names as encoded words (RFC 2047) or parameters after RFC 2231.
2. No value can start a new header: control characters become a space, also where an encoded word of the sender's own
   (RFC 2047) would only show them to whoever decodes it; and names outside the grammar are left out.
3. Headers that this system or a provider must write itself (:data:`RESERVED_HEADERS`) are not taken from the sender.
4. The same input gives the same bytes. A boundary holds ``=_``, which no encoded body can contain.
"""

from __future__ import annotations

import re
from base64 import encodebytes
from binascii import b2a_qp
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.utils import formatdate
from hashlib import blake2b
from urllib.parse import quote

from streams.core.message import Attachment, Mailbox
from streams.providers.base import Batch, Entry, fill

RESERVED_HEADERS = frozenset(
    (
        *("bcc", "cc", "date", "from", "message-id", "reply-to", "sender", "subject", "to"),
        *("content-disposition", "content-id", "content-transfer-encoding", "content-type", "mime-version"),
        *("dkim-signature", "received", "return-path", "x-ses-configuration-set", "x-ses-message-tags"),
    )
)
"""Names (lower case) that ``SendRequest.headers`` may not set. What a provider obeys (``x-mailgun-*``, ``x-ses-*``) may
not be set either."""

_LINE = 76
_MOST_WORDS = 200  # encoded words that are looked into; nobody's subject has more
_CRLF = "\r\n"


def is_header_allowed(name: str) -> bool:
    """Whether the sender may set a header of this name (RFC 5322 §2.2 and :data:`RESERVED_HEADERS`)."""
    lower = name.lower()
    return bool(_HEADER_NAME.fullmatch(name)) and lower not in RESERVED_HEADERS and not lower.startswith(_ORDERS)


def one_line(text: str) -> str:
    """``text`` without anything that could end a header line: control characters become single spaces."""
    return _without_controls(nothing_hidden(text))


def _without_controls(text: str) -> str:
    if text.isprintable():
        return text
    plain = text.encode("utf-8", "replace").decode("utf-8")
    return _BLANK.sub(lambda run: " " if _CONTROL.search(run[0]) else run[0], plain).strip()


def nothing_hidden(text: str) -> str:
    """``text``; encoded words in it that say control characters are no longer any."""
    if "=?" not in text:
        return text
    many = text.count("=?") > _MOST_WORDS
    return text.replace("=?", "= ?") if many else _ENCODED_WORD.sub(_harmless, text)


def _harmless(word: re.Match[str]) -> str:
    """An encoded word as it is if it says plain text, else as text that looks like one."""
    try:
        said = str(make_header(decode_header(word[0])))
    except (ValueError, LookupError, HeaderParseError):  # an unknown charset, broken base64
        said = "\0"
    return word[0].replace("=?", "= ?") if _CONTROL.search(said) else word[0]


def ascii_address(email: str) -> str:
    """An addr-spec with its domain as A-label (RFC 5891); a local part beyond ASCII stays as it is.

    Outside a quoted local part, characters that would begin another address become ``_``.
    """
    if _PLAIN_ADDRESS.fullmatch(email):
        return email
    local, _, domain = _without_controls(email).rpartition("@")
    if not _QUOTED_LOCAL.fullmatch(local):
        local = _NOT_IN_ADDRESS.sub("_", local).replace("@", "_")
    domain = _NOT_IN_ADDRESS.sub("_", domain)
    try:
        return f"{local}@{domain.encode('idna').decode('ascii')}"
    except UnicodeError:
        return f"{local}@{domain}"


def ascii_mailbox(mailbox: Mailbox) -> str:
    """``Name <address>`` with the name quoted or as encoded word, on one line."""
    address = ascii_address(mailbox.email).encode("ascii", "replace").decode("ascii")
    name = one_line(mailbox.name)
    if not name:
        return address
    if not name.isascii():
        return f"{_encoded(name, 0).replace(_CRLF, '')} <{address}>"
    if _PLAIN_NAME.fullmatch(name):
        return f"{name} <{address}>"
    return f'"{_QUOTED.sub(_ESCAPE, name)}" <{address}>'


def message_id_for(sender: Mailbox, message_id: str) -> str:
    """The ``Message-ID`` of a single send: the same for every attempt, so that a mail reader can fold a resend."""
    domain = ascii_address(sender.email).rpartition("@")[2]
    return f"<{message_id}@{domain if domain.isascii() and domain else 'localhost'}>"


def build_mime(batch: Batch, entry: Entry, message_id_header: str = "", now_ms: int = 0) -> bytes:
    """The finished message for ``entry``; ``batch.mime`` comes back untouched.

    ``message_id_header`` has its angle brackets. ``now_ms`` becomes ``Date``. Attachments must hold their ``data``.
    """
    if batch.mime:
        return batch.mime
    head = [
        _header("From", ascii_mailbox(batch.sender)),
        _addresses("To", batch.visible_to or (entry.recipient,)),
        _addresses("Cc", batch.visible_cc),
        _addresses("Reply-To", batch.reply_to),
        _header("Subject", one_line(fill(batch.subject, entry.variables))),
        _header("Message-ID", one_line(message_id_header)),
        _header("Date", formatdate(now_ms / 1000) if now_ms else ""),
        *(_header(name, one_line(value)) for name, value in batch.headers if is_header_allowed(name)),
        f"MIME-Version: 1.0{_CRLF}",
    ]
    return "".join((*head, _body(batch, entry))).encode("ascii")


def _body(batch: Batch, entry: Entry) -> str:
    text, html = fill(batch.text, entry.variables), fill(batch.html, entry.variables)
    inline = [a for a in batch.attachments if a.content_id and html]
    files = [a for a in batch.attachments if not (a.content_id and html)]
    seed = blake2b(f"{entry.message_id}/{entry.attempt}".encode("utf-8", "replace"), digest_size=12).hexdigest()
    parts = [_text("plain", text)] if text or not html else []
    if html:
        page = _text("html", html)
        parts.append(_multipart("related", f"=_r{seed}", [page, *map(_file, inline)]) if inline else page)
    content = parts[0] if len(parts) == 1 else _multipart("alternative", f"=_a{seed}", parts)
    return _multipart("mixed", f"=_m{seed}", [content, *map(_file, files)]) if files else content


def _text(subtype: str, text: str) -> str:
    lines = text.replace(_CRLF, "\n").replace("\r", "\n").replace("\n", _CRLF)
    data = b2a_qp(f"{lines}{_CRLF}".encode("utf-8", "replace"), istext=True).decode("ascii")
    return (
        f"Content-Type: text/{subtype}; charset=utf-8{_CRLF}"
        f"Content-Transfer-Encoding: quoted-printable{_CRLF}{_CRLF}{data}"
    )


def _multipart(subtype: str, boundary: str, parts: list[str]) -> str:
    joined = "".join(f"--{boundary}{_CRLF}{part}{_CRLF}" for part in parts)
    return f'Content-Type: multipart/{subtype}; boundary="{boundary}"{_CRLF}{_CRLF}{joined}--{boundary}--{_CRLF}'


def _file(attachment: Attachment) -> str:
    kind = attachment.content_type.partition(";")[0].strip().lower()
    if not _MEDIA_TYPE.fullmatch(kind) or kind.startswith(("message/", "multipart/")):
        kind = "application/octet-stream"  # RFC 2046 §5: composite types must not be base64
    content_id = _NO_BRACKETS.sub("", one_line(attachment.content_id)).encode("ascii", "replace").decode("ascii")
    return "".join(
        (
            f"Content-Type: {kind}{_CRLF}",
            f"Content-Transfer-Encoding: base64{_CRLF}",
            f"Content-ID: <{content_id}>{_CRLF}" if content_id else "",
            f"Content-Disposition: {'inline' if content_id else 'attachment'}{_filename(attachment.filename)}{_CRLF}",
            _CRLF,
            encodebytes(attachment.data).decode("ascii").replace("\n", _CRLF),
        )
    )


def _filename(name: str) -> str:
    name = re.split(r"[\\/]", one_line(name))[-1]
    if not name:
        return ""
    if not name.isascii():
        return f";{_CRLF} filename*=utf-8''{quote(name, safe='')}"
    return f';{_CRLF} filename="{_QUOTED.sub(_ESCAPE, name)}"'


def _addresses(name: str, mailboxes: tuple[Mailbox, ...]) -> str:
    return _header(name, ", ".join(map(ascii_mailbox, mailboxes)))


def _header(name: str, value: str) -> str:
    if not value:
        return ""
    if not value.isascii():
        return f"{name}: {_encoded(value, len(name) + 2)}{_CRLF}"
    if len(name) + 2 + len(value) <= _LINE:
        return f"{name}: {value}{_CRLF}"
    lines, line = [], f"{name}:"
    for word in value.split():
        if len(line) + 1 + len(word) > _LINE and line != f"{name}:":
            lines.append(line)
            line = ""
        line += f" {word}"
    return _CRLF.join((*lines, line)) + _CRLF


def _encoded(text: str, indent: int) -> str:
    return Header(text, "utf-8", maxlinelen=_LINE - indent if indent < _LINE - 30 else _LINE).encode(linesep=_CRLF)


_ORDERS = ("x-mailgun-", "x-ses-")
_HEADER_NAME = re.compile(r"[!-9;-~]{1,126}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ENCODED_WORD = re.compile(r"=\?[^?]{1,64}\?[bBqQ]\?[^?]*+\?=")  # blanks too: some readers bear them
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_QUOTED = re.compile(r'(["\\])')
_ESCAPE = r"\\\1"
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+")
_QUOTED_LOCAL = re.compile(r'"(?:[^"\\]|\\.)*"')
_NOT_IN_ADDRESS = re.compile(r'[\s<>,;:"()\[\]\\]')
_NO_BRACKETS = re.compile(r"[<>\s]")
