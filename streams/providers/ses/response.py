"""What SES answered to a send, as one outcome per recipient.

Rules:

1. Vendor words lie in two tables: error codes of a call, statuses of an entry of a bulk call; each has a fate.
2. A bulk answer whose results do not match the request one to one proves nothing about anybody.
3. A quota is no fault of a message: the lane waits. What every message would meet holds the account.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import assert_never

from streams.core.event import Reason, ReasonKind
from streams.core.outcome import (
    Accepted,
    AttemptResult,
    BatchOutcome,
    Deferred,
    Outcome,
    Rejected,
    Scope,
    Split,
    Uncertain,
)
from streams.providers._payload import detail, json_object, mapping, sequence, text
from streams.providers.base import Batch, Entry, HttpResponse, NoResponse, Quota, unanswered

QUOTA_WAIT_S = 900.0
"""How soon to ask again after the daily quota: it is a rolling window, so room comes back bit by bit."""


class Fate(StrEnum):
    """What a vendor's word means for the messages it is said about."""

    THROTTLED = "throttled"  # too fast
    QUOTA = "quota"  # too many today
    BY_WORDS = "by_words"  # throttled or quota, by the words beside it
    RETRY = "retry"  # may work in a moment
    ONCE_MORE = "once_more"  # nobody knows; given up after a second try
    HOLD = "hold"  # every message will fail until a person acts
    REJECT = "reject"
    UNCERTAIN = "uncertain"


_K = ReasonKind

ERRORS: Mapping[str, tuple[Fate, ReasonKind]] = {
    "TooManyRequestsException": (Fate.THROTTLED, _K.THROTTLED),
    "ThrottlingException": (Fate.BY_WORDS, _K.THROTTLED),
    "Throttling": (Fate.BY_WORDS, _K.THROTTLED),
    "LimitExceededException": (Fate.QUOTA, _K.THROTTLED),
    "LimitExceeded": (Fate.QUOTA, _K.THROTTLED),
    "MessageRejected": (Fate.REJECT, _K.CONTENT),
    "BadRequestException": (Fate.REJECT, _K.INVALID_REQUEST),
    "MailFromDomainNotVerifiedException": (Fate.HOLD, _K.CONFIGURATION),
    "AccountSuspendedException": (Fate.HOLD, _K.ACCOUNT),
    "SendingPausedException": (Fate.HOLD, _K.ACCOUNT),
    "AccountSendingPausedException": (Fate.HOLD, _K.ACCOUNT),
    "ConfigurationSetSendingPausedException": (Fate.HOLD, _K.ACCOUNT),
    "NotFoundException": (Fate.HOLD, _K.CONFIGURATION),
    "ConfigurationSetDoesNotExist": (Fate.HOLD, _K.CONFIGURATION),
    "TemplateDoesNotExist": (Fate.HOLD, _K.CONFIGURATION),
    "InternalServiceErrorException": (Fate.UNCERTAIN, _K.PROVIDER_ERROR),
    "ConcurrentModificationException": (Fate.UNCERTAIN, _K.PROVIDER_ERROR),
    "InvalidClientTokenId": (Fate.HOLD, _K.CREDENTIALS),
    "UnrecognizedClientException": (Fate.HOLD, _K.CREDENTIALS),
    "SignatureDoesNotMatch": (Fate.HOLD, _K.CREDENTIALS),
    "InvalidSignatureException": (Fate.HOLD, _K.CREDENTIALS),
    "IncompleteSignatureException": (Fate.HOLD, _K.CREDENTIALS),
    "MissingAuthenticationTokenException": (Fate.HOLD, _K.CREDENTIALS),
    "ExpiredToken": (Fate.HOLD, _K.CREDENTIALS),
    "ExpiredTokenException": (Fate.HOLD, _K.CREDENTIALS),
    "AccessDenied": (Fate.HOLD, _K.CREDENTIALS),
    "AccessDeniedException": (Fate.HOLD, _K.CREDENTIALS),
    "RequestExpired": (Fate.HOLD, _K.CONFIGURATION),  # our clock
    "RequestTimeTooSkewed": (Fate.HOLD, _K.CONFIGURATION),
}

STATUSES: Mapping[str, tuple[Fate, ReasonKind]] = {
    "ACCOUNT_THROTTLED": (Fate.THROTTLED, _K.THROTTLED),
    "TRANSIENT_FAILURE": (Fate.RETRY, _K.PROVIDER_ERROR),
    "ACCOUNT_DAILY_QUOTA_EXCEEDED": (Fate.QUOTA, _K.THROTTLED),
    "MESSAGE_REJECTED": (Fate.REJECT, _K.CONTENT),
    "INVALID_PARAMETER": (Fate.REJECT, _K.INVALID_REQUEST),
    "TEMPLATE_NOT_FOUND": (Fate.HOLD, _K.CONFIGURATION),
    "CONFIGURATION_SET_NOT_FOUND": (Fate.HOLD, _K.CONFIGURATION),
    "MAIL_FROM_DOMAIN_NOT_VERIFIED": (Fate.HOLD, _K.CONFIGURATION),
    "INVALID_SENDING_POOL_NAME": (Fate.HOLD, _K.CONFIGURATION),
    "ACCOUNT_SUSPENDED": (Fate.HOLD, _K.ACCOUNT),
    "ACCOUNT_SENDING_PAUSED": (Fate.HOLD, _K.ACCOUNT),
    "CONFIGURATION_SET_SENDING_PAUSED": (Fate.HOLD, _K.ACCOUNT),
    "FAILED": (Fate.ONCE_MORE, _K.PROVIDER_ERROR),
}

BY_HTTP: Mapping[int, tuple[Fate, ReasonKind]] = {
    401: (Fate.HOLD, _K.CREDENTIALS),
    403: (Fate.HOLD, _K.CREDENTIALS),
    404: (Fate.HOLD, _K.CONFIGURATION),
    413: (Fate.REJECT, _K.MESSAGE_TOO_LARGE),
    429: (Fate.THROTTLED, _K.THROTTLED),
}
"""For an answer whose code is missing or new."""

_ADDRESS_WORDS = ("address", "recipient", "destination", "local part", "missing final '@domain'", "domain name")


def read_response(batch: Batch, answer: HttpResponse | NoResponse) -> BatchOutcome:
    """One outcome per entry, or the order to split."""
    match answer:
        case NoResponse():
            return (unanswered(answer),) * len(batch.entries)
        case HttpResponse():
            return _accepted(batch, answer) if answer.status == 200 else _failed(batch, answer)
        case _:
            assert_never(answer)


def error_code(answer: HttpResponse) -> str:
    """The error's name without what AWS decorates it with, empty if there is none."""
    body = json_object(answer.body) or {}
    raw = answer.headers.get("x-amzn-errortype", "") or text(body.get("__type")) or text(body.get("code"))
    return raw.partition(":")[0].rpartition("#")[2].strip()


def read_quota(answer: HttpResponse | NoResponse) -> Quota | None:
    """The quotas, None if the answer has none."""
    if isinstance(answer, NoResponse) or answer.status != 200:
        return None
    body = json_object(answer.body) or {}
    quota = mapping(body.get("SendQuota"))
    rate, most, sent = (quota.get(name) for name in ("MaxSendRate", "Max24HourSend", "SentLast24Hours"))
    if not (isinstance(rate, int | float) and isinstance(most, int | float) and isinstance(sent, int | float)):
        return None
    enabled = body.get("SendingEnabled") is not False
    return Quota(float(rate), float(most), float(sent), enabled, text(body.get("EnforcementStatus")))


def _accepted(batch: Batch, answer: HttpResponse) -> BatchOutcome:
    body = json_object(answer.body) or {}
    if len(batch.entries) == 1:
        return (_taken(text(body.get("MessageId"))),)
    results = sequence(body.get("BulkEmailEntryResults"))
    if len(results) != len(batch.entries):
        reason = Reason(_K.PROVIDER_ERROR, "200", "", f"{len(results)} results for {len(batch.entries)} entries")
        return (Uncertain(reason),) * len(batch.entries)
    return tuple(_entry(batch, entry, mapping(result)) for entry, result in zip(batch.entries, results, strict=True))


def _taken(message_id: str) -> Outcome:
    if message_id:
        return Accepted(message_id)
    return Uncertain(Reason(_K.PROVIDER_ERROR, "200", "", "an acceptance without a MessageId"))


def _entry(batch: Batch, entry: Entry, result: Mapping[str, object]) -> Outcome:
    status = text(result.get("Status"), 64)
    if status == "SUCCESS":
        return _taken(text(result.get("MessageId")))
    said = detail(result.get("Error"))
    fate, kind = STATUSES.get(status, (Fate.UNCERTAIN, _K.UNKNOWN))
    return _outcome(batch, entry, fate, Reason(kind, status, "", said))


def _failed(batch: Batch, answer: HttpResponse) -> BatchOutcome:
    body = json_object(answer.body) or {}
    code = error_code(answer)
    said = detail(body.get("message"), body.get("Message"), answer.body[:500].decode("utf-8", "replace"))
    fate, kind = ERRORS.get(code) or _by_http(answer.status)
    reason = Reason(kind, code or str(answer.status), "", said)
    outcome = _outcome(batch, batch.entries[0], fate, reason)
    if isinstance(outcome, Rejected) and len(batch.entries) > 1:
        return Split(outcome.reason)
    return (outcome,) * len(batch.entries)


def _by_http(status: int) -> tuple[Fate, ReasonKind]:
    if status in BY_HTTP:
        return BY_HTTP[status]
    if 300 <= status < 400:
        return Fate.HOLD, _K.CONFIGURATION
    if 400 <= status < 500 and status != 408:
        return Fate.REJECT, _K.INVALID_REQUEST
    return Fate.UNCERTAIN, _K.PROVIDER_ERROR


def _outcome(batch: Batch, entry: Entry, fate: Fate, reason: Reason) -> Outcome:
    said = reason.detail.lower()
    if (fate is Fate.BY_WORDS and "daily" in said) or (fate is Fate.QUOTA and "rate exceeded" not in said):
        return Deferred(reason, Scope.LANE, AttemptResult.THROTTLED, QUOTA_WAIT_S)
    match fate:
        case Fate.THROTTLED | Fate.BY_WORDS | Fate.QUOTA:
            return Deferred(reason, Scope.LANE, AttemptResult.THROTTLED)
        case Fate.RETRY:
            return Deferred(reason, Scope.PROVIDER)
        case Fate.ONCE_MORE:
            return Rejected(reason) if entry.attempt > 1 else Deferred(reason, Scope.MESSAGE)
        case Fate.HOLD:
            return Deferred(reason, Scope.ACCOUNT, AttemptResult.AUTH)
        case Fate.REJECT:
            return _rejected(batch, entry, reason, said)
        case Fate.UNCERTAIN:
            return Uncertain(reason)
        case _:
            assert_never(fate)


def _rejected(batch: Batch, entry: Entry, reason: Reason, said: str) -> Outcome:
    if "not verified" in said:
        if batch.sender.email.lower() in said or "@" not in said:
            unverified = Reason(_K.CONFIGURATION, reason.code, "", reason.detail)
            return Deferred(unverified, Scope.ACCOUNT, AttemptResult.AUTH)
        return Rejected(Reason(_K.ACCOUNT, reason.code, "", reason.detail), Scope.RECIPIENT)  # SES's sandbox
    if reason.kind is _K.INVALID_REQUEST and any(words in said for words in _ADDRESS_WORDS):
        return Rejected(Reason(_K.INVALID_ADDRESS, reason.code, "", reason.detail), Scope.RECIPIENT)
    return Rejected(reason)
