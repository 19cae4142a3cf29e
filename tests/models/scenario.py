"""What a ledger world is made of: its messages, what people do, and which faults there may be."""

from __future__ import annotations

from dataclasses import dataclass

from streams.core import ids
from streams.core.message import Content, Mailbox, Message, OnUncertain, Stream

NOW = 1_700_000_000_000

CRASH, CUT, REBALANCE = "crash", "cut", "rebalance"
LOST, TIMEOUT, REFUSED, DEFERRED, CANNOT_TELL = "lost", "timeout", "refused", "deferred", "cannot tell"
LATE_ROW, AGAIN, TRACK_CRASH, REPORT_AGAIN = "late row", "again", "track crash", "report again"
EVERY_FAULT = frozenset({
    CRASH, CUT, REBALANCE, LOST, TIMEOUT, REFUSED, DEFERRED, CANNOT_TELL, LATE_ROW, AGAIN, TRACK_CRASH, REPORT_AGAIN,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scenario:
    """``reports`` are what the provider says of its first, second … acceptance, the last one of all later ones."""

    name: str
    faults: int = 1
    kinds: frozenset[str] = EVERY_FAULT
    ahead: bool = False
    messages: int = 1
    on_uncertain: OnUncertain = OnUncertain.HOLD
    can_find: bool = True
    reports: tuple[str, ...] = ("delivered",)
    slow_track: bool = False
    """Whether track may lag: nothing that it decides changes by that, so it does so in the deep search alone."""
    cancels: int = 0
    retries: int = 0
    """How often a person withdraws a message, and sends one again."""


def message_of(number: int, scenario: Scenario) -> Message:
    email = f"u{number}@example.net"
    recipient_key = ids.recipient_key("acme", email)
    return Message(
        message_id=ids.message_id("acme", f"k{number}", recipient_key),
        tenant="acme",
        stream=Stream.TRANSACTIONAL,
        idempotency_key=f"k{number}",
        recipient=Mailbox(email),
        content_hash="content-1",
        fingerprint=f"fingerprint-{number}",
        requested_ms=NOW - 1,
        accepted_ms=NOW - 1,
        content=Content(Mailbox("a@example.com"), "hi", "text"),
        on_uncertain=scenario.on_uncertain,
    )
