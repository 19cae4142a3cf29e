"""``streams failures``: which messages were not delivered, why in words, and what to do about it; listed or counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any

import click

from streams.cli.context import Invocation, clock_text, json_option, print_json, print_table, printable, say
from streams.cli.failed import DEFAULT, STATUSES, Failed, failures_of, filter_of
from streams.cli.records import shown
from streams.core.causes import Cause

_MOST_SHOWN = 500


def filter_options(default: Iterable[str] = DEFAULT) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that choose failures."""
    options = (
        click.option(
            "--status",
            "statuses",
            multiple=True,
            type=click.Choice(STATUSES),
            help=f"Repeatable. [default: {', '.join(default)}]",
        ),
        click.option("--tenant", default="", help="Only this tenant's."),
        click.option("--provider", default="", help="Only those last tried at this provider."),
        click.option("--reason", default="", metavar="KIND", help="Only those with this reason, e.g. mailbox_full."),
        click.option("--domain", default="", help="Only recipients at this domain."),
        click.option("--stream", type=click.Choice(["transactional", "bulk"]), help="Only mail of this stream."),
        click.option("--since", metavar="WHEN", help="Only since then: 24h, 7d or an RFC 3339 time."),
    )

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.command()
@filter_options()
@click.option(
    "--by", type=click.Choice(["reason", "provider", "tenant"]), help="Count them by this instead of listing them."
)
@json_option
@click.pass_obj
def failures(invocation: Invocation, /, by: str | None, as_json: bool, **chosen: Any) -> None:
    """Show messages that were not delivered: by tenant, with the cause in words and what to do about it.

    \b
    streams failures --by reason --since 24h
    streams failures --tenant shop --reason credentials
    """
    found = failures_of(invocation, filter_of(**chosen))
    if by is not None:
        _count(found, by, as_json=as_json)
    elif as_json:
        print_json([_as_json(failed) for failed in found])
    else:
        _list(found)


def _list(found: list[Failed]) -> None:
    if not found:
        say("no message failed that fits")
        return
    shown_now = sorted(found[-_MOST_SHOWN:], key=_tenant)  # stable: the oldest of a tenant first
    for tenant, of_tenant in groupby(shown_now, key=_tenant):
        theirs = list(of_tenant)
        click.echo(printable(f"tenant {tenant}: {_messages(len(theirs))}", lines=False))
        print_table(("when", "message", "recipient", "status", "provider", "what happened"), map(_row, theirs), "")
        for line in _advices(theirs):
            click.echo(printable(line))
        click.echo("")
    if len(found) > len(shown_now):
        say(f"… and {len(found) - len(shown_now)} older ones; --by counts all, --json prints all")
    say(f"{_messages(len(found))}; send one again with: streams retry ID, many with: streams retry --all and a filter")


def _row(failed: Failed) -> tuple[str, ...]:
    event = failed.event
    words = " ".join(str(failed.reason.get(name) or "") for name in ("code", "enhanced_code", "detail")).split()
    return (
        clock_text(event["occurred_at"]),
        failed.message_id,
        event["recipient"],
        failed.status,
        event["provider"] or "",
        failed.cause.happened + (f" ({' '.join(words)})" if words else ""),
    )


def _advices(found: Iterable[Failed]) -> Iterator[str]:
    """Once for every cause."""
    causes: dict[Cause, int] = {}
    for failed in found:
        causes[failed.cause] = causes.get(failed.cause, 0) + 1
    for cause, count in sorted(causes.items(), key=lambda item: -item[1]):
        again = "" if cause.again else " (sent again as it is, it fails again)"
        yield f"  {count} because {cause.happened}: {cause.advice}{again}"


def _count(found: list[Failed], by: str, *, as_json: bool) -> None:
    groups: dict[str, list[Failed]] = {}
    for failed in found:
        groups.setdefault(_name(failed, by), []).append(failed)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    if as_json:
        print_json([_counted(by, name, of_name) for name, of_name in ordered])
        return
    words = ("what happened", "what to do") if by == "reason" else ("most of them because",)
    print_table(
        (by, "messages", "first", "last", *words),
        (
            (
                name or "(none)",
                str(len(of_name)),
                clock_text(min(one.event["occurred_at"] for one in of_name)),
                clock_text(max(one.event["occurred_at"] for one in of_name)),
                *((_commonest(of_name).happened, _commonest(of_name).advice)[: len(words)]),
            )
            for name, of_name in ordered
        ),
        "no message failed that fits",
    )
    if found:
        say(f"{_messages(len(found))} in all")


def _counted(by: str, name: str, found: list[Failed]) -> dict[str, Any]:
    from streams.serde.events import rfc3339

    cause = _commonest(found)
    return {
        by: name,
        "count": len(found),
        "first": rfc3339(min(one.event["occurred_at"] for one in found)),
        "last": rfc3339(max(one.event["occurred_at"] for one in found)),
        "happened": cause.happened,
        "advice": cause.advice,
        "again": cause.again,
    }


def _commonest(found: list[Failed]) -> Cause:
    causes: dict[Cause, int] = {}
    for failed in found:
        causes[failed.cause] = causes.get(failed.cause, 0) + 1
    return max(causes, key=lambda cause: causes[cause])


def _name(failed: Failed, by: str) -> str:
    return str(failed.reason.get("kind") or failed.status) if by == "reason" else str(failed.event[by] or "")


def _as_json(failed: Failed) -> dict[str, Any]:
    cause = failed.cause
    words = {"happened": cause.happened, "advice": cause.advice, "again": cause.again}
    behind = {"behind": shown({"reason": failed.behind})["reason"]} if failed.behind else {}
    return {**shown(failed.event), "attempt": failed.attempt, "cause": {**words, **behind}}


def _tenant(failed: Failed) -> str:
    return str(failed.event["tenant"])


def _messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"
