"""What SES reports is read by its tables, in both formats and all ways of delivery."""

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
from streams.providers.ses.events import read_events
from streams.providers.ses.vocabulary import BOUNCES, COMPLAINTS, DELAYS

PAYLOADS = Path(__file__).parent.parent / "payloads" / "ses"
MESSAGE_ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklmn"
NOW = 1_767_225_700_000

R, K, B, A = ReceiptKind, ReasonKind, BounceType, Automated


def payload(name: str) -> bytes:
    return (PAYLOADS / name).read_bytes()


def only(reading: Reading | Unreadable) -> Sighting:
    assert isinstance(reading, Reading)
    assert len(reading.sightings) == 1
    return reading.sightings[0]


def told(word: str, key: str, event: dict[str, Any], **mail: Any) -> Reading:
    about = {"messageId": "m-1", "timestamp": "2026-01-01T00:00:00.000Z", "destination": ["u@example.net"], **mail}
    reading = read_events(json.dumps({"eventType": word, key: event, "mail": about}).encode(), NOW)
    assert isinstance(reading, Reading)
    return reading


PAYLOAD_CASES = [
    ("send.json", R.PROVIDER_SENT, None, None, False),
    ("delivery.json", R.DELIVERED, None, None, False),
    ("bounce.json", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("complaint.json", R.COMPLAINED, K.COMPLAINT, None, True),
    ("reject.json", R.PROVIDER_REJECTED, K.CONTENT, None, False),
    ("rendering_failure.json", R.PROVIDER_REJECTED, K.RENDERING, None, False),
    ("delivery_delay.json", R.DEFERRED, K.MAILBOX_FULL, None, False),
    ("open.json", R.OPENED, None, None, False),
    ("click.json", R.CLICKED, None, None, False),
    ("subscription.json", R.UNSUBSCRIBED, K.UNSUBSCRIBE, None, True),
    ("eventbridge.json", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    ("sns_bounce.json", R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
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
    assert (sighting.message_id, sighting.attempt) == (MESSAGE_ID, 2)
    assert (sighting.provider_message_id, sighting.recipient) == ("0100018c-bbbb-000000", "u@example.net")


def test_an_identity_notification_is_the_same_fact_without_our_tags() -> None:
    tagged = only(read_events(payload("bounce.json"), NOW))
    plain = only(read_events(payload("bounce_notification.json"), NOW + 5))
    assert plain.sighting_id == tagged.sighting_id
    assert (plain.message_id, plain.attempt) == ("", 0)
    assert (plain.provider_message_id, plain.recipient) == (tagged.provider_message_id, tagged.recipient)


def test_every_way_of_delivery_tells_the_same_fact() -> None:
    ways = ("bounce.json", "sns_bounce.json", "eventbridge.json")
    assert len({only(read_events(payload(way), NOW)) for way in ways}) == 1


def test_the_facts_of_an_event_are_carried_over() -> None:
    bounce = only(read_events(payload("bounce.json"), NOW))
    assert bounce.occurred_ms == 1_767_225_605_000
    assert bounce.reason is not None
    assert (bounce.reason.code, bounce.reason.enhanced_code) == ("Permanent/General", "5.1.1")
    assert bounce.reason.detail == "smtp; 550 5.1.1 user unknown"
    click = only(read_events(payload("click.json"), NOW))
    assert (click.url, click.ip, click.user_agent) == ("https://www.example.com/x", "192.0.2.9", "UA")
    assert only(read_events(payload("open.json"), NOW)).automated is A.PROXY


def test_an_automatic_reply_that_looks_like_a_bounce_suppresses_nothing() -> None:
    reply = only(read_events(payload("bounce_auto_reply.json"), NOW))
    assert (reply.kind, reply.bounce_type, reply.suppress) == (R.BOUNCED, B.UNKNOWN, False)


def test_the_greeting_of_a_new_destination_is_read_as_nothing() -> None:
    assert read_events(payload("sns_greeting.json"), NOW) == Reading()


def bounce(major: str, minor: str, **recipient: str) -> Sighting:
    event = {
        "bounceType": major,
        "bounceSubType": minor,
        "timestamp": "2026-01-01T00:00:05.000Z",
        "feedbackId": "f-1",
        "bouncedRecipients": [{"emailAddress": "u@example.net", **recipient}],
    }
    return only(told("Bounce", "bounce", event))


BOUNCE_CASES = [
    ("Permanent", "General", R.BOUNCED, B.HARD, True),
    ("Permanent", "NoEmail", R.BOUNCED, B.HARD, True),
    ("Permanent", "Suppressed", R.PROVIDER_SUPPRESSED, None, True),
    ("Permanent", "OnAccountSuppressionList", R.PROVIDER_SUPPRESSED, None, True),
    ("Permanent", "OnTenantSuppressionList", R.PROVIDER_SUPPRESSED, None, True),
    ("Permanent", "EmailValidationSuppressed", R.PROVIDER_SUPPRESSED, None, False),
    ("Permanent", "UnsubscribedRecipient", R.PROVIDER_SUPPRESSED, None, False),
    ("Transient", "General", R.BOUNCED, B.UNKNOWN, False),
    ("Transient", "MailboxFull", R.BOUNCED, B.SOFT, False),
    ("Transient", "MessageTooLarge", R.BOUNCED, B.SOFT, False),
    ("Transient", "CustomTimeoutExceeded", R.BOUNCED, B.SOFT, False),
    ("Transient", "ContentRejected", R.BOUNCED, B.BLOCK, False),
    ("Transient", "AttachmentRejected", R.BOUNCED, B.BLOCK, False),
    ("Undetermined", "Undetermined", R.BOUNCED, B.UNKNOWN, False),
]


@pytest.mark.parametrize(
    ("major", "minor", "kind", "type_", "suppress"), BOUNCE_CASES, ids=[f"{c[0]}-{c[1]}" for c in BOUNCE_CASES]
)
def test_a_bounce_is_read_by_its_type(major: str, minor: str, kind: R, type_: B | None, suppress: bool) -> None:
    sighting = bounce(major, minor)
    assert (sighting.kind, sighting.bounce_type, sighting.suppress) == (kind, type_, suppress)


def test_every_bounce_type_of_the_table_is_tested() -> None:
    assert {(case[0], case[1]) for case in BOUNCE_CASES} == set(BOUNCES)


@pytest.mark.parametrize(
    ("major", "diagnostic", "kind", "type_", "suppress"),
    [
        ("Permanent", "smtp; 550 5.1.1 user unknown", K.BAD_MAILBOX, B.HARD, True),
        ("Permanent", "smtp; 550 5.1.2 no such domain", K.BAD_DOMAIN, B.HARD, True),
        ("Permanent", "smtp; 550 5.7.1 blocked by policy", K.POLICY, B.BLOCK, False),
        ("Permanent", "smtp; 550 5.7.26 unauthenticated", K.AUTHENTICATION, B.BLOCK, False),
        ("Permanent", "smtp; 554 blocked using spamhaus", K.REPUTATION, B.BLOCK, False),
        ("Permanent", "smtp; 552 5.2.2 mailbox full", K.MAILBOX_FULL, B.SOFT, False),
        ("Permanent", "smtp; 550 something else", K.BAD_MAILBOX, B.HARD, True),
        ("Permanent", "", K.BAD_MAILBOX, B.HARD, True),
        ("Transient", "smtp; 452 4.2.2 full", K.MAILBOX_FULL, B.SOFT, False),
        ("Transient", "smtp; 550 5.1.1 user unknown", K.BAD_MAILBOX, B.SOFT, False),
        ("Transient", "smtp; 421 4.7.0 low reputation", K.REPUTATION, B.BLOCK, False),
        ("Undetermined", "smtp; 550 5.1.1 user unknown", K.BAD_MAILBOX, B.SOFT, False),
    ],
)
def test_the_recipients_own_diagnostic_refines_a_bounce(
    major: str, diagnostic: str, kind: K, type_: B, suppress: bool
) -> None:
    sighting = bounce(major, "Undetermined" if major == "Undetermined" else "General", diagnosticCode=diagnostic)
    assert sighting.reason is not None
    assert (sighting.reason.kind, sighting.bounce_type, sighting.suppress) == (kind, type_, suppress)


def test_the_status_stands_in_for_a_missing_diagnostic() -> None:
    sighting = bounce("Permanent", "General", status="5.7.1")
    assert (sighting.bounce_type, sighting.suppress) == (B.BLOCK, False)


def test_whether_an_address_called_invalid_is_suppressed_is_a_setting() -> None:
    event = {"bounceType": "Permanent", "bounceSubType": "EmailValidationSuppressed", "feedbackId": "f"}
    body = json.dumps(
        {"eventType": "Bounce", "bounce": event, "mail": {"messageId": "m", "destination": ["u@example.net"]}}
    )
    assert only(read_events(body.encode(), NOW, suppress_invalid=True)).suppress


@pytest.mark.parametrize(("major", "type_"), [("Permanent", B.HARD), ("Transient", B.UNKNOWN), ("Strange", B.UNKNOWN)])
def test_a_new_bounce_subtype_falls_back_to_its_type_and_is_counted(major: str, type_: B) -> None:
    event = {"bounceType": major, "bounceSubType": "New", "bouncedRecipients": [{"emailAddress": "u@example.net"}]}
    reading = told("Bounce", "bounce", event)
    assert only(reading).bounce_type is type_
    assert reading.unknown_words == (f"bounce:{major}/New",)


@pytest.mark.parametrize(
    ("word", "kind", "suppress"),
    [
        (None, K.COMPLAINT, True),
        ("abuse", K.COMPLAINT, True),
        ("fraud", K.COMPLAINT, True),
        ("other", K.COMPLAINT, True),
        ("auth-failure", K.AUTHENTICATION, False),
        ("virus", K.CONTENT, False),
        ("brand-new", K.COMPLAINT, True),
    ],
)
def test_a_complaint_suppresses_unless_it_is_about_the_sender(word: str | None, kind: K, suppress: bool) -> None:
    event = {"complainedRecipients": [{"emailAddress": "u@example.net"}], "complaintFeedbackType": word}
    reading = told("Complaint", "complaint", event)
    sighting = only(reading)
    assert sighting.reason is not None
    assert (sighting.kind, sighting.reason.kind, sighting.suppress) == (R.COMPLAINED, kind, suppress)
    assert reading.unknown_words == (() if (word or "") in COMPLAINTS else (f"complaint:{word}",))


def test_a_complaint_taken_back_is_none() -> None:
    event = {"complainedRecipients": [{"emailAddress": "u@example.net"}], "complaintFeedbackType": "not-spam"}
    assert told("Complaint", "complaint", event) == Reading()


def test_a_complainer_on_the_account_list_was_never_sent_to() -> None:
    event = {
        "complainedRecipients": [{"emailAddress": "u@example.net"}],
        "complaintSubType": "OnAccountSuppressionList",
    }
    sighting = only(told("Complaint", "complaint", event))
    assert sighting.kind is R.PROVIDER_SUPPRESSED
    assert sighting.reason is not None
    assert sighting.reason.kind is K.SUPPRESSED_COMPLAINT


@pytest.mark.parametrize("word", [*DELAYS, "New"])
def test_a_delay_is_a_deferral_whatever_its_type(word: str) -> None:
    event = {"delayType": word, "delayedRecipients": [{"emailAddress": "u@example.net", "status": "4.4.1"}]}
    reading = told("DeliveryDelay", "deliveryDelay", event)
    sighting = only(reading)
    assert (sighting.kind, sighting.suppress, sighting.bounce_type) == (R.DEFERRED, False, None)
    assert sighting.reason is not None
    expected = DELAYS.get(word, K.UNKNOWN)
    assert sighting.reason.kind is (K.NETWORK if expected is K.UNKNOWN else expected)
    assert reading.unknown_words == (("delay:New",) if word == "New" else ())


def test_opting_in_is_not_unsubscribing() -> None:
    preferences = {"unsubscribeAll": False, "topicSubscriptionStatus": [{"subscriptionStatus": "OptIn"}]}
    assert told("Subscription", "subscription", {"newTopicPreferences": preferences}) == Reading()


def test_a_payload_with_several_recipients_becomes_a_sighting_each() -> None:
    recipients = [{"emailAddress": "a@example.net"}, {"emailAddress": "Bee <b@Example.NET>"}]
    event = {"bounceType": "Permanent", "bounceSubType": "General", "feedbackId": "f", "bouncedRecipients": recipients}
    reading = told("Bounce", "bounce", event)
    assert [s.recipient for s in reading.sightings] == ["a@example.net", "b@Example.NET"]
    assert len({s.sighting_id for s in reading.sightings}) == 2


def test_the_case_of_an_address_makes_no_other_fact() -> None:
    ids = {
        only(told("Delivery", "delivery", {"recipients": [who], "timestamp": "2026-01-01T00:00:02Z"})).sighting_id
        for who in ("u@example.net", "u@EXAMPLE.net")
    }
    assert len(ids) == 1


def test_an_open_of_a_message_to_several_names_nobody() -> None:
    reading = told("Open", "open", {"timestamp": "2026-01-01T02:00:00.000Z"}, destination=["a@x.net", "b@x.net"])
    assert only(reading).recipient == ""


@pytest.mark.parametrize(
    ("agent", "automated"),
    [
        ("Mozilla/5.0", A.PROXY),
        ("Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)", A.PROXY),
        ("YahooMailProxy; https://help.yahoo.com", A.PROXY),
        ("BarracudaCentral", A.SCANNER),
        ("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", A.NONE),
        ("", A.NONE),
    ],
)
def test_machines_that_open_are_told_by_their_user_agent(agent: str, automated: A) -> None:
    assert only(told("Open", "open", {"userAgent": agent})).automated is automated


@pytest.mark.parametrize("when", ["2026-01-08T14:05:45 +0000", "2026-01-08T14:05:45Z", "2026-01-08T15:05:45.000+01:00"])
def test_times_are_read_in_every_form_seen(when: str) -> None:
    assert only(told("Send", "send", {}, timestamp=when)).occurred_ms == 1_767_881_145_000


def test_a_missing_time_is_the_time_of_arrival() -> None:
    assert only(told("Send", "send", {}, timestamp="yesterday")).occurred_ms == NOW


@pytest.mark.parametrize("kind", ["Sending Status Enabled", "Advisor Recommendation Status Open"])
def test_news_about_the_account_are_read_as_nothing(kind: str) -> None:
    assert read_events(json.dumps({"detail-type": kind, "detail": {}}).encode(), NOW) == Reading()


def test_a_new_event_is_counted_not_dropped() -> None:
    assert told("Teleported", "teleport", {}).unknown_words == ("event:Teleported",)


@pytest.mark.parametrize("tag", [["x"], [], "abc", [7], [MESSAGE_ID.upper()], {}], ids=str)
def test_only_an_id_of_our_own_shape_is_believed(tag: object) -> None:
    assert only(told("Send", "send", {}, tags={"message_id": tag})).message_id == ""


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"eventType": []}', b'{"eventType": "Send"}', b'{"a":1,"a":1}', b"\xff", b"[" * 100_000],
    ids=lambda body: repr(body[:20]),
)
def test_what_cannot_be_read_is_said_to_be_unreadable(body: bytes) -> None:
    assert isinstance(read_events(body, NOW), Unreadable)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "bounceType",
    "bounceSubType",
    "bouncedRecipients",
    "complainedRecipients",
    "timestamp",
    "feedbackId",
    "recipients",
]
KEYS += [
    "complaintFeedbackType",
    "delayType",
    "delayedRecipients",
    "link",
    "userAgent",
    "newTopicPreferences",
    "reason",
]
WORDS = {"Bounce": "bounce", "Complaint": "complaint", "DeliveryDelay": "deliveryDelay", "Delivery": "delivery"}
WORDS |= {"Send": "send", "Open": "open", "Click": "click", "Subscription": "subscription", "Reject": "reject"}


@given(
    st.sampled_from(sorted(WORDS)),
    st.dictionaries(st.sampled_from(KEYS), json_values),
    st.dictionaries(st.sampled_from(["timestamp", "destination", "tags", "messageId"]), json_values),
)
def test_an_event_of_any_shape_raises_nothing_and_can_be_encoded(
    word: str, event: dict[str, Any], mail: dict[str, Any]
) -> None:
    body = json.dumps({"eventType": word, WORDS[word]: event, "mail": {"messageId": "m", **mail}})
    reading = read_events(body.encode(), NOW)
    for sighting in reading.sightings if isinstance(reading, Reading) else ():
        for written in (sighting.sighting_id, sighting.recipient, sighting.provider_message_id, sighting.url):
            written.encode()
        assert 0 <= sighting.occurred_ms < 2**53


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing(body: bytes) -> None:
    read_events(body, NOW)
    read_events(b'{"eventType":' + body, NOW)
