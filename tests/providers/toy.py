"""A provider of our own in one file: Toy, a mail service with a JSON API. ``docs/add-a-provider.md`` follows it.

Its API: ``POST /send`` takes up to 20 messages and answers their ids, ``GET /sent?ref=…`` tells whether it has taken
one, and it posts events to a webhook, signed with HMAC-SHA-256 over the body (header ``x-toy-signature``).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from streams.core.event import BounceType, Reason, ReasonKind
from streams.core.outcome import Accepted, AttemptResult, BatchOutcome, Deferred, Outcome, Rejected, Scope, Uncertain
from streams.core.receipt import ReceiptKind
from streams.providers.base import (
    Batch,
    CannotTell,
    Checked,
    Entry,
    Exchange,
    Finding,
    Found,
    HttpRequest,
    HttpResponse,
    Inbound,
    Limits,
    NoResponse,
    NotFound,
    Question,
    Reading,
    Refused,
    Sighting,
    Unreadable,
    Verdict,
    Verified,
    WebhookAnswers,
    fill,
    unanswered,
)

# ---------------------------------------------------------------------------------------------- configuration


@dataclass(frozen=True)
class Config:
    """Keys of ``[providers.NAME]``."""

    url: str = field(metadata={"doc": "Where Toy is."})
    key: str = field(repr=False, metadata={"secret": True, "doc": "Toy's API key."})
    webhook_secret: str = field(
        default="", repr=False, metadata={"secret": True, "doc": "What Toy signs webhooks with."}
    )

    def __post_init__(self) -> None:
        if not self.url.startswith(("https://", "http://")) or self.url.endswith("/"):
            raise ValueError(f"url must begin with https:// and end without a slash, not {self.url!r}")


def create(name: str, config: Config) -> Toy:
    """What the configuration calls."""
    return Toy(name, config)


# ---------------------------------------------------------------------------------------------- the adapter


class Toy:
    """One account at Toy (see :class:`streams.providers.base.Provider`)."""

    type = "toy"
    limits = Limits(max_recipients=20, max_bytes=1_000_000)
    can_find = True
    visibility_delay_s = 1.0
    webhook_answers = WebhookAnswers(forged=401)

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self.config = config

    # -- sending

    def fits(self, batch: Batch) -> str:
        return "" if len(batch.entries) <= self.limits.max_recipients else "more than 20 recipients"

    def refusal(self, batch: Batch) -> Reason | None:
        """Toy carries text and HTML and nothing else."""
        if batch.mime or batch.attachments:
            return Reason(ReasonKind.INVALID_REQUEST, "toy", detail="Toy carries neither files nor finished mails")
        return None

    def build_request(self, batch: Batch, now_ms: int) -> HttpRequest:
        return self._call("POST", "/send", {"messages": [_message(batch, entry) for entry in batch.entries]})

    def read_response(self, batch: Batch, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
        if isinstance(answer, NoResponse):
            return (unanswered(answer),) * len(batch.entries)
        if answer.status == 200:
            results = _object(answer.body).get("results")
            if isinstance(results, list) and len(results) == len(batch.entries):
                return tuple(_outcome(result) for result in results)
        return (_refused(answer),) * len(batch.entries)

    async def find(self, question: Question, exchange: Exchange, now_ms: int) -> Finding:
        answer = await exchange(self._call("GET", f"/sent?ref={quote(_ref(question))}"), 10.0)
        if isinstance(answer, NoResponse) or answer.status not in (200, 404):
            return CannotTell("Toy did not answer")
        found = _object(answer.body)
        return NotFound() if answer.status == 404 else Found(_text(found.get("id")), _number(found.get("at")))

    # -- what comes back

    def verify(self, inbound: Inbound, now_ms: int) -> Verdict:
        expected = hmac.digest(self.config.webhook_secret.encode(), inbound.body, "sha256").hex()
        given = inbound.headers.get("x-toy-signature", "")
        if not self.config.webhook_secret or not hmac.compare_digest(expected.encode(), given.encode(errors="replace")):
            return Refused("bad_signature", "the signature does not fit")
        return Verified()  # the signature covers the body: a repeat is harmless

    def learn_certificate(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> None:
        """Toy has none."""

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        event = _object(payload)
        if not event:
            return Unreadable("no JSON object")
        word = _text(event.get("event"))
        kind = KINDS.get(word)
        if kind is None:
            return Reading(unknown_words=(word,))
        message_id, _, attempt = _text(event.get("ref")).partition("/")
        return Reading((_sighting(event, kind, message_id, _number(attempt), received_ms),))

    # -- for `streams doctor`

    async def check(self, exchange: Exchange, now_ms: int) -> Sequence[Checked]:
        answer = await exchange(self._call("GET", "/sent?ref=doctor"), 10.0)
        if isinstance(answer, HttpResponse) and answer.status in (200, 404):
            return [Checked("key", "accepted")]
        said = answer.detail if isinstance(answer, NoResponse) else str(answer.status)
        return [Checked("key", f"not accepted ({said})", f"check [providers.{self.name}] url and key")]

    def _call(self, method: str, path: str, body: object = None) -> HttpRequest:
        headers = (("authorization", f"Bearer {self.config.key}"), ("content-type", "application/json"))
        return HttpRequest(method, self.config.url + path, headers, json.dumps(body).encode() if body else b"")


# ---------------------------------------------------------------------------------------------- Toy's words

KINDS: Mapping[str, ReceiptKind] = MappingProxyType(
    {
        "arrived": ReceiptKind.DELIVERED,
        "refused": ReceiptKind.BOUNCED,
        "later": ReceiptKind.DEFERRED,
        "spam": ReceiptKind.COMPLAINED,
        "seen": ReceiptKind.OPENED,
    }
)


def _message(batch: Batch, entry: Entry) -> dict[str, object]:
    return {
        "ref": _ref(entry),
        "from": batch.sender.email,
        "to": entry.recipient.email,
        "subject": fill(batch.subject, entry.variables),
        "text": fill(batch.text, entry.variables),
        "html": fill(batch.html, entry.variables),
        "headers": [*batch.headers, *((name, fill(value, entry.variables)) for name, value in batch.personal_headers)],
    }


def _ref(attempt: Entry | Question) -> str:
    """What Toy echoes in its events."""
    return f"{attempt.message_id}/{attempt.attempt}"


def _outcome(result: object) -> Outcome:
    if isinstance(result, dict) and _text(result.get("id")):
        return Accepted(_text(result["id"]))
    why = _text(result.get("error")) if isinstance(result, dict) else ""
    return Rejected(Reason(ReasonKind.INVALID_ADDRESS, "toy", detail=why), Scope.RECIPIENT)


def _refused(answer: HttpResponse) -> Outcome:
    reason = Reason(ReasonKind.PROVIDER_ERROR, str(answer.status), detail=_text(answer.body.decode(errors="replace")))
    if answer.status in (401, 403):
        return Deferred(Reason(ReasonKind.CREDENTIALS, str(answer.status)), Scope.ACCOUNT, AttemptResult.AUTH)
    if answer.status == 429:
        return Deferred(Reason(ReasonKind.THROTTLED, "429"), Scope.LANE, AttemptResult.THROTTLED, 1.0)
    if answer.status == 503:  # "nothing was taken", says Toy
        return Deferred(reason, Scope.PROVIDER)
    return Uncertain(reason)  # a refusal that is not proven is none


def _sighting(
    event: Mapping[str, object], kind: ReceiptKind, message_id: str, attempt: int, received_ms: int
) -> Sighting:
    bounced = kind is ReceiptKind.BOUNCED
    gone = bounced and event.get("gone") is True
    return Sighting(
        kind=kind,
        sighting_id=f"toy:{_text(event.get('id'))}",
        occurred_ms=_number(event.get("at")) or received_ms,
        message_id=message_id,
        attempt=attempt,
        provider_message_id=_text(event.get("message")),
        recipient=_text(event.get("to")),
        reason=Reason(ReasonKind.BAD_MAILBOX if gone else ReasonKind.UNKNOWN, "toy") if bounced else None,
        bounce_type=(BounceType.HARD if gone else BounceType.SOFT) if bounced else None,
        suppress=gone,
    )


# ---------------------------------------------------------------------------------------------- foreign bytes


def _object(payload: bytes) -> dict[str, Any]:
    """The JSON object in it; an empty one if there is none. Nothing foreign may raise."""
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    """A text of bounded length on one line that can be encoded."""
    return " ".join(value[:300].encode(errors="replace").decode().split()) if isinstance(value, str) else ""


def _number(value: object) -> int:
    digits = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 16 else 0
