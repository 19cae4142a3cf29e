"""The mail of an alert: a send request like everybody's, made of a frozen digest alone, so that it is the same again.

Plain text, no tracking, marked as automatic (RFC 3834), with an end: one that cannot be sent for a day is not sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from streams.core.alerts import ALERTS_TENANT, Digest, Group, TroubleKind, total
from streams.core.causes import cause_of
from streams.core.event import Status
from streams.core.message import Mailbox

_LASTS_MS = 86_400_000
TAG = "alert"

_STATUS: Mapping[TroubleKind, Status] = MappingProxyType(
    {
        TroubleKind.GIVEN_UP: Status.FAILED,
        TroubleKind.TOO_LATE: Status.EXPIRED,
        TroubleKind.UNDECIDED: Status.UNCERTAIN,
        TroubleKind.ACCOUNT: Status.DEFERRED,
    }
)


def alert_request(
    tenant: str, digest: Digest, sender: Mailbox, address: str, provider: str = "", interval_min: float = 0.0
) -> dict[str, Any]:
    """The record of the request, in the schema's shape. ``provider`` empty: by the routing rules."""
    return {
        "idempotency_key": f"alert:{tenant}:{digest.number}:{digest.first_ms}",
        "tenant": ALERTS_TENANT,
        "stream": "transactional",
        "from": {"email": sender.email, "name": sender.name},
        "recipients": [{"email": address}],
        "subject": subject_of(tenant, digest),
        "text": text_of(tenant, digest, interval_min),
        "headers": {"Auto-Submitted": "auto-generated"},
        "tags": [TAG],
        "metadata": {"alert_tenant": tenant, "alert_number": str(digest.number)},
        "tracking": {"opens": False, "clicks": False},
        "provider": provider or None,
        "expires_at": digest.decided_ms + _LASTS_MS,
    }


def subject_of(tenant: str, digest: Digest) -> str:
    """One line that says how bad it is."""
    given_up = sum(total(digest, k) for k in (TroubleKind.GIVEN_UP, TroubleKind.TOO_LATE))
    parts = []
    if given_up:
        parts.append(f"{_messages(given_up)} given up")
    if undecided := total(digest, TroubleKind.UNDECIDED):
        parts.append(f"{_messages(undecided)} to be decided by a person")
    if total(digest, TroubleKind.ACCOUNT):
        parts.append("an account is refused")
    return f"{tenant}: {', '.join(parts) or f'{_messages(total(digest))} in trouble'}"


def text_of(tenant: str, digest: Digest, interval_min: float = 0.0) -> str:
    """What happened, why, what to do about it, and the commands to do it with."""
    lines = [f"Tenant {tenant}, {_time(digest.first_ms)} to {_time(digest.last_ms)}:", ""]
    for group in digest.groups:
        lines += [*_group(tenant, group), ""]
    if digest.others:
        lines += [f"And {digest.others} more, for other reasons.", ""]
    lines += [
        "All of them, each with its cause:",
        f"    streams failures --tenant {tenant} --since {_time(digest.first_ms, exact=True)}",
        "",
    ]
    if interval_min:
        lines.append(f"What fails within the next {interval_min:g} minutes is told in one mail after that.")
    return "\n".join(lines).rstrip() + "\n"


def _group(tenant: str, group: Group) -> Iterator[str]:
    cause = cause_of(_STATUS[group.kind], group.reason)
    at = f" (last tried at {group.provider})" if group.provider else ""
    match group.kind:
        case TroubleKind.GIVEN_UP:
            yield f"* {_messages(group.count)} given up after all tries{at}: {cause.happened}."
        case TroubleKind.TOO_LATE:
            yield f"* {_messages(group.count)} not sent: {cause.happened}."
        case TroubleKind.UNDECIDED:
            yield f"* {_messages(group.count)} held{at}: {cause.happened}."
        case TroubleKind.ACCOUNT:
            yield f"* Refused {group.count} {'time' if group.count == 1 else 'times'}{at}: {cause.happened}."
            yield "  Its messages wait; those that were refused are tried as often as their retry policy says."
    if group.detail:
        yield f"  In its words: {_plain(group.detail)}"
    yield f"  What to do: {cause.advice.replace('TENANT', tenant)}."
    if group.kind is TroubleKind.GIVEN_UP and cause.again and group.reason is not None:
        chosen = f"--tenant {tenant} --status failed --reason {group.reason.value}"
        yield f"  To send them again: streams retry --all {chosen}"
    if group.kind is TroubleKind.UNDECIDED:
        yield "  To send one again, with the risk that it arrives twice: streams retry ID"
    for message_id, key, domain in group.examples:
        yield f"  - {message_id}, key {_plain(key)}, to somebody at {_plain(domain)}"


def _messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"


def _time(at_ms: int, *, exact: bool = False) -> str:
    when = datetime.fromtimestamp(at_ms / 1000, UTC)
    return when.strftime("%Y-%m-%dT%H:%M:%SZ") if exact else when.strftime("%Y-%m-%d %H:%M UTC")


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
