"""``streams breakers``, ``pause`` and ``resume``: orders that every process reads from the topic ``controls``."""

from __future__ import annotations

import json
from typing import Any

import click

from streams.cli.context import Invocation, clock_text, json_option, now_ms, print_json, print_table, say
from streams.cli.failure import Failure, UsageFailure
from streams.cli.records import audit
from streams.topics import BREAKERS, CONTROLS

_KINDS = ("tenant", "stream", "provider")


@click.command()
@click.argument("action", required=False, type=click.Choice(["open", "close", "auto"]))
@click.argument("name", required=False)
@json_option
@click.pass_obj
def breakers(invocation: Invocation, action: str | None, name: str | None, as_json: bool) -> None:
    """Show the circuit breakers, or force the one of provider NAME open or closed; `auto` lets it decide again."""
    if action is None:
        _show_breakers(invocation, as_json)
        return
    if not name:
        raise UsageFailure(f"breakers {action} needs the name of a provider")
    providers = invocation.settings.providers
    if name not in providers:
        known = ", ".join(providers) or "none is configured"
        raise UsageFailure(f"there is no provider {name} (known: {known})")
    order = None if action == "auto" else {"action": action, "actor": invocation.actor, "at_ms": now_ms()}
    audit(invocation, f"breaker.{action}", "breaker", name)
    _order(invocation, f"breaker/{name}", order)
    if as_json:
        print_json({"provider": name, "action": action})
    else:
        say(f"breaker {name}: {'left to itself again' if action == 'auto' else 'forced ' + action}")


@click.command()
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("name")
@json_option
@click.pass_obj
def pause(invocation: Invocation, kind: str, name: str, as_json: bool) -> None:
    """Hold the messages of a tenant, a stream (transactional, bulk) or a provider. Nothing is lost; see `resume`."""
    _check_name(invocation, kind, name)
    audit(invocation, f"{kind}.pause", kind, name, tenant=name if kind == "tenant" else "")
    _order(invocation, f"pause/{kind}/{name}", {"actor": invocation.actor, "at_ms": now_ms()})
    _told(as_json, kind, name, paused=True)


@click.command()
@click.argument("kind", type=click.Choice(_KINDS))
@click.argument("name")
@json_option
@click.pass_obj
def resume(invocation: Invocation, kind: str, name: str, as_json: bool) -> None:
    """Let the messages of a tenant, a stream or a provider go again."""
    key = f"pause/{kind}/{name}".encode()
    if key not in invocation.kafka.table(invocation.topics.name(CONTROLS)):
        raise Failure(f"{kind} {name} is not paused")
    audit(invocation, f"{kind}.resume", kind, name, tenant=name if kind == "tenant" else "")
    _order(invocation, key.decode(), None)
    _told(as_json, kind, name, paused=False)


def _show_breakers(invocation: Invocation, as_json: bool) -> None:
    records = invocation.kafka.table(invocation.topics.name(BREAKERS))
    orders = invocation.kafka.table(invocation.topics.name(CONTROLS))
    rows = [_row(name, records, orders) for name in _breaker_names(invocation, records)]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("provider", "state", "forced", "since", "next probe", "reason"),
        (
            (
                row["provider"],
                row["state"],
                row["forced"] or "",
                clock_text(row["changed_ms"]),
                clock_text(row["retry_at_ms"]),
                row["reason"],
            )
            for row in rows
        ),
        "no provider is configured and no breaker has ever moved",
    )


def _breaker_names(invocation: Invocation, records: dict[bytes, bytes]) -> list[str]:
    return list(dict.fromkeys([*invocation.settings.providers, *(key.decode() for key in records)]))


def _row(name: str, records: dict[bytes, bytes], orders: dict[bytes, bytes]) -> dict[str, Any]:
    record = _read(records.get(name.encode()))
    order = _read(orders.get(f"breaker/{name}".encode()))
    return {
        "provider": name,
        "state": record.get("state", "closed"),
        "forced": order.get("action"),
        "epoch": record.get("epoch", 0),
        "changed_ms": record.get("changed_ms", 0),
        "retry_at_ms": record.get("retry_at_ms", 0),
        "reason": record.get("reason", ""),
    }


def _read(value: bytes | None) -> dict[str, Any]:
    try:
        content = json.loads(value or b"{}")
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _check_name(invocation: Invocation, kind: str, name: str) -> None:
    if kind == "stream" and name not in ("transactional", "bulk"):
        raise UsageFailure(f"there is no stream {name}: transactional or bulk")
    if kind == "provider" and name not in invocation.settings.providers:
        known = ", ".join(invocation.settings.providers) or "none is configured"
        raise UsageFailure(f"there is no provider {name} (known: {known})")


def _order(invocation: Invocation, key: str, order: dict[str, Any] | None) -> None:
    from streams.kafka import NewRecord

    value = None if order is None else json.dumps(order, separators=(",", ":")).encode()
    topic = invocation.topics.name(CONTROLS)
    invocation.kafka.partitions(topic)
    invocation.kafka.send(NewRecord(topic, key.encode(), value))
    invocation.kafka.flush()


def _told(as_json: bool, kind: str, name: str, *, paused: bool) -> None:
    if as_json:
        print_json({"kind": kind, "name": name, "paused": paused})
    else:
        say(f"{kind} {name}: {'paused' if paused else 'resumed'}")
