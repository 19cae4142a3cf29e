"""``streams topics``: create what is missing, check what is there, say who needs which rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from streams.cli.context import Invocation, json_option, print_json, print_table, say
from streams.cli.failure import Failure, UsageFailure

if TYPE_CHECKING:
    from streams.acls import Right


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


@topics.command()
@click.option(
    "--principal",
    "given",
    multiple=True,
    metavar="PROCESS=PRINCIPAL",
    help="Whom a process logs in as, e.g. worker=User:mail-worker. Without: User:PROCESS.",
)
@click.option("--only", multiple=True, metavar="PROCESS", help="Only this one; may be given several times.")
@click.option("--tenants", "with_tenants", is_flag=True, help="Ask Kafka which topics tenants' events are copied to.")
@click.option("--commands", is_flag=True, help="Print the commands for kafka-acls that allow it.")
@click.option("--check", "checked", is_flag=True, help="Ask Kafka whether whom we log in as has the rights of --only.")
@json_option
@click.pass_obj
def acls(
    invocation: Invocation,
    given: tuple[str, ...],
    only: tuple[str, ...],
    with_tenants: bool,
    commands: bool,
    checked: bool,
    as_json: bool,
) -> None:
    """Say which rights on Kafka each process needs, and no more (docs/kafka-security.md)."""
    from streams.acls import rights

    own = _tenants_topics(invocation, invocation.kafka.topics()) if with_tenants else []
    needed = rights(invocation.settings, own)
    principals = _principals(given)
    for name in (*only, *principals):
        if name not in needed:
            raise UsageFailure(f"there is no process {name}; known are {', '.join(needed)}")
    chosen = {name: needed[name] for name in only or needed}
    if checked:
        _check(invocation, chosen, only)
    elif as_json:
        print_json([_acl(name, _principal(name, principals), one) for name, found in chosen.items() for one in found])
    elif commands:
        for name, found in chosen.items():
            for line in _commands(invocation.settings.kafka.bootstrap, _principal(name, principals), found):
                click.echo(line)
    else:
        rows = [
            (name, _principal(name, principals), one.kind, one.name + ("*" if one.prefixed else ""), one.operation)
            for name, found in chosen.items()
            for one in found
        ]
        print_table(("process", "principal", "kind", "name", "operation"), rows, "")


def _principals(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in given:
        name, _, principal = text.partition("=")
        if ":" not in principal:
            raise UsageFailure(f"--principal {text}: must be PROCESS=TYPE:NAME, e.g. worker=User:mail-worker")
        found[name] = principal
    return found


def _principal(process: str, principals: Mapping[str, str]) -> str:
    return principals.get(process, f"User:{process}")


def _acl(process: str, principal: str, right: Right) -> dict[str, str]:
    pattern = "prefixed" if right.prefixed else "literal"
    what = {"kind": right.kind, "name": right.name, "pattern": pattern, "operation": right.operation}
    return {"process": process, "principal": principal, **what}


def _commands(bootstrap: str, principal: str, needed: Sequence[Right]) -> list[str]:
    """One command for all things of a kind that the same may be done with."""
    operations: dict[tuple[str, str, bool], list[str]] = {}
    for right in needed:
        operations.setdefault((right.kind, right.name, right.prefixed), []).append(right.operation)
    alike: dict[tuple[str, bool, tuple[str, ...]], list[str]] = {}
    for (kind, name, prefixed), may in operations.items():
        alike.setdefault((kind, prefixed, tuple(may)), []).append(name)
    begin = f"kafka-acls.sh --bootstrap-server {quote(bootstrap)} --command-config admin.properties --add"
    lines = []
    for (kind, prefixed, does), names in alike.items():
        what = "--cluster" if kind == "cluster" else " ".join(f"--{kind} {quote(name)}" for name in names)
        how = " --resource-pattern-type prefixed" if prefixed else ""
        how += "".join(f" --operation {operation}" for operation in does)
        lines.append(f"{begin} --allow-principal {quote(principal)}{how} {what}")
    return lines


def _check(invocation: Invocation, chosen: Mapping[str, Sequence[Right]], only: Sequence[str]) -> None:
    from streams.permissions import missing, sentence

    if len(only) != 1:
        raise UsageFailure("--check needs one --only PROCESS: whom we log in as is one of them")
    lacking = missing(invocation.kafka.admin, chosen[only[0]])
    if lacking:
        raise Failure("not allowed: " + ", ".join(sentence(one) for one in lacking))
    say(f"all that {only[0]} needs is allowed")


def _specs(invocation: Invocation, there: Mapping[str, int]) -> list[Any]:
    """Those of the system, the changelogs of its tables, and those that tenants get copies of their events on."""
    from streams.configured import changelog_specs, topic_specs
    from streams.tenant_events import configured_event_topics, event_topic_specs

    names = [*configured_event_topics(invocation.settings), *_tenants_topics(invocation, there)]
    system = [*topic_specs(invocation.settings), *changelog_specs(invocation.settings)]
    return [*system, *event_topic_specs(invocation.settings, names)]


def _tenants_topics(invocation: Invocation, there: Mapping[str, int]) -> list[str]:
    """The topics that tenants' records ask for, without the prefix."""
    from streams.serde.public import decode_tenant
    from streams.topics import TENANTS, events_topic_fault

    topic = invocation.topics.name(TENANTS)
    names = []
    for value in (invocation.kafka.table(topic) if topic in there else {}).values():
        name = getattr(decode_tenant(value), "events_topic", "")
        if name and not events_topic_fault(name):
            names.append(name)
    return names


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
