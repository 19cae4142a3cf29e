"""``streams suppressions``: who is not written to, and why; changes, files, and the providers' own lists.

Rules:

1. These commands write no table: a change is an order on ``receipts``, or a record of ``suppression-rules``.
2. Every line of a file that is not taken is named with its number and the reason; the exit code is then 1.
3. What was taken has happened when the command ends: all of it is acknowledged by Kafka.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streams.cli.context import Invocation, clock_text, json_option, print_json, print_table, say
from streams.cli.failure import UsageFailure
from streams.cli.records import audit
from streams.cli.suppression_choice import chosen, end_of, named
from streams.cli.suppression_files import (
    FORMATS,
    SCOPES,
    BadLine,
    Entry,
    row_of,
    written,
)
from streams.cli.suppression_import import read_file, take_file, tell
from streams.cli.suppression_store import UNKNOWN_ADDRESS, Writer
from streams.core.suppression import SuppressionKind

_REASONS = [kind.value for kind in SuppressionKind]


@click.group()
def suppressions() -> None:
    """Show and change who is not written to; compare with the providers' own lists."""


def _scope_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--tenant", default="default", show_default=True, help="Whose mail."),
        click.option("--list", "list_id", default="", metavar="ID", help="Only the mail of this list (`list_id`)."),
        click.option("--everywhere", is_flag=True, help="Everybody's mail."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@suppressions.command(name="list")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--tenant", default="", help="Only what stops this tenant's mail.")
@click.option("--reason", type=click.Choice(_REASONS), help="Only this reason.")
@click.option("--scope", type=click.Choice(SCOPES), help="Only this scope.")
@click.option("--domain", default="", help="Only addresses at this domain.")
@click.option("--all", "ended", is_flag=True, help="Also those that are over or were lifted.")
@json_option
@click.pass_obj
def list_(
    invocation: Invocation,
    addresses: tuple[str, ...],
    tenant: str,
    reason: str | None,
    scope: str | None,
    domain: str,
    ended: bool,
    as_json: bool,
) -> None:
    """Show suppressions: all, or those of ADDRESSes or domains."""
    found = list(chosen(invocation, addresses, tenant, reason, scope, domain, ended=ended))
    if as_json:
        print_json([{k: v for k, v in row_of(entry).items() if v} for entry in found])
        return
    print_table(
        ("address", "reason", "scope", "tenant", "list", "since", "until", "by", "note"),
        (
            (
                entry.address,
                entry.reason.value,
                entry.scope,
                entry.tenant,
                entry.list_id,
                clock_text(entry.since_ms),
                clock_text(entry.until_ms),
                entry.source,
                entry.note,
            )
            for entry in found
        ),
        "no suppression fits",
    )


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@_scope_options
@click.option("--reason", type=click.Choice(_REASONS), default="manual", show_default=True)
@click.option("--until", metavar="WHEN", default="", help="It ends then: 30d, 12w, or an RFC 3339 time.")
@click.option("--note", default="", help="Why, for people.")
@json_option
@click.pass_obj
def add(
    invocation: Invocation,
    addresses: tuple[str, ...],
    tenant: str,
    list_id: str,
    everywhere: bool,
    reason: str,
    until: str,
    note: str,
    as_json: bool,
) -> None:
    """Stop mail to ADDRESSes: mailboxes, domains (example.com), or all below one (*.example.com).

    Unsubscriptions stop bulk mail only, other reasons all mail; with --list only the mail of that list.
    """
    wanted = named(addresses, tenant, list_id, everywhere, {"reason": reason, "note": note, "until": end_of(until)})
    writer = Writer(invocation)
    for entry in wanted:
        writer.add(entry)
        if entry.scope == "everywhere" or entry.is_domain:
            _audit(invocation, "suppression.add", entry)
    writer.flush()
    _told(as_json, "added", wanted)


@suppressions.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@_scope_options
@click.option("--reason", type=click.Choice(_REASONS), help="Lift only this reason; without it all.")
@click.option("--note", default="", help="Why, for people.")
@json_option
@click.pass_obj
def remove(
    invocation: Invocation,
    addresses: tuple[str, ...],
    tenant: str,
    list_id: str,
    everywhere: bool,
    reason: str | None,
    note: str,
    as_json: bool,
) -> None:
    """Let mail to ADDRESSes go again. An older bounce that is reported late does not undo it, a new one does.

    A provider may keep the address on a list of its own: `streams suppressions sync` takes it off.
    """
    wanted = named(addresses, tenant, list_id, everywhere, {"reason": reason or "manual", "note": note})
    writer = Writer(invocation)
    for entry in wanted:
        writer.lift(entry, SuppressionKind(reason) if reason else None)
        if entry.scope == "everywhere" or entry.is_domain:
            _audit(invocation, "suppression.remove", entry)
    writer.flush()
    _told(as_json, "lifted", wanted)


@suppressions.command(name="import")
@click.argument("file", metavar="FILE")
@_scope_options
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: by the name's ending, else csv.")
@click.option("--reason", type=click.Choice(_REASONS), default="manual", show_default=True, help="Where none is given.")
@click.option("--strict", is_flag=True, help="Take nothing if a line is wrong.")
@click.option("--dry-run", is_flag=True, help="Only check the file.")
@click.option("--rejected", type=click.Path(dir_okay=False), help="Write the lines that were not taken to this file.")
@json_option
@click.pass_obj
def import_(
    invocation: Invocation,
    file: str,
    tenant: str,
    list_id: str,
    everywhere: bool,
    form: str | None,
    reason: str,
    strict: bool,
    dry_run: bool,
    rejected: str | None,
    as_json: bool,
) -> None:
    """Take suppressions from a file (- is standard input): CSV with a header, bare addresses, or JSONL.

    Columns: address (or email, domain), reason, scope, tenant, list_id, since, until, note. What a line does not say,
    the options do. A line with `since` counts from then: what was lifted later stays lifted. Repeating is harmless.
    """
    kind = form or ("jsonl" if file.endswith((".jsonl", ".ndjson")) else "csv")
    scope = "everywhere" if everywhere else "list" if list_id else ""
    defaults = {"reason": reason, "scope": scope, "tenant": tenant, "list_id": list_id}
    bad: list[BadLine] = []
    if strict and not dry_run:
        if file == "-":
            raise UsageFailure("--strict reads the file twice: standard input cannot be")
        read_file(file, kind, defaults, bad, lambda entry: None, show=False)
    taken = 0
    if not (strict and bad):
        bad.clear()
        taken = take_file(invocation, file, kind, defaults, bad, dry=dry_run, show=not as_json)
    if rejected:
        with Path(rejected).open("w", encoding="utf-8", errors="surrogateescape") as out:
            out.writelines(f"{line.text}\n" for line in bad)
    tell(taken, bad, as_json=as_json, dry=dry_run)


@suppressions.command()
@click.argument("file", metavar="[FILE]", default="-")
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: by the name's ending, else csv.")
@click.option("--tenant", default="", help="Only what stops this tenant's mail.")
@click.option("--reason", type=click.Choice(_REASONS), help="Only this reason.")
@click.option("--scope", type=click.Choice(SCOPES), help="Only this scope.")
@click.option("--domain", default="", help="Only addresses at this domain.")
@click.pass_obj
def export(
    invocation: Invocation,
    file: str,
    form: str | None,
    tenant: str,
    reason: str | None,
    scope: str | None,
    domain: str,
) -> None:
    """Write the suppressions in force as CSV or JSONL, to FILE or standard output; `import` reads it again."""
    found = list(chosen(invocation, (), tenant, reason, scope, domain))
    unknown = sum(entry.address == UNKNOWN_ADDRESS for entry in found)
    known = [entry for entry in found if entry.address != UNKNOWN_ADDRESS]
    lines = written(known, form or ("jsonl" if file.endswith((".jsonl", ".ndjson")) else "csv"))
    if file == "-":
        sys.stdout.writelines(lines)
    else:
        part = Path(f"{file}.part")
        with part.open("w", encoding="utf-8", newline="") as out:
            out.writelines(lines)
        part.replace(file)
        say(f"{len(known)} suppressions written to {file}")
    if unknown:
        say(f"{unknown} could not be written: their addresses are not known yet, only their keys")


@suppressions.command()
@click.argument("providers", nargs=-1, metavar="[PROVIDER]...")
@click.option("--tenant", default="", help="Whose the entries of the provider's lists are; * for everybody's.")
@click.option("--pull-only", is_flag=True, help="Change nothing at the provider.")
@click.option("--push-only", is_flag=True, help="Change nothing here.")
@click.option("--full", is_flag=True, help="Compare everything, not only what changed since the last time.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@json_option
@click.pass_obj
def sync(
    invocation: Invocation,
    providers: tuple[str, ...],
    tenant: str,
    pull_only: bool,
    push_only: bool,
    full: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Compare with the lists that providers keep: theirs come here, ours go there, what was lifted here leaves there.

    PROVIDER is a configured provider or PROVIDER/ACCOUNT; without one those of `[suppression] sync`.
    """
    from streams.cli.suppression_sync import compare

    if pull_only and push_only:
        raise UsageFailure("--pull-only and --push-only exclude each other")
    reports = compare(
        invocation, providers, tenant=tenant, pull=not push_only, push=not pull_only, full=full, dry=dry_run
    )
    if as_json:
        print_json(reports)
        return
    print_table(
        ("provider", "entries there", "taken here", "put there", "taken off there", "not understood"),
        ([str(value) for value in report.values()] for report in reports),
        "nothing to compare",
    )


def _audit(invocation: Invocation, action: str, entry: Entry) -> None:
    from streams.core.ids import recipient_key

    target = entry.address if entry.is_domain else recipient_key("", entry.address, invocation.address_secret)
    audit(
        invocation, action, "address", target, tenant=entry.tenant, detail=f"{entry.scope}: {entry.note}".rstrip(": ")
    )


def _told(as_json: bool, done: str, changed: list[Entry]) -> None:
    if as_json:
        print_json([{k: v for k, v in row_of(entry).items() if v} for entry in changed])
        return
    for entry in changed:
        where = {"tenant": f"tenant {entry.tenant}", "list": f"list {entry.list_id} of {entry.tenant}"}
        say(f"{entry.address}: {done} ({where.get(entry.scope, entry.scope)})")
