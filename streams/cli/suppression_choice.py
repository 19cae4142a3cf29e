"""Which suppressions a command is about: those that are there and fit, or those that its arguments name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from streams.cli.context import Invocation, now_ms
from streams.cli.failure import UsageFailure
from streams.cli.suppression_files import Entry, entry_of, when_ms
from streams.cli.suppression_store import entries
from streams.core.ids import normalise_address
from streams.core.suppression_rules import domain_pattern

_AGE = re.compile(r"(\d{1,5})([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def chosen(
    invocation: Invocation,
    addresses: tuple[str, ...],
    tenant: str,
    reason: str | None,
    scope: str | None,
    domain: str,
    *,
    ended: bool = False,
) -> Iterator[Entry]:
    """What there is and fits; ``ended`` takes in what is over or was lifted."""
    wanted = {domain_pattern(address) or normalise_address(address) for address in addresses}
    single = addresses[0] if len(addresses) == 1 else ""
    for entry in entries(invocation, tenant=tenant, address=single, ended=ended):
        if (
            (not wanted or normalise_address(entry.address) in wanted)
            and (not reason or entry.reason == reason)
            and (not scope or entry.scope == scope)
            and (not domain or entry.address.rpartition("@")[2].lower() == domain.lower())
        ):
            yield entry


def named(
    addresses: tuple[str, ...], tenant: str, list_id: str, everywhere: bool, fields: dict[str, str]
) -> list[Entry]:
    """What a command is asked to change. Raises UsageFailure."""
    if list_id and everywhere:
        raise UsageFailure("--list and --everywhere exclude each other")
    scope = "everywhere" if everywhere else "list" if list_id else "tenant"
    defaults = {"scope": scope, "tenant": tenant, "list_id": list_id}
    wished = []
    for address in addresses:
        try:
            wished.append(entry_of({"address": address, **fields}, defaults))
        except ValueError as exc:
            raise UsageFailure(str(exc)) from exc
    return wished


def end_of(text: str) -> str:
    """``30d`` from now, or a time, as text that an entry reads. Raises UsageFailure."""
    if not text:
        return ""
    if age := _AGE.fullmatch(text):
        return str(now_ms() + int(age[1]) * _UNIT_S[age[2]] * 1000)
    try:
        ends_ms = when_ms(text)
    except ValueError as exc:
        raise UsageFailure(f"--until {exc}") from exc
    if ends_ms <= now_ms():
        raise UsageFailure(f"--until {text} is in the past")
    return text
