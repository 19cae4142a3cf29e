"""``streams failures``, ``retry`` and ``cancel``: messages that were not delivered, and what a person does about them.

Rules:

1. These commands change nothing themselves: they produce commands to ``outbound``, keyed like the message, and
   dispatch, which owns the ledger, decides what they mean for it.
2. A retry by filter tells how many messages it concerns and asks, unless ``--yes`` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import click

from streams.cli.context import Invocation, clock_text, json_option, print_json, print_table, say
from streams.cli.failure import Failure, UsageFailure
from streams.cli.records import audit, read_event, shown, since_text, why
from streams.topics import DELIVERY_EVENTS, OUTBOUND

_FAILED = ("failed", "bounced", "rejected", "expired", "uncertain", "suppressed", "complained")
_DEFAULT = ("failed", "bounced", "rejected", "expired", "uncertain")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which failures; an empty field takes all."""

    statuses: frozenset[str]
    tenant: str = ""
    provider: str = ""
    reason: str = ""
    domain: str = ""
    since_ms: int = 0

    def takes(self, event: dict[str, Any]) -> bool:
        """Whether the last event of a message fits."""
        reason = event["reason"] or {}
        return (
            event["status"] in self.statuses
            and (not self.tenant or event["tenant"] == self.tenant)
            and (not self.provider or event["provider"] == self.provider)
            and (not self.reason or reason.get("kind") == self.reason)
            and (not self.domain or event["recipient"].rpartition("@")[2].lower() == self.domain.lower())
        )


def _filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option(
            "--status",
            "statuses",
            multiple=True,
            type=click.Choice(_FAILED),
            help=f"Repeatable. [default: {', '.join(_DEFAULT)}]",
        ),
        click.option("--tenant", default="", help="Only this tenant's."),
        click.option("--provider", default="", help="Only those last tried at this provider."),
        click.option("--reason", default="", metavar="KIND", help="Only those with this reason, e.g. mailbox_full."),
        click.option("--domain", default="", help="Only recipients at this domain."),
        click.option("--since", metavar="WHEN", help="Only since then: 24h, 7d or an RFC 3339 time."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _filter(
    statuses: tuple[str, ...], tenant: str, provider: str, reason: str, domain: str, since: str | None
) -> Filter:
    try:
        since_ms = since_text(since)
    except ValueError as exc:
        raise UsageFailure(f"--since {since}: neither an age like 24h, 7d nor an RFC 3339 time") from exc
    return Filter(frozenset(statuses or _DEFAULT), tenant, provider, reason, domain, since_ms)


@click.command()
@_filter_options
@json_option
@click.pass_obj
def failures(invocation: Invocation, /, as_json: bool, **chosen: Any) -> None:
    """Show messages that were not delivered, each with its last event and the reason."""
    found = list(_failed(invocation, _filter(**chosen)))
    if as_json:
        print_json([shown(event) for event in found])
        return
    print_table(
        ("when", "message", "recipient", "status", "provider", "why"),
        (
            (
                clock_text(event["occurred_at"]),
                event["message_id"],
                event["recipient"],
                event["status"],
                event["provider"] or "",
                why(event),
            )
            for event in found
        ),
        "no message failed that fits",
    )
    if found:
        say(f"{len(found)} message{'s' if len(found) != 1 else ''}; send one again with: streams retry ID")


@click.command()
@click.argument("message_ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All that the filter finds, instead of single ids.")
@_filter_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def retry(
    invocation: Invocation, /, message_ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool, **chosen: Any
) -> None:
    """Send messages again: those named, or with --all every failed one that the filter finds.

    A message that has been retried or delivered meanwhile is left alone. To an address that is suppressed nothing is
    sent; the message becomes `suppressed`.
    """
    from streams.core.command import Retry

    if bool(message_ids) == everything:
        raise UsageFailure("name message ids, or use --all with a filter")
    if everything:
        # the attempt that failed is named, so that a message retried meanwhile is left alone
        attempts = {event["message_id"]: event["attempt"] for event in _failed(invocation, _filter(**chosen))}
        if not attempts:
            raise Failure("no message failed that fits")
    else:
        attempts = _last_attempts(invocation, _checked(message_ids))
    if everything and not yes:
        click.confirm(f"Send {len(attempts)} messages again?", abort=True, err=True)
    _command(invocation, "retry", {key: Retry(key, attempt, invocation.actor) for key, attempt in attempts.items()})
    _told(as_json, "retry", list(attempts), "sent again")


@click.command()
@click.argument("message_ids", nargs=-1, required=True, metavar="ID...")
@json_option
@click.pass_obj
def cancel(invocation: Invocation, message_ids: tuple[str, ...], as_json: bool) -> None:
    """Withdraw messages that have not been handed to a provider yet. See the outcome with: streams message ID.

    What a provider has cannot be called back, not even if it is to deliver it later (schedule_ahead_s).
    """
    from streams.core.command import Cancel

    known = _checked(message_ids)
    _command(invocation, "cancel", {key: Cancel(key, invocation.actor) for key in known})
    _told(as_json, "cancel", list(known), "withdrawn, unless handed over already")


def _failed(invocation: Invocation, chosen: Filter) -> Iterator[dict[str, Any]]:
    """The last event of every message whose status, as of now, is a failure that fits; the oldest first."""
    last: dict[str, dict[str, Any]] = {}
    causes: dict[str, dict[str, Any]] = {}
    attempts: dict[str, int] = {}
    topic = invocation.topics.name(DELIVERY_EVENTS)
    for record in invocation.kafka.read(topic, since_ms=chosen.since_ms):
        event = read_event(invocation, record.value)
        if event is None:
            continue
        identity = event["message_id"]
        last[identity] = event
        attempts[identity] = max(attempts.get(identity, 0), event["attempt"])
        if event["reason"]:
            causes[identity] = event
    for identity, event in sorted(last.items(), key=lambda item: int(item[1]["recorded_at"])):
        failure = causes.get(identity, event) | {"status": event["status"], "attempt": attempts[identity]}
        if chosen.takes(failure):
            yield failure


def _last_attempts(invocation: Invocation, message_ids: tuple[str, ...]) -> dict[str, int]:
    """The last attempt that the events tell of; it is named in the order, which then counts once if it is repeated."""
    from streams.core.ids import partition_of

    topic = invocation.topics.name(DELIVERY_EVENTS)
    count = invocation.kafka.partitions(topic)
    attempts = dict.fromkeys(message_ids, 0)
    for record in invocation.kafka.read(topic, sorted({partition_of(identity, count) for identity in message_ids})):
        identity = (record.key or b"").decode("ascii", "replace")
        if identity in attempts and (event := read_event(invocation, record.value)) is not None:
            attempts[identity] = max(attempts[identity], event["attempt"])
    return attempts


def _checked(message_ids: tuple[str, ...]) -> tuple[str, ...]:
    from streams.core.ids import is_message_id

    for identity in message_ids:
        if not is_message_id(identity):
            raise UsageFailure(f"{identity!r} is not a message id; find them with: streams message ADDRESS")
    return tuple(dict.fromkeys(message_ids))


def _command(invocation: Invocation, verb: str, commands: dict[str, Any]) -> None:
    from streams.core.ids import partition_of
    from streams.kafka import NewRecord
    from streams.serde.internal import pack

    topic = invocation.topics.name(OUTBOUND)
    partitions = invocation.kafka.partitions(topic)
    for identity, command in commands.items():
        key = identity.encode()
        invocation.kafka.send(NewRecord(topic, key, pack(command), partition_of(identity, partitions)))
        audit(invocation, f"message.{verb}", "message", identity)
    invocation.kafka.flush()


def _told(as_json: bool, verb: str, message_ids: list[str], text: str) -> None:
    if as_json:
        print_json({"command": verb, "count": len(message_ids), "message_ids": message_ids})
    else:
        say(f"{len(message_ids)} message{'s' if len(message_ids) != 1 else ''} will be {text}")
