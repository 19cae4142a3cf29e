"""What Mailgun answered to a send, as one outcome per recipient.

Rules:

1. Only a 200 with an id and ``Queued`` is an acceptance, and only what proves a refusal is one. In between lies
   ``Uncertain``: Mailgun is known to queue a message and answer 5xx.
2. One bad recipient fails the whole call: a refused batch is split until the refusal has a name.
3. What every message would meet (key, plan, domain) holds the account, not the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
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
from streams.providers._payload import detail, json_object, no_brackets, text
from streams.providers._waiting import clamped, retry_after_s, until_s
from streams.providers.base import Batch, HttpResponse, NoResponse, unanswered

_WRONG_PATH = "mailgun magnificent api"


@dataclass(frozen=True, slots=True)
class _Hold:
    kind: ReasonKind
    result: AttemptResult


HOLDS: Mapping[int, _Hold] = {
    401: _Hold(ReasonKind.CREDENTIALS, AttemptResult.AUTH),
    402: _Hold(ReasonKind.ACCOUNT, AttemptResult.AUTH),
    403: _Hold(ReasonKind.ACCOUNT, AttemptResult.AUTH),
    404: _Hold(ReasonKind.CONFIGURATION, AttemptResult.AUTH),  # no such domain, or the wrong region
}
"""Refusals that every message of the account will meet until a person acts."""

THROTTLES = frozenset({420, 429})

SHARED_FAULTS = ("'from' parameter", "need at least one of", "'subject' parameter", "'template'")
"""Words of a 400 that concern what all recipients share: splitting would not help."""

RECIPIENT_FAULTS = ("'to' parameter", "to parameter", "not a valid address", "recipient address")
"""Words of a 400 that concern the recipient's address."""

_SANDBOX = re.compile(r"authori[sz]ed recipient|recipient.{0,40}not authori[sz]ed", re.IGNORECASE)
_SECONDS = re.compile(r"try again (?:after|in) (\d{1,7}) ?s", re.IGNORECASE)
_DATE = re.compile(r"try again after ([A-Za-z]{3}, \d{1,2} [A-Za-z]{3} \d{4} [\d:]{5,8} [A-Z0-9+-]{1,5})")
_LIMIT = re.compile(r"try again (after|in) |requests-per-\w+ limit|recipient limit exceeded", re.IGNORECASE)


def read_response(batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
    """One outcome per entry, or the order to split."""
    match answer:
        case NoResponse():
            return _for_all(batch, unanswered(answer))
        case HttpResponse():
            return _answered(batch, answer, now_ms)
        case _:
            assert_never(answer)


def _answered(batch: Batch, answer: HttpResponse, now_ms: int) -> BatchOutcome:
    body = json_object(answer.body)
    said = detail(body.get("message")) if body else detail(answer.body[:2000].decode("utf-8", "replace"))
    status = answer.status
    if status == 200:
        return _for_all(batch, _taken(body, said))
    if 400 <= status < 500 and (status in THROTTLES or _LIMIT.search(said)):
        reason = Reason(ReasonKind.THROTTLED, str(status), "", said)
        return _for_all(batch, Deferred(reason, Scope.LANE, AttemptResult.THROTTLED, wait_s(answer, said, now_ms)))
    if status == 403 and _SANDBOX.search(said):
        return _one_bad(batch, Reason(ReasonKind.ACCOUNT, "403", "", said), Scope.RECIPIENT)
    if status in HOLDS:
        hold = HOLDS[status]
        return _for_all(batch, Deferred(Reason(hold.kind, str(status), "", said), Scope.ACCOUNT, hold.result))
    if status == 413:
        return _one_bad(batch, Reason(ReasonKind.MESSAGE_TOO_LARGE, "413", "", said), Scope.MESSAGE)
    if 300 <= status < 400:
        reason = Reason(ReasonKind.CONFIGURATION, str(status), "", said)
        return _for_all(batch, Deferred(reason, Scope.ACCOUNT, AttemptResult.AUTH))
    if 400 <= status < 500 and status != 408:
        return _refused(batch, status, said)
    return _for_all(batch, Uncertain(Reason(ReasonKind.PROVIDER_ERROR, str(status), "", said)))


def _taken(body: Mapping[str, object] | None, said: str) -> Outcome:
    if body is not None:
        provider_message_id = no_brackets(body.get("id"))
        if provider_message_id and text(body.get("message")).startswith("Queued"):
            return Accepted(provider_message_id)
    elif _WRONG_PATH in said.lower():  # the greeting of the root page: nothing was sent
        return Deferred(Reason(ReasonKind.CONFIGURATION, "200", "", said), Scope.ACCOUNT, AttemptResult.AUTH)
    return Uncertain(Reason(ReasonKind.PROVIDER_ERROR, "200", "", said or "an acceptance without an id"))


def _refused(batch: Batch, status: int, said: str) -> BatchOutcome:
    lower = said.lower()
    if status == 400 and any(words in lower for words in SHARED_FAULTS):
        return _for_all(batch, Rejected(Reason(ReasonKind.INVALID_REQUEST, "400", "", said)))
    if status == 400 and any(words in lower for words in RECIPIENT_FAULTS):
        return _one_bad(batch, Reason(ReasonKind.INVALID_ADDRESS, "400", "", said), Scope.RECIPIENT)
    return _one_bad(batch, Reason(ReasonKind.INVALID_REQUEST, str(status), "", said), Scope.MESSAGE)


def _one_bad(batch: Batch, reason: Reason, scope: Scope) -> BatchOutcome:
    if len(batch.entries) > 1:
        return Split(reason)
    return (Rejected(reason, scope),)


def _for_all(batch: Batch, outcome: Outcome) -> BatchOutcome:
    return (outcome,) * len(batch.entries)


def wait_s(answer: HttpResponse, said: str, now_ms: int) -> float | None:
    """How long Mailgun asks us to wait, in seconds between 0 and a day; None if it does not say.

    It is in the words ("try again after 120 seconds", or after a date), or in ``Retry-After``; the longer one counts.
    """
    asked = [retry_after_s(answer, now_ms)]
    if seconds := _SECONDS.search(said):
        asked.append(clamped(float(seconds[1])))
    elif date := _DATE.search(said):
        asked.append(until_s(date[1], answer, now_ms))
    return max((wait for wait in asked if wait is not None), default=None)
