"""``streams topics``: create what is missing, check what is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from streams.cli.context import Invocation, json_option, print_json, print_table, say
from streams.cli.failure import Failure


@click.group()
def topics() -> None:
    """Create the topics, or check them."""


@topics.command()
@json_option
@click.pass_obj
def create(invocation: Invocation, as_json: bool) -> None:
    """Create the topics that are missing. Existing ones are checked, never changed."""
    import asyncio

    from streams.configured import engine_security
    from streams.engine import ensure_topics

    settings = invocation.settings
    before = invocation.kafka.topics()
    specs = _specs(invocation, before)
    problems = asyncio.run(ensure_topics(settings.kafka.bootstrap, specs, engine_security(settings)))
    made = [spec.name for spec in specs if spec.name not in before]
    if as_json:
        print_json({"created": made, "existing": len(specs) - len(made), "problems": [str(item) for item in problems]})
    if problems:
        raise Failure(_first(problems))
    if not as_json:
        say(f"{len(made)} topics created, {len(specs) - len(made)} were there")


@topics.command()
@json_option
@click.pass_obj
def check(invocation: Invocation, as_json: bool) -> None:
    """Compare the topics with what they must be."""
    counts = invocation.kafka.topics()
    rows = [_row(spec, counts.get(spec.name)) for spec in _specs(invocation, counts)]
    if as_json:
        print_json(rows)
    else:
        print_table(
            ("topic", "partitions", "wanted", "problem"),
            ((row["topic"], str(row["partitions"] or ""), str(row["wanted"]), row["problem"]) for row in rows),
            "",
        )
    wrong = [row for row in rows if row["problem"]]
    if wrong:
        raise Failure(_first([f"topic {row['topic']} {row['problem']}" for row in wrong]))


def _specs(invocation: Invocation, there: Mapping[str, int]) -> list[Any]:
    """Those of the system, and those that tenants get copies of their events on."""
    from streams.configured import topic_specs
    from streams.serde.public import decode_tenant
    from streams.tenant_events import configured_event_topics, event_topic_specs
    from streams.topics import TENANTS, events_topic_fault

    names = configured_event_topics(invocation.settings)
    topic = invocation.topics.name(TENANTS)
    for value in (invocation.kafka.table(topic) if topic in there else {}).values():
        name = getattr(decode_tenant(value), "events_topic", "")
        if name and not events_topic_fault(name):
            names.append(name)
    return [*topic_specs(invocation.settings), *event_topic_specs(invocation.settings, names)]


def _first(problems: Sequence[object]) -> str:
    """One line about many problems, which mostly are the same one."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}"


def _row(spec: Any, count: int | None) -> dict[str, Any]:
    problem = ""
    if count is None:
        problem = "does not exist; create it with: streams topics create"
    elif count != spec.partitions:
        problem = f"has {count} partitions, needs {spec.partitions}"
    return {"topic": spec.name, "partitions": count, "wanted": spec.partitions, "problem": problem}
