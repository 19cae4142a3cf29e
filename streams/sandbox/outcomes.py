"""What becomes of an accepted message: decided when it is accepted, by address or by a seeded draw. Pure.

The local part before `+` names the fate (`bounce+17@example.com`); the domain does not matter, so the SES mailbox
simulator's addresses are a special case of the rule. Every other address is drawn from (seed, key), where key is the
message's identity variable or else the recipient: the same run gives the same fates.
"""

from __future__ import annotations

import bisect
import itertools
from base64 import urlsafe_b64encode
from dataclasses import fields
from enum import StrEnum
from hashlib import blake2b
from typing import Final
from uuid import UUID
from zlib import crc32

from streams.sandbox.config import OutcomeMix
from streams.sandbox.ledger import Accepted, Plan


class Outcome(StrEnum):
    """The fate of one recipient. Those after `SILENT` cannot be asked for by an address."""

    SUCCESS = "success"
    BOUNCE = "bounce"  # hard: 550 5.1.1
    OOTO = "ooto"  # delivered, an automatic reply follows (which is no event)
    COMPLAINT = "complaint"  # delivered, then reported as spam
    SUPPRESSIONLIST = "suppressionlist"  # not attempted: bounced earlier
    SOFTBOUNCE = "softbounce"  # 552 5.2.2, final
    BLOCKED = "blocked"  # 550 5.7.1
    DEFER = "defer"  # temporary failure, then delivered
    OPEN = "open"
    CLICK = "click"
    UNSUBSCRIBE = "unsubscribe"
    REJECT = "reject"  # refused by the provider after it was accepted
    DELAYEDBOUNCE = "delayedbounce"  # delivered, then bounced
    SILENT = "silent"  # accepted, no event ever
    SUPPRESSED_BOUNCE = "suppressed_bounce"  # on the account's own list
    SUPPRESSED_UNSUBSCRIBE = "suppressed_unsubscribe"
    SUPPRESSED_COMPLAINT = "suppressed_complaint"
    TEST_MODE = "test_mode"
    RENDERING_FAILURE = "rendering_failure"


class End(StrEnum):
    """The last word about a recipient, in neutral terms (`plan.end` of the ledger)."""

    DELIVERED = "delivered"
    BOUNCED = "bounced"
    SOFT_BOUNCED = "soft_bounced"
    BLOCKED = "blocked"
    COMPLAINED = "complained"
    UNSUBSCRIBED = "unsubscribed"
    SUPPRESSED = "suppressed"
    REJECTED = "rejected"
    RENDERING_FAILED = "rendering_failed"
    SILENT = "silent"


_BY_ADDRESS: Final = {item.value: item for item in itertools.takewhile(lambda o: o != "suppressed_bounce", Outcome)}

_ENDS: Final = {
    Outcome.SUCCESS: End.DELIVERED,
    Outcome.BOUNCE: End.BOUNCED,
    Outcome.OOTO: End.DELIVERED,
    Outcome.COMPLAINT: End.COMPLAINED,
    Outcome.SUPPRESSIONLIST: End.SUPPRESSED,
    Outcome.SOFTBOUNCE: End.SOFT_BOUNCED,
    Outcome.BLOCKED: End.BLOCKED,
    Outcome.DEFER: End.DELIVERED,
    Outcome.OPEN: End.DELIVERED,
    Outcome.CLICK: End.DELIVERED,
    Outcome.UNSUBSCRIBE: End.UNSUBSCRIBED,
    Outcome.REJECT: End.REJECTED,
    Outcome.DELAYEDBOUNCE: End.BOUNCED,
    Outcome.SILENT: End.SILENT,
    Outcome.SUPPRESSED_BOUNCE: End.SUPPRESSED,
    Outcome.SUPPRESSED_UNSUBSCRIBE: End.SUPPRESSED,
    Outcome.SUPPRESSED_COMPLAINT: End.SUPPRESSED,
    Outcome.TEST_MODE: End.DELIVERED,
    Outcome.RENDERING_FAILURE: End.RENDERING_FAILED,
}

_MAILGUN: Final[dict[Outcome, tuple[str, ...]]] = {
    Outcome.SUCCESS: ("accepted", "delivered"),
    Outcome.BOUNCE: ("accepted", "permanent_fail"),
    Outcome.OOTO: ("accepted", "delivered"),
    Outcome.COMPLAINT: ("accepted", "delivered", "complained"),
    Outcome.SUPPRESSIONLIST: ("accepted", "permanent_fail"),
    Outcome.SOFTBOUNCE: ("accepted", "permanent_fail"),
    Outcome.BLOCKED: ("accepted", "permanent_fail"),
    Outcome.DEFER: ("accepted", "temporary_fail", "delivered"),
    Outcome.OPEN: ("accepted", "delivered", "opened"),
    Outcome.CLICK: ("accepted", "delivered", "opened", "clicked"),
    Outcome.UNSUBSCRIBE: ("accepted", "delivered", "unsubscribed"),
    Outcome.REJECT: ("rejected",),
    Outcome.DELAYEDBOUNCE: ("accepted", "delivered", "permanent_fail"),
    Outcome.SILENT: (),
    Outcome.SUPPRESSED_BOUNCE: ("accepted", "permanent_fail"),
    Outcome.SUPPRESSED_UNSUBSCRIBE: ("accepted", "permanent_fail"),
    Outcome.SUPPRESSED_COMPLAINT: ("accepted", "permanent_fail"),
    Outcome.TEST_MODE: ("accepted", "delivered"),
    Outcome.RENDERING_FAILURE: ("accepted", "permanent_fail"),
}

_SES: Final[dict[Outcome, tuple[str, ...]]] = {
    Outcome.SUCCESS: ("Send", "Delivery"),
    Outcome.BOUNCE: ("Send", "Bounce"),
    Outcome.OOTO: ("Send", "Delivery"),
    Outcome.COMPLAINT: ("Send", "Delivery", "Complaint"),
    Outcome.SUPPRESSIONLIST: ("Send", "Bounce"),
    Outcome.SOFTBOUNCE: ("Send", "Bounce"),
    Outcome.BLOCKED: ("Send", "Bounce"),
    Outcome.DEFER: ("Send", "DeliveryDelay", "Delivery"),
    Outcome.OPEN: ("Send", "Delivery", "Open"),
    Outcome.CLICK: ("Send", "Delivery", "Open", "Click"),
    Outcome.UNSUBSCRIBE: ("Send", "Delivery", "Subscription"),
    Outcome.REJECT: ("Send", "Reject"),
    Outcome.DELAYEDBOUNCE: ("Send", "Delivery", "Bounce"),
    Outcome.SILENT: (),
    Outcome.SUPPRESSED_BOUNCE: ("Send", "Bounce"),
    Outcome.SUPPRESSED_UNSUBSCRIBE: ("Send", "Bounce"),
    Outcome.SUPPRESSED_COMPLAINT: ("Send", "Bounce"),
    Outcome.TEST_MODE: ("Send", "Delivery"),
    Outcome.RENDERING_FAILURE: ("Rendering Failure",),
}

_EVENTS: Final = {"mailgun": _MAILGUN, "ses": _SES}
_PLANS: Final = {
    provider: {outcome: Plan(outcome.value, _ENDS[outcome].value, list(events)) for outcome, events in table.items()}
    for provider, table in _EVENTS.items()
}
_NO_EVENTS: Final = {outcome: Plan(outcome.value, _ENDS[outcome].value, []) for outcome in Outcome}
_LATER: Final = {
    outcome: Plan(outcome.value, _ENDS[outcome].value, [name for name in _SES[outcome] if name != "Send"])
    for outcome in Outcome
}


class Draw:
    """Decides the fate of an address: by its local part, or by a draw that depends only on seed and key."""

    def __init__(self, seed: int, mix: OutcomeMix) -> None:
        names = [item.name for item in fields(mix)]
        self._limits = list(itertools.accumulate(getattr(mix, name) for name in names))
        self._outcomes = [*(Outcome(name) for name in names), Outcome.SUCCESS]
        self._salt = f"{seed}\0".encode()

    def outcome(self, recipient: str, key: str) -> Outcome:
        """The fate of `recipient`; `key` feeds the draw when the address does not name one."""
        named = _BY_ADDRESS.get(recipient.partition("@")[0].partition("+")[0].lower())
        if named is not None:
            return named
        digest = blake2b(self._salt + key.encode(), digest_size=6).digest()
        return self._outcomes[bisect.bisect_right(self._limits, int.from_bytes(digest) / 2**48)]


def plan(provider: str, outcome: Outcome) -> Plan:
    """The (shared, read-only) plan of an outcome at a provider."""
    return _PLANS[provider][outcome]


def plan_without_events(outcome: Outcome) -> Plan:
    """SES without a configuration set publishes nothing."""
    return _NO_EVENTS[outcome]


def plan_after_first(outcome: Outcome) -> Plan:
    """SES publishes one Send per message: the second and further recipients of a message have none."""
    return _LATER[outcome]


def due_ms(record: Accepted, index: int, unit_ms: float) -> int:
    """When event `index` of a record happens, in epoch milliseconds; the same on every call.

    The first event happens at once, each later one about `unit_ms` after the one before it; a scheduled message's later
    events count from its delivery time.
    """
    if index == 0:
        return record.accepted_ms
    spread = 0.5 + (crc32(record.recipient.encode(), crc32(record.provider_message_id.encode())) & 0xFFFF) / 0x10000
    return max(record.accepted_ms, record.scheduled_ms) + int(unit_ms * index * spread)


def horizon_ms(unit_ms: float) -> int:
    """No event of a message that is not scheduled happens later than this after its acceptance."""
    return int(unit_ms * 1.5 * max(len(events) for table in _EVENTS.values() for events in table.values())) + 1


def falls_within(record: Accepted, share: float) -> bool:
    """Whether a message is one of the `share` (0 … 1) for which something is done: whenever it is asked."""
    return (crc32(record.provider_message_id.encode()) & 0xFFFF) / 0x10000 < share


def _digest(record: Accepted, index: int, size: int) -> bytes:
    text = f"{record.provider_message_id}\0{record.recipient}\0{record.call_id}\0{index}"
    return blake2b(text.encode(), digest_size=size).digest()


def short_event_id(record: Accepted, index: int) -> str:
    """22 characters, as Mailgun's; the same after a restart."""
    return urlsafe_b64encode(_digest(record, index, 16)).decode()[:22]


def uuid_event_id(record: Accepted, index: int) -> str:
    """A UUID, as an SNS MessageId; the same after a restart."""
    return str(UUID(bytes=_digest(record, index, 16)))
