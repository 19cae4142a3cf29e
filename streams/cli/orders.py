"""``streams retry`` and ``cancel``: what a person does about messages that were not delivered, or should not be.

Rules:

1. These commands change nothing themselves: they produce commands to ``outbound``, keyed like the message, and
   dispatch, which owns the ledger, decides what they mean for it.
2. A retry names the attempt that failed: where another has begun meanwhile it does nothing, and so does a repeat.
3. A retry by filter tells how many messages it concerns and asks; without a terminal it wants ``--yes``.
4. What will not be sent again is told with the reason. What may arrive twice is sent again only where it was named.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import click

from streams.cli.context import Invocation, json_option, print_json, say
from streams.cli.failed import Failed, failures_of, filter_of, standing_of
from streams.cli.failure import Failure, UsageFailure
from streams.cli.failures import filter_options
from streams.cli.records import audit
from streams.cli.retry_plan import Plan, plan_of
from streams.topics import OUTBOUND

_DEFAULT = ("failed", "bounced", "rejected", "expired")
_MOST_SHOWN = 20


@click.command()
@click.argument("message_ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All that the filter finds, instead of single ids.")
@filter_options(_DEFAULT)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def retry(
    invocation: Invocation, /, message_ids: tuple[str, ...], everything: bool, yes: bool, as_json: bool, **chosen: Any
) -> None:
    """Send messages again: those named, or with --all every failed one that the filter finds.

    What will not be sent again is told with the reason: delivered meanwhile, a suppressed address, too late.
    The same command again sends nothing twice. Messages of which nobody can tell whether they arrived are sent again
    only if they are named, by id or by --status uncertain.
    """
    if bool(message_ids) == everything:
        raise UsageFailure("name message ids, or use --all with a filter")
    if everything:
        found = failures_of(invocation, filter_of(**chosen, default=_DEFAULT))
        if not found:
            raise Failure("no message failed that fits")
        plan = plan_of(invocation, found, named=bool(chosen["reason"] or chosen["statuses"]))
    else:
        plan = _named(invocation, _checked(message_ids))
    if not as_json:
        _tell_left(plan)
    if not plan.again:
        if as_json:
            _print(plan)
        raise Failure("no message will be sent again")
    if everything and not yes:
        _confirm(plan)
    _command(invocation, "retry", _retries(invocation, plan.again))
    if as_json:
        _print(plan)
    else:
        _told("retry", [failed.message_id for failed in plan.again], f"sent again{_risk(plan)}", as_json=False)


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
    _told("cancel", list(known), "withdrawn, unless handed over already", as_json=as_json)


def _named(invocation: Invocation, message_ids: tuple[str, ...]) -> Plan:
    found = standing_of(invocation, frozenset(message_ids))
    plan = plan_of(invocation, [found[identity] for identity in message_ids if identity in found], named=True)
    unknown = [(identity, "", "nothing is known of it") for identity in message_ids if identity not in found]
    return Plan(plan.again, (*plan.left, *unknown))


def _retries(invocation: Invocation, again: Iterable[Failed]) -> dict[str, Any]:
    from streams.core.command import Retry

    return {one.message_id: Retry(one.message_id, one.attempt, invocation.actor) for one in again}


def _confirm(plan: Plan) -> None:
    count = len(plan.again)
    what = f"{count} message{'' if count == 1 else 's'}"
    risk = _risk(plan)
    if not sys.stdin.isatty():
        raise UsageFailure(f"{what} would be sent again{risk}; nobody can be asked here: say so with --yes")
    click.confirm(f"Send {what} again{risk}?", abort=True, err=True)


def _risk(plan: Plan) -> str:
    doubtful = sum(failed.status == "uncertain" for failed in plan.again)
    return f" ({doubtful} of them may arrive twice)" if doubtful else ""


def _tell_left(plan: Plan) -> None:
    for why, count in Counter(why for _, _, why in plan.left).most_common():
        ids = [identity for identity, _, other in plan.left if other == why]
        more = f" and {count - _MOST_SHOWN} more" if count > _MOST_SHOWN else ""
        say(f"not sent again, {why}: {', '.join(ids[:_MOST_SHOWN])}{more}")


def _print(plan: Plan) -> None:
    ids = [failed.message_id for failed in plan.again]
    left = [{"message_id": identity, "status": status, "why": why} for identity, status, why in plan.left]
    print_json({"command": "retry", "count": len(ids), "message_ids": ids, "left": left})


def _checked(message_ids: tuple[str, ...]) -> tuple[str, ...]:
    from streams.core.ids import is_message_id

    for identity in message_ids:
        if not is_message_id(identity):
            raise UsageFailure(f"{identity!r} is not a message id; find them with: streams message ADDRESS")
    return tuple(dict.fromkeys(message_ids))


def _command(invocation: Invocation, verb: str, commands: Mapping[str, Any]) -> None:
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


def _told(verb: str, message_ids: list[str], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"command": verb, "count": len(message_ids), "message_ids": message_ids})
    else:
        say(f"{len(message_ids)} message{'s' if len(message_ids) != 1 else ''} will be {text}")
