"""A batch as one call of Mailgun's messages API.

Rules:

1. Without files the body is urlencoded, and built in few passes over the whole text: a batch of 1000 is common.
2. Two or more recipients always go with ``recipient-variables``, so that nobody sees the others.
3. A message whose visible recipients differ from its envelope recipient, and a message that comes finished, goes to
   ``messages.mime``.
4. Our own variables are ``message_id`` and ``attempt``; slots get the prefix ``x_``, so that none shadows another.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from streams.content.mime import ascii_address, ascii_mailbox, build_mime, is_header_allowed, message_id_for, one_line
from streams.core.message import Mailbox
from streams.providers.base import Batch, Entry, HttpRequest, Pattern, Slot, fill
from streams.providers.mailgun.config import Config

Fields = list[tuple[str, str]]

PLACEHOLDER = "%recipient"
"""What Mailgun replaces in batch mode, wherever it stands: the sender's own text must not contain it."""

_MAX_TAGS = 3
_MAX_TAG_CHARS = 128
_BOUNDARY = "=_streams_form"
_GZIP_LEVEL = 1


def fits(batch: Batch, max_recipients: int) -> str:
    """Empty if the batch may go out in one call, else the reason why not."""
    if len(batch.entries) == 1:
        return ""
    if len(batch.entries) > max_recipients:
        return f"more than {max_recipients} recipients"
    if batch.mime:
        return "a finished message has one recipient"
    if batch.visible_to or batch.visible_cc:
        return "the visible recipients are not the envelope's"
    if any(PLACEHOLDER in value for value in (*(v for _, v in batch.headers), batch.sender.name)) or any(
        _with_slots(pattern).count(PLACEHOLDER) != sum(isinstance(part, Slot) for part in pattern)
        for pattern in (batch.subject, batch.text, batch.html)
    ):
        return f"the content contains {PLACEHOLDER}"
    if any(PLACEHOLDER in value for entry in batch.entries for value in entry.variables.values()):
        return f"a personal value contains {PLACEHOLDER}"
    return ""


def build_request(config: Config, authorization: str, batch: Batch, now_ms: int) -> HttpRequest:
    """The one POST that carries the batch."""
    finished = bool(batch.mime or batch.visible_to or batch.visible_cc)
    fields = _options(config, batch, now_ms)
    files: list[tuple[str, str, str, bytes]] = []
    if finished:
        entry = batch.entries[0]
        message = build_mime(batch, entry, message_id_for(batch.sender, entry.message_id), now_ms)
        files.append(("message", "message.mime", "application/octet-stream", message))
        fields += _correlation(batch)
    else:
        fields += _content(batch)
        for item in batch.attachments:
            inline = item.content_id and batch.html
            name = item.content_id if inline else item.filename or "attachment"  # without a name it would be ignored
            files.append(("inline" if inline else "attachment", name, item.content_type, item.data))
    to = [_mailbox(entry.recipient) for entry in batch.entries]
    if files:
        content_type, body = _multipart(to, fields, files)
    else:
        body = _urlencoded(to, fields)
        content_type = "application/x-www-form-urlencoded"
    headers = [("authorization", authorization), ("content-type", content_type)]
    if config.gzip:
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        headers.append(("content-encoding", "gzip"))
    url = f"{config.base_url}/v3/{config.domain}/{'messages.mime' if finished else 'messages'}"
    return HttpRequest("POST", url, tuple(headers), body)


def _content(batch: Batch) -> Fields:
    several = len(batch.entries) > 1
    first = batch.entries[0]

    def finish(pattern: Pattern) -> str:
        return _with_slots(pattern) if several else fill(pattern, first.variables)

    fields = [("from", _mailbox(batch.sender)), ("subject", one_line(finish(batch.subject)))]
    text, html = finish(batch.text), finish(batch.html)
    if text or not html:
        fields.append(("text", text or "\n"))  # Mailgun wants a body
    if html:
        fields.append(("html", html))
    if batch.reply_to:
        fields.append(("h:Reply-To", ", ".join(map(ascii_mailbox, batch.reply_to))))
    fields += [(f"h:{name}", one_line(value)) for name, value in batch.headers if is_header_allowed(name)]
    fields += [(f"h:{name}", one_line(finish(value))) for name, value in batch.personal_headers]
    if not several:
        fields.append(("h:Message-Id", message_id_for(batch.sender, first.message_id)))
    return fields + _correlation(batch)


def _with_slots(pattern: Pattern) -> str:
    return "".join(part if isinstance(part, str) else f"{PLACEHOLDER}.x_{part.name}%" for part in pattern)


def _correlation(batch: Batch) -> Fields:
    if len(batch.entries) == 1:
        entry = batch.entries[0]
        return [("v:message_id", entry.message_id), ("v:attempt", str(entry.attempt))]
    return [
        ("v:message_id", "%recipient.message_id%"),
        ("v:attempt", "%recipient.attempt%"),
        ("recipient-variables", _recipient_variables(batch)),
    ]


def _recipient_variables(batch: Batch) -> str:
    slots = _slots(batch)
    if not slots:
        data = {_key(e): {"message_id": e.message_id, "attempt": str(e.attempt)} for e in batch.entries}
    else:
        data = {_key(e): _variables(e, slots) for e in batch.entries}
    return json.dumps(data, separators=(",", ":"))  # ASCII: \\uXXXX needs no escaping in a form


def _key(entry: Entry) -> str:
    return ascii_address(entry.recipient.email)


def _variables(entry: Entry, slots: list[tuple[str, str]]) -> dict[str, str]:
    values = entry.variables
    result = {"message_id": entry.message_id, "attempt": str(entry.attempt)}
    for name, slot in slots:
        result[slot] = values.get(name, "")
    return result


def _slots(batch: Batch) -> list[tuple[str, str]]:
    patterns = (batch.subject, batch.text, batch.html, *(value for _, value in batch.personal_headers))
    names = {part.name for pattern in patterns for part in pattern if isinstance(part, Slot)}
    return [(name, f"x_{name}") for name in sorted(names)]


def _options(config: Config, batch: Batch, now_ms: int) -> Fields:
    fields = [("o:tag", tag) for tag in _tags(batch.tags)]
    opens = config.track_opens if batch.track_opens is None else batch.track_opens
    clicks = config.track_clicks if batch.track_clicks is None else batch.track_clicks
    if opens is not None:
        fields.append(("o:tracking-opens", _yes(opens)))
    if clicks is not None:
        fields.append(("o:tracking-clicks", _yes(clicks)))
    if opens or clicks:
        fields.append(("o:tracking", "yes"))
    elif opens is False and clicks is False:
        fields.append(("o:tracking", "no"))
    if config.require_tls:
        fields.append(("o:require-tls", "true"))
    if config.schedule_ahead_s and batch.deliver_at_ms > now_ms:
        moment = datetime.fromtimestamp(-(-batch.deliver_at_ms // 1000), UTC)  # never too early
        fields.append(("o:deliverytime", format_datetime(moment)))
    if config.test_mode:
        fields.append(("o:testmode", "yes"))
    return fields


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _tags(tags: Iterable[str]) -> list[str]:
    clean = (one_line(tag).encode("ascii", "ignore").decode("ascii").strip()[:_MAX_TAG_CHARS] for tag in tags)
    return list(dict.fromkeys(tag for tag in clean if tag))[:_MAX_TAGS]


def _mailbox(mailbox: Mailbox) -> str:
    """``"Name" <address>`` with the name as it is: Mailgun encodes it."""
    if not mailbox.name:
        return ascii_address(mailbox.email)
    name = _QUOTED.sub(r"\\\1", one_line(mailbox.name))
    return f'"{name}" <{ascii_address(mailbox.email)}>'


def _urlencoded(to: list[str], fields: Fields) -> bytes:
    recipients = _quote("\n".join(to)).replace(b"%0A", b"&to=")  # no address holds a line end
    parts = [b"to=" + recipients]
    parts += [_quote_name(name) + b"=" + _quote(value) for name, value in fields]
    return b"&".join(parts)


def _quote(value: str) -> bytes:
    """``value`` percent-encoded as in an HTML form; a long text by whole-text replacement, a short one by its marks."""
    if len(value) < _SHORT or not value.isascii():
        raw = value.encode("utf-8", "replace")
        return _NOT_PLAIN.sub(_percent, raw).replace(b" ", b"+")
    data = value.encode("ascii").replace(b"%", b"%25")
    for plain, quoted in _REPLACEMENTS:
        if plain in data:
            data = data.replace(plain, quoted)
    return data


def _percent(match: re.Match[bytes]) -> bytes:
    return b"".join(_QUOTES[byte] for byte in match[0])


@lru_cache(maxsize=512)
def _quote_name(name: str) -> bytes:
    return _quote(name)


def _multipart(to: list[str], fields: Fields, files: list[tuple[str, str, str, bytes]]) -> tuple[str, bytes]:
    """RFC 7578. The boundary is stretched until no part contains it."""
    texts = [*(("to", value) for value in to), *fields]
    boundary = _boundary([value.encode("utf-8", "replace") for _, value in texts] + [data for *_, data in files])
    chunks: list[bytes] = []
    for name, value in texts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_param(name)}"\r\n\r\n'
        chunks += (head.encode(), value.encode("utf-8", "replace"), b"\r\n")
    for name, filename, content_type, data in files:
        kind = one_line(content_type).encode("ascii", "ignore").decode("ascii") or "application/octet-stream"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{_param(filename)}"\r\n'
            f"Content-Type: {kind}\r\n\r\n"
        )
        chunks += (head.encode("utf-8", "replace"), data, b"\r\n")
    chunks.append(f"--{boundary}--\r\n".encode())
    return f'multipart/form-data; boundary="{boundary}"', b"".join(chunks)


def _boundary(parts: list[bytes]) -> str:
    boundary, tail = _BOUNDARY, 0
    while any(boundary.encode() in part for part in parts):
        tail += 1
        boundary = f"{_BOUNDARY}_{tail}"
    return boundary


def _param(text: str) -> str:
    return one_line(text).replace("\\", "_").replace('"', "%22")


_QUOTED = re.compile(r'(["\\])')
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~*")
_QUOTES = tuple(bytes((b,)) if b in _PLAIN else b"%%%02X" % b for b in range(256))
_REPLACEMENTS = (
    *((bytes((b,)), _QUOTES[b]) for b in range(128) if b not in _PLAIN and b not in b" %"),
    (b" ", b"+"),  # last: it brings a plus in
)
_SHORT = 600  # characters; beyond, sixty replacements cost less than a match per mark
_NOT_PLAIN = re.compile(rb"[^A-Za-z0-9\-._~* ]+")
