"""The facts about SES as tables: every status, error code and bounce type with its kind, what is done about it, and
whether the address is suppressed; and every bounce, complaint and delivery however it is told.

What is done, in the words of the facts: OK; RETRY (soon, with backoff); WAIT (the rolling day); PERM (never); CONFIG
(held until a person acts); AMBIGUOUS (nobody knows whether it was taken).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.core.event import BounceType, ReasonKind
from streams.core.message import Mailbox
from streams.core.outcome import Accepted, AttemptResult, Deferred, Outcome, Rejected, Scope, Uncertain
from streams.core.receipt import ReceiptKind
from streams.providers.base import Batch, Entry, HttpResponse, Reading, Sighting
from streams.providers.ses import Config, create
from streams.providers.ses.events import read_events
from streams.providers.ses.response import ERRORS, STATUSES
from streams.providers.ses.vocabulary import BOUNCES

K, R, B = ReasonKind, ReceiptKind, BounceType
ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklmn"
SES = create("ses", Config(region="eu-west-1", access_key_id="k", secret_access_key="s"))


def batch(count: int, attempt: int = 1) -> Batch:
    entries = tuple(Entry(f"{ID[:-1]}{n}", attempt, Mailbox(f"u{n}@example.net")) for n in range(count))
    return Batch(Mailbox("a@example.com"), entries, subject=("s",), text=("t",))


def done_about(outcome: Outcome) -> str:
    match outcome:
        case Accepted():
            return "OK"
        case Rejected():
            return "PERM"
        case Uncertain():
            return "AMBIGUOUS"
        case Deferred(scope=Scope.ACCOUNT):
            return "CONFIG"
        case Deferred(result=AttemptResult.THROTTLED, retry_after_s=float()):
            return "WAIT"
    return "RETRY"


STATUS_ROWS = [
    ("SUCCESS", "OK", None),
    ("ACCOUNT_THROTTLED", "RETRY", K.THROTTLED),
    ("TRANSIENT_FAILURE", "RETRY", K.PROVIDER_ERROR),
    ("ACCOUNT_DAILY_QUOTA_EXCEEDED", "WAIT", K.THROTTLED),
    ("MESSAGE_REJECTED", "PERM", K.CONTENT),
    ("INVALID_PARAMETER", "PERM", K.INVALID_REQUEST),
    ("TEMPLATE_NOT_FOUND", "CONFIG", K.CONFIGURATION),
    ("CONFIGURATION_SET_NOT_FOUND", "CONFIG", K.CONFIGURATION),
    ("MAIL_FROM_DOMAIN_NOT_VERIFIED", "CONFIG", K.CONFIGURATION),
    ("INVALID_SENDING_POOL_NAME", "CONFIG", K.CONFIGURATION),
    ("ACCOUNT_SUSPENDED", "CONFIG", K.ACCOUNT),
    ("ACCOUNT_SENDING_PAUSED", "CONFIG", K.ACCOUNT),
    ("CONFIGURATION_SET_SENDING_PAUSED", "CONFIG", K.ACCOUNT),
    ("FAILED", "RETRY", K.PROVIDER_ERROR),
    ("FAILED again", "PERM", K.PROVIDER_ERROR),
]


@pytest.mark.parametrize(("status", "done", "kind"), STATUS_ROWS, ids=[row[0] for row in STATUS_ROWS])
def test_a_status_of_a_bulk_entry(status: str, done: str, kind: K | None) -> None:
    word, again, _ = status.partition(" again")
    results = [{"Status": word, "Error": "said", "MessageId": "m"}, {"Status": "SUCCESS", "MessageId": "n"}]
    body = json.dumps({"BulkEmailEntryResults": results}).encode()
    outcomes = SES.read_response(batch(2, 2 if again else 1), HttpResponse(200, {}, body), 0)
    assert isinstance(outcomes, tuple)
    mine, neighbour = outcomes
    assert done_about(mine) == done
    assert (None if isinstance(mine, Accepted) else mine.reason.kind) == kind
    assert neighbour == Accepted("n")  # that entry only


def test_every_status_is_in_the_table() -> None:
    assert {row[0].partition(" again")[0] for row in STATUS_ROWS} == {*STATUSES, "SUCCESS"}


ERROR_ROWS = [
    ("TooManyRequestsException", 429, "Maximum sending rate exceeded.", "RETRY", K.THROTTLED),
    ("ThrottlingException", 400, "Maximum sending rate exceeded.", "RETRY", K.THROTTLED),
    ("ThrottlingException", 400, "Daily message quota exceeded.", "WAIT", K.THROTTLED),
    ("Throttling", 400, "Maximum sending rate exceeded.", "RETRY", K.THROTTLED),
    ("Throttling", 400, "Daily message quota exceeded.", "WAIT", K.THROTTLED),
    (
        "LimitExceededException",
        400,
        "There are too many instances of the specified resource type.",
        "WAIT",
        K.THROTTLED,
    ),
    ("LimitExceededException", 400, "Daily message quota exceeded.", "WAIT", K.THROTTLED),
    ("LimitExceededException", 400, "Maximum sending rate exceeded.", "RETRY", K.THROTTLED),
    (
        "MessageRejected",
        400,
        "Email address is not verified. Failed the check: a@example.com",
        "CONFIG",
        K.CONFIGURATION,
    ),
    ("MessageRejected", 400, "Email address is not verified. Failed the check: u0@example.net", "PERM", K.ACCOUNT),
    ("MessageRejected", 400, "Invalid content", "PERM", K.CONTENT),
    ("BadRequestException", 400, "Missing final '@domain'", "PERM", K.INVALID_ADDRESS),
    ("BadRequestException", 400, "A parameter is wrong", "PERM", K.INVALID_REQUEST),
    ("MailFromDomainNotVerifiedException", 400, "", "CONFIG", K.CONFIGURATION),
    ("AccountSuspendedException", 400, "", "CONFIG", K.ACCOUNT),
    ("SendingPausedException", 400, "", "CONFIG", K.ACCOUNT),
    ("NotFoundException", 404, "", "CONFIG", K.CONFIGURATION),
    ("InternalServiceErrorException", 500, "", "AMBIGUOUS", K.PROVIDER_ERROR),
    ("ConcurrentModificationException", 500, "", "AMBIGUOUS", K.PROVIDER_ERROR),
    ("ConflictException", 409, "", "PERM", K.INVALID_REQUEST),  # these three: of calls that we do not make
    ("AlreadyExistsException", 400, "", "PERM", K.INVALID_REQUEST),
    ("InvalidNextTokenException", 400, "", "PERM", K.INVALID_REQUEST),
    ("InvalidClientTokenId", 403, "", "CONFIG", K.CREDENTIALS),
    ("UnrecognizedClientException", 403, "", "CONFIG", K.CREDENTIALS),
    ("SignatureDoesNotMatch", 403, "", "CONFIG", K.CREDENTIALS),
    ("ExpiredToken", 400, "", "CONFIG", K.CREDENTIALS),
    ("ExpiredTokenException", 403, "", "CONFIG", K.CREDENTIALS),
    ("AccessDenied", 403, "", "CONFIG", K.CREDENTIALS),
    ("AccessDeniedException", 403, "", "CONFIG", K.CREDENTIALS),
    ("RequestExpired", 400, "", "CONFIG", K.CONFIGURATION),  # the clock is put right, and it goes
    ("RequestTimeTooSkewed", 403, "", "CONFIG", K.CONFIGURATION),
    ("AccountSendingPausedException", 400, "", "CONFIG", K.ACCOUNT),
    ("ConfigurationSetDoesNotExist", 400, "", "CONFIG", K.CONFIGURATION),
    ("ConfigurationSetSendingPausedException", 400, "", "CONFIG", K.ACCOUNT),
    ("TemplateDoesNotExist", 400, "", "CONFIG", K.CONFIGURATION),
    ("LimitExceeded", 400, "", "WAIT", K.THROTTLED),
]
_ALSO = {"InvalidSignatureException", "IncompleteSignatureException", "MissingAuthenticationTokenException"}


@pytest.mark.parametrize("decorated", [False, True], ids=["plain", "decorated"])
@pytest.mark.parametrize(
    ("code", "status", "said", "done", "kind"), ERROR_ROWS, ids=[f"{r[0]}-{r[2][:12]}-{r[3]}" for r in ERROR_ROWS]
)
def test_an_error_of_a_call(code: str, status: int, said: str, done: str, kind: K, decorated: bool) -> None:
    if decorated:
        body: dict[str, Any] = {"__type": f"com.amazonaws.ses#{code}", "Message": said}
        answer = HttpResponse(status, {}, json.dumps(body).encode())
    else:
        headers = {"x-amzn-errortype": f"{code}:http://internal.amazon.com/"}
        answer = HttpResponse(status, headers, json.dumps({"message": said}).encode())
    outcomes = SES.read_response(batch(1), answer, 0)
    assert isinstance(outcomes, tuple)
    assert done_about(outcomes[0]) == done
    assert not isinstance(outcomes[0], Accepted)
    assert outcomes[0].reason.kind is kind


def test_every_error_is_in_the_table() -> None:
    assert {row[0] for row in ERROR_ROWS} >= ERRORS.keys() - _ALSO


BOUNCE_ROWS = [
    ("Permanent", "General", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("Permanent", "NoEmail", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("Permanent", "Suppressed", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_BOUNCE, None, True),
    ("Permanent", "OnAccountSuppressionList", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_BOUNCE, None, True),
    ("Permanent", "OnTenantSuppressionList", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_BOUNCE, None, True),
    ("Permanent", "EmailValidationSuppressed", R.PROVIDER_SUPPRESSED, K.INVALID_ADDRESS, None, False),
    ("Permanent", "UnsubscribedRecipient", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_UNSUBSCRIBE, None, False),
    ("Transient", "General", R.BOUNCED, K.UNKNOWN, B.UNKNOWN, False),
    ("Transient", "MailboxFull", R.BOUNCED, K.MAILBOX_FULL, B.SOFT, False),
    ("Transient", "MessageTooLarge", R.BOUNCED, K.MESSAGE_TOO_LARGE, B.SOFT, False),
    ("Transient", "CustomTimeoutExceeded", R.BOUNCED, K.EXPIRED, B.SOFT, False),
    ("Transient", "ContentRejected", R.BOUNCED, K.CONTENT, B.BLOCK, False),
    ("Transient", "AttachmentRejected", R.BOUNCED, K.CONTENT, B.BLOCK, False),
    ("Undetermined", "Undetermined", R.BOUNCED, K.UNKNOWN, B.UNKNOWN, False),
]
_IDS = [f"{row[0]}/{row[1]}" for row in BOUNCE_ROWS]


def bounce(major: str, minor: str, **recipient: str) -> dict[str, Any]:
    return {
        "bounceType": major,
        "bounceSubType": minor,
        "timestamp": "2026-01-01T00:00:05.000Z",
        "feedbackId": "0100018c-aaaa-000000",
        "bouncedRecipients": [{"emailAddress": "u@example.net", **recipient}],
    }


MAIL = {
    "timestamp": "2026-01-01T00:00:00.000Z",
    "messageId": "0100018c-bbbb-000000",
    "destination": ["u@example.net"],
}
TAGS = {"message_id": [ID], "attempt": ["1"], "ses:configuration-set": ["cs1"]}


def published(kind: str, key: str, event: dict[str, Any]) -> dict[str, Any]:
    return {"eventType": kind, key: event, "mail": {**MAIL, "tags": TAGS}}


def notified(kind: str, key: str, event: dict[str, Any]) -> dict[str, Any]:
    return {"notificationType": kind, key: event, "mail": MAIL}


def enveloped(content: dict[str, Any]) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:eu-west-1:111122223333:events",
        "Message": json.dumps(content),
    }


def bridged(detail_type: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"version": "0", "id": "1", "detail-type": detail_type, "source": "aws.ses", "detail": content}


def only(content: dict[str, Any]) -> Sighting:
    reading = read_events(json.dumps(content).encode(), 1_767_225_700_000)
    assert isinstance(reading, Reading)
    assert reading.unknown_words == ()
    (sighting,) = reading.sightings
    return sighting


@pytest.mark.parametrize(("major", "minor", "receipt", "kind", "type_", "suppress"), BOUNCE_ROWS, ids=_IDS)
def test_a_bounce_type(major: str, minor: str, receipt: R, kind: K, type_: B | None, suppress: bool) -> None:
    sighting = only(published("Bounce", "bounce", bounce(major, minor)))
    assert sighting.reason is not None
    found = (sighting.kind, sighting.reason.kind, sighting.bounce_type, sighting.suppress)
    assert found == (receipt, kind, type_, suppress)
    assert sighting.reason.code == f"{major}/{minor}"


def test_every_bounce_type_is_in_the_table() -> None:
    assert {(row[0], row[1]) for row in BOUNCE_ROWS} == set(BOUNCES)


@pytest.mark.parametrize(("major", "minor"), [row[:2] for row in BOUNCE_ROWS if row[0] == "Permanent"], ids=_IDS[:7])
def test_a_permanent_bounce_with_a_policy_diagnostic_suppresses_only_what_was_never_tried(
    major: str, minor: str
) -> None:
    said = "smtp; 550 5.7.1 blocked by policy"
    sighting = only(published("Bounce", "bounce", bounce(major, minor, status="5.7.1", diagnosticCode=said)))
    if minor in ("General", "NoEmail"):
        assert (sighting.bounce_type, sighting.suppress) == (B.BLOCK, False)
    else:
        assert sighting.kind is R.PROVIDER_SUPPRESSED


TOLD = [
    *(("Bounce", "bounce", "Email Bounced", bounce(row[0], row[1])) for row in BOUNCE_ROWS),
    (
        "Complaint",
        "complaint",
        "Email Complaint Received",
        {
            "complainedRecipients": [{"emailAddress": "u@example.net"}],
            "timestamp": "2026-01-01T01:00:00.000Z",
            "feedbackId": "0100-c",
            "complaintSubType": None,
            "complaintFeedbackType": "abuse",
        },
    ),
    (
        "Delivery",
        "delivery",
        "Email Delivered",
        {
            "timestamp": "2026-01-01T00:00:02.000Z",
            "recipients": ["u@example.net"],
            "smtpResponse": "250 2.0.0 ok",
            "processingTimeMillis": 1200,
        },
    ),
]


@pytest.mark.parametrize(("kind", "key", "detail_type", "event"), TOLD, ids=[*_IDS, "complaint", "delivery"])
def test_one_fact_told_in_both_formats_and_every_way_is_one_sighting(
    kind: str, key: str, detail_type: str, event: dict[str, Any]
) -> None:
    tagged, plain = published(kind, key, event), notified(kind, key, event)
    ways = [
        tagged,
        plain,
        enveloped(tagged),
        enveloped(plain),
        bridged(detail_type, tagged),
        bridged(detail_type, plain),
    ]
    sightings = [only(way) for way in ways]
    assert len({sighting.sighting_id for sighting in sightings}) == 1
    assert (
        len({(sighting.kind, sighting.reason, sighting.bounce_type, sighting.suppress) for sighting in sightings}) == 1
    )
    assert [bool(sighting.message_id) for sighting in sightings] == [True, False, True, False, True, False]
    assert {sighting.provider_message_id for sighting in sightings} == {"0100018c-bbbb-000000"}


def test_two_facts_about_one_message_are_two_sightings() -> None:
    first = only(published(*TOLD[0][:2], TOLD[0][3]))
    second = only(published("Bounce", "bounce", {**TOLD[0][3], "feedbackId": "another"}))
    delivered = only(published("Delivery", "delivery", TOLD[-1][3]))
    assert len({first.sighting_id, second.sighting_id, delivered.sighting_id}) == 3


@pytest.mark.parametrize("kind", ["SubscriptionConfirmation", "UnsubscribeConfirmation"])
def test_a_subscription_that_is_not_as_it_should_be_is_counted(kind: str) -> None:
    body = json.dumps({**enveloped({}), "Type": kind, "Message": "You have chosen …"}).encode()
    assert read_events(body, 1) == Reading(unknown_words=(f"sns:{kind}",))
