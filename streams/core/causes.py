"""What a failure means in words: what happened, what to do about it, and whether sending again may help.

Rules:

1. Every :class:`ReasonKind` has its words (a test asks for all of them), so nobody is told a bare code.
2. The status goes over the reason where it says more: nobody can tell, it was too late, somebody complained.
3. Words are for whoever runs the sending: no codes, no names of ours that a page of ``docs/`` does not explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from streams.core.event import ReasonKind, Status


@dataclass(frozen=True, slots=True)
class Cause:
    """``again``: whether the same message may go through if it is sent again (once the advice has been followed)."""

    happened: str
    advice: str
    again: bool


K = ReasonKind
_WAIT = "nothing is wrong with the message: send it again later"
_ADDRESS = "correct the address where it comes from"
_LIFTED = "if the address is good: streams suppressions remove ADDRESS --tenant TENANT, then send again"

CAUSES: Mapping[ReasonKind, Cause] = MappingProxyType({
    K.BAD_MAILBOX: Cause("the address does not exist", _ADDRESS, again=False),
    K.BAD_DOMAIN: Cause("the domain of the address does not exist or takes no mail", _ADDRESS, again=False),
    K.MAILBOX_DISABLED: Cause("the mailbox has been closed", "ask the recipient for another address", again=False),
    K.MAILBOX_FULL: Cause("the mailbox is full", "send it again in a day or two", again=True),
    K.MESSAGE_TOO_LARGE: Cause("the message is too large", "send a smaller one: link to files, do not attach them",
                               again=False),
    K.RATE_LIMITED: Cause("too many messages in too short a time", "send it again later, and lower the rate",
                          again=True),
    K.GREYLISTED: Cause("the recipient's host asked for patience and got no second try", _WAIT, again=True),
    K.SPAM: Cause("the content was judged to be spam", "change the content, then send a new request", again=False),
    K.REPUTATION: Cause("the sender, its address or its domain is blocked",
                        "look at block lists and at what was sent lately; send again when the block is lifted",
                        again=True),
    K.AUTHENTICATION: Cause("SPF, DKIM or DMARC failed",
                            "correct the DNS records of the sending domain, then send again", again=True),
    K.POLICY: Cause("a rule of the recipient's host forbids it", "read the host's words below; ask its postmaster",
                    again=False),
    K.CONTENT: Cause("the content was refused", "change the content, then send a new request", again=False),
    K.NETWORK: Cause("the recipient's host or the provider could not be reached", _WAIT, again=True),
    K.TIMEOUT: Cause("no answer came in time", _WAIT, again=True),
    K.EXPIRED: Cause("the provider has given up its own tries", "send it again; if it fails again, ask the recipient "
                     "for another address", again=True),
    K.SUPPRESSED_BOUNCE: Cause("not sent: mail to the address has bounced before", _LIFTED, again=False),
    K.SUPPRESSED_COMPLAINT: Cause("not sent: the recipient once called mail spam", "do not write to them",
                                  again=False),
    K.SUPPRESSED_UNSUBSCRIBE: Cause("not sent: the recipient has unsubscribed", "do not write to them", again=False),
    K.SUPPRESSED_MANUAL: Cause("not sent: somebody put the address on the suppression list", _LIFTED, again=False),
    K.COMPLAINT: Cause("the recipient called it spam", "send them nothing more", again=False),
    K.UNSUBSCRIBE: Cause("the recipient has unsubscribed", "send them nothing more of this kind", again=False),
    K.PROVIDER_ERROR: Cause("the provider failed", _WAIT, again=True),
    K.THROTTLED: Cause("the provider asked for a slower pace", "send it again later, and lower the provider's rate",
                       again=True),
    K.CREDENTIALS: Cause("the provider refused the account's user name, password or key",
                         "correct the credentials (streams doctor opens every account), then send again", again=True),
    K.ACCOUNT: Cause("the account may not send: billing, suspension or paused sending",
                     "settle it with the provider, then send again", again=True),
    K.CONFIGURATION: Cause("something is configured wrongly", "correct what the words below name, then send again",
                           again=True),
    K.INVALID_ADDRESS: Cause("the address is not a valid one", _ADDRESS, again=False),
    K.INVALID_REQUEST: Cause("the request is wrong", "correct the request and send it with a new idempotency key",
                             again=False),
    K.IDEMPOTENCY_CONFLICT: Cause("another request has used its idempotency key for other content",
                                  "send it with a key of its own", again=False),
    K.TEMPLATE: Cause("the template does not exist or cannot be used", "store it (streams templates put), then send "
                      "a new request", again=False),
    K.RENDERING: Cause("the template could not be filled in", "give the data that it wants, in a new request",
                       again=False),
    K.NO_ROUTE: Cause("no provider is configured for it", "correct [routing] or the request's provider, then send "
                      "again", again=True),
    K.RETRIES_EXHAUSTED: Cause("all tries of its retry policy were used up", "send it again when the cause is gone",
                               again=True),
    K.AUTO_REPLY: Cause("only an automatic answer came", "nothing", again=False),
    K.CANCELLED: Cause("somebody withdrew it", "nothing; a new request sends it after all", again=False),
    K.UNCERTAIN: Cause("nobody can tell whether the provider took it", "ask the recipient or look at the provider's "
                       "own pages; sent again it may arrive twice", again=True),
    K.STAGING: Cause("this is a test environment, and the address is not on its list", "see [staging]", again=False),
    K.ATTACHMENT: Cause("an attachment could not be fetched", "make the file available, then send a new request",
                        again=False),
    K.OTHER: Cause("it was refused for another reason", "read the words below", again=True),
    K.UNKNOWN: Cause("it was refused, and nobody knows the reason", "read the words below", again=True),
})  # fmt: skip
"""The words of each reason."""

NO_REASON = Cause("no reason was given", "see its history: streams message ID", again=True)

_BY_STATUS: Mapping[Status, Cause] = MappingProxyType({
    Status.UNCERTAIN: CAUSES[K.UNCERTAIN],
    Status.COMPLAINED: CAUSES[K.COMPLAINT],
    Status.EXPIRED: Cause("its time had passed before it could be handed over",
                          "find out what held it (streams message ID), then send a new request", again=False),
})  # fmt: skip
del K


def cause_of(status: Status, kind: ReasonKind | None) -> Cause:
    """The words for a message that ended like this."""
    found = _BY_STATUS.get(status)
    if found is not None:
        return found
    return NO_REASON if kind is None else CAUSES[kind]
