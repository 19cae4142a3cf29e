"""A receipt: one fact about one message, on its way to the state machine.

Dispatch writes receipts about what it decided and what a provider answered; normalise writes receipts about what a
provider reported later. Rules:

1. A receipt is self-contained: clock readings, verdicts and retry decisions travel inside it, so that folding it twice
   or later gives the same result.
2. ``receipt_id`` is deterministic from the fact's content (attempt and kind for dispatch; SES feedback id, Mailgun id
   and day for providers), so that repeats fold once.
3. ``attempt`` 0 means the source did not echo it.
"""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from streams.core.event import Automated, BounceType, Reason
from streams.core.value import value


class ReceiptKind(StrEnum):
    """What the fact is."""

    # written by dispatch
    ACCEPTED = "accepted"  # taken into the ledger, not yet handed over (held, scheduled or about to be)
    SCHEDULED = "scheduled"
    SENT = "sent"  # a provider took this attempt
    RETRY = "retry"  # this attempt was refused and another is due at retry_at_ms
    REJECTED = "rejected"
    FAILED = "failed"  # given up
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPPRESSED = "suppressed"
    UNCERTAIN = "uncertain"  # open: reconciliation may still answer
    UNCERTAIN_FINAL = "uncertain_final"  # nobody can tell; held for a person
    CONFLICT = "conflict"  # another request used the idempotency key; concerns the request, not the message
    PROBE = "probe"  # dispatch asks: do you know of an acceptance of this attempt?
    # reported by a provider
    PROVIDER_SENT = "provider_sent"  # the provider says it took it (Mailgun accepted, SES Send)
    DEFERRED = "deferred"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    OPENED = "opened"
    CLICKED = "clicked"
    UNSUBSCRIBED = "unsubscribed"
    PROVIDER_SUPPRESSED = "provider_suppressed"  # accepted, then not attempted: on the provider's own list
    PROVIDER_REJECTED = "provider_rejected"  # accepted, then refused by the provider
    # changes of suppressions (no message needed)
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"


@value
class Facts:
    """What events need to say about a message and only dispatch knows; carried by every receipt of dispatch."""

    tenant: str
    stream: str
    idempotency_key: str
    recipient: str
    accepted_ms: int
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    traceparent: str = ""
    retry_final: bool = False
    """Whether the message's retry policy also answers a provider's final soft failure of an attempt."""


@value
class Receipt:
    """One fact. For ``SUPPRESS``/``UNSUPPRESS`` the ``message_id`` holds the recipient key alone."""

    message_id: str
    kind: ReceiptKind
    receipt_id: str
    occurred_ms: int
    attempt: int = 0
    provider: str = ""
    provider_message_id: str = ""
    reason: Reason | None = None
    bounce_type: BounceType | None = None
    suppress: bool = False
    """Whether this fact makes the address unusable (decided by the provider's vocabulary table, see its verdicts)."""
    retry_at_ms: int = 0
    url: str = ""
    ip: str = ""
    user_agent: str = ""
    automated: Automated = Automated.NONE
    facts: Facts | None = None
    actor: str = ""
    vouches: tuple[str, ...] = ()
    """Of which providers' attempts the reporter may speak, where not of its own ``provider`` alone: providers whose
    webhooks are proven by the same key, ``*`` for all (our own tracking and mailbox). Of dispatch's own receipts: the
    lane of the attempt, where that is an account that the tenant has brought.
    """
    filled: bool = False
    """Whether it was fetched from the provider because its webhook may be lost (it counts if it is no repeat)."""
