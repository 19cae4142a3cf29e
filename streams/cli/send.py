"""``streams send``: one message by flags, requests from JSON, or mail files as they are.

Rules:

1. Whatever is refused is named with its reason, nothing is dropped in silence; then the exit code is 1.
2. Everything else is on Kafka, acknowledged, when the command ends.
3. A request is checked against the schema here already; what only the worker can know (templates, suppressions) comes
   back as a delivery event.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import click

from streams.cli.context import Invocation, json_option, now_ms, print_json, say
from streams.cli.failure import Failure, UsageFailure
from streams.topics import SEND_REQUESTS, SEND_REQUESTS_BULK

Request = dict[str, Any]

_MOST_SHOWN = 20
_KEPT = ("idempotency_key", "tenant", "recipients", "cc", "bcc")
"""What is remembered of a request that was sent: enough to tell its message ids."""


@dataclass(slots=True)
class Outcome:
    """What became of the input."""

    sent: list[Request] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Where it came from, and why."""


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--eml", is_flag=True, help="The files are mails (RFC 5322), sent as they are.")
@click.option("--from", "sender", metavar="ADDRESS", help="Sender, as 'Name <address>' or address.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="Recipient; each gets a message of its own. Repeatable.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="Copy (with a single --to). Repeatable.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="Blind copy (with a single --to). Repeatable.")
@click.option("--reply-to", multiple=True, metavar="ADDRESS")
@click.option("--subject")
@click.option("--text", help="Text part; @FILE reads a file.")
@click.option("--html", help="HTML part; @FILE reads a file.")
@click.option("--template", "template_id", metavar="ID", help="Template instead of subject, text and html.")
@click.option("--data", metavar="JSON", help="Template variables, as a JSON object; @FILE reads a file.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE")
@click.option("--tag", "tags", multiple=True)
@click.option("--attach", multiple=True, metavar="FILE", type=click.Path(exists=True, dir_okay=False))
@click.option("--key", metavar="KEY", help="Idempotency key: the same key to the same recipient sends once.")
@click.option("--tenant", default=None, help="On whose behalf (default: default).")
@click.option("--bulk", is_flag=True, help="A campaign: never delays transactional mail.")
@click.option("--provider", help="Overrides routing.")
@click.option("--list-id", help="Mailing list; asks for one-click unsubscribe.")
@click.option("--retry-policy", metavar="NAME")
@click.option("--send-at", metavar="TIME", help="Not before this time (RFC 3339).")
@click.option("--expires-at", metavar="TIME", help="Not after this time (RFC 3339).")
@click.option("--on-uncertain", type=click.Choice(["hold", "resend"]))
@json_option
@click.pass_obj
def send(invocation: Invocation, /, files: tuple[str, ...], eml: bool, as_json: bool, **flags: Any) -> None:
    """Send messages.

    \b
    streams send --from a@example.com --to b@example.net --subject Hello --text "How are you?"
    streams send request.json            one request, or a list of them
    streams send requests.jsonl          one request a line ('-' reads standard input)
    streams send --eml mail.eml *.eml    mails as they are; recipients from their headers or --to
    """
    outcome = Outcome()
    if eml:
        if not files:
            raise UsageFailure("--eml needs mail files")
        source = _mails(files, flags, outcome)
    elif files:
        _no_content(flags)
        source = _requests_of(files, flags, outcome)
    else:
        source = iter([_request_of_flags(flags)])
    with _progress(files, enabled=bool(files) and not eml and not as_json and sys.stderr.isatty()) as advance:
        _produce(invocation, source, outcome, advance)
    _tell(invocation, outcome, as_json)


# ------------------------------------------------------------------------------------------------ producing


def _produce(invocation: Invocation, source: Iterable[tuple[str, Request]], outcome: Outcome, advance: Any) -> None:
    from streams.kafka import NewRecord
    from streams.serde.records import decode, encode

    for origin, request in source:
        try:
            value = encode("SendRequest", request)
        except ValueError as exc:
            outcome.refused.append((origin, str(exc)))
            continue
        checked = decode("SendRequest", value)
        problem = _problem(checked)
        if problem or not isinstance(checked, dict):
            outcome.refused.append((origin, problem))
            continue
        topic = invocation.topics.name(SEND_REQUESTS_BULK if checked["stream"] == "bulk" else SEND_REQUESTS)
        invocation.kafka.partitions(topic)
        invocation.kafka.send(NewRecord(topic, checked["recipients"][0]["email"].encode(), value))
        outcome.sent.append({name: checked[name] for name in _KEPT})
        advance()
    invocation.kafka.flush()


def _problem(record: Any) -> str:
    """What intake would refuse, told while the person is still looking; empty if nothing."""
    from streams.core.request import Invalid, read_request

    if not isinstance(record, dict):
        return str(getattr(record, "detail", record))
    request = read_request(record)
    if isinstance(request, Invalid):
        return request.reason.detail
    return "; ".join(f"{bad.email!r}: {bad.reason.detail}" for bad in request.refused)


def _tell(invocation: Invocation, outcome: Outcome, as_json: bool) -> None:
    ids = [identity for request in outcome.sent for identity in _message_ids(invocation, request)]
    if as_json:
        print_json(
            {
                "requests": len(outcome.sent),
                "message_ids": ids,
                "refused": [{"source": origin, "reason": reason} for origin, reason in outcome.refused],
            }
        )
    else:
        for identity in ids[:_MOST_SHOWN]:
            click.echo(identity)
        if len(ids) > _MOST_SHOWN:
            say(f"… and {len(ids) - _MOST_SHOWN} more messages; --json prints all ids")
        requests = f"{len(outcome.sent)} request{'s' if len(outcome.sent) != 1 else ''}"
        say(f"{requests} sent" + (f", {len(ids)} messages" if len(ids) > len(outcome.sent) else ""))
        for origin, reason in outcome.refused:
            say(f"refused {origin}: {reason}")
    if outcome.refused:
        raise Failure(f"{len(outcome.refused)} of {len(outcome.refused) + len(outcome.sent)} were refused")


def _message_ids(invocation: Invocation, request: Request) -> Iterator[str]:
    from streams.core.ids import message_id, recipient_key

    addresses = [box["email"] for name in ("recipients", "cc", "bcc") for box in request[name]]
    keys = {recipient_key(request["tenant"], address, invocation.address_secret): None for address in addresses}
    return (message_id(request["tenant"], request["idempotency_key"], key) for key in keys)


def _progress(files: tuple[str, ...], *, enabled: bool) -> AbstractContextManager[Callable[[], None]]:
    if not enabled:
        return nullcontext(lambda: None)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    total = _lines(files)
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)

    class Bar(AbstractContextManager[Callable[[], None]]):
        def __enter__(self) -> Callable[[], None]:
            progress.start()
            task = progress.add_task("sending", total=total)
            return lambda: progress.advance(task)

        def __exit__(self, *_: object) -> None:
            progress.stop()

    return Bar()


def _lines(files: tuple[str, ...]) -> int | None:
    """How many requests there will be, where that is cheap to know."""
    if not all(name.endswith(".jsonl") for name in files):
        return None
    total = 0
    for name in files:
        with Path(name).open("rb") as file:
            total += sum(1 for line in file if line.strip())
    return total


# ------------------------------------------------------------------------------------------------ from flags


def _request_of_flags(flags: dict[str, Any]) -> tuple[str, Request]:
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
        "data": _object("--data", flags["data"]),
        "subject": flags["subject"],
        "text": _content(flags["text"]),
        "html": _content(flags["html"]),
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


def _content(text: str | None) -> str | None:
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageFailure(f"{text[1:]} cannot be read: {exc}") from exc


def _object(name: str, text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(_content(text) or "")
    except ValueError as exc:
        raise UsageFailure(f"{name} is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise UsageFailure(f"{name} must be a JSON object")
    return value


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


def _no_content(flags: dict[str, Any]) -> None:
    names = ("to", "cc", "bcc", "subject", "text", "html", "template_id", "data", "headers", "attach", "key")
    for name in names:
        if flags[name]:
            option = name.removesuffix("_id").replace("_", "-")
            raise UsageFailure(f"--{option} does not go with request files: it belongs into the request")


def _requests_of(files: tuple[str, ...], flags: dict[str, Any], outcome: Outcome) -> Iterator[tuple[str, Request]]:
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


def _mails(files: tuple[str, ...], flags: dict[str, Any], outcome: Outcome) -> Iterator[tuple[str, Request]]:
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
