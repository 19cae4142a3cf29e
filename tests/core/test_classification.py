"""Replies of remote hosts are sorted by code and by words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.classification import Classification, classify, parse_enhanced_code, parse_reply_code
from streams.core.event import BounceType, ReasonKind

K, B = ReasonKind, BounceType


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("550 5.1.1 no such user", "5.1.1"),
        ("550-5.1.1 line one\r\n550 5.1.1 line two", "5.1.1"),
        ("550 [5.7.1] blocked", "5.7.1"),
        ("550 #5.1.1 bad address", "5.1.1"),
        ("smtp; 550 5.1.10 RESOLVER.ADR.RecipientNotFound", "5.1.10"),
        ("554 5.7.606 Access denied, banned sending IP [192.0.2.1]", "5.7.606"),
        ("550 blocked [4.31.198.44] see 5.7.1", "5.7.1"),
        ("550 host 192.5.1.1 says no", ""),
        ("postfix 2.11.3.4 says no", ""),
        ("version v2.0.1", ""),
        ("550 3.1.1 nonsense class", ""),
        ("", ""),
    ],
)
def test_an_enhanced_code_is_found_where_hosts_write_it_and_nowhere_else(text: str, code: str) -> None:
    assert parse_enhanced_code(text) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("550 no", 550),
        ("smtp; 421 later", 421),
        ("550-multi", 550),
        ("250", 250),
        ("user 550", 0),
        ("5501", 0),
        ("", 0),
    ],
)
def test_a_reply_code_is_what_a_reply_begins_with(text: str, code: int) -> None:
    assert parse_reply_code(text) == code


ENHANCED = [
    # RFC 3463 and the registry
    (550, "5.1.0", K.BAD_MAILBOX, B.HARD, True),
    (550, "5.1.1", K.BAD_MAILBOX, B.HARD, True),
    (450, "4.1.1", K.BAD_MAILBOX, B.SOFT, False),
    (553, "5.1.2", K.BAD_DOMAIN, B.HARD, True),
    (450, "4.1.2", K.BAD_DOMAIN, B.SOFT, False),
    (553, "5.1.3", K.BAD_MAILBOX, B.HARD, True),
    (551, "5.1.6", K.BAD_MAILBOX, B.HARD, True),
    (550, "5.1.7", K.CONFIGURATION, B.BLOCK, False),
    (550, "5.1.8", K.CONFIGURATION, B.BLOCK, False),
    (556, "5.1.10", K.BAD_DOMAIN, B.HARD, True),
    (550, "5.4.4", K.BAD_DOMAIN, B.HARD, True),
    (450, "4.4.4", K.BAD_DOMAIN, B.SOFT, False),
    (550, "5.2.1", K.MAILBOX_DISABLED, B.HARD, True),
    (450, "4.2.1", K.RATE_LIMITED, B.SOFT, False),
    (552, "5.2.2", K.MAILBOX_FULL, B.SOFT, False),
    (452, "4.2.2", K.MAILBOX_FULL, B.SOFT, False),
    (552, "5.2.3", K.MESSAGE_TOO_LARGE, B.SOFT, False),
    (552, "5.3.4", K.MESSAGE_TOO_LARGE, B.SOFT, False),
    (432, "4.3.2", K.NETWORK, B.SOFT, False),
    (451, "4.4.1", K.NETWORK, B.SOFT, False),
    (451, "4.4.2", K.NETWORK, B.SOFT, False),
    (451, "4.4.5", K.NETWORK, B.SOFT, False),
    (550, "4.4.7", K.EXPIRED, B.SOFT, False),
    (554, "5.4.6", K.CONFIGURATION, B.SOFT, False),
    (550, "5.4.1", K.BAD_MAILBOX, B.HARD, False),
    (501, "5.5.4", K.INVALID_REQUEST, B.UNKNOWN, False),
    (554, "5.6.1", K.CONTENT, B.BLOCK, False),
    (550, "5.7.0", K.POLICY, B.BLOCK, False),
    (550, "5.7.1", K.POLICY, B.BLOCK, False),
    *[(550, f"5.7.{n}", K.AUTHENTICATION, B.BLOCK, False) for n in (*range(20, 28), 29, 30, 31, 32, 40, 9, 515)],
    *[(421, f"4.7.{n}", K.AUTHENTICATION, B.BLOCK, False) for n in (23, 24, 26, 27, 29, 30, 32)],
    (421, "4.7.28", K.RATE_LIMITED, B.BLOCK, False),
    (550, "5.7.606", K.REPUTATION, B.BLOCK, False),
    (550, "5.7.649", K.REPUTATION, B.BLOCK, False),
    (550, "5.7.705", K.RATE_LIMITED, B.BLOCK, False),
    (550, "5.4.5", K.RATE_LIMITED, B.SOFT, False),
    (550, "5.1.99", K.BAD_MAILBOX, B.HARD, True),
    (550, "5.2.99", K.UNKNOWN, B.UNKNOWN, False),
    (550, "5.0.0", K.UNKNOWN, B.UNKNOWN, False),
]


@pytest.mark.parametrize(
    ("reply", "code", "kind", "bounce", "suppress"), ENHANCED, ids=[f"{r[0]}-{r[1]}" for r in ENHANCED]
)
def test_the_enhanced_code_says_why(reply: int, code: str, kind: K, bounce: B, suppress: bool) -> None:
    assert classify(reply, code, "") == Classification(kind, bounce, suppress)


TEXTS = [
    ("550-5.1.1 The email account that you tried to reach does not exist. gsmtp", K.BAD_MAILBOX, B.HARD, True),
    ("553 5.1.2 We weren't able to find the recipient domain. gsmtp", K.BAD_DOMAIN, B.HARD, True),
    ("553 5.1.3 The recipient address is not a valid RFC 5321 address. gsmtp", K.BAD_MAILBOX, B.HARD, True),
    (
        "550 5.2.1 The email account that you tried to reach is inactive. (DisabledUser) gsmtp",
        K.MAILBOX_DISABLED,
        B.HARD,
        True,
    ),
    (
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly. gsmtp",
        K.RATE_LIMITED,
        B.SOFT,
        False,
    ),
    ("550 5.2.1 The user is receiving mail at a rate that prevents delivery. gsmtp", K.RATE_LIMITED, B.SOFT, False),
    ("452 4.2.2 The recipient's inbox is out of storage space. gsmtp", K.MAILBOX_FULL, B.SOFT, False),
    ("552 5.2.2 The recipient's inbox is out of storage space and inactive. gsmtp", K.MAILBOX_FULL, B.SOFT, False),
    ("421 4.7.0 very low reputation of the sending IP. gsmtp", K.REPUTATION, B.BLOCK, False),
    ("421 4.7.0 due to the nature of the content. gsmtp", K.SPAM, B.BLOCK, False),
    ("421 4.7.28 unusual rate of mail from your netblock. gsmtp", K.RATE_LIMITED, B.BLOCK, False),
    ("421 5.7.32 alignment. gsmtp", K.AUTHENTICATION, B.BLOCK, False),
    ("550 5.7.1 this message is likely unsolicited mail. gsmtp", K.SPAM, B.BLOCK, False),
    ("550 5.7.1 low reputation of the sending domain. gsmtp", K.REPUTATION, B.BLOCK, False),
    ("550 5.7.1 Daily SMTP relay limit exceeded for user. gsmtp", K.RATE_LIMITED, B.SOFT, False),
    ("550 5.4.5 Daily sending quota exceeded. gsmtp", K.RATE_LIMITED, B.SOFT, False),
    ("550 5.7.1 rate limited by customer. gcdp", K.RATE_LIMITED, B.SOFT, False),
    ("550 5.7.1 the recipient's organisation does not permit it. gcdp", K.POLICY, B.BLOCK, False),
    ("552 5.7.0 content presents a potential security issue. gsmtp", K.CONTENT, B.BLOCK, False),
    ("421 RP-001 (BAY) rate limit", K.RATE_LIMITED, B.SOFT, False),
    ("421 RP-002 connection rate", K.RATE_LIMITED, B.SOFT, False),
    ("550 SC-001 (BAY) rejected for policy reasons", K.SPAM, B.BLOCK, False),
    ("550 SC-002 namespace mining", K.REPUTATION, B.BLOCK, False),
    ("550 SC-004 complaints", K.REPUTATION, B.BLOCK, False),
    ("550 DY-001 dynamic address", K.REPUTATION, B.BLOCK, False),
    ("550 OU-001 Spamhaus", K.REPUTATION, B.BLOCK, False),
    ("550 5.7.515 Access denied, sending domain does not meet the required level", K.AUTHENTICATION, B.BLOCK, False),
    ("550 5.7.1 part of their network is on our block list (S3140)", K.REPUTATION, B.BLOCK, False),
    ("550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)", K.BAD_MAILBOX, B.HARD, True),
    ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found by SMTP address lookup", K.BAD_MAILBOX, B.HARD, True),
    ("550 5.4.1 Recipient address rejected: Access denied", K.BAD_MAILBOX, B.HARD, False),
    ("432 4.3.2 STOREDRV.ClientSubmit; concurrency limit", K.RATE_LIMITED, B.SOFT, False),
    ("421 4.7.0 [TSS04] temporarily deferred due to user complaints", K.RATE_LIMITED, B.SOFT, False),
    ("421 4.7.1 [TSS09] all messages will be permanently deferred", K.REPUTATION, B.BLOCK, False),
    ("554 Message not allowed - [PH01] not accepted for policy reasons", K.CONTENT, B.BLOCK, False),
    ("554 5.7.9 Message not accepted for policy reasons", K.AUTHENTICATION, B.BLOCK, False),
    ("554 delivery error: dd This user doesn't have a yahoo.com account", K.BAD_MAILBOX, B.HARD, True),
    ("451 resources temporarily unavailable", K.NETWORK, B.SOFT, False),
    ("550 User unknown", K.BAD_MAILBOX, B.HARD, True),
    ("450 4.2.0 Greylisted, see example.com", K.GREYLISTED, B.BLOCK, False),
    ("451 4.7.1 Greylisting in action, please come back later", K.GREYLISTED, B.BLOCK, False),
    ("552 Too many recipients", K.RATE_LIMITED, B.SOFT, False),
    ("552 mailbox full", K.MAILBOX_FULL, B.SOFT, False),
    ("552 message size exceeds fixed maximum message size", K.MESSAGE_TOO_LARGE, B.SOFT, False),
    ("554 5.0.0 smtp; no such user here", K.BAD_MAILBOX, B.HARD, True),
    ("550 Blocked using dnsbl.example.org", K.REPUTATION, B.BLOCK, False),
    ("550 SPF check failed", K.AUTHENTICATION, B.BLOCK, False),
    ("554 relay access denied", K.POLICY, B.BLOCK, False),
    ("too old", K.EXPIRED, B.SOFT, False),
    ("connection timed out", K.NETWORK, B.SOFT, False),
    ("550 domain does not exist", K.BAD_DOMAIN, B.HARD, True),
    ("521 host takes no mail", K.BAD_DOMAIN, B.HARD, True),
    ("550 nope", K.UNKNOWN, B.UNKNOWN, False),
    ("", K.UNKNOWN, B.UNKNOWN, False),
]


@pytest.mark.parametrize(("text", "kind", "bounce", "suppress"), TEXTS, ids=[t[0][:40] or "empty" for t in TEXTS])
def test_the_words_of_large_hosts_are_understood(text: str, kind: K, bounce: B, suppress: bool) -> None:
    assert classify(0, "", text) == Classification(kind, bounce, suppress)


@given(st.integers(0, 999), st.text(max_size=12), st.text(max_size=300))
def test_any_text_is_classified_without_an_exception(reply: int, code: str, text: str) -> None:
    found = classify(reply, code, text)
    assert found.suppress <= (found.bounce_type is B.HARD)


@given(st.integers(400, 499), st.sampled_from([r[1] for r in ENHANCED]), st.sampled_from([t[0] for t in TEXTS]))
def test_a_temporary_reply_is_never_hard_and_never_suppresses(reply: int, code: str, text: str) -> None:
    found = classify(reply, code, text)
    assert found.bounce_type in {B.SOFT, B.BLOCK}
    assert not found.suppress
