"""Every row of what is known of SMTP replies (RFC 3463, the registry, large hosts' pages): kind, retry, suppression.

The retry class is what becomes of the attempt when the reply is met at hand-off: ``later`` the message is tried again,
``lane`` all mail of the lane waits, ``never`` it is refused for good.
"""

from __future__ import annotations

import pytest

from streams.core.classification import Classification, classify, parse_reply_code
from streams.core.event import BounceType, ReasonKind
from streams.core.outcome import Deferred, Rejected, Scope
from streams.providers._smtp.replies import outcome_of
from streams.providers._smtp.stages import Stage
from streams.providers._smtp.wire import Reply

K, B = ReasonKind, BounceType
Row = tuple[str, ReasonKind, BounceType, bool, str]

CODES: list[Row] = [
    ("550 5.1.0 other address status", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("450 4.1.0 other address status", K.BAD_MAILBOX, B.SOFT, False, "later"),
    ("550 5.1.1 bad destination mailbox", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("450 4.1.1 bad destination mailbox", K.BAD_MAILBOX, B.SOFT, False, "later"),
    ("553 5.1.3 bad destination mailbox syntax", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("450 4.1.3 bad destination mailbox syntax", K.BAD_MAILBOX, B.SOFT, False, "later"),
    ("551 5.1.6 mailbox has moved", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("450 4.1.6 mailbox has moved", K.BAD_MAILBOX, B.SOFT, False, "later"),
    ("553 5.1.2 bad destination system", K.BAD_DOMAIN, B.HARD, True, "never"),
    ("450 4.1.2 bad destination system", K.BAD_DOMAIN, B.SOFT, False, "later"),
    ("556 5.1.10 null MX", K.BAD_DOMAIN, B.HARD, True, "never"),
    ("550 5.4.4 unable to route", K.BAD_DOMAIN, B.HARD, True, "never"),
    ("450 4.4.4 unable to route", K.BAD_DOMAIN, B.SOFT, False, "later"),
    ("550 5.1.7 bad sender syntax", K.CONFIGURATION, B.BLOCK, False, "never"),
    ("450 4.1.7 bad sender syntax", K.CONFIGURATION, B.BLOCK, False, "later"),
    ("550 5.1.8 bad sender system", K.CONFIGURATION, B.BLOCK, False, "never"),
    ("450 4.1.8 bad sender system", K.CONFIGURATION, B.BLOCK, False, "later"),
    ("550 5.2.1 mailbox disabled", K.MAILBOX_DISABLED, B.HARD, True, "never"),
    ("550 5.2.1 at a rate that prevents delivery", K.RATE_LIMITED, B.SOFT, False, "later"),
    ("552 5.2.2 mailbox full", K.MAILBOX_FULL, B.SOFT, False, "later"),
    ("452 4.2.2 mailbox full", K.MAILBOX_FULL, B.SOFT, False, "later"),
    ("554 5.2.3 message length exceeds limit", K.MESSAGE_TOO_LARGE, B.SOFT, False, "never"),
    ("452 4.2.3 message length exceeds limit", K.MESSAGE_TOO_LARGE, B.SOFT, False, "later"),
    ("554 5.3.4 message too big for system", K.MESSAGE_TOO_LARGE, B.SOFT, False, "never"),
    ("450 4.2.1 mailbox busy", K.RATE_LIMITED, B.SOFT, False, "later"),
    ("451 4.3.0 other system status", K.NETWORK, B.SOFT, False, "later"),
    ("450 4.3.2 system not accepting messages", K.NETWORK, B.SOFT, False, "later"),
    ("550 5.3.5 system incorrectly configured", K.NETWORK, B.SOFT, False, "never"),
    ("450 4.4.1 no answer from host", K.NETWORK, B.SOFT, False, "later"),
    ("450 4.4.2 bad connection", K.NETWORK, B.SOFT, False, "later"),
    ("450 4.4.5 congestion", K.NETWORK, B.SOFT, False, "later"),
    ("450 4.4.7 delivery time expired", K.EXPIRED, B.SOFT, False, "later"),
    ("554 5.4.6 routing loop", K.CONFIGURATION, B.SOFT, False, "never"),
    ("450 4.4.6 routing loop", K.CONFIGURATION, B.SOFT, False, "later"),
    ("501 5.5.4 invalid command arguments", K.INVALID_REQUEST, B.UNKNOWN, False, "never"),
    ("554 5.6.1 media not supported", K.CONTENT, B.BLOCK, False, "never"),
    ("550 5.7.0 other security status", K.POLICY, B.BLOCK, False, "never"),
    ("550 5.7.1 delivery not authorised", K.POLICY, B.BLOCK, False, "never"),
    *((f"550 5.7.{n} authentication", K.AUTHENTICATION, B.BLOCK, False, "never") for n in range(20, 27)),
    ("550 5.7.27 sender domain has null MX", K.AUTHENTICATION, B.BLOCK, False, "never"),
    ("550 5.4.1 recipient address rejected: access denied", K.BAD_MAILBOX, B.HARD, False, "never"),
    ("552 too many recipients", K.RATE_LIMITED, B.SOFT, False, "later"),
    ("556 domain does not accept mail", K.BAD_DOMAIN, B.HARD, True, "never"),
    ("421 5.7.32 closing the connection", K.AUTHENTICATION, B.BLOCK, False, "later"),
]

GMAIL: list[Row] = [
    ("550-5.1.1 the account that you tried to reach does not exist gsmtp", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("553 5.1.2 unable to find recipient domain gsmtp", K.BAD_DOMAIN, B.HARD, True, "never"),
    ("553 5.1.3 not a valid RFC 5321 address gsmtp", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("550 5.2.1 inactive (DisabledUser) gsmtp", K.MAILBOX_DISABLED, B.HARD, True, "never"),
    ("450 4.2.1 receiving too quickly gsmtp", K.RATE_LIMITED, B.SOFT, False, "later"),
    ("550 5.2.1 receiving at a rate gsmtp", K.RATE_LIMITED, B.SOFT, False, "later"),
    ("452 4.2.2 out of storage gsmtp", K.MAILBOX_FULL, B.SOFT, False, "later"),
    ("552 5.2.2 out of storage and inactive gsmtp", K.MAILBOX_FULL, B.SOFT, False, "later"),
    ("421 4.7.0 very low reputation of the IP gsmtp", K.REPUTATION, B.BLOCK, False, "later"),
    ("421 4.7.0 very low reputation of the domain gsmtp", K.REPUTATION, B.BLOCK, False, "later"),
    ("421 4.7.0 due to the nature of the content gsmtp", K.SPAM, B.BLOCK, False, "later"),
    ("421 4.7.0 no PTR record gsmtp", K.POLICY, B.BLOCK, False, "later"),
    *(
        (f"421 4.7.28 unusual rate from the {what} gsmtp", K.RATE_LIMITED, B.BLOCK, False, "lane")
        for what in ("IP", "netblock", "DKIM domain", "SPF domain", "URL domain")
    ),
    *((f"421 4.7.{n} refused gsmtp", K.AUTHENTICATION, B.BLOCK, False, "later") for n in (23, 24, 26, 27, 29, 30, 32)),
    *((f"451 4.7.{n} refused gsmtp", K.AUTHENTICATION, B.BLOCK, False, "later") for n in (23, 24, 26, 27, 29, 30, 32)),
    *((f"421 4.7.{n} DMARC missing gsmtp", K.AUTHENTICATION, B.BLOCK, False, "later") for n in (31, 40)),
    *((f"550 5.7.{n} refused gsmtp", K.AUTHENTICATION, B.BLOCK, False, "never") for n in (25, 26, 27, 29, 30, 40)),
    ("550 5.7.1 likely unsolicited gsmtp", K.SPAM, B.BLOCK, False, "never"),
    ("550 5.7.1 low reputation of the sending domain gsmtp", K.REPUTATION, B.BLOCK, False, "never"),
    ("550 5.7.1 not RFC 5322 compliant gsmtp", K.POLICY, B.BLOCK, False, "never"),
    ("550 5.7.1 rate limited gsmtp", K.RATE_LIMITED, B.SOFT, False, "later"),
    ("550 5.7.1 refused by policy gcdp", K.POLICY, B.BLOCK, False, "never"),
    ("550 5.4.5 daily user sending quota exceeded gsmtp", K.RATE_LIMITED, B.SOFT, False, "lane"),
    ("550 5.7.1 daily relay limit exceeded gsmtp", K.RATE_LIMITED, B.SOFT, False, "lane"),
    ("552 5.7.0 content presents a potential security issue gsmtp", K.CONTENT, B.BLOCK, False, "never"),
]

MICROSOFT: list[Row] = [
    *((f"421 RP-00{n} (BAY) the rate is exceeded", K.RATE_LIMITED, B.SOFT, False, "later") for n in (1, 2, 3)),
    ("550 SC-001 (BAY)", K.SPAM, B.BLOCK, False, "never"),
    *((f"550 SC-00{n} (BAY)", K.REPUTATION, B.BLOCK, False, "never") for n in (2, 3, 4)),
    *((f"550 DY-00{n} (BAY)", K.REPUTATION, B.BLOCK, False, "never") for n in (1, 2)),
    *((f"550 OU-00{n} (BAY)", K.REPUTATION, B.BLOCK, False, "never") for n in (1, 2)),
    ("550 5.7.515 access denied", K.AUTHENTICATION, B.BLOCK, False, "never"),
    ("550 5.7.1 part of the network is on the block list (S3140)", K.REPUTATION, B.BLOCK, False, "never"),
    ("550 5.7.1 part of the network is on the list (S3150)", K.REPUTATION, B.BLOCK, False, "never"),
    ("550 5.5.0 mailbox unavailable (S2017062302)", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("550 5.1.10 RESOLVER.ADR.RecipientNotFound", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("550 5.1.1 RecipNotFound", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("550 5.2.2 mailbox full", K.MAILBOX_FULL, B.SOFT, False, "later"),
    ("550 5.4.1 access denied", K.BAD_MAILBOX, B.HARD, False, "never"),
    *((f"550 5.7.{n} banned sending IP", K.REPUTATION, B.BLOCK, False, "never") for n in (606, 620, 649)),
    ("432 4.3.2 STOREDRV concurrency", K.NETWORK, B.SOFT, False, "later"),
    *((f"550 5.7.{n} outbound limit", K.RATE_LIMITED, B.BLOCK, False, "later") for n in (705, 708)),
]

YAHOO: list[Row] = [
    ("421 4.7.0 [TSS04] temporarily deferred due to volume or complaints", K.RATE_LIMITED, B.SOFT, False, "later"),
    ("421 4.7.1 [TSS09] permanently deferred", K.REPUTATION, B.BLOCK, False, "later"),
    ("421 4.7.1 [TSS11] permanently deferred", K.REPUTATION, B.BLOCK, False, "later"),
    ("554 [PH01] content policy", K.CONTENT, B.BLOCK, False, "never"),
    ("554 5.7.9 authentication policy", K.AUTHENTICATION, B.BLOCK, False, "never"),
    ("553 delivery error: dd doesn't have a yahoo.com account", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("554 delivery error: dd doesn't have a yahoo.com account", K.BAD_MAILBOX, B.HARD, True, "never"),
    ("451 resources temporarily unavailable", K.NETWORK, B.SOFT, False, "later"),
    ("451 unresolvable from domain", K.CONFIGURATION, B.BLOCK, False, "later"),
    ("554 unresolvable from domain", K.CONFIGURATION, B.BLOCK, False, "never"),
    ("553 listed by Spamhaus", K.REPUTATION, B.BLOCK, False, "never"),
    ("554 listed by Spamhaus", K.REPUTATION, B.BLOCK, False, "never"),
]

ROWS = [*CODES, *GMAIL, *MICROSOFT, *YAHOO]


@pytest.mark.parametrize(("text", "kind", "bounce", "suppress", "retry"), ROWS, ids=[row[0][:50] for row in ROWS])
def test_a_reply_has_its_kind_its_retry_class_and_its_effect(
    text: str, kind: ReasonKind, bounce: BounceType, suppress: bool, retry: str
) -> None:
    assert classify(0, "", text) == Classification(kind, bounce, suppress)
    assert retry_class(text, Stage.END if kind in OF_CONTENT else Stage.RCPT) == retry


OF_CONTENT = frozenset({K.CONTENT, K.SPAM, K.MESSAGE_TOO_LARGE})
"""What a host can say only when it has seen the message."""


def retry_class(text: str, stage: Stage) -> str:
    outcome = outcome_of(stage, Reply(parse_reply_code(text), text[4:]))
    if isinstance(outcome, Deferred):
        return "lane" if outcome.scope is Scope.LANE else "later"
    assert isinstance(outcome, Rejected)
    return "never"
