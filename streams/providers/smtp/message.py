"""An entry of a batch as one SMTP transaction: headers that servers obey, MIME, return path.

Rules:

1. A finished message is sent as it is, so that signed mail stays signed. Only the headers that a service itself obeys
   are put in front of it: without them its events would not find home.
2. Our id travels in the Message-ID and, where we own the envelope sender, in the return path (VERP). A resend has
   another Message-ID than the first attempt, because a bounce may bring back nothing else.
3. What SMTP cannot carry (a line of 999 octets) is refused, not rewritten: no server treats it the same.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

from streams.content.mime import ascii_address, ascii_mailbox, build_mime, message_id_for, one_line
from streams.core.event import Reason, ReasonKind
from streams.core.message import Mailbox
from streams.core.outcome import Rejected
from streams.core.verp import message_id_header, return_path
from streams.providers._smtp.envelope import MAX_LINE, Envelope, long_line
from streams.providers.base import Batch, Entry, fill
from streams.providers.smtp.config import Config, Service

_MAX_TAGS = 3
_MAX_TAG_CHARS = 128
_FOLD = 900
_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r?\n[ \t]+)*<([^<>\s]{1,400})>", re.IGNORECASE | re.MULTILINE)
_TAG_MARK = re.compile(r"[^A-Za-z0-9_-]")


def envelope_of(config: Config, batch: Batch, entry: Entry, now_ms: int) -> Envelope | Rejected:
    """The transaction for ``entry``, or why there can be none."""
    service = config.known_service
    if batch.personal_headers:
        own = tuple((name, fill(value, entry.variables)) for name, value in batch.personal_headers)
        batch = replace(batch, headers=(*batch.headers, *own), personal_headers=())
    identifier = _identifier(config, batch.sender, entry)
    content = build_mime(batch, entry, identifier, now_ms)
    if batch.mime:
        if long_line(content):
            detail = f"a line of the message is longer than {MAX_LINE} octets, which SMTP does not carry"
            return Rejected(Reason(ReasonKind.INVALID_REQUEST, detail=detail))
        identifier = _written_id(content)
    elif not entry.recipient.email.isascii():
        content = _with_utf8_recipient(content, entry.recipient, batch)
    head = _orders(config, service, batch, entry)
    return Envelope(
        sender=_return_path(config, service, batch.sender, entry),
        recipient=ascii_address(entry.recipient.email),
        content=head + content if head else content,
        message_id=identifier.strip("<>"),
        token="" if service is not Service.PLAIN else f"{entry.message_id}.{entry.attempt}",
    )


def _identifier(config: Config, sender: Mailbox, entry: Entry) -> str:
    domain = message_id_for(sender, "").rpartition("@")[2].strip(">")
    try:
        return message_id_header(domain, entry.message_id, entry.attempt, config.key)
    except ValueError:  # an id of another shape (tests, tools) has no attempt in it
        return message_id_for(sender, one_line(entry.message_id))


def _return_path(config: Config, service: Service, sender: Mailbox, entry: Entry) -> str:
    if config.return_path and service is Service.PLAIN:
        try:
            return return_path(config.return_path, entry.message_id, entry.attempt, config.key)
        except ValueError:
            pass
    return ascii_address(sender.email)


def _orders(config: Config, service: Service, batch: Batch, entry: Entry) -> bytes:
    """Headers for the service in front, each line below 998 octets."""
    lines: list[str] = []
    if service is Service.MAILGUN:
        lines += [f"X-Mailgun-Tag: {tag}" for tag in _tags(batch.tags)]
        variables = json.dumps({"message_id": entry.message_id, "attempt": str(entry.attempt)})
        lines.append(_folded("X-Mailgun-Variables", variables))
        if batch.track_opens is not None:
            lines.append(f"X-Mailgun-Track-Opens: {_yes(batch.track_opens)}")
        if batch.track_clicks is not None:
            lines.append(f"X-Mailgun-Track-Clicks: {_yes(batch.track_clicks)}")
    elif service is Service.SES:
        if config.configuration_set:
            lines.append(f"X-SES-CONFIGURATION-SET: {config.configuration_set}")
        pairs = [f"message_id={entry.message_id}", f"attempt={entry.attempt}"]
        pairs += [f"tag{number}={_TAG_MARK.sub('_', tag)[:256]}" for number, tag in enumerate(batch.tags[:5]) if tag]
        lines.append(_folded("X-SES-MESSAGE-TAGS", ", ".join(pairs)))
    elif service is Service.DIRECTMAIL:
        lines.append(f"X-Notify-Message-ID: {entry.message_id}.{entry.attempt}")
    return "".join(f"{line}\r\n" for line in lines).encode("ascii", "replace")


def _folded(name: str, value: str) -> str:
    line, lines = f"{name}:", []
    for word in value.split(" "):
        if len(line) + 1 + len(word) > _FOLD:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join((*lines, line))


def _tags(tags: tuple[str, ...]) -> list[str]:
    clean = (one_line(tag).encode("ascii", "ignore").decode("ascii").strip()[:_MAX_TAG_CHARS] for tag in tags)
    return list(dict.fromkeys(tag for tag in clean if tag))[:_MAX_TAGS]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _written_id(content: bytes) -> str:
    """The Message-ID that a finished message has, empty if it has none that can be read."""
    head = re.split(rb"\r?\n\r?\n", content, maxsplit=1)[0]
    found = _MESSAGE_ID.search(head)
    return found[1].decode("ascii", "replace") if found else ""


def _with_utf8_recipient(content: bytes, recipient: Mailbox, batch: Batch) -> bytes:
    """``To`` with the address as it is: only SMTPUTF8 (RFC 6532) can say it, and only then is it asked for."""
    if batch.visible_to or ascii_address(recipient.email).isascii():
        return content
    in_ascii = f"To: {ascii_mailbox(recipient)}\r\n".encode()
    shown = in_ascii.rpartition(b"<")[0] if recipient.name else b"To: "
    address = ascii_address(recipient.email)
    written = shown + (f"<{address}>\r\n" if recipient.name else f"{address}\r\n").encode()
    return content.replace(in_ascii, written, 1)
