"""What a tenant is told about its messages that were given up: troubles gathered to digests, digests to alerts.

Rules:

1. A trouble is a message given up after its tries, one whose time passed, one of which nobody can tell whether it was
   sent, or one that an account refused for its credentials or standing. Bounces and refused contents are none.
2. Mails of the alerts' own tenant (:data:`ALERTS_TENANT`) are never a trouble: an alert cannot lead to another.
3. The first trouble is told at once, further ones together, at most once per interval, with counts and examples. That
   an account is still refused is news only after some hours.
4. A trouble counts once. Its origin (partition and offset of its receipt) is compared with what has been seen of that
   partition: troubles of one partition come in its order, and repeat from where a crash began.
5. What is about to be told is taken out of the open digest and frozen with a number before it is told: told again after
   a crash it is the same mail with the same key, which is sent once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum

from streams.core.event import Reason, ReasonKind, Status
from streams.core.receipt import Facts, Receipt, ReceiptKind

ALERTS_TENANT = "streams-alerts"
"""Whose mails the alerts are."""

MAX_GROUPS = 12
"""Different causes of one digest that are told of one by one; the rest is a number."""
MAX_EXAMPLES = 3
_MAX_DETAIL = 200
_STILL_MS = 6 * 3_600_000
"""An account that goes on being refused is told of again after so long."""

_local_parts = re.compile(r"[^\s<>()\[\]\"':;,=@]+@").sub


class TroubleKind(StrEnum):
    """Why a tenant is told."""

    GIVEN_UP = "given_up"  # after all its tries
    TOO_LATE = "too_late"  # not handed over by its expires_at
    UNDECIDED = "undecided"  # perhaps sent; waits for a person
    ACCOUNT = "account"  # the account's credentials or standing were refused; it is tried again


@dataclass(frozen=True, slots=True)
class Trouble:
    """One message in trouble; ``partition`` and ``offset`` say where its receipt lay."""

    kind: TroubleKind
    tenant: str
    message_id: str
    idempotency_key: str
    domain: str
    provider: str
    reason: ReasonKind | None
    detail: str
    occurred_ms: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Group:
    """Troubles of one kind, provider and reason; ``detail`` is the latest."""

    kind: TroubleKind
    provider: str
    reason: ReasonKind | None
    detail: str
    count: int
    examples: tuple[tuple[str, str, str], ...]
    """Message id, idempotency key and recipient's domain of the first few."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What happened between two alerts; ``others`` counts troubles beyond the groups."""

    groups: tuple[Group, ...] = ()
    others: int = 0
    first_ms: int = 0
    last_ms: int = 0
    number: int = 0
    """Of the alert; 0 while it is open."""
    decided_ms: int = 0


@dataclass(frozen=True, slots=True)
class AlertRow:
    """A tenant's row. ``seen``: the offset of the last trouble of each partition. ``told_ms``: when the last alert was
    decided. ``frozen``: an alert that is decided and perhaps not yet handed over.
    """

    tenant: str
    seen: dict[int, int] = field(default_factory=dict)
    open: Digest = Digest()
    frozen: Digest | None = None
    number: int = 0
    told_ms: int = 0
    changed_ms: int = 0
    accounts: tuple[str, ...] = ()
    """The refused accounts that the last alert spoke of."""


_PLAIN = {
    ReceiptKind.FAILED: (TroubleKind.GIVEN_UP, Status.FAILED),
    ReceiptKind.EXPIRED: (TroubleKind.TOO_LATE, Status.EXPIRED),
    ReceiptKind.UNCERTAIN_FINAL: (TroubleKind.UNDECIDED, Status.UNCERTAIN),
}
_ACCOUNT = (ReasonKind.CREDENTIALS, ReasonKind.ACCOUNT)


def kind_of(receipt: Receipt, status: Status) -> TroubleKind | None:
    """The trouble that a receipt means, if the message is in the ``status`` that follows from it."""
    kind = receipt.kind
    if kind is ReceiptKind.RETRY:
        refused = receipt.reason is not None and receipt.reason.kind in _ACCOUNT
        return TroubleKind.ACCOUNT if refused and status is Status.DEFERRED else None
    found = _PLAIN.get(kind)
    return found[0] if found is not None and found[1] is status else None


def trouble_of(receipt: Receipt, facts: Facts, status: Status, partition: int, offset: int) -> Trouble | None:
    """What the tenant should hear of a receipt, if anything."""
    kind = kind_of(receipt, status)
    if kind is None or facts.tenant == ALERTS_TENANT:
        return None
    reason = receipt.reason or Reason(ReasonKind.UNKNOWN)
    return Trouble(
        kind,
        facts.tenant,
        receipt.message_id,
        facts.idempotency_key,
        facts.recipient.rpartition("@")[2],
        receipt.provider,
        receipt.reason.kind if receipt.reason else None,
        _local_parts("…@", " ".join(f"{reason.code} {reason.enhanced_code} {reason.detail}".split()))[:_MAX_DETAIL],
        receipt.occurred_ms,
        partition,
        offset,
    )


def gathered(row: AlertRow, trouble: Trouble) -> AlertRow:
    """The row with the trouble counted; the same row if it has been."""
    if trouble.offset <= row.seen.get(trouble.partition, -1):
        return row
    at_ms = trouble.occurred_ms
    was = row.open
    groups, others = _grouped(was.groups, trouble)
    digest = replace(
        was,
        groups=groups,
        others=was.others + others,
        first_ms=min(was.first_ms, at_ms) if was.first_ms else at_ms,
        last_ms=max(was.last_ms, at_ms),
    )
    seen = row.seen | {trouble.partition: trouble.offset}
    return replace(row, seen=seen, open=digest, changed_ms=max(row.changed_ms, at_ms))


def due_ms(row: AlertRow, interval_ms: int) -> int | None:
    """When the next alert of the tenant may go; None if there is nothing to tell."""
    if row.frozen is not None:
        return 0
    if not row.open.groups:
        return None
    if not row.told_ms:
        return 0
    news = any(
        group.kind is not TroubleKind.ACCOUNT or _account(group) not in row.accounts for group in row.open.groups
    )
    return row.told_ms + (interval_ms if news else max(interval_ms, _STILL_MS))


def frozen(row: AlertRow, now_ms: int) -> AlertRow:
    """The open digest becomes the next alert."""
    number = row.number + 1
    digest = replace(row.open, number=number, decided_ms=now_ms)
    accounts = tuple(_account(group) for group in digest.groups if group.reason in _ACCOUNT)
    return replace(
        row, open=Digest(), frozen=digest, number=number, told_ms=now_ms, changed_ms=now_ms, accounts=accounts
    )


def told(row: AlertRow, number: int) -> AlertRow:
    """The alert of that number is on its way."""
    return replace(row, frozen=None) if row.frozen is not None and row.frozen.number == number else row


def total(digest: Digest, kind: TroubleKind | None = None) -> int:
    """How many troubles, of one kind or all."""
    counted = sum(group.count for group in digest.groups if kind is None or group.kind is kind)
    return counted + (digest.others if kind is None else 0)


def _account(group: Group) -> str:
    return f"{group.provider}/{group.reason.value if group.reason else ''}"


def _grouped(groups: tuple[Group, ...], trouble: Trouble) -> tuple[tuple[Group, ...], int]:
    example = (trouble.message_id, trouble.idempotency_key, trouble.domain)
    for at, group in enumerate(groups):
        if (group.kind, group.provider, group.reason) == (trouble.kind, trouble.provider, trouble.reason):
            known = example in group.examples
            examples = group.examples if known else (*group.examples, example)[:MAX_EXAMPLES]
            more = replace(group, count=group.count + 1, detail=trouble.detail or group.detail, examples=examples)
            return (*groups[:at], more, *groups[at + 1 :]), 0
    if len(groups) >= MAX_GROUPS:
        return groups, 1
    new = Group(trouble.kind, trouble.provider, trouble.reason, trouble.detail, 1, (example,))
    return (*groups, new), 0
