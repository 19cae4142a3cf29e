"""``streams message --content``: what was sent, as its provider got it.

Rules:

1. It is read back and composed again; nothing is guessed. What is not kept any more is said, with how long it is kept.
2. Who looks at somebody's mail is noted in the audit log.
3. A mail is written by strangers: a terminal gets nothing that it would obey.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import Message as Mail
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import click

from streams.cli.context import Invocation, clock_text, print_json, printable, say
from streams.cli.failure import Failure, UsageFailure
from streams.cli.records import audit, why

if TYPE_CHECKING:
    from streams.core.message import Message, RecordRef
    from streams.recomposed import Given

_MARGIN_MS = 10 * 60_000
"""The message lies in Kafka shortly before its first event; clocks differ."""
_NOT_SENT = "it was not handed to a provider; this is what would have been sent"

Event = dict[str, Any]


def show_content(invocation: Invocation, identity: str, timeline: Sequence[Event], eml: str | None, json: bool) -> None:
    """Print the mail, or write it to the file ``eml``. Raises Failure with the reason where that cannot be done."""
    handed = _handed_over(timeline)
    given = _given(invocation, identity, timeline, handed)
    audit(invocation, "message.read", "message", identity, tenant=timeline[-1]["tenant"], detail="content")
    invocation.kafka.flush()
    if eml is not None:
        _write(eml, given.mime)
        return
    mail = message_from_bytes(given.mime, policy=policy.compat32)
    if json:
        print_json(_summary(identity, handed, given, mail))
    else:
        _print(identity, handed, given, mail, timeline[-1])


def _handed_over(timeline: Sequence[Event]) -> Event | None:
    """The last event of a provider having (perhaps) got it."""
    kinds = ("message.sent", "message.uncertain")
    return next((event for event in reversed(timeline) if event["type"] in kinds and event["attempt"]), None)


# ------------------------------------------------------------------------------------------------ reading back


def _given(invocation: Invocation, identity: str, timeline: Sequence[Event], handed: Event | None) -> Given:
    import asyncio

    from streams.agents.contents import RecordUnavailable
    from streams.recomposed import Unavailable, recomposed

    message, place = _message(invocation, identity, timeline)
    provider = (handed or {}).get("provider") or message.provider or next(iter(invocation.settings.providers), "")
    attempt, at_ms = (handed["attempt"], handed["occurred_at"]) if handed else (0, message.accepted_ms)
    try:
        found = asyncio.run(recomposed(invocation.settings, message, place, provider, attempt, at_ms))
    except RecordUnavailable as exc:
        raise Failure(f"the content of {identity} could not be read: {exc}") from exc
    if isinstance(found, Unavailable):
        kept = invocation.settings.kafka.ledger_days
        raise Failure(f"the content of {identity} cannot be shown: {found.why} (it is kept for {kept:g} days)")
    return found


def _message(invocation: Invocation, identity: str, timeline: Sequence[Event]) -> tuple[Message, RecordRef]:
    """The message as intake handed it to dispatch."""
    since_ms = min(event["occurred_at"] for event in timeline) - _MARGIN_MS
    topic = invocation.topics.outbound(timeline[-1]["stream"])
    for start_ms in (since_ms, 0):  # a clock may have been far off
        found = next(_messages(invocation, topic, identity, start_ms), None)
        if found is not None:
            return found
    last = timeline[-1]
    if all(event["type"] in ("message.rejected", "message.expired") for event in timeline):
        raise Failure(f"{identity} was never taken in, so it has no content: {why(last)}")
    kept = invocation.settings.kafka.ledger_days
    raise Failure(f"{identity} is known, but what was sent is no longer kept (that is {kept:g} days)")


def _messages(invocation: Invocation, topic: str, identity: str, since_ms: int) -> Iterator[tuple[Message, RecordRef]]:
    from streams.core.ids import partition_of
    from streams.core.message import Message, RecordRef
    from streams.serde.internal import unpack

    partition = partition_of(identity, invocation.kafka.partitions(topic))
    key = identity.encode()
    for record in invocation.kafka.read(topic, [partition], since_ms=since_ms):
        if record.key == key and record.value:
            message = unpack(record.value)
            if isinstance(message, Message):
                yield message, RecordRef(topic, record.partition, record.offset)


# ------------------------------------------------------------------------------------------------ showing


def _write(path: str, mime: bytes) -> None:
    """A file that only its owner reads: it is somebody's mail."""
    if path == "-":
        sys.stdout.buffer.write(mime)
        sys.stdout.buffer.flush()
        return
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
            file.write(mime)
    except OSError as exc:
        raise UsageFailure(f"--eml {path}: {exc.strerror or exc}") from exc
    say(f"written to {path} ({len(mime)} bytes); links of ours in it open nothing")


def _summary(identity: str, handed: Event | None, given: Given, mail: Mail) -> dict[str, Any]:
    return {
        "message_id": identity,
        "sent": handed is not None,
        "provider": handed["provider"] if handed else None,
        "attempt": handed["attempt"] if handed else None,
        "to": given.entry.recipient.email,
        "tags": list(given.batch.tags),
        "headers": [[name, _decoded(value)] for name, value in mail.items()],
        "parts": [_part(part) for part in _leaves(mail)],
        "bytes": len(given.mime),
    }


def _part(part: Mail) -> dict[str, Any]:
    content = _bytes(part)
    shown: dict[str, Any] = {"content_type": part.get_content_type(), "bytes": len(content)}
    if (filename := _filename(part)) is not None:
        shown["filename"] = filename
    if content_id := part.get("Content-ID"):
        shown["content_id"] = str(content_id).strip("<>")
    if _is_text(part):
        return shown | {"content": _text(part)}
    return shown | {"sha256": sha256(content).hexdigest()}


def _print(identity: str, handed: Event | None, given: Given, mail: Mail, last: Event) -> None:
    if handed is None:
        what = last["type"].removeprefix("message.")
        say(f"{identity} is {what}: {_NOT_SENT}")
    else:
        about = f"attempt {handed['attempt']}, {clock_text(handed['occurred_at'])}"
        say(f"what {handed['provider'] or 'the provider'} was given for {identity}: {about}")
    if given.entry.recipient.email.lower() != last["recipient"].lower():
        say(f"staging: it goes to {given.entry.recipient.email} instead of {last['recipient']}")
    for name, value in mail.items():
        click.echo(printable(f"{name}: {_decoded(value)}", lines=False))
    for part in _leaves(mail):
        content = _bytes(part)
        words = [part.get_content_type(), _filename(part) or "", f"{len(content)} bytes"]
        click.echo(printable(f"\n--- {', '.join(word for word in words if word)}", lines=False))
        if _is_text(part):
            click.echo(printable(_text(part).rstrip("\n")))
    say("links of ours are shown as they look, but open nothing; the provider adds headers of its own")


def _leaves(mail: Mail) -> Iterator[Mail]:
    return (part for part in mail.walk() if not part.is_multipart())


def _bytes(part: Mail) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else b""


def _is_text(part: Mail) -> bool:
    return part.get_content_maintype() == "text" and _filename(part) is None


def _text(part: Mail) -> str:
    try:
        return _bytes(part).decode(part.get_content_charset("utf-8"), "replace").replace("\r\n", "\n")
    except LookupError:  # a charset that nobody knows
        return _bytes(part).decode("latin-1").replace("\r\n", "\n")


def _filename(part: Mail) -> str | None:
    name = part.get_filename()
    return None if name is None else _decoded(name)


def _decoded(value: object) -> str:
    text = str(value).replace("\r", "").replace("\n", "")
    try:
        return str(make_header(decode_header(text)))
    except (ValueError, LookupError):  # whatever a whole mail of the sender's has there
        return text
