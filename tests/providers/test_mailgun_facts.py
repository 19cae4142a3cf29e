"""Mailgun's tables of answers and failures, row by row: expected kind, retry class, effect on suppressions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.core.command import Retry
from streams.core.event import BounceType, ReasonKind
from streams.core.ids import message_id, recipient_key
from streams.core.lifecycle import advance
from streams.core.message import Mailbox
from streams.core.outcome import Accepted, Deferred, Rejected, Scope, Split, Uncertain
from streams.core.receipt import Facts, Receipt, ReceiptKind
from streams.core.suppression import SuppressionKind
from streams.providers.base import Batch, Entry, HttpResponse, NoResponse
from streams.providers.mailgun import Config, create
from streams.providers.mailgun.events import read_event

K, R, B = ReasonKind, ReceiptKind, BounceType
NOW = 1_800_000_000_000
MESSAGE_ID = message_id("acme", "order-1", recipient_key("acme", "ann@example.com"))
ONE = Batch(Mailbox("a@mg.example.com"), (Entry(MESSAGE_ID, 1, Mailbox("ann@example.com")),), ("Hi",), ("Hello",))
TWO = Batch(ONE.sender, (*ONE.entries, Entry("other", 1, Mailbox("bob@example.com"))), ("Hi",), ("Hello",))


def says(status: int, message: str) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps({"message": message}).encode())


QUEUED = HttpResponse(200, {}, b'{"id": "<x@mg.example.com>", "message": "Queued. Thank you."}')

# row, answer, outcome for one, its scope, what becomes of a batch of two
ANSWERS: list[tuple[str, Any, type, Scope | None, type]] = [
    ("200 and Queued: OK", QUEUED, Accepted, None, Accepted),
    ("200 of a wrong path: CONFIG", HttpResponse(200, {}, b"Mailgun Magnificent API"), Deferred, Scope.ACCOUNT, Deferred),
    ("400, to: PERM, split", says(400, "to parameter is not a valid address"), Rejected, Scope.RECIPIENT, Split),
    ("400, shared: PERM", says(400, "'from' parameter is missing"), Rejected, Scope.MESSAGE, Rejected),
    ("401: CONFIG", HttpResponse(401, {}, b"Forbidden"), Deferred, Scope.ACCOUNT, Deferred),
    ("402: CONFIG", says(402, "Request failed: payment required"), Deferred, Scope.ACCOUNT, Deferred),
    ("403, domain: CONFIG", says(403, "Domain x is not allowed to send: disabled"), Deferred, Scope.ACCOUNT, Deferred),
    ("403, recipient: PERM", says(403, "add it to the authorized recipients"), Rejected, Scope.RECIPIENT, Split),
    ("404: CONFIG", says(404, "Domain not found: mg.example.com"), Deferred, Scope.ACCOUNT, Deferred),
    ("413: PERM", says(413, "Message is too large"), Rejected, Scope.MESSAGE, Split),
    (
        "420: WAIT",
        says(420, "recipient limit exceeded, try again after Fri, 15 Jan 2027 08:10:00 GMT"),
        Deferred,
        Scope.LANE,
        Deferred,
    ),
    (
        "429: WAIT",
        says(429, "account-requests-per-sec limit exceeded, try again after 120 seconds"),
        Deferred,
        Scope.LANE,
        Deferred,
    ),
    *((f"{status}: AMBIGUOUS", says(status, "oops"), Uncertain, Scope.PROVIDER, Uncertain) for status in (500, 502, 503, 504)),
    ("timeout after the body: AMBIGUOUS", NoResponse(True, "timeout", True), Uncertain, Scope.PROVIDER, Uncertain),
    ("no connection: RETRY", NoResponse(False, "refused"), Deferred, Scope.PROVIDER, Deferred),
]  # fmt: skip


@pytest.mark.parametrize(("row", "answer", "outcome", "scope", "of_two"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_every_answer_has_its_class(row: str, answer: Any, outcome: type, scope: Scope | None, of_two: type) -> None:
    provider = create("mg", Config("mg.example.com", "key-1"))
    single = provider.read_response(ONE, answer, NOW)
    assert isinstance(single, tuple)
    assert type(single[0]) is outcome
    assert getattr(single[0], "scope", None) is scope
    both = provider.read_response(TWO, answer, NOW)
    assert (type(both) if isinstance(both, Split) else type(both[0])) is of_two
    if row.endswith("WAIT"):
        assert isinstance(single[0], Deferred)
        assert single[0].retry_after_s == {"420": 600.0, "429": 120.0}[row[:3]]


GONE = SuppressionKind.BOUNCE

# row, event, receipt kind, reason, bounce type, answered by a retry (if the policy answers final failures), suppresses
FAILURES: list[tuple[str, dict[str, Any], R, K, B | None, bool, SuppressionKind | None]] = [
    ("temporary", {"severity": "temporary", "delivery-status": {"code": 452, "enhanced-code": "4.2.2"}},
     R.DEFERRED, K.MAILBOX_FULL, None, False, None),
    ("temporary, whatever its code", {"severity": "temporary", "delivery-status": {"code": 550, "message": "user unknown"}},
     R.DEFERRED, K.BAD_MAILBOX, None, False, None),
    ("suppress-bounce", {"reason": "suppress-bounce"}, R.PROVIDER_SUPPRESSED, K.SUPPRESSED_BOUNCE, None, False, GONE),
    ("605", {"delivery-status": {"code": 605}}, R.PROVIDER_SUPPRESSED, K.SUPPRESSED_BOUNCE, None, False, GONE),
    ("suppress-unsubscribe", {"reason": "suppress-unsubscribe"},
     R.PROVIDER_SUPPRESSED, K.SUPPRESSED_UNSUBSCRIBE, None, False, None),
    ("606", {"delivery-status": {"code": 606}}, R.PROVIDER_SUPPRESSED, K.SUPPRESSED_UNSUBSCRIBE, None, False, None),
    ("suppress-complaint", {"reason": "suppress-complaint"},
     R.PROVIDER_SUPPRESSED, K.SUPPRESSED_COMPLAINT, None, False, SuppressionKind.COMPLAINT),
    ("607", {"delivery-status": {"code": 607}},
     R.PROVIDER_SUPPRESSED, K.SUPPRESSED_COMPLAINT, None, False, SuppressionKind.COMPLAINT),
    ("old", {"reason": "old", "delivery-status": {"code": 602}}, R.BOUNCED, K.EXPIRED, B.SOFT, True, None),
    ("too old", {"delivery-status": {"code": 450, "description": "Too old"}}, R.BOUNCED, K.EXPIRED, B.SOFT, True, None),
    ("5.1.x", {"delivery-status": {"code": 550, "enhanced-code": "5.1.1"}}, R.BOUNCED, K.BAD_MAILBOX, B.HARD, False, GONE),
    ("550 and words", {"delivery-status": {"code": 550, "message": "unknown user"}},
     R.BOUNCED, K.BAD_MAILBOX, B.HARD, False, GONE),
    ("551 and words", {"delivery-status": {"code": 551, "message": "no such user"}},
     R.BOUNCED, K.BAD_MAILBOX, B.HARD, False, GONE),
    ("553 and words", {"delivery-status": {"code": 553, "message": "user unknown"}},
     R.BOUNCED, K.BAD_MAILBOX, B.HARD, False, GONE),
    ("x.2.2", {"delivery-status": {"code": 550, "enhanced-code": "5.2.2"}}, R.BOUNCED, K.MAILBOX_FULL, B.SOFT, True, None),
    ("552", {"delivery-status": {"code": 552}}, R.BOUNCED, K.MAILBOX_FULL, B.SOFT, True, None),
    ("mailbox full", {"delivery-status": {"code": 550, "message": "mailbox full"}},
     R.BOUNCED, K.MAILBOX_FULL, B.SOFT, True, None),
    ("5.7.x", {"delivery-status": {"code": 550, "enhanced-code": "5.7.1"}}, R.BOUNCED, K.POLICY, B.BLOCK, False, None),
    ("blocked", {"delivery-status": {"code": 550, "message": "blocked by our blacklist"}},
     R.BOUNCED, K.REPUTATION, B.BLOCK, False, None),
    ("spam", {"delivery-status": {"code": 554, "message": "looks like spam"}}, R.BOUNCED, K.SPAM, B.BLOCK, False, None),
    ("greylist", {"delivery-status": {"code": 550, "message": "greylisted"}}, R.BOUNCED, K.GREYLISTED, B.BLOCK, False, None),
    ("espblock", {"reason": "espblock", "delivery-status": {"code": 550}}, R.BOUNCED, K.REPUTATION, B.BLOCK, False, None),
    ("498", {"delivery-status": {"code": 498}}, R.BOUNCED, K.NETWORK, B.SOFT, True, None),
    ("499", {"delivery-status": {"code": 499}}, R.BOUNCED, K.NETWORK, B.SOFT, True, None),
    ("other 6xx", {"delivery-status": {"code": 620, "message": "user unknown"}},
     R.BOUNCED, K.PROVIDER_ERROR, B.SOFT, True, None),
    ("unknown reason", {"reason": "novelty", "delivery-status": {"code": 550, "enhanced-code": "5.1.1"}},
     R.BOUNCED, K.BAD_MAILBOX, B.HARD, False, GONE),
]  # fmt: skip


def receipt(event: dict[str, Any], **more: Any) -> Receipt:
    whole = {"event": "failed", "severity": "permanent", "id": "x", "timestamp": NOW / 1000} | event
    (sighting,) = read_event(whole, NOW).sightings
    return Receipt(
        MESSAGE_ID, sighting.kind, sighting.sighting_id, sighting.occurred_ms, 1, "mg", "x", sighting.reason,
        sighting.bounce_type, sighting.suppress, **more,
    )  # fmt: skip


SENT = Receipt(
    MESSAGE_ID, R.SENT, "sent", NOW - 9, 1, "mg", "x",
    facts=Facts("acme", "transactional", "order-1", "ann@example.com", NOW - 99, retry_final=True),
)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "event", "kind", "reason", "bounce", "retried", "suppresses"), FAILURES, ids=[row[0] for row in FAILURES]
)
def test_every_failure_has_its_kind_its_retry_class_and_its_effect(
    row: str,
    event: dict[str, Any],
    kind: R,
    reason: K,
    bounce: B | None,
    retried: bool,
    suppresses: SuppressionKind | None,
) -> None:
    told = receipt(event)
    assert told.reason is not None
    assert (told.kind, told.reason.kind, told.bounce_type) == (kind, reason, bounce)
    step = advance(advance(None, SENT, NOW).state, told, NOW)
    assert step.commands == ((Retry(MESSAGE_ID, 1, final_soft=True),) if retried else ())
    assert [change.kind for change in step.suppressions] == ([suppresses] if suppresses else [])


def test_a_delayed_bounce_goes_over_the_delivery() -> None:
    delivered = Receipt(MESSAGE_ID, R.DELIVERED, "d", NOW, 1, "mg", "x")
    bounced = receipt(
        {"flags": {"is-delayed-bounce": True}, "delivery-status": {"code": 550, "enhanced-code": "5.1.1"}}
    )
    for order in ([SENT, delivered, bounced], [SENT, bounced, delivered]):
        state = None
        for one in order:
            state = advance(state, one, NOW).state
        assert state is not None
        assert state.status == "bounced"
