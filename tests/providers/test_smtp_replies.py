"""SMTP replies at hand-off: the stage and the code say what becomes of the attempt, the kind says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import BounceType, ReasonKind
from streams.core.outcome import Accepted, AttemptResult, Deferred, Outcome, Rejected, Scope, Uncertain
from streams.core.refusal import bounce_in
from streams.providers._smtp.replies import outcome_of, wait_s
from streams.providers._smtp.stages import Stage
from streams.providers._smtp.wire import Reply

K = ReasonKind
S = Scope
D, R, U = Deferred, Rejected, Uncertain
CONNECT, HELLO, TLS, LOGIN, MAIL, RCPT, DATA, END = Stage

Case = tuple[Stage, str, type, Scope, ReasonKind]


def of(stage: Stage, text: str, **more: object) -> Outcome:
    code, _, rest = text.partition(" ")
    return outcome_of(stage, Reply(int(code), rest), **more)  # type: ignore[arg-type]


BEFORE_MAIL: list[Case] = [
    (CONNECT, "421 4.3.2 Service not available", D, S.PROVIDER, K.NETWORK),
    (CONNECT, "421 Too many concurrent SMTP connections", D, S.LANE, K.THROTTLED),
    (CONNECT, "554 5.7.1 Your host is blocked using reputation data", D, S.PROVIDER, K.REPUTATION),
    (CONNECT, "554 No SMTP service here", D, S.PROVIDER, K.PROVIDER_ERROR),
    (HELLO, "421 closing", D, S.PROVIDER, K.NETWORK),
    (HELLO, "550 Access denied", D, S.PROVIDER, K.POLICY),
    (TLS, "454 TLS not available due to temporary reason", D, S.PROVIDER, K.PROVIDER_ERROR),
    (TLS, "501 Syntax error", D, S.ACCOUNT, K.CONFIGURATION),
    (LOGIN, "535 Authentication Credentials Invalid", D, S.ACCOUNT, K.CREDENTIALS),
    (LOGIN, "535 5.7.8 Error: authentication failed", D, S.ACCOUNT, K.CREDENTIALS),
    (LOGIN, "530 Must issue a STARTTLS command first", D, S.ACCOUNT, K.CREDENTIALS),
    (LOGIN, "534 5.7.9 Authentication mechanism is too weak", D, S.ACCOUNT, K.CREDENTIALS),
    (LOGIN, "432 4.7.12 A password transition is needed", D, S.ACCOUNT, K.CREDENTIALS),
    (LOGIN, "454 4.7.0 Temporary authentication failure", D, S.PROVIDER, K.POLICY),
    (LOGIN, "421 4.4.2 Timeout", D, S.PROVIDER, K.NETWORK),
]

SES_SMTP: list[Case] = [
    (MAIL, "421 Too many concurrent SMTP connections", D, S.LANE, K.THROTTLED),
    (END, "451 Timeout waiting for data from client.", D, S.MESSAGE, K.NETWORK),
    (END, "454 Throttling failure: Maximum sending rate exceeded.", D, S.LANE, K.THROTTLED),
    (END, "454 Throttling failure: Daily message quota exceeded.", D, S.LANE, K.THROTTLED),
    (MAIL, "530 Authentication required", D, S.ACCOUNT, K.CREDENTIALS),
    (MAIL, "535 Authentication Credentials Invalid", D, S.ACCOUNT, K.CREDENTIALS),
    (END, "552 Message is too long.", R, S.MESSAGE, K.MESSAGE_TOO_LARGE),
    (RCPT, "553 <x>: not a valid RFC address", R, S.RECIPIENT, K.BAD_MAILBOX),
    (END, "554 Message rejected: Email address is not verified.", D, S.ACCOUNT, K.ACCOUNT),
    (
        END,
        "554 Message rejected: Email address is not verified. The following identities failed: u@example.net",
        R,
        S.RECIPIENT,
        K.ACCOUNT,
    ),
    (
        END,
        "554 Message rejected: Email address is not verified. The following identities failed: a@example.com",
        D,
        S.ACCOUNT,
        K.ACCOUNT,
    ),
    (END, "554 Access denied: User `arn:aws:iam::1:user/x' is not authorized", R, S.MESSAGE, K.POLICY),
]

MAILGUN_SMTP: list[Case] = [
    (
        MAIL,
        (
            "421 Domain mg.example.com is not allowed to send: account-requests-per-sec limit exceeded, "
            "try again after 120 seconds"
        ),
        D,
        S.LANE,
        K.THROTTLED,
    ),
    (END, "421 recipient limit exceeded, try again after 30 seconds", D, S.LANE, K.THROTTLED),
]

DIRECTMAIL_SMTP: list[Case] = [
    (LOGIN, "535 auth failure", D, S.ACCOUNT, K.CREDENTIALS),
    (MAIL, "436 MAIL FROM is not the account", D, S.ACCOUNT, K.CONFIGURATION),
    (END, "557 message too large", R, S.MESSAGE, K.MESSAGE_TOO_LARGE),
    (RCPT, "559 recipient on the invalid list", R, S.RECIPIENT, K.SUPPRESSED_BOUNCE),
    (RCPT, "563 recipient on your invalid list", R, S.RECIPIENT, K.SUPPRESSED_BOUNCE),
]

RFC_CODES: list[Case] = [
    (RCPT, "550 5.1.1 no such user", R, S.RECIPIENT, K.BAD_MAILBOX),
    (RCPT, "450 4.1.1 user lookup failed", D, S.RECIPIENT, K.BAD_MAILBOX),
    (RCPT, "550 5.1.3 bad syntax", R, S.RECIPIENT, K.BAD_MAILBOX),
    (RCPT, "551 5.1.6 moved", R, S.RECIPIENT, K.BAD_MAILBOX),
    (RCPT, "550 5.1.2 no such domain", R, S.RECIPIENT, K.BAD_DOMAIN),
    (RCPT, "451 4.1.2 domain not found", D, S.RECIPIENT, K.BAD_DOMAIN),
    (RCPT, "556 5.1.10 null MX", R, S.RECIPIENT, K.BAD_DOMAIN),
    (RCPT, "550 5.4.4 no route", R, S.RECIPIENT, K.BAD_DOMAIN),
    (MAIL, "550 5.1.7 bad sender", R, S.MESSAGE, K.CONFIGURATION),
    (MAIL, "450 4.1.8 sender domain not found", D, S.MESSAGE, K.CONFIGURATION),
    (RCPT, "550 5.2.1 mailbox disabled", R, S.RECIPIENT, K.MAILBOX_DISABLED),
    (RCPT, "452 4.2.2 full", D, S.RECIPIENT, K.MAILBOX_FULL),
    (RCPT, "550 5.2.2 full", D, S.RECIPIENT, K.MAILBOX_FULL),
    (RCPT, "552 5.2.2 full", D, S.RECIPIENT, K.MAILBOX_FULL),
    (RCPT, "552 too many recipients", D, S.RECIPIENT, K.RATE_LIMITED),
    (MAIL, "552 5.3.4 message size exceeds fixed limit", R, S.MESSAGE, K.MESSAGE_TOO_LARGE),
    (END, "552 5.3.4 message too big", R, S.MESSAGE, K.MESSAGE_TOO_LARGE),
    (RCPT, "450 4.2.1 mailbox busy", D, S.RECIPIENT, K.RATE_LIMITED),
    (MAIL, "452 4.3.1 Insufficient system storage", D, S.PROVIDER, K.PROVIDER_ERROR),
    (RCPT, "452 4.3.1 Insufficient system storage", D, S.PROVIDER, K.PROVIDER_ERROR),
    (RCPT, "450 4.3.2 system not accepting", D, S.PROVIDER, K.PROVIDER_ERROR),
    (END, "451 4.3.0 queue file write error", D, S.MESSAGE, K.NETWORK),
    (RCPT, "450 4.4.1 no answer", D, S.RECIPIENT, K.NETWORK),
    (RCPT, "451 4.4.5 congestion", D, S.RECIPIENT, K.NETWORK),
    (END, "550 5.4.6 routing loop", R, S.MESSAGE, K.CONFIGURATION),
    (MAIL, "501 5.5.4 invalid parameter", R, S.MESSAGE, K.INVALID_REQUEST),
    (DATA, "503 5.5.1 bad sequence", R, S.MESSAGE, K.INVALID_REQUEST),
    (DATA, "554 5.5.1 no valid recipients", R, S.MESSAGE, K.INVALID_REQUEST),
    (END, "554 5.6.0 conversion failed", R, S.MESSAGE, K.CONTENT),
    (END, "550 5.7.1 policy", R, S.MESSAGE, K.POLICY),
    (RCPT, "550 5.7.1 not authorised", R, S.RECIPIENT, K.POLICY),
    (END, "550 5.7.26 unauthenticated", R, S.MESSAGE, K.AUTHENTICATION),
    (END, "550 5.7.27 SPF", R, S.MESSAGE, K.AUTHENTICATION),
    (RCPT, "550 5.4.1 Recipient address rejected: Access denied", R, S.RECIPIENT, K.BAD_MAILBOX),
    (RCPT, "554 5.7.1 <u@example.net>: Relay access denied", D, S.ACCOUNT, K.CONFIGURATION),
    (MAIL, "503 5.5.4 Error: authentication required", D, S.ACCOUNT, K.CREDENTIALS),
    (MAIL, "421 4.3.2 shutting down", D, S.PROVIDER, K.PROVIDER_ERROR),
    (RCPT, "450 4.2.0 greylisted, try again later", D, S.RECIPIENT, K.GREYLISTED),
    (END, "600 what", R, S.MESSAGE, K.UNKNOWN),
]

HOSTS: list[Case] = [
    (RCPT, "550 5.1.1 The email account that you tried to reach does not exist. gsmtp", R, S.RECIPIENT, K.BAD_MAILBOX),
    (RCPT, "553 5.1.2 unable to find recipient domain", R, S.RECIPIENT, K.BAD_DOMAIN),
    (
        RCPT,
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that",
        D,
        S.RECIPIENT,
        K.RATE_LIMITED,
    ),
    (RCPT, "450 4.2.1 is receiving mail too quickly", D, S.RECIPIENT, K.RATE_LIMITED),
    (RCPT, "452 4.2.2 out of storage", D, S.RECIPIENT, K.MAILBOX_FULL),
    (END, "421 4.7.28 unusual rate of mail", D, S.LANE, K.THROTTLED),
    (END, "421 4.7.0 very low reputation", D, S.MESSAGE, K.REPUTATION),
    (END, "451 4.7.24 suspicious SPF", D, S.MESSAGE, K.AUTHENTICATION),
    (END, "550 5.4.5 Daily user sending limit exceeded", D, S.LANE, K.THROTTLED),
    (END, "550 5.7.1 Daily SMTP relay limit exceeded", D, S.LANE, K.THROTTLED),
    (END, "552 5.7.0 content presents a potential security issue", R, S.MESSAGE, K.CONTENT),
    (
        RCPT,
        "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)",
        R,
        S.RECIPIENT,
        K.BAD_MAILBOX,
    ),
    (END, "554 5.7.9 Message not accepted for policy reasons", R, S.MESSAGE, K.AUTHENTICATION),
    (RCPT, "421 4.7.0 [TSS04] Messages temporarily deferred", D, S.RECIPIENT, K.RATE_LIMITED),
]


@pytest.mark.parametrize(
    ("stage", "reply", "kind", "scope", "reason"),
    [*BEFORE_MAIL, *SES_SMTP, *MAILGUN_SMTP, *DIRECTMAIL_SMTP, *RFC_CODES, *HOSTS],
    ids=lambda value: str(value)[:60],
)
def test_a_reply_says_what_becomes_of_the_attempt_who_pays_and_why(
    stage: Stage, reply: str, kind: type, scope: Scope, reason: ReasonKind
) -> None:
    outcome = of(stage, reply, sender="a@example.com")
    assert not isinstance(outcome, Accepted)
    assert (type(outcome), outcome.scope, outcome.reason.kind) == (kind, scope, reason)
    assert outcome.reason.code == reply[:3]


@pytest.mark.parametrize(
    ("reply", "suppress"),
    [
        ("550 5.1.1 no such user", True),
        ("550 5.1.2 no such domain", True),
        ("556 5.1.10 null MX", True),
        ("550 5.2.1 mailbox disabled", True),
        ("550 5.4.1 Recipient address rejected: Access denied", False),
        ("550 no", False),
        ("550 5.7.1 policy", False),
    ],
)
def test_a_refused_address_is_suppressed_only_if_the_host_says_that_it_does_not_exist(
    reply: str, suppress: bool
) -> None:
    outcome = of(RCPT, reply)
    assert isinstance(outcome, Rejected)
    bounce = bounce_in(outcome.reason)
    assert (bounce is not None and bounce.suppress) is suppress
    assert bounce is None or bounce.bounce_type is BounceType.HARD


@pytest.mark.parametrize("reply", ["450 4.1.1 try later", "552 5.2.2 full", "421 4.3.2 busy", "550 5.2.1 at a rate"])
def test_what_is_tried_again_suppresses_nothing(reply: str) -> None:
    outcome = of(RCPT, reply)
    assert isinstance(outcome, Deferred)
    assert bounce_in(outcome.reason) is None


def test_a_refused_return_path_of_the_configuration_holds_the_account() -> None:
    outcome = of(MAIL, "550 5.1.8 sender refused", own_sender=True)
    assert isinstance(outcome, Deferred)
    assert (outcome.scope, outcome.result) == (S.ACCOUNT, AttemptResult.AUTH)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("try again after 120 seconds", 120.0),
        ("please try again in 5 minutes", 300.0),
        ("retry after 2 hours", 7200.0),
        ("try again after 9999999 seconds", 86_400.0),
        ("try again later", None),
    ],
)
def test_the_pause_a_server_asks_for_is_read_from_its_words(text: str, seconds: float | None) -> None:
    assert wait_s(text) == seconds


def test_a_daily_quota_waits_longer_than_a_rate() -> None:
    rate = of(END, "454 Throttling failure: Maximum sending rate exceeded.")
    quota = of(END, "454 Throttling failure: Daily message quota exceeded.")
    assert isinstance(rate, Deferred) and isinstance(quota, Deferred)
    assert rate.retry_after_s is None
    assert quota.retry_after_s == 900.0


def test_only_after_the_final_dot_an_answer_that_is_none_leaves_doubt() -> None:
    assert isinstance(of(END, "354 go on"), Uncertain)
    assert isinstance(of(MAIL, "354 go on"), Deferred)


@given(st.sampled_from(list(Stage)), st.integers(400, 599), st.text(max_size=200))
def test_any_refusal_is_certain_and_names_its_code(stage: Stage, code: int, text: str) -> None:
    outcome = outcome_of(stage, Reply(code, text), sender="a@example.com")
    assert isinstance(outcome, Deferred | Rejected)
    assert outcome.reason.code == str(code)
    if code >= 500 and stage in (RCPT, DATA, END):  # a poisoned message must not open the breaker
        assert outcome.scope is not S.PROVIDER
