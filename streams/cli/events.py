"""``streams events``: what is recorded in ``delivery-events``, or what comes in now."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from streams.cli.context import Invocation, clock_text, json_option, print_json, printable, say
from streams.cli.failure import UsageFailure
from streams.cli.records import read_event, shown, since_text, type_of, why
from streams.topics import DELIVERY_EVENTS

if TYPE_CHECKING:
    from streams.kafka import Record


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Wait for more, until Ctrl-C.")
@click.option("-t", "--type", "types", multiple=True, metavar="TYPE", help="Only this type, e.g. bounced. Repeatable.")
@click.option("-m", "--message", "message_id", metavar="ID", help="Only this message.")
@click.option("--since", metavar="WHEN", help="Only what was recorded since then: 15m, 24h, 7d or an RFC 3339 time.")
@click.option("-n", "--limit", type=click.IntRange(min=1), help="Stop after so many events.")
@json_option
@click.pass_obj
def events(
    invocation: Invocation,
    follow: bool,
    types: tuple[str, ...],
    message_id: str | None,
    since: str | None,
    limit: int | None,
    as_json: bool,
) -> None:
    """Show delivery events: all that are recorded, then with --follow those that come."""
    wanted = _types(types)
    partitions = _partitions(invocation, message_id)
    try:
        since_ms = since_text(since)
    except ValueError as exc:
        raise UsageFailure(f"--since {since}: neither an age like 15m, 24h, 7d nor an RFC 3339 time") from exc
    topic = invocation.topics.name(DELIVERY_EVENTS)
    source = (
        _followed(invocation, topic, partitions, since_ms)
        if follow
        else invocation.kafka.read(topic, partitions, since_ms=since_ms)
    )
    count = 0
    try:
        for event in _chosen(invocation, source, wanted, message_id):
            _print(event, as_json)
            count += 1
            if count == limit:
                break
    except KeyboardInterrupt:
        return
    if not count and not as_json:
        say("no event is recorded that fits")


def _types(given: Iterable[str]) -> frozenset[str]:
    from streams.core.event import EventType

    known = {kind.value for kind in EventType}
    full = frozenset(name if name.startswith("message.") else f"message.{name}" for name in given)
    for name in sorted(full - known):
        raise UsageFailure(f"there is no event type {name}; known are {', '.join(sorted(known))}")
    return full


def _partitions(invocation: Invocation, message_id: str | None) -> list[int] | None:
    if message_id is None:
        return None
    from streams.core.ids import is_message_id, partition_of

    if not is_message_id(message_id):
        raise UsageFailure(f"{message_id!r} is not a message id; for an address see: streams message")
    topic = invocation.topics.name(DELIVERY_EVENTS)
    return [partition_of(message_id, invocation.kafka.partitions(topic))]


def _followed(invocation: Invocation, topic: str, partitions: list[int] | None, since_ms: int) -> Iterator[Record]:
    for run in invocation.kafka.follow(topic, partitions, from_beginning=True):
        yield from (record for record in run if record.timestamp_ms >= since_ms)
        sys.stdout.flush()


def _chosen(
    invocation: Invocation, records: Iterable[Record], types: frozenset[str], message_id: str | None
) -> Iterator[dict[str, Any]]:
    key = message_id.encode() if message_id else None
    for record in records:
        if key is not None and record.key != key:
            continue
        if types and "ce_type" in record.headers and type_of(record) not in types:
            continue
        event = read_event(invocation, record.value)
        if event is not None and (not types or event["type"] in types):
            yield event


def _print(event: dict[str, Any], json_wanted: bool) -> None:
    if json_wanted:
        print_json(shown(event))
        return
    line = (
        f"{clock_text(event['occurred_at'])}  {event['type'].removeprefix('message.'):<12} {event['message_id']}  "
        f"{event['recipient']}  {event['provider'] or ''}  {why(event)}"
    )
    sys.stdout.write(printable(line.rstrip(), lines=False) + "\n")
