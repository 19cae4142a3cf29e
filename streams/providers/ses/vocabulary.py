"""SES's words and what they mean to us.

Source: Amazon SES developer guide, contents of event publishing and notification objects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.core.event import Automated, BounceType, ReasonKind
from streams.core.receipt import ReceiptKind

_R, _K, _B = ReceiptKind, ReasonKind, BounceType

EVENTS: Mapping[str, tuple[ReceiptKind, str]] = {
    "Send": (_R.PROVIDER_SENT, "send"),
    "Delivery": (_R.DELIVERED, "delivery"),
    "Bounce": (_R.BOUNCED, "bounce"),
    "Complaint": (_R.COMPLAINED, "complaint"),
    "Reject": (_R.PROVIDER_REJECTED, "reject"),
    "Open": (_R.OPENED, "open"),
    "Click": (_R.CLICKED, "click"),
    "Rendering Failure": (_R.PROVIDER_REJECTED, "failure"),
    "DeliveryDelay": (_R.DEFERRED, "deliveryDelay"),
    "Subscription": (_R.UNSUBSCRIBED, "subscription"),
}
"""``eventType`` or ``notificationType``: what it is, and the key its facts lie under."""

INFORMATION = frozenset(
    {
        "Sending Status Enabled",
        "Sending Status Disabled",
        "Advisor Recommendation Status Open",
        "Advisor Recommendation Status Resolved",
    }
)
"""EventBridge detail types that concern no message."""


@dataclass(frozen=True, slots=True)
class BounceVerdict:
    """How a bounce is to be read. ``refine``: the remote host's own diagnostic may overrule it."""

    receipt: ReceiptKind
    kind: ReasonKind
    bounce_type: BounceType | None
    suppress: bool = False
    refine: bool = False


_HARD = BounceVerdict(_R.BOUNCED, _K.BAD_MAILBOX, _B.HARD, suppress=True, refine=True)
_LISTED = BounceVerdict(_R.PROVIDER_SUPPRESSED, _K.SUPPRESSED_BOUNCE, None, suppress=True)

BOUNCES: Mapping[tuple[str, str], BounceVerdict] = {
    ("Permanent", "General"): _HARD,
    ("Permanent", "NoEmail"): _HARD,
    # never attempted: on a list of SES, of the account, of the tenant
    ("Permanent", "Suppressed"): _LISTED,
    ("Permanent", "OnAccountSuppressionList"): _LISTED,
    ("Permanent", "OnTenantSuppressionList"): _LISTED,
    ("Permanent", "EmailValidationSuppressed"): BounceVerdict(_R.PROVIDER_SUPPRESSED, _K.INVALID_ADDRESS, None),
    ("Permanent", "UnsubscribedRecipient"): BounceVerdict(_R.PROVIDER_SUPPRESSED, _K.SUPPRESSED_UNSUBSCRIBE, None),
    # an automatic reply looks like this too
    ("Transient", "General"): BounceVerdict(_R.BOUNCED, _K.UNKNOWN, _B.UNKNOWN, refine=True),
    ("Transient", "MailboxFull"): BounceVerdict(_R.BOUNCED, _K.MAILBOX_FULL, _B.SOFT),
    ("Transient", "MessageTooLarge"): BounceVerdict(_R.BOUNCED, _K.MESSAGE_TOO_LARGE, _B.SOFT),
    ("Transient", "CustomTimeoutExceeded"): BounceVerdict(_R.BOUNCED, _K.EXPIRED, _B.SOFT),
    ("Transient", "ContentRejected"): BounceVerdict(_R.BOUNCED, _K.CONTENT, _B.BLOCK),
    ("Transient", "AttachmentRejected"): BounceVerdict(_R.BOUNCED, _K.CONTENT, _B.BLOCK),
    ("Undetermined", "Undetermined"): BounceVerdict(_R.BOUNCED, _K.UNKNOWN, _B.UNKNOWN, refine=True),
}
"""By ``bounceType`` and ``bounceSubType``."""

NOT_HARD = frozenset({_K.MAILBOX_FULL, _K.RATE_LIMITED, _K.MESSAGE_TOO_LARGE, _K.GREYLISTED, _K.EXPIRED, _K.TIMEOUT})
"""What a diagnostic may say about a permanent bounce that leaves the address good."""


@dataclass(frozen=True, slots=True)
class ComplaintVerdict:
    """How a complaint is to be read."""

    kind: ReasonKind
    suppress: bool


_ABUSE = ComplaintVerdict(_K.COMPLAINT, suppress=True)

COMPLAINTS: Mapping[str, ComplaintVerdict | None] = {
    "": _ABUSE,
    "abuse": _ABUSE,
    "fraud": _ABUSE,
    "other": _ABUSE,
    "auth-failure": ComplaintVerdict(_K.AUTHENTICATION, suppress=False),  # about the sender
    "virus": ComplaintVerdict(_K.CONTENT, suppress=False),
    "not-spam": None,  # takes one back
}
"""By ``complaintFeedbackType`` (RFC 5965)."""

DELAYS: Mapping[str, ReasonKind] = {
    "InternalFailure": _K.PROVIDER_ERROR,
    "General": _K.UNKNOWN,
    "MailboxFull": _K.MAILBOX_FULL,
    "SpamDetected": _K.SPAM,
    "RecipientServerError": _K.NETWORK,
    "IPFailure": _K.REPUTATION,
    "TransientCommunicationFailure": _K.NETWORK,
    "BYOIPHostNameLookupUnavailable": _K.CONFIGURATION,
    "Undetermined": _K.UNKNOWN,
    "SendingDeferral": _K.RATE_LIMITED,
}
"""By ``delayType``. ``UNKNOWN`` leaves the word to the recipient's diagnostic."""

AGENTS: tuple[tuple[str, Automated], ...] = (
    ("googleimageproxy", Automated.PROXY),
    ("yahoomailproxy", Automated.PROXY),
    ("barracuda", Automated.SCANNER),
    ("proofpoint", Automated.SCANNER),
    ("mimecast", Automated.SCANNER),
    ("bot", Automated.SCANNER),
    ("spider", Automated.SCANNER),
    ("python-requests", Automated.SCANNER),
    ("curl/", Automated.SCANNER),
)
"""Parts of a user agent (lower case) that give a machine away; SES itself says nothing of the kind."""

_APPLE = "Mozilla/5.0"  # the whole of it: Apple's mail privacy proxy


def automated(user_agent: str) -> Automated:
    """Who is likely behind an open or a click with this user agent."""
    if user_agent == _APPLE:
        return Automated.PROXY
    lower = user_agent.lower()
    return next((who for part, who in AGENTS if part in lower), Automated.NONE)
