"""What DirectMail answered to a send.

Rules:

1. Its words lie in two tables, exact codes and beginnings of codes; each has a fate.
2. An acceptance is HTTP 200 with an ``EnvId``. The ``RequestId`` names the call, not the mail.
3. An answer of a proxy or of the server that names no known code proves no refusal.

Source: DirectMail API reference, error codes (names of throttling codes are not certain: any beginning counts).
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
    Uncertain,
)
from streams.providers._payload import detail, json_object, text
from streams.providers.base import Batch, HttpResponse, NoResponse, unanswered


class Fate(StrEnum):
    """What a code means for the message it was said about."""

    THROTTLED = "throttled"
    RETRY = "retry"  # certainly not taken, may work in a moment
    HOLD = "hold"  # every message will fail until a person acts
    REJECT = "reject"
    BAD_RECIPIENT = "bad_recipient"
    UNCERTAIN = "uncertain"


_K = ReasonKind

ERRORS: Mapping[str, tuple[Fate, ReasonKind]] = {
    "EmailFormatError": (Fate.BAD_RECIPIENT, _K.INVALID_ADDRESS),
    "EmailLengthError": (Fate.BAD_RECIPIENT, _K.INVALID_ADDRESS),
    "Forbidden": (Fate.HOLD, _K.ACCOUNT),
    "InvalidUser.NotFound": (Fate.HOLD, _K.ACCOUNT),
    "InternalServiceError": (Fate.RETRY, _K.PROVIDER_ERROR),
    "SignatureDoesNotMatch": (Fate.HOLD, _K.CREDENTIALS),
    "IncompleteSignature": (Fate.HOLD, _K.CREDENTIALS),
    "SignatureNonceUsed": (Fate.UNCERTAIN, _K.PROVIDER_ERROR),  # it has seen this very call before
    "ServiceUnavailable": (Fate.UNCERTAIN, _K.PROVIDER_ERROR),
}
"""By exact code."""

FAMILIES: tuple[tuple[str, Fate, ReasonKind], ...] = (
    ("Throttling", Fate.THROTTLED, _K.THROTTLED),
    ("InvalidAddress", Fate.BAD_RECIPIENT, _K.INVALID_ADDRESS),
    ("InvalidToAddress", Fate.BAD_RECIPIENT, _K.INVALID_ADDRESS),
    ("InvalidMailAddress", Fate.HOLD, _K.CONFIGURATION),  # the sender's address is none of the account
    ("InvalidUser", Fate.HOLD, _K.ACCOUNT),
    ("InvalidAccessKeyId", Fate.HOLD, _K.CREDENTIALS),
    ("InvalidSecurityToken", Fate.HOLD, _K.CREDENTIALS),
    ("MissingSecurityToken", Fate.HOLD, _K.CREDENTIALS),
    ("InvalidTimeStamp", Fate.HOLD, _K.CONFIGURATION),  # our clock
    ("Forbidden", Fate.HOLD, _K.CREDENTIALS),
    ("NoPermission", Fate.HOLD, _K.CREDENTIALS),
    ("InvalidTagName", Fate.HOLD, _K.CONFIGURATION),  # a tag the console does not know
)
"""By how a code begins."""

BY_HTTP: Mapping[int, tuple[Fate, ReasonKind]] = {
    401: (Fate.HOLD, _K.CREDENTIALS),
    403: (Fate.HOLD, _K.CREDENTIALS),
    404: (Fate.HOLD, _K.CONFIGURATION),
    413: (Fate.REJECT, _K.MESSAGE_TOO_LARGE),
    429: (Fate.THROTTLED, _K.THROTTLED),
}
"""For an answer whose code is missing or new."""

_ABOUT_SENDER = ("accountname", "account name", "sender", "mail address is not found")


def read_response(batch: Batch, answer: HttpResponse | NoResponse) -> BatchOutcome:
    """One outcome per entry (a call has one)."""
    match answer:
        case NoResponse():
            outcome = unanswered(answer)
        case HttpResponse():
            outcome = _taken(answer) if answer.status == 200 else _failed(batch, answer)
        case _:
            assert_never(answer)
    return (outcome,) * len(batch.entries)


def _taken(answer: HttpResponse) -> Outcome:
    env_id = text((json_object(answer.body) or {}).get("EnvId"), 128)
    if env_id:
        return Accepted(env_id)
    return Uncertain(Reason(_K.PROVIDER_ERROR, "200", "", "an acceptance without an EnvId"))


def _failed(batch: Batch, answer: HttpResponse) -> Outcome:
    body = json_object(answer.body) or {}
    code = text(body.get("Code"), 128).strip()
    said = detail(body.get("Message"), answer.body[:500].decode("utf-8", "replace"))
    fate, kind = fate_of(code, answer.status)
    if fate is Fate.BAD_RECIPIENT and _is_about_sender(batch, code, said):
        fate, kind = Fate.HOLD, _K.CONFIGURATION
    return _outcome(fate, Reason(kind, code or str(answer.status), "", said))


def fate_of(code: str, status: int) -> tuple[Fate, ReasonKind]:
    """What a code means; where it is missing or new, what its status means."""
    if code in ERRORS:
        return ERRORS[code]
    for beginning, fate, kind in FAMILIES:
        if code.startswith(beginning):
            return fate, kind
    if status in BY_HTTP:
        return BY_HTTP[status]
    if 300 <= status < 400:
        return Fate.HOLD, _K.CONFIGURATION
    if 400 <= status < 500 and status != 408:
        return Fate.REJECT, _K.INVALID_REQUEST
    return Fate.UNCERTAIN, _K.PROVIDER_ERROR


def _is_about_sender(batch: Batch, code: str, said: str) -> bool:
    """An address error may mean the sender: then every message will meet it."""
    lower = said.lower()
    sender = batch.sender.email.lower()
    return code.endswith(".NotFound") or sender in lower or any(words in lower for words in _ABOUT_SENDER)


def _outcome(fate: Fate, reason: Reason) -> Outcome:
    match fate:
        case Fate.THROTTLED:
            return Deferred(reason, Scope.LANE, AttemptResult.THROTTLED)
        case Fate.RETRY:
            return Deferred(reason, Scope.PROVIDER)
        case Fate.HOLD:
            return Deferred(reason, Scope.ACCOUNT, AttemptResult.AUTH)
        case Fate.REJECT:
            return Rejected(reason)
        case Fate.BAD_RECIPIENT:
            return Rejected(reason, Scope.RECIPIENT)
        case Fate.UNCERTAIN:
            return Uncertain(reason)
        case _:
            assert_never(fate)
