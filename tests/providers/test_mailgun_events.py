"""What Mailgun reports is read as one sighting each, by tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import Automated, BounceType, ReasonKind
from streams.core.receipt import ReceiptKind
from streams.providers.base import Reading, Sighting, Unreadable
from streams.providers.mailgun.events import read_event, read_events

PAYLOADS = Path(__file__).parent.parent / "payloads" / "mailgun"
MESSAGE_ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklmn"
NOW = 1_700_000_100_000

R, K, B, A = ReceiptKind, ReasonKind, BounceType, Automated


def payload(name: str) -> bytes:
    return (PAYLOADS / name).read_bytes()


def only(reading: Reading | Unreadable) -> Sighting:
    assert isinstance(reading, Reading)
    assert len(reading.sightings) == 1
    return reading.sightings[0]


PAYLOAD_CASES = [
    ("accepted.json", R.PROVIDER_SENT, None, None, False),
    ("delivered.json", R.DELIVERED, None, None, False),
    ("failed_temporary.json", R.DEFERRED, K.MAILBOX_FULL, None, False),
    ("failed_permanent.json", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("failed_suppressed.json", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_BOUNCE, None, True),
    ("failed_delayed_bounce.json", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("opened.json", R.OPENED, None, None, False),
    ("clicked.json", R.CLICKED, None, None, False),
    ("unsubscribed.json", R.UNSUBSCRIBED, K.UNSUBSCRIBE, None, True),
    ("complained.json", R.COMPLAINED, K.COMPLAINT, None, True),
    ("rejected.json", R.PROVIDER_REJECTED, K.POLICY, None, False),
    ("legacy_bounced.form", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("legacy_dropped.form", R.BOUNCED, K.EXPIRED, B.SOFT, False),
    ("legacy_delivered.form", R.DELIVERED, None, None, False),
    ("legacy_clicked.form", R.CLICKED, None, None, False),
]


@pytest.mark.parametrize(
    ("name", "kind", "reason", "bounce", "suppress"), PAYLOAD_CASES, ids=[case[0] for case in PAYLOAD_CASES]
)
def test_each_payload_becomes_one_sighting_of_our_message(
    name: str, kind: R, reason: K | None, bounce: B | None, suppress: bool
) -> None:
    reading = read_events(payload(name), NOW)
    sighting = only(reading)
    assert isinstance(reading, Reading)
    assert reading.unknown_words == ()
    assert (sighting.kind, sighting.bounce_type, sighting.suppress) == (kind, bounce, suppress)
    assert (sighting.reason.kind if sighting.reason else None) == reason
    assert sighting.message_id == MESSAGE_ID
    assert sighting.recipient == "u@example.net"


def test_the_facts_of_an_event_are_carried_over() -> None:
    sighting = only(read_events(payload("failed_permanent.json"), NOW))
    assert sighting.sighting_id == "G9Bn5sl1TC6nu79C8C0bwg.19675"  # an id is unique within its day
    assert sighting.occurred_ms == 1_700_000_050_500
    assert sighting.attempt == 2
    assert sighting.provider_message_id == "20260101000000.1.X@mg.example.com"
    assert sighting.reason is not None
    assert (sighting.reason.code, sighting.reason.enhanced_code) == ("550", "5.1.1")
    assert sighting.reason.detail == "5.1.1 no such user"


def test_a_click_carries_its_link_and_an_open_its_proxy() -> None:
    click = only(read_events(payload("clicked.json"), NOW))
    assert (click.url, click.ip, click.automated) == ("https://www.example.com/x", "192.0.2.9", A.NONE)
    opened = only(read_events(payload("opened.json"), NOW))
    assert (opened.user_agent, opened.automated) == ("Mozilla/5.0", A.PROXY)


def test_an_event_that_concerns_no_message_is_read_as_nothing() -> None:
    assert read_events(payload("stored.json"), NOW) == Reading()


def test_an_item_of_the_events_api_reads_like_a_webhook() -> None:
    body = json.loads(payload("failed_permanent.json"))
    assert read_events(json.dumps(body["event-data"]).encode(), NOW) == read_events(
        payload("failed_permanent.json"), NOW
    )


def test_a_legacy_form_is_the_same_fact_when_it_comes_again() -> None:
    first, second = (only(read_events(payload("legacy_bounced.form"), NOW + n)) for n in range(2))
    assert first.sighting_id == second.sighting_id
    assert first.provider_message_id == "20150101.X@mg.example.com"


def failed(severity: str = "permanent", reason: str = "bounce", **status: Any) -> Sighting:
    event = {"event": "failed", "id": "x", "timestamp": 1, "severity": severity, "reason": reason}
    return only(read_event({**event, "delivery-status": status}, NOW))


FAILURES = [
    # reason, code, enhanced, words -> kind, what, bounce, suppress
    ("suppress-bounce", 605, "", "", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_BOUNCE, None, True),
    ("", 605, "", "", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_BOUNCE, None, True),
    ("suppress-unsubscribe", 606, "", "", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_UNSUBSCRIBE, None, False),
    ("", 606, "", "", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_UNSUBSCRIBE, None, False),
    ("suppress-complaint", 607, "", "", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_COMPLAINT, None, True),
    ("", 607, "", "", R.PROVIDER_SUPPRESSED, K.SUPPRESSED_COMPLAINT, None, True),
    ("old", 602, "", "Too old", R.BOUNCED, K.EXPIRED, B.SOFT, False),
    ("generic", 450, "", "too old", R.BOUNCED, K.EXPIRED, B.SOFT, False),
    ("bounce", 550, "5.1.1", "", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("bounce", 550, "", "user unknown", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("bounce", 551, "", "unknown user", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("bounce", 553, "", "no such user", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("bounce", 552, "", "", R.BOUNCED, K.MAILBOX_FULL, B.SOFT, False),
    ("bounce", 550, "5.2.2", "", R.BOUNCED, K.MAILBOX_FULL, B.SOFT, False),
    ("generic", 550, "5.7.1", "", R.BOUNCED, K.POLICY, B.BLOCK, False),
    ("generic", 550, "", "blocked using dnsbl", R.BOUNCED, K.REPUTATION, B.BLOCK, False),
    ("generic", 550, "", "looks like spam", R.BOUNCED, K.SPAM, B.BLOCK, False),
    ("generic", 550, "", "greylisted", R.BOUNCED, K.GREYLISTED, B.BLOCK, False),
    ("greylisted", 451, "", "", R.BOUNCED, K.GREYLISTED, B.BLOCK, False),
    ("espblock", 550, "", "", R.BOUNCED, K.REPUTATION, B.BLOCK, False),
    ("blacklisted", 550, "", "", R.BOUNCED, K.REPUTATION, B.BLOCK, False),
    ("spam", 550, "", "", R.BOUNCED, K.SPAM, B.BLOCK, False),
    ("hardfail", 550, "5.1.1", "", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("generic", 498, "", "No MX for example.net", R.BOUNCED, K.NETWORK, B.SOFT, False),
    ("generic", 499, "", "", R.BOUNCED, K.NETWORK, B.SOFT, False),
    ("generic", 620, "", "user unknown", R.BOUNCED, K.PROVIDER_ERROR, B.SOFT, False),
    ("delayed-bounce", 550, "5.1.1", "", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("generic", 550, "", "", R.BOUNCED, K.UNKNOWN, B.UNKNOWN, False),
]


@pytest.mark.parametrize(
    ("reason", "code", "enhanced", "words", "kind", "what", "bounce", "suppress"),
    FAILURES,
    ids=[f"{c[0]}-{c[1]}-{c[2]}-{c[3]}" for c in FAILURES],
)
def test_a_permanent_failure_is_read_by_reason_code_and_words(
    reason: str, code: int, enhanced: str, words: str, kind: R, what: K, bounce: B | None, suppress: bool
) -> None:
    sighting = failed(reason=reason, code=code, message=words, **{"enhanced-code": enhanced})
    assert sighting.reason is not None
    assert (sighting.kind, sighting.reason.kind, sighting.bounce_type, sighting.suppress) == (
        kind,
        what,
        bounce,
        suppress,
    )


@pytest.mark.parametrize("reason", ["generic", "bounce", "greylisted", "espblock", "suppress-bounce"])
def test_a_temporary_failure_is_a_deferral_that_suppresses_nothing(reason: str) -> None:
    sighting = failed("temporary", reason, code=550, message="5.1.1 user unknown")
    assert (sighting.kind, sighting.bounce_type, sighting.suppress) == (R.DEFERRED, None, False)


def test_a_failure_without_severity_is_judged_by_its_code_and_counted() -> None:
    assert failed("", code=451).kind is R.DEFERRED
    assert failed("", code=550).kind is R.BOUNCED
    reading = read_event({"event": "failed", "id": "x", "timestamp": 1}, NOW)
    assert reading.unknown_words == ("severity:",)


@pytest.mark.parametrize(
    ("event", "word"),
    [
        ({"event": "teleported"}, "event:teleported"),
        ({"event": "failed", "severity": "permanent", "reason": "moonphase"}, "reason:moonphase"),
        ({"event": "opened", "client-info": {"bot": "hal"}}, "bot:hal"),
    ],
)
def test_a_new_word_is_counted_not_dropped(event: dict[str, Any], word: str) -> None:
    assert read_event({"id": "x", "timestamp": 1, **event}, NOW).unknown_words == (word,)


@pytest.mark.parametrize(
    ("client", "automated"),
    [
        ({"bot": "apple"}, A.PROXY),
        ({"bot": "gmail"}, A.PROXY),
        ({"bot": "generic"}, A.SCANNER),
        ({"bot": ""}, A.NONE),
        ({}, A.NONE),
        ({"client-type": "robot"}, A.SCANNER),
        ({"bot": "hal"}, A.SCANNER),
    ],
)
def test_bots_are_told_from_people(client: dict[str, str], automated: A) -> None:
    assert (
        only(read_event({"event": "opened", "id": "x", "timestamp": 1, "client-info": client}, NOW)).automated
        is automated
    )


@pytest.mark.parametrize(
    "variables",
    [{}, [], None, {"message_id": 7}, {"message_id": "../../etc/passwd"}, {"message_id": MESSAGE_ID.upper()}],
    ids=str,
)
def test_only_an_id_of_our_own_shape_is_believed(variables: object) -> None:
    sighting = only(read_event({"event": "delivered", "id": "x", "timestamp": 1, "user-variables": variables}, NOW))
    assert sighting.message_id == ""


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"event-data": 5}', b'{"a":1,"a":2}', b"\xff\xfe", b"a=b"])
def test_what_cannot_be_read_is_said_to_be_unreadable(body: bytes) -> None:
    assert isinstance(read_events(body, NOW), Unreadable)


def test_a_repeated_key_makes_a_payload_unreadable() -> None:
    assert isinstance(read_events(b'{"event-data": {"event": "delivered", "event": "opened"}}', NOW), Unreadable)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)
FIELDS = [
    "id",
    "timestamp",
    "severity",
    "reason",
    "delivery-status",
    "user-variables",
    "message",
    "recipient",
    "reject",
]
FIELDS += ["client-info", "url", "ip", "flags"]
EVENTS = [
    "accepted",
    "delivered",
    "failed",
    "rejected",
    "opened",
    "clicked",
    "unsubscribed",
    "complained",
    "stored",
    "x",
]


@given(st.sampled_from(EVENTS), st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_an_event_of_any_shape_raises_nothing_and_can_be_encoded(event: str, fields: dict[str, Any]) -> None:
    for sighting in read_event({"event": event, **fields}, NOW).sightings:
        for written in (sighting.sighting_id, sighting.recipient, sighting.provider_message_id, sighting.url):
            written.encode()
        assert 0 <= sighting.occurred_ms < 2**53


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing(body: bytes) -> None:
    read_events(body, NOW)
    read_events(b"{" + body, NOW)
    read_events(b"event=bounced&" + body, NOW)


def test_half_a_surrogate_pair_cannot_travel_on() -> None:
    body = b'{"event":"clicked","id":"x","timestamp":1,"url":"https://example.com/\\ud800","recipient":"\\udfff@example.net"}'
    sighting = only(read_events(body, NOW))
    assert sighting.url.encode() == b"https://example.com/?"
