"""``streams templates``: store, list and try out templates."""

from __future__ import annotations

from typing import Any

import click

from streams.cli.context import Invocation, clock_text, json_option, now_ms, print_json, print_table, say
from streams.cli.failure import Failure, UsageFailure
from streams.cli.flags import json_object, text_or_file
from streams.cli.records import audit, read_record, shown
from streams.topics import TEMPLATES


@click.group()
def templates() -> None:
    """Store, list and try out templates."""


@templates.command()
@click.argument("template_id", metavar="ID")
@click.option("--subject", required=True, help="Jinja2 source; @FILE reads a file.")
@click.option("--text", help="Jinja2 source of the text part; @FILE reads a file.")
@click.option("--html", help="Jinja2 source of the HTML part; @FILE reads a file.")
@click.option("--version", help="Default: derived from the sources.")
@click.option("--description", default="")
@json_option
@click.pass_obj
def put(
    invocation: Invocation,
    template_id: str,
    subject: str,
    text: str | None,
    html: str | None,
    version: str | None,
    description: str,
    as_json: bool,
) -> None:
    """Store a template, or a new version of it. Messages under way keep the version they were taken in with."""
    from streams.kafka import NewRecord
    from streams.serde.public import template_version
    from streams.serde.records import encode

    sources = {"subject": text_or_file(subject), "text": text_or_file(text), "html": text_or_file(html)}
    if not sources["text"] and not sources["html"]:
        raise UsageFailure("a template needs --text or --html")
    record = {
        "template_id": template_id,
        "version": version or template_version(*(part or "" for part in sources.values())),
        **sources,
        "description": description,
        "updated_at": now_ms(),
        "updated_by": invocation.actor,
    }
    _compiled(record)
    topic = invocation.topics.name(TEMPLATES)
    invocation.kafka.partitions(topic)
    invocation.kafka.send(NewRecord(topic, template_id.encode(), encode("Template", record)))
    audit(invocation, "template.put", "template", template_id, detail=f"version {record['version']}")
    invocation.kafka.flush()
    if as_json:
        print_json({"template_id": template_id, "version": record["version"]})
    else:
        say(f"template {template_id} stored, version {record['version']}")


@templates.command(name="list")
@json_option
@click.pass_obj
def list_(invocation: Invocation, as_json: bool) -> None:
    """List the templates."""
    rows = [_decoded(invocation, key, value) for key, value in sorted(_stored(invocation).items())]
    if as_json:
        print_json([shown(row, "Template") for row in rows])
        return
    print_table(
        ("template", "version", "subject", "updated", "by", "description"),
        (
            (
                row["template_id"],
                row["version"],
                row["subject"],
                clock_text(row["updated_at"] or 0),
                row["updated_by"],
                row["description"],
            )
            for row in rows
        ),
        "no template is stored; store one with: streams templates put",
    )


@templates.command()
@click.argument("template_id", metavar="ID")
@click.option("--data", default="{}", metavar="JSON", help="Variables, as a JSON object; @FILE reads a file.")
@click.option("--part", type=click.Choice(["subject", "text", "html"]), help="Only this part.")
@json_option
@click.pass_obj
def render(invocation: Invocation, template_id: str, data: str, part: str | None, as_json: bool) -> None:
    """Show what a template becomes with some data."""
    value = _stored(invocation).get(template_id.encode())
    if value is None:
        raise Failure(f"there is no template {template_id}; see: streams templates list")
    variables = json_object("--data", data)
    parts = _rendered(_decoded(invocation, template_id.encode(), value), variables)
    if part:
        parts = {part: parts.get(part, "")}
    if as_json:
        print_json(parts)
        return
    for name, text in parts.items():
        if text:
            click.echo(text if part else f"--- {name}\n{text}")


def _stored(invocation: Invocation) -> dict[bytes, bytes]:
    return invocation.kafka.table(invocation.topics.name(TEMPLATES))


def _decoded(invocation: Invocation, key: bytes, value: bytes) -> dict[str, Any]:
    record = read_record(invocation, "Template", value)
    if not isinstance(record, dict):
        raise Failure(f"template {key.decode('utf-8', 'replace')} cannot be read: {record}")
    return record


def _compiled(record: dict[str, Any]) -> Any:
    """What a worker makes of the template; raises Failure where it would refuse it."""
    from streams.content.render import RenderFailure, compile_content
    from streams.core.message import Content, Mailbox, Template

    template = Template(
        record["template_id"], record["version"], record["subject"], record["text"] or "", record["html"] or ""
    )
    compiled = compile_content(Content(Mailbox("sender@example.com"), template=template))
    if isinstance(compiled, RenderFailure):
        raise Failure(compiled.reason.detail)
    return compiled


def _rendered(record: dict[str, Any], variables: dict[str, Any]) -> dict[str, str]:
    from streams.content.render import RenderFailure, render_one
    from streams.core.message import Mailbox, Message, Stream
    from streams.providers.base import fill

    message = Message(
        message_id="",
        tenant="",
        stream=Stream.TRANSACTIONAL,
        idempotency_key="",
        recipient=Mailbox("recipient@example.com"),
        content_hash="",
        fingerprint="",
        requested_ms=0,
        accepted_ms=0,
        data=variables,
    )
    rendered = render_one(_compiled(record), message, {"unsubscribe_url": "https://example.com/unsubscribe"})
    if isinstance(rendered, RenderFailure):
        raise Failure(f"template {record['template_id']}: {rendered.reason.detail}")
    return {name: fill(getattr(rendered, name), {}) for name in ("subject", "text", "html")}
