"""``streams templates``: store, list and try out templates."""

from __future__ import annotations

import sys
from typing import Any

import click

from streams.cli.context import Invocation, clock_text, json_option, now_ms, print_json, print_table, printable, say
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
@click.option(
    "--locale", default="", metavar="TAG", help="Store a variant for readers of this language, e.g. de, pt-BR."
)
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
    locale: str,
    as_json: bool,
) -> None:
    """Store a template, or a new version of it. Messages under way keep the version they were taken in with.

    With --locale it is a variant of the template ID: recipients whose data name that language (`locale`) get it, all
    others the template itself.
    """
    from streams.kafka import NewRecord
    from streams.serde.public import template_version
    from streams.serde.records import encode

    template_id = _id_of(template_id, locale)
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
    if locale and template_id.partition("#")[0].encode() not in _stored(invocation):
        say(f"there is no template {template_id.partition('#')[0]} yet: store one for readers of other languages")
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
@click.option(
    "--locale", default="", metavar="TAG", help="As for a reader of this language; default: what --data says."
)
@json_option
@click.pass_obj
def render(invocation: Invocation, template_id: str, data: str, part: str | None, locale: str, as_json: bool) -> None:
    """Show what a template becomes with some data, in the nearest variant for the reader's language."""
    variables = json_object("--data", data)
    chosen, value = _nearest(_stored(invocation), template_id, locale, variables)
    parts = _rendered(_decoded(invocation, chosen.encode(), value), variables, invocation)
    if chosen != template_id and not as_json and not part:
        say(f"variant {chosen}")
    if part:
        parts = {part: parts.get(part, "")}
    if as_json:
        print_json(parts)
        return
    for name, text in parts.items():
        if text:
            piped = bool(part) and not sys.stdout.isatty()  # into a file it goes as it is
            click.echo(text if piped else printable((text if part else f"--- {name}\n{text}").replace("\r\n", "\n")))


def _stored(invocation: Invocation) -> dict[bytes, bytes]:
    return invocation.kafka.table(invocation.topics.name(TEMPLATES))


def _id_of(template_id: str, locale: str) -> str:
    """The key of a template or of its variant; raises UsageFailure."""
    from streams.core.locale import MARK, locale_tag
    from streams.core.request import is_template_id

    base, mark, tag = template_id.partition(MARK)
    if not is_template_id(base):
        raise UsageFailure(f"{base!r} is no template id (letters, digits, dots, hyphens, underscores and slashes)")
    if not mark and not locale:
        return base
    normal = locale_tag(tag or locale)
    if not normal or (mark and locale and locale_tag(locale) != normal):
        raise UsageFailure(f"{tag or locale!r} is no language tag such as de or pt-BR")
    return f"{base}{MARK}{normal}"


def _nearest(stored: dict[bytes, bytes], template_id: str, locale: str, variables: dict[str, Any]) -> tuple[str, bytes]:
    from streams.core.locale import locale_of, locale_tag, variant_ids

    if locale and not locale_tag(locale):
        raise UsageFailure(f"{locale!r} is no language tag such as de or pt-BR")
    for name in (*variant_ids(template_id, locale_tag(locale) or locale_of(variables)), template_id):
        if (value := stored.get(name.encode())) is not None:
            return name, value
    raise Failure(f"there is no template {template_id}; see: streams templates list")


def _decoded(invocation: Invocation, key: bytes, value: bytes) -> dict[str, Any]:
    record = read_record(invocation, "Template", value)
    if not isinstance(record, dict):
        raise Failure(f"template {key.decode('utf-8', 'replace')} cannot be read: {record}")
    return record


def _compiled(record: dict[str, Any], *, text_from_html: bool = True) -> Any:
    """What a worker makes of the template; raises Failure where it would refuse it."""
    from streams.content.render import RenderFailure, compile_content
    from streams.core.message import Content, Mailbox, Template

    template = Template(
        record["template_id"], record["version"], record["subject"], record["text"] or "", record["html"] or ""
    )
    content = Content(Mailbox("sender@example.com"), template=template)
    compiled = compile_content(content, text_from_html=text_from_html)
    if isinstance(compiled, RenderFailure):
        raise Failure(compiled.reason.detail)
    return compiled


def _rendered(record: dict[str, Any], variables: dict[str, Any], invocation: Invocation) -> dict[str, str]:
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
    compiled = _compiled(record, text_from_html=invocation.settings.dispatch.text_from_html)
    rendered = render_one(compiled, message, {"unsubscribe_url": "https://example.com/unsubscribe"})
    if isinstance(rendered, RenderFailure):
        raise Failure(f"template {record['template_id']}: {rendered.reason.detail}")
    return {name: fill(getattr(rendered, name), {}) for name in ("subject", "text", "html")}
