"""DirectMail's words and what they mean to us.

Source: DirectMail, delivery status notifications (``failed_type``), EventBridge event types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.core.event import BounceType, ReasonKind
from streams.core.receipt import ReceiptKind

_R, _K, _B = ReceiptKind, ReasonKind, BounceType


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a final report is to be read. ``SOFT`` may be tried again by a policy that answers final failures.

    ``refine``: the remote host's own words may overrule it; they alone can make it suppress.
    """

    receipt: ReceiptKind
    kind: ReasonKind
    bounce_type: BounceType | None = None
    suppress: bool = False
    refine: bool = False


def _bounce(kind: ReasonKind, bounce_type: BounceType, **more: bool) -> Verdict:
    return Verdict(_R.BOUNCED, kind, bounce_type, **more)


_NO_MAILBOX = _bounce(_K.BAD_MAILBOX, _B.HARD, suppress=True)
_RATE = _bounce(_K.RATE_LIMITED, _B.SOFT)
_SPAM = _bounce(_K.SPAM, _B.BLOCK)
_AUTHENTICATION = _bounce(_K.AUTHENTICATION, _B.BLOCK)
_NETWORK = _bounce(_K.NETWORK, _B.SOFT)

DELIVERED = Verdict(_R.DELIVERED, _K.OTHER)
UNKNOWN = _bounce(_K.UNKNOWN, _B.UNKNOWN)

FAILED_TYPES: Mapping[str, Verdict] = {
    "SendOk": DELIVERED,
    "SmtpNxBox": _NO_MAILBOX,
    "SysOutInvRcpt": _bounce(_K.INVALID_ADDRESS, _B.HARD, suppress=True),
    "SysOutDnsResolveFail": _bounce(_K.BAD_DOMAIN, _B.HARD),  # once is no proof, twice is: core.suppression
    "SmtpFullBox": _bounce(_K.MAILBOX_FULL, _B.SOFT),
    "SmtpRcptFreq": _RATE,
    "SmtpIPFreq": _RATE,
    "SmtpMfFreq": _RATE,
    "SmtpMfdFreq": _RATE,
    "SmtpMfLimit": _RATE,  # for the rest of the day
    "SmtpContSpam": _SPAM,
    "SmtpMiscSpam": _SPAM,
    "SmtpMfBad": _bounce(_K.REPUTATION, _B.BLOCK),
    "SysOutRecipientReportedSpam": Verdict(_R.COMPLAINED, _K.COMPLAINT, suppress=True),
    "SmtpAuthFail": _AUTHENTICATION,
    "SmtpSpfFail": _AUTHENTICATION,
    "SmtpDmaFail": _AUTHENTICATION,
    "SmtpTempErr": _NETWORK,
    "SmtpSslTlsErr": _NETWORK,
    "SysOutSocksConnError": _NETWORK,
    "SysOutSocksError": _NETWORK,
    "SysOutConnError": _NETWORK,
    "SysOutConnTooMuch": _NETWORK,
    "SmtpProtErr": _bounce(_K.OTHER, _B.SOFT),
    "SmtpZPermErr": _bounce(_K.UNKNOWN, _B.UNKNOWN, refine=True),
    "UnkSmtpError": UNKNOWN,
}
"""By ``failed_type``. Anything else is unknown, counted, and suppresses nothing."""

STATUSES: Mapping[str, Verdict] = {
    "0": DELIVERED,
    "2": _bounce(_K.INVALID_ADDRESS, _B.HARD, refine=True),
    "3": _SPAM,
    "4": _bounce(_K.UNKNOWN, _B.UNKNOWN, refine=True),
}
"""By ``status``, where a report has no ``failed_type``."""

PROVEN_DEAD = frozenset({_K.BAD_MAILBOX, _K.MAILBOX_DISABLED})
"""What a remote host's words must say for a report without a telling ``failed_type`` to suppress an address."""

EVENTS: Mapping[str, str] = {
    "dm:Deliver:Succeed": "deliver",
    "dm:Deliver:Fail": "deliver",
    "dm:Feedback:FblReport": "complaint",
    "dm:Feedback:Subscribe": "",
    "dm:Feedback:UnSubscribe": "unsubscribe",
    "dm:Trace:Open": "open",
    "dm:Trace:Click": "click",
    "dm:Validator:GrayListResult": "",
    "Deliver:SendSuccessfully": "deliver",
    "Deliver:SendFailed": "deliver",
    "Deliver:Open": "open",
    "Deliver:Click": "click",
    "deliver": "deliver",
    "open": "open",
    "click": "click",
}
"""Names of events, in EventBridge, of MNS, and in the text itself (there in lower case): what they report.

Empty: about no message, or nothing that changes one.
"""
