"""Where ``streams send`` gets its requests from: flags, JSON files, mail files.

Rules:

1. A request comes out in the codec's shape, with the place it came from; what is refused goes to the outcome with its
   reason.
2. Usage that makes no sense raises UsageFailure before anything is sent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from streams.cli.context import now_ms
from streams.cli.failure import UsageFailure
from streams.cli.flags import json_object, text_or_file

Request = dict[str, Any]


@dataclass(slots=True)
class Outcome:
    """What became of the input."""

    sent: list[Request] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Where it came from, and why."""


# ------------------------------------------------------------------------------------------------ from flags


def flag_request(flags: dict[str, Any]) -> tuple[str, Request]:
    if not flags["to"]:
        raise UsageFailure("name at least one recipient with --to, or give a file; see: streams send --help")
    if not (flags["template_id"] or flags["subject"] or flags["text"] or flags["html"]):
        raise UsageFailure("there is nothing to send: give --subject with --text or --html, or --template")
    request: Request = {
        "recipients": [dict(_mailbox(address), data={}) for address in flags["to"]],
        "cc": [_mailbox(address) for address in flags["cc"]],
        "bcc": [_mailbox(address) for address in flags["bcc"]],
        "reply_to": [_mailbox(address) for address in flags["reply_to"]],
        "template_id": flags["template_id"],
        "data": json_object("--data", flags["data"]),
        "subject": flags["subject"],
        "text": text_or_file(flags["text"]),
        "html": text_or_file(flags["html"]),
        "headers": dict(_header(line) for line in flags["headers"]),
        "attachments": [_attachment(Path(name)) for name in flags["attach"]],
    }
    return "the request", request | _common(flags) | {"idempotency_key": flags["key"] or _new_key()}


def _common(flags: dict[str, Any]) -> Request:
    """Flags that make sense whatever the content is."""
    request: Request = {
        "from": _mailbox(flags["sender"]) if flags["sender"] else None,
        "provider": flags["provider"],
        "list_id": flags["list_id"],
        "retry_policy": flags["retry_policy"],
        "send_at": _time("--send-at", flags["send_at"]),
        "expires_at": _time("--expires-at", flags["expires_at"]),
        "on_uncertain": flags["on_uncertain"],
        "tenant": flags["tenant"],
        "stream": "bulk" if flags["bulk"] else None,
        "tags": list(flags["tags"]) or None,
    }
    return {name: value for name, value in request.items() if value is not None}


def _mailbox(text: str) -> dict[str, str]:
    from email.utils import parseaddr

    name, address = parseaddr(text)
    if "@" not in address:
        raise UsageFailure(f"{text!r} is not an address")
    return {"email": address, "name": name}


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise UsageFailure(f"--header {line!r} is not NAME:VALUE")
    return name.strip(), value.strip()


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    from streams.cli.records import since_text

    try:
        return since_text(text)
    except ValueError as exc:
        raise UsageFailure(f"{name} {text}: not an RFC 3339 time such as 2030-01-31T08:00:00Z") from exc


def _attachment(path: Path) -> Request:
    from mimetypes import guess_type

    kind = guess_type(path.name)[0] or "application/octet-stream"
    return {"filename": path.name, "content_type": kind, "data": path.read_bytes()}


def _new_key() -> str:
    from uuid import uuid4

    return f"cli-{now_ms()}-{uuid4().hex[:8]}"


# ------------------------------------------------------------------------------------------------ from files


def refuse_content_flags(flags: dict[str, Any]) -> None:
    names = ("to", "cc", "bcc", "subject", "text", "html", "template_id", "data", "headers", "attach", "key")
    for name in names:
        if flags[name]:
            option = name.removesuffix("_id").replace("_", "-")
            raise UsageFailure(f"--{option} does not go with request files: it belongs into the request")


def file_requests(files: tuple[str, ...], flags: dict[str, Any], outcome: Outcome) -> Iterator[tuple[str, Request]]:
    """Requests in plain JSON: a file with one or a list of them, or one a line."""
    defaults = _common(flags)
    for name in files:
        with _opened(name) as file:
            first = file.peek(1)[:1] if hasattr(file, "peek") else b""
            values: Iterable[tuple[str, bytes]]
            if name.endswith(".jsonl") or (name == "-" and first != b"["):
                values = ((f"{name} line {number}", line) for number, line in enumerate(file, 1) if line.strip())
            else:
                values = _whole(name, file.read(), outcome)
            for origin, value in values:
                request = _decoded(value)
                if isinstance(request, str):
                    outcome.refused.append((origin, request))
                else:
                    yield origin, request | defaults


def _opened(name: str) -> AbstractContextManager[BinaryIO]:
    if name == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return Path(name).open("rb")
    except OSError as exc:
        raise UsageFailure(f"{name} cannot be read: {exc.strerror or exc}") from exc


def _whole(name: str, content: bytes, outcome: Outcome) -> list[tuple[str, bytes]]:
    """The requests of a JSON file: itself, or the entries of its list."""
    if not content.lstrip().startswith(b"["):
        return [(name, content)]
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as exc:
        outcome.refused.append((name, f"not JSON: {exc}"))
        return []
    return [(f"{name} entry {number}", json.dumps(entry).encode()) for number, entry in enumerate(entries, 1)]


def _decoded(value: bytes) -> Request | str:
    """A request in the codec's shape, or why it is none."""
    from streams.serde.records import decode

    text = value.strip()
    if not text.startswith(b"{"):
        return "not a JSON object"
    request = decode("SendRequest", text)
    return request if isinstance(request, dict) else str(getattr(request, "detail", request))


def mail_requests(files: tuple[str, ...], flags: dict[str, Any], outcome: Outcome) -> Iterator[tuple[str, Request]]:
    """One request per mail file; its recipients get one message each, with the same bytes."""
    from streams.cli.mail_files import MailFile, read_mail

    for name in ("cc", "bcc", "reply_to", "subject", "text", "html", "template_id", "data", "headers", "attach"):
        if flags[name]:
            option = name.removesuffix("_id").replace("_", "-")
            raise UsageFailure(f"--{option} does not go with --eml: mails are sent as they are")
    for name in files:
        try:
            raw = Path(name).read_bytes()
        except OSError as exc:
            outcome.refused.append((name, exc.strerror or str(exc)))
            continue
        mail = read_mail(raw, flags["sender"] or "", flags["to"])
        if isinstance(mail, MailFile):
            yield name, _request_of_mail(mail, flags)
        else:
            outcome.refused.append((name, mail.reason))


def _request_of_mail(mail: Any, flags: dict[str, Any]) -> Request:
    from streams.core.ids import fingerprint

    return _common(flags) | {
        "idempotency_key": flags["key"] or f"eml-{fingerprint(mail.mime)}",  # the same file again sends nothing
        "from": {"email": mail.sender.email, "name": mail.sender.name},
        "recipients": [{"email": box.email, "name": box.name, "data": {}} for box in mail.recipients],
        "mime": mail.mime,
    }
