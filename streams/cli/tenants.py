"""``streams tenants``: store, list and remove tenants, one by one or many from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from email.utils import parseaddr
from pathlib import Path
from typing import Any

import click

from streams.cli.context import Invocation, clock_text, json_option, now_ms, print_json, print_table, say
from streams.cli.failure import Failure, UsageFailure
from streams.cli.records import audit, read_record, shown
from streams.topics import TENANTS


@click.group()
def tenants() -> None:
    """Store, list and remove tenants: their sender, accounts, limits. Workers obey within seconds."""


@tenants.command()
@click.argument("name", required=False)
@click.option("--file", "path", metavar="FILE", help="Many tenants: one JSON record a line; - reads standard input.")
@click.option("--from", "sender", metavar="ADDRESS", help="Sender of requests that name none: 'Shop <news@x.org>'.")
@click.option("--reply-to", multiple=True, metavar="ADDRESS")
@click.option("--account", multiple=True, metavar="PROVIDER=ACCOUNT", help="One of [providers.PROVIDER.accounts].")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PROVIDER.KEY=VALUE",
    help="A setting of an account of its own; secrets as references, such as mailgun.api_key=env:TENANT_SHOP_KEY.",
)
@click.option("--provider", help="Provider that takes all its mail.")
@click.option("--retry", help="Its retry policy.")
@click.option("--rate", type=click.FloatRange(min=0), help="Messages per second over all providers.")
@click.option("--alert", metavar="ADDRESS", help="Who is told about messages given up.")
@click.option("--events-topic", metavar="TOPIC", help="A topic that gets a copy of each of its events; it is created.")
@click.option("--disabled", is_flag=True, help="Reject its requests.")
@json_option
@click.pass_obj
def put(invocation: Invocation, /, name: str | None, path: str | None, as_json: bool, **given: Any) -> None:
    """Store the tenant NAME as the flags say (what they do not say is not set), or many from a file."""
    if (name is None) == (path is None):
        raise UsageFailure("give the NAME of a tenant, or --file for many")
    records = _from_file(path) if path is not None else [_from_flags(name or "", given)]
    for record in records:
        _check(invocation, record)
    _store(invocation, records)
    if as_json:
        print_json({"stored": [record["tenant"] for record in records]})
    else:
        say(f"tenant {name} stored" if path is None else f"{len(records)} tenants stored")


@tenants.command(name="list")
@json_option
@click.pass_obj
def list_(invocation: Invocation, as_json: bool) -> None:
    """List the tenants of the topic; those of the configuration file are not shown."""
    rows = [_decoded(invocation, key, value) for key, value in sorted(_stored(invocation).items())]
    if as_json:
        print_json([shown(row, "Tenant") for row in rows])
        return
    print_table(
        ("tenant", "from", "accounts", "rate", "enabled", "updated", "by"),
        (
            (
                row["tenant"],
                (row["from"] or {}).get("email", ""),
                ", ".join([*(f"{p}/{a}" for p, a in row["accounts"].items()), *(f"{p} (own)" for p in _own(row))]),
                f"{row['rate']:g}/s" if row["rate"] else "",
                "yes" if row["enabled"] else "no",
                clock_text(row["updated_at"] or 0),
                row["updated_by"],
            )
            for row in rows
        ),
        "no tenant is stored; store one with: streams tenants put",
    )


@tenants.command()
@click.argument("name")
@click.pass_obj
def remove(invocation: Invocation, name: str) -> None:
    """Forget a tenant: the configuration file's settings hold again, or the defaults."""
    if name.encode() not in _stored(invocation):
        raise Failure(f"there is no tenant {name}; see: streams tenants list")
    from streams.kafka import NewRecord

    audit(invocation, "tenant.remove", "tenant", name, tenant=name)
    invocation.kafka.send(NewRecord(invocation.topics.name(TENANTS), name.encode(), None))
    invocation.kafka.flush()
    say(f"tenant {name} removed")


def _from_flags(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    own: dict[str, dict[str, str]] = {}
    for text in given["settings"]:
        where, equals, value = text.partition("=")
        provider, dot, key = where.partition(".")
        if not (equals and dot and provider and key):
            raise UsageFailure(f"--set must be PROVIDER.KEY=VALUE, not {text!r}")
        own.setdefault(provider, {})[key] = value
    accounts = dict(_pair("--account", text) for text in given["account"])
    return {
        "tenant": name,
        "from": _mailbox("--from", given["sender"]) if given["sender"] else None,
        "reply_to": [_mailbox("--reply-to", text) for text in given["reply_to"]],
        "accounts": accounts,
        "account_settings": own,
        "provider": given["provider"],
        "retry_policy": given["retry"],
        "rate": given["rate"] or 0.0,
        "alert_address": given["alert"],
        "events_topic": given["events_topic"],
        "enabled": not given["disabled"],
    }


def _from_file(path: str) -> list[dict[str, Any]]:
    from streams.serde.records import decode

    records = []
    for number, line in enumerate(_lines(path), 1):
        found = decode("Tenant", line.encode())
        if not isinstance(found, dict):
            raise UsageFailure(f"{path}, line {number}: {getattr(found, 'detail', 'no tenant record')}")
        records.append(found)
    if not records:
        raise UsageFailure(f"{path} holds no tenant")
    return records


def _lines(path: str) -> Iterator[str]:
    try:
        text = click.get_text_stream("stdin").read() if path == "-" else Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageFailure(f"{path} cannot be read: {exc}") from exc
    return (line for line in text.splitlines() if line.strip())


def _check(invocation: Invocation, record: dict[str, Any]) -> None:
    """What no worker would take is refused here; what references lead to is for `streams doctor`."""
    from streams.accounts import faults
    from streams.configured import alert_fault
    from streams.core.tenant import Tenant
    from streams.serde.public import decode_tenant
    from streams.topics import events_topic_fault

    tenant = decode_tenant(json.dumps({**record, "updated_at": None, "updated_by": ""}).encode())
    if not isinstance(tenant, Tenant):
        raise UsageFailure(f"tenant {record['tenant']}: {tenant}")
    for fault in faults(invocation.settings, tenant):
        raise UsageFailure(fault)
    if fault := alert_fault(invocation.settings, tenant):
        raise UsageFailure(f"tenant {tenant.tenant} {fault}")
    if tenant.events_topic and (fault := events_topic_fault(tenant.events_topic)):
        raise UsageFailure(f"tenant {tenant.tenant}: events_topic {tenant.events_topic!r} {fault}")


def _store(invocation: Invocation, records: list[dict[str, Any]]) -> None:
    from streams.kafka import NewRecord
    from streams.serde.records import encode

    topic = invocation.topics.name(TENANTS)
    invocation.kafka.partitions(topic)
    _make_topics(invocation, [record["events_topic"] for record in records if record["events_topic"]])
    for record in records:
        name = record["tenant"]
        stamped = {**record, "updated_at": now_ms(), "updated_by": invocation.actor}
        invocation.kafka.send(NewRecord(topic, name.encode(), encode("Tenant", stamped)))
        kind = "credential" if record["account_settings"] else "tenant"
        audit(invocation, "tenant.put", kind, name, tenant=name, detail=", ".join(sorted(record["account_settings"])))
    invocation.kafka.flush()


def _make_topics(invocation: Invocation, names: list[str]) -> None:
    """Topics for events are there before a worker hears of them."""
    if not names:
        return
    import asyncio

    from streams.configured import engine_security
    from streams.engine import ensure_topics
    from streams.tenant_events import event_topic_specs

    settings = invocation.settings
    specs = event_topic_specs(settings, names)
    for problem in asyncio.run(ensure_topics(settings.kafka.bootstrap, specs, engine_security(settings))):
        raise Failure(str(problem))


def _stored(invocation: Invocation) -> dict[bytes, bytes]:
    return invocation.kafka.table(invocation.topics.name(TENANTS))


def _decoded(invocation: Invocation, key: bytes, value: bytes) -> dict[str, Any]:
    record = read_record(invocation, "Tenant", value)
    if not isinstance(record, dict):
        raise Failure(f"tenant {key.decode('utf-8', 'replace')} cannot be read: {record}")
    return record


def _own(row: Mapping[str, Any]) -> list[str]:
    return [provider for provider, settings in row["account_settings"].items() if settings]


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise UsageFailure(f"{flag} must be PROVIDER=ACCOUNT, not {text!r}")
    return name, value


def _mailbox(flag: str, text: str) -> dict[str, str]:
    name, address = parseaddr(text)
    if "@" not in address:
        raise UsageFailure(f"{flag} must be an address, not {text!r}")
    return {"email": address, "name": name}
