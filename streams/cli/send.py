"""``streams send``: one message by flags, requests from JSON, or mail files as they are.

Rules:

1. Whatever is refused is named with its reason, nothing is dropped in silence; then the exit code is 1.
2. Everything else is on Kafka, acknowledged, when the command ends.
3. A request is checked against the schema here already; what only the worker can know (templates, suppressions) comes
   back as a delivery event.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click

from streams.cli.context import Invocation, json_option, print_json, say
from streams.cli.failure import Failure, UsageFailure
from streams.cli.send_input import Outcome, Request, file_requests, flag_request, mail_requests, refuse_content_flags
from streams.topics import SEND_REQUESTS, SEND_REQUESTS_BULK

_MOST_SHOWN = 20
_KEPT = ("idempotency_key", "tenant", "recipients", "cc", "bcc")
"""What is remembered of a request that was sent: enough to tell its message ids."""


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...")
@click.option("--eml", is_flag=True, help="The files are mails (RFC 5322), sent as they are.")
@click.option("--from", "sender", metavar="ADDRESS", help="Sender, as 'Name <address>' or address.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="Recipient; each gets a message of its own. Repeatable.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="Copy (with a single --to). Repeatable.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="Blind copy (with a single --to). Repeatable.")
@click.option("--reply-to", multiple=True, metavar="ADDRESS", help="Where answers go. Repeatable.")
@click.option("--subject", help="Subject; literal, as text and html are.")
@click.option("--text", help="Text part; @FILE reads a file.")
@click.option("--html", help="HTML part; @FILE reads a file.")
@click.option("--template", "template_id", metavar="ID", help="Template instead of subject, text and html.")
@click.option("--data", metavar="JSON", help="Template variables, as a JSON object; @FILE reads a file.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Further header. Repeatable.")
@click.option("--tag", "tags", multiple=True, help="For your statistics, and for routing rules. Repeatable.")
@click.option(
    "--attach", multiple=True, metavar="FILE", type=click.Path(exists=True, dir_okay=False), help="Repeatable."
)
@click.option("--key", metavar="KEY", help="Idempotency key: the same key to the same recipient sends once.")
@click.option("--tenant", default=None, help="On whose behalf (default: default).")
@click.option("--bulk", is_flag=True, help="A campaign: never delays transactional mail.")
@click.option("--provider", help="Overrides routing.")
@click.option("--list-id", help="Mailing list; asks for one-click unsubscribe.")
@click.option("--retry-policy", metavar="NAME", help="One of [retry] in the configuration, or a built-in one.")
@click.option("--send-at", metavar="TIME", help="Not before this time (RFC 3339).")
@click.option("--expires-at", metavar="TIME", help="Not after this time (RFC 3339).")
@click.option("--on-uncertain", type=click.Choice(["hold", "resend"]), help="When nobody can tell whether it was sent.")
@click.option("--topic", default="", metavar="TOPIC", help="That of a door ([doors.NAME]), without the prefix.")
@json_option
@click.pass_obj
def send(invocation: Invocation, /, files: tuple[str, ...], eml: bool, topic: str, as_json: bool, **flags: Any) -> None:
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
        source = mail_requests(files, flags, outcome)
    elif files:
        refuse_content_flags(flags)
        source = file_requests(files, flags, outcome)
    else:
        source = iter([flag_request(flags)])
    with _progress(files, enabled=bool(files) and not eml and not as_json and sys.stderr.isatty()) as advance:
        _produce(invocation, source, outcome, advance, topic)
    _tell(invocation, outcome, as_json)


# ------------------------------------------------------------------------------------------------ producing


def _produce(
    invocation: Invocation, source: Iterable[tuple[str, Request]], outcome: Outcome, advance: Any, door: str
) -> None:
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
        usual = SEND_REQUESTS_BULK if checked["stream"] == "bulk" else SEND_REQUESTS
        topic = invocation.topics.name(door or usual)
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
