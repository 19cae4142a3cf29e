"""``streams message``: the timeline of a message, or of all messages to an address."""

from __future__ import annotations

from typing import Any

import click

from streams.cli.context import Invocation, clock_text, json_option, print_json, print_table, printable
from streams.cli.failure import Failure, UsageFailure
from streams.cli.records import events_of, shown, since_text, why


@click.command()
@click.argument("target", metavar="ID|ADDRESS")
@click.option("--tenant", default="default", show_default=True, help="Whose message, where an address is given.")
@click.option("--since", metavar="WHEN", help="Only what was recorded since then: 24h, 7d or an RFC 3339 time.")
@click.option("--content", is_flag=True, help="Show what was sent: headers and parts, as the provider got them.")
@click.option("--eml", metavar="FILE", help="Write what was sent to a mail file; - is standard output.")
@json_option
@click.pass_obj
def message(
    invocation: Invocation, target: str, tenant: str, since: str | None, content: bool, eml: str | None, as_json: bool
) -> None:
    """Show what happened to a message. For an address: to all messages to it, the latest last.

    With --content or --eml: what was sent (for an address the latest), for as long as it is kept. Our own links in it
    open nothing, so that looking counts as no visit.
    """
    try:
        since_ms = since_text(since)
    except ValueError as exc:
        raise UsageFailure(f"--since {since}: neither an age like 24h, 7d nor an RFC 3339 time") from exc
    timelines: dict[str, list[dict[str, Any]]] = {}
    for event in events_of(invocation, (_key(invocation, target, tenant),), since_ms):
        timelines.setdefault(event["message_id"], []).append(event)
    if not timelines:
        whose = f" of tenant {tenant}" if "@" in target else ""
        raise Failure(f"nothing is recorded about {target}{whose}")
    if content or eml is not None:
        from streams.cli.content import show_content

        identity, timeline = list(timelines.items())[-1]
        show_content(invocation, identity, timeline, eml, as_json)
        return
    if as_json:
        print_json([_summary(identity, timeline) for identity, timeline in timelines.items()])
        return
    for identity, timeline in timelines.items():
        _print(identity, timeline)


def _key(invocation: Invocation, target: str, tenant: str) -> str:
    from streams.core.ids import is_message_id, recipient_key

    if is_message_id(target):
        return target
    if "@" not in target:
        raise UsageFailure(f"{target!r} is neither a message id nor an address")
    return recipient_key(tenant, target, invocation.address_secret)


def _summary(identity: str, timeline: list[dict[str, Any]]) -> dict[str, Any]:
    last = timeline[-1]
    return {
        "message_id": identity,
        "status": last["status"],
        "recipient": last["recipient"],
        "tenant": last["tenant"],
        "idempotency_key": last["idempotency_key"],
        "events": [shown(event) for event in timeline],
    }


def _print(identity: str, timeline: list[dict[str, Any]]) -> None:
    last = timeline[-1]
    click.echo(
        f"{identity}: {last['status']}\n"
        + printable(
            f"to {last['recipient']}, tenant {last['tenant']}, key {last['idempotency_key']}, {last['stream']}",
            lines=False,
        )
    )
    print_table(
        ("when", "what", "attempt", "provider", "why"),
        (
            (
                clock_text(event["occurred_at"]),
                event["type"].removeprefix("message."),
                str(event["attempt"] or ""),
                event["provider"] or "",
                _more(event),
            )
            for event in timeline
        ),
        "",
    )
    click.echo()


def _more(event: dict[str, Any]) -> str:
    parts = [why(event), event["url"] or ""]
    if event["retry_at"]:
        parts.append(f"again at {clock_text(event['retry_at'])}")
    if event["automated"] != "none":
        parts.append(f"by a {event['automated']}")
    return " ".join(part for part in parts if part)
