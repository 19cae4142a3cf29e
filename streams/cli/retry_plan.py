"""Which of the messages that somebody wants to send again will be, and why the others will not.

Dispatch has the last word, by the ledger; here a person is told beforehand what the events and the suppressions say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from streams.cli.context import Invocation
from streams.cli.failed import Failed
from streams.core.event import ReasonKind
from streams.core.ids import normalise_address


@dataclass(frozen=True, slots=True)
class Plan:
    """``left``: message id, status and reason of what is not sent again."""

    again: tuple[Failed, ...] = ()
    left: tuple[tuple[str, str, str], ...] = ()


_NOT_FAILED: Mapping[str, str] = MappingProxyType(
    {
        "accepted": "it has not been sent yet",
        "scheduled": "it waits for its time",
        "deferred": "it will be tried again anyway",
        "sent": "the provider has it and has not said what became of it",
        "delivered": "it has been delivered",
        "complained": "the recipient called it spam",
        "cancelled": "it was withdrawn for good: send a new request",
        "expired": "its time has passed: send a new request",
    }
)
_OF_DISPATCH = frozenset({ReasonKind.NO_ROUTE, ReasonKind.RATE_LIMITED})
"""Refusals before any provider that the ledger knows all the same."""

Suppressed = Callable[[Failed], str]
"""Why nothing may be sent to the recipient now; empty if it may."""


def plan_of(invocation: Invocation, found: Iterable[Failed], *, named: bool) -> Plan:
    """``named``: somebody chose these by id, status or reason, so hopeless ones are tried too."""
    candidates = list(found)
    hindered = _suppressed(invocation, [one for one in candidates if not left_because(one, named=named)])
    again: list[Failed] = []
    left: list[tuple[str, str, str]] = []
    for one in candidates:
        why = left_because(one, named=named) or hindered(one)
        if why:
            left.append((one.message_id, one.status, why))
        else:
            again.append(one)
    return Plan(tuple(again), tuple(left))


def left_because(failed: Failed, *, named: bool) -> str:
    """Why this message is not sent again, whatever is suppressed; empty if nothing speaks against it."""
    if failed.status in _NOT_FAILED:
        return _NOT_FAILED[failed.status]
    if failed.status == "uncertain" and len(failed.doubts) < 2:
        return "it is still being found out whether the provider took it"
    kind = failed.reason.get("kind")
    if failed.status == "rejected" and not (failed.attempt or failed.event["provider"] or kind in _OF_DISPATCH):
        return f"the request was refused ({failed.cause.happened}): {failed.cause.advice}"
    if not named and not failed.cause.again and failed.status != "suppressed":
        return f"{failed.cause.happened}: it would fail again (name it, its reason or its status to try all the same)"
    return ""


def _suppressed(invocation: Invocation, candidates: list[Failed]) -> Suppressed:
    from streams.cli.suppression_store import entries
    from streams.core.suppression import SuppressionKind, stops_mail

    if not candidates:
        return lambda failed: ""
    wanted = {(one.event["tenant"], one.event["recipient"]) for one in candidates}
    one_only = next(iter(wanted)) if len(wanted) == 1 else ("", "")
    held: dict[tuple[str, str], list[SuppressionKind]] = {}
    domains: list[tuple[str, str, SuppressionKind]] = []
    for entry in entries(invocation, tenant=one_only[0], address=one_only[1]):
        if entry.is_domain:
            domains.append((entry.tenant, entry.address, entry.reason))
        elif not entry.list_id:
            tenant = entry.tenant if entry.scope == "tenant" else ""
            held.setdefault((tenant, normalise_address(entry.address)), []).append(entry.reason)

    def why(failed: Failed) -> str:
        tenant, stream = failed.event["tenant"], failed.event["stream"]
        address = normalise_address(failed.event["recipient"])
        kinds = [*held.get((tenant, address), ()), *held.get(("", address), ())]
        kinds += [kind for of, pattern, kind in domains if of in ("", tenant) and _is_at(address, pattern)]
        stopping = [kind for kind in kinds if stops_mail(kind, stream)]
        if not stopping:
            return ""
        return f"the address is suppressed ({stopping[0].value}): lift it first with streams suppressions remove"

    return why


def _is_at(address: str, pattern: str) -> bool:
    domain = address.rpartition("@")[2]
    return domain.endswith(pattern[1:]) if pattern.startswith("*.") else domain == pattern
