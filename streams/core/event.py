"""The vocabulary of ``delivery-events``: what users read. Names here are public (see the contract's section 2)."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum

from streams.core.value import value


class EventType(StrEnum):
    """What happened to a message. Each event is published once per ``event_id``."""

    ACCEPTED = "message.accepted"  # we took responsibility for it
    SCHEDULED = "message.scheduled"  # it waits for its send time
    SENT = "message.sent"  # a provider took it
    DEFERRED = "message.deferred"  # not now; somebody will try again
    DELIVERED = "message.delivered"  # the recipient's host took it
    BOUNCED = "message.bounced"  # the recipient's host refused it for good
    COMPLAINED = "message.complained"  # the recipient called it spam
    OPENED = "message.opened"
    CLICKED = "message.clicked"
    UNSUBSCRIBED = "message.unsubscribed"
    SUPPRESSED = "message.suppressed"  # not sent: the address is on a suppression list
    REJECTED = "message.rejected"  # not sent: we or the provider refused the content or the request
    FAILED = "message.failed"  # given up after retries
    EXPIRED = "message.expired"  # not sent: its time had passed
    CANCELLED = "message.cancelled"  # not sent: somebody withdrew it
    UNCERTAIN = "message.uncertain"  # nobody can tell whether the provider took it


class Status(StrEnum):
    """The state of a message as a whole. Order of precedence and transitions: :mod:`streams.core.lifecycle`."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    DEFERRED = "deferred"
    UNCERTAIN = "uncertain"
    SENT = "sent"
    DELIVERED = "delivered"
    BOUNCED = "bounced"
    COMPLAINED = "complained"
    SUPPRESSED = "suppressed"
    REJECTED = "rejected"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class BounceType(StrEnum):
    """How a bounce is to be read; only ``HARD`` makes an address unusable."""

    HARD = "hard"
    SOFT = "soft"
    BLOCK = "block"
    UNKNOWN = "unknown"


class Automated(StrEnum):
    """Who is likely behind an open or a click."""

    NONE = "none"
    PROXY = "proxy"
    SCANNER = "scanner"


class ReasonKind(StrEnum):
    """Why something went wrong, in one bounded vocabulary for all providers."""

    BAD_MAILBOX = "bad_mailbox"  # the address does not exist
    BAD_DOMAIN = "bad_domain"
    MAILBOX_DISABLED = "mailbox_disabled"
    MAILBOX_FULL = "mailbox_full"
    MESSAGE_TOO_LARGE = "message_too_large"
    RATE_LIMITED = "rate_limited"
    GREYLISTED = "greylisted"
    SPAM = "spam"  # content judged spam
    REPUTATION = "reputation"  # sender, address or domain blocked
    AUTHENTICATION = "authentication"  # SPF, DKIM, DMARC
    POLICY = "policy"
    CONTENT = "content"
    NETWORK = "network"
    TIMEOUT = "timeout"
    EXPIRED = "expired"  # retries of the provider exhausted
    SUPPRESSED_BOUNCE = "suppressed_bounce"
    SUPPRESSED_COMPLAINT = "suppressed_complaint"
    SUPPRESSED_UNSUBSCRIBE = "suppressed_unsubscribe"
    SUPPRESSED_MANUAL = "suppressed_manual"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    PROVIDER_ERROR = "provider_error"
    THROTTLED = "throttled"
    CREDENTIALS = "credentials"
    ACCOUNT = "account"  # billing, suspension, paused sending
    CONFIGURATION = "configuration"
    INVALID_ADDRESS = "invalid_address"
    INVALID_REQUEST = "invalid_request"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    TEMPLATE = "template"
    RENDERING = "rendering"
    NO_ROUTE = "no_route"
    RETRIES_EXHAUSTED = "retries_exhausted"
    AUTO_REPLY = "auto_reply"
    CANCELLED = "cancelled"
    UNCERTAIN = "uncertain"
    STAGING = "staging"  # a test environment: not sent, or sent to somebody else
    ATTACHMENT = "attachment"  # it could not be fetched
    OTHER = "other"
    UNKNOWN = "unknown"


@value
class Reason:
    """Why, for a program (``kind``) and for a person (``detail``).

    ``code`` is the provider's or the remote host's own (SMTP reply, HTTP status, vendor word), ``enhanced_code`` per
    RFC 3463. ``detail`` is at most a few hundred characters and never carries a body or a secret.
    """

    kind: ReasonKind
    code: str = ""
    enhanced_code: str = ""
    detail: str = ""


@value
class DeliveryEvent:
    """One record of ``delivery-events``; times in epoch milliseconds, 0 where there is none."""

    event_id: str
    type: EventType
    occurred_ms: int
    recorded_ms: int
    message_id: str
    idempotency_key: str
    tenant: str
    stream: str
    recipient: str
    status: Status
    provider: str = ""
    provider_message_id: str = ""
    attempt: int = 0
    reason: Reason | None = None
    bounce_type: BounceType | None = None
    retry_at_ms: int = 0
    url: str = ""
    ip: str = ""
    user_agent: str = ""
    automated: Automated = Automated.NONE
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    traceparent: str = ""
