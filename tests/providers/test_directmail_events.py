"""What DirectMail reports, in our words: every row of its tables, both languages, every wrapping, every trap."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.event import BounceType, ReasonKind
from streams.core.receipt import ReceiptKind
from streams.providers import directmail
from streams.providers.base import Reading, Sighting, Unreadable
from streams.providers.directmail import classic
from streams.providers.directmail.vocabulary import EVENTS, FAILED_TYPES

PAYLOADS = Path(__file__).parent.parent / "payloads" / "directmail"
ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklma"
NOW = 1_767_229_260_000
PUBLISHED = 1_767_229_200_500
K, B, R = ReasonKind, BounceType, ReceiptKind
CLICKED = "https://www.example.com/?a=1&from=2"

DM = directmail.create("dm", directmail.Config())


def payload(name: str) -> bytes:
    return (PAYLOADS / name).read_bytes()


def read(data: bytes | str) -> Reading:
    found = DM.read_events(data if isinstance(data, bytes) else data.encode(), NOW)
    assert isinstance(found, Reading), found
    return found


def one(data: bytes | str) -> Sighting:
    (found,) = read(data).sightings
    return found


def delivery(failed_type: str, err_msg: str = "", status: str = "4", err_code: str = "") -> str:
    return (
        "env_id=100000000001&msg_id=a1@example.com&account=n@mail.example.com&from=n@mail.example.com&rcpt=u@example.net"
        "&recv_time=2026-01-01 08:00:00&end_time=2026-01-01 08:00:03"
        f"&status={status}&event=deliver&region=cn-hangzhou&err_code={err_code}&err_msg={err_msg}&failed_type={failed_type}"
    )


RETRIED = B.SOFT
"""The retry class of a final report is its bounce type: a policy that answers final failures answers soft ones."""

ROWS: dict[str, tuple[ReceiptKind, ReasonKind | None, BounceType | None, bool]] = {
    "SendOk": (R.DELIVERED, None, None, False),
    "SmtpNxBox": (R.BOUNCED, K.BAD_MAILBOX, B.HARD, True),
    "SysOutInvRcpt": (R.BOUNCED, K.INVALID_ADDRESS, B.HARD, True),
    "SysOutDnsResolveFail": (R.BOUNCED, K.BAD_DOMAIN, B.HARD, False),
    "SmtpFullBox": (R.BOUNCED, K.MAILBOX_FULL, RETRIED, False),
    "SmtpRcptFreq": (R.BOUNCED, K.RATE_LIMITED, RETRIED, False),
    "SmtpIPFreq": (R.BOUNCED, K.RATE_LIMITED, RETRIED, False),
    "SmtpMfFreq": (R.BOUNCED, K.RATE_LIMITED, RETRIED, False),
    "SmtpMfdFreq": (R.BOUNCED, K.RATE_LIMITED, RETRIED, False),
    "SmtpMfLimit": (R.BOUNCED, K.RATE_LIMITED, RETRIED, False),
    "SmtpContSpam": (R.BOUNCED, K.SPAM, B.BLOCK, False),
    "SmtpMiscSpam": (R.BOUNCED, K.SPAM, B.BLOCK, False),
    "SmtpMfBad": (R.BOUNCED, K.REPUTATION, B.BLOCK, False),
    "SysOutRecipientReportedSpam": (R.COMPLAINED, K.COMPLAINT, None, True),
    "SmtpAuthFail": (R.BOUNCED, K.AUTHENTICATION, B.BLOCK, False),
    "SmtpSpfFail": (R.BOUNCED, K.AUTHENTICATION, B.BLOCK, False),
    "SmtpDmaFail": (R.BOUNCED, K.AUTHENTICATION, B.BLOCK, False),
    "SmtpTempErr": (R.BOUNCED, K.NETWORK, RETRIED, False),
    "SmtpSslTlsErr": (R.BOUNCED, K.NETWORK, RETRIED, False),
    "SysOutSocksConnError": (R.BOUNCED, K.NETWORK, RETRIED, False),
    "SysOutSocksError": (R.BOUNCED, K.NETWORK, RETRIED, False),
    "SysOutConnError": (R.BOUNCED, K.NETWORK, RETRIED, False),
    "SysOutConnTooMuch": (R.BOUNCED, K.NETWORK, RETRIED, False),
    "SmtpProtErr": (R.BOUNCED, K.OTHER, RETRIED, False),
    "SmtpZPermErr": (R.BOUNCED, K.UNKNOWN, B.UNKNOWN, False),
    "UnkSmtpError": (R.BOUNCED, K.UNKNOWN, B.UNKNOWN, False),
}


def test_every_failed_type_of_the_table_is_known() -> None:
    assert set(ROWS) == set(FAILED_TYPES)


@pytest.mark.parametrize("failed_type", ROWS)
@pytest.mark.parametrize("language", ["classic", "eventbridge"])
def test_a_failed_type_has_its_kind_retry_class_and_suppression(failed_type: str, language: str) -> None:
    data = delivery(failed_type)
    if language == "eventbridge":
        event = json.loads(payload("eventbridge_fail.json"))
        event["data"] |= {"failed_type": failed_type, "err_msg": "", "err_code": ""}
        data = json.dumps(event)
    found = one(data)
    kind = found.reason.kind if found.reason else None
    assert (found.kind, kind, found.bounce_type, found.suppress) == ROWS[failed_type]
    assert read(data).unknown_words == ()


@pytest.mark.parametrize(
    ("said", "kind", "bounce", "suppress"),
    [
        ("550 5.1.1 user unknown", K.BAD_MAILBOX, B.HARD, True),
        ("554 no such user here", K.BAD_MAILBOX, B.HARD, True),
        ("550 5.7.1 blocked by policy", K.POLICY, B.BLOCK, False),
        ("554 5.7.1 spam message rejected", K.SPAM, B.BLOCK, False),
        ("550 xyz", K.UNKNOWN, B.UNKNOWN, False),
    ],
)
def test_a_permanent_failure_suppresses_only_where_the_words_say_that_nobody_is_there(
    said: str, kind: ReasonKind, bounce: BounceType, suppress: bool
) -> None:
    found = one(delivery("SmtpZPermErr", said))
    assert found.reason is not None
    assert (found.reason.kind, found.bounce_type, found.suppress) == (kind, bounce, suppress)


def test_an_unknown_failed_type_is_counted_and_suppresses_nothing() -> None:
    reading = read(delivery("SmtpSomethingNew", "550 5.1.1 user unknown"))
    (found,) = reading.sightings
    assert reading.unknown_words == ("failed_type:SmtpSomethingNew",)
    assert (found.bounce_type, found.suppress) == (B.UNKNOWN, False)
    assert found.reason is not None and found.reason.kind is K.UNKNOWN


@pytest.mark.parametrize(
    ("status", "said", "receipt", "kind", "suppress"),
    [
        ("0", "250 OK", R.DELIVERED, None, False),
        ("2", "", R.BOUNCED, K.INVALID_ADDRESS, False),
        ("2", "550 5.1.1 user unknown", R.BOUNCED, K.BAD_MAILBOX, True),
        ("3", "", R.BOUNCED, K.SPAM, False),
        ("4", "", R.BOUNCED, K.UNKNOWN, False),
        ("4", "552 5.2.2 mailbox full", R.BOUNCED, K.MAILBOX_FULL, False),
    ],
)
def test_without_a_failed_type_the_status_decides(
    status: str, said: str, receipt: ReceiptKind, kind: ReasonKind | None, suppress: bool
) -> None:
    found = one(delivery("", said, status))
    assert (found.kind, found.reason.kind if found.reason else None, found.suppress) == (receipt, kind, suppress)


def test_an_internal_code_is_no_reply_of_a_host() -> None:
    found = one(delivery("", "", "4", "524"))
    assert found.reason is not None and found.reason.kind is K.UNKNOWN
    assert one(delivery("", "", "", "250")).kind is R.DELIVERED


# ---------------------------------------------------------------------------------------------- the classic text


def test_a_value_may_hold_ampersands_equals_signs_and_a_plus() -> None:
    found = one(payload("deliver_failed.txt"))
    assert found.recipient == "u+x@example.net"
    assert found.reason is not None
    assert (found.reason.code, found.reason.detail) == ("SmtpNxBox", "550 5.1.1 no such user (code=7&q=1)")
    assert found.reason.enhanced_code == "5.1.1"


def test_the_url_of_a_click_runs_to_the_end() -> None:
    found = one(payload("click.txt"))
    assert (found.kind, found.url, found.recipient) == (R.CLICKED, CLICKED, "u@example.net")


def test_an_open_may_call_the_message_id_msgid() -> None:
    found = one(payload("open.txt").replace(b"env_id=100000000001&", b""))
    assert (found.kind, found.provider_message_id) == (R.OPENED, "a1@example.com")


def test_what_a_remote_host_says_is_not_taken_for_a_field() -> None:
    said = "550 5.1.1 gone&failed_type=SysOutRecipientReportedSpam&url=x&rcpt=v@example.net&event=Click"
    found = one(delivery("SmtpTempErr", said))
    assert (found.kind, found.recipient, found.url) == (R.BOUNCED, "u@example.net", "")
    assert found.reason is not None and found.reason.code == "SmtpTempErr"
    assert found.reason.detail == said


def test_percent_signs_and_plus_signs_stay_what_they_are() -> None:
    fields = classic.fields("event=Open&rcpt=a%2Bb+c@example.net&env_id=1")
    assert fields == {"event": "Open", "rcpt": "a%2Bb+c@example.net", "env_id": "1"}


@pytest.mark.parametrize("text", ["", "hello", "a=b&c=d", "{", "<a/>", "[]", "{}", '{"data": 1}', "event", "\ud83d"])
def test_what_is_no_notification_is_unreadable(text: str) -> None:
    assert isinstance(DM.read_events(text.encode("utf-8", "surrogatepass"), NOW), Unreadable)


# ---------------------------------------------------------------------------------------------- whose it is, and when


def test_our_id_and_attempt_come_from_what_is_repeated() -> None:
    assert (one(payload("deliver_ok.txt")).message_id, one(payload("deliver_ok.txt")).attempt) == (ID, 2)
    by_header = one(payload("eventbridge_fail.json"))
    assert (by_header.message_id, by_header.attempt) == (ID, 2)
    by_message_id = one(delivery("SendOk").replace("a1@example.com", f"{ID}.3@mail.example.com"))
    assert (by_message_id.message_id, by_message_id.attempt) == (ID, 3)
    bare = one(f"X-Notify-Message-ID={ID}&" + delivery("SendOk"))
    assert (bare.message_id, bare.attempt) == (ID, 0)


def test_without_our_id_the_env_id_is_looked_up() -> None:
    found = one(payload("deliver_failed.txt"))
    assert (found.message_id, found.provider_message_id) == ("", "100000000001")


def test_the_queues_clock_is_trusted_and_a_time_without_a_zone_is_not() -> None:
    assert one(payload("click.txt")).occurred_ms == NOW
    for wrapped in ("notification.xml", "notification.json", "queue_message.xml"):
        assert one(payload(wrapped)).occurred_ms == PUBLISHED
    assert one(payload("eventbridge_fail.json")).occurred_ms == 1_767_225_604_000
    event = json.loads(payload("eventbridge_fail.json")) | {"time": "2026-01-01T08:00:04", "aliyunpublishtime": ""}
    assert one(json.dumps(event)).occurred_ms == NOW


@pytest.mark.parametrize("wrapping", ["notification.xml", "notification.json", "queue_message.xml"])
def test_a_wrapping_changes_nothing_but_the_clock(wrapping: str) -> None:
    bare, wrapped = one(payload("click.txt")), one(payload(wrapping))
    assert wrapped.url == CLICKED
    assert wrapped.sighting_id == bare.sighting_id


def test_base64_is_seen_through_at_every_level() -> None:
    inner = b64encode(payload("click.txt")).decode()
    envelope = json.dumps({"TopicName": "t", "TopicOwner": "1", "Message": inner, "PublishTime": str(PUBLISHED)})
    outer = f"<Message><MessageBody>{escape(b64encode(envelope.encode()).decode())}</MessageBody></Message>"
    assert one(inner).url == one(envelope).url == one(outer).url == CLICKED


def test_a_message_wrapped_without_end_is_unreadable() -> None:
    data = payload("click.txt").decode()
    for _ in range(8):
        data = f"<Message><MessageBody>{escape(data)}</MessageBody></Message>"
    assert isinstance(DM.read_events(data.encode(), NOW), Unreadable)


def test_both_languages_tell_one_delivery_under_one_id() -> None:
    classic_id = one(delivery("SmtpFullBox", "552 5.2.2 mailbox full")).sighting_id
    assert one(payload("eventbridge_fail.json")).sighting_id == classic_id


def test_both_languages_tell_one_click_under_one_id() -> None:
    data = {"env_id": "100000000001", "rcpt": "u@example.net", "region": "cn-hangzhou", "url": CLICKED}
    event = {"type": "dm:Trace:Click", "data": {**data, "operate_time": "2026-01-01T01:00:00Z"}}
    assert one(json.dumps(event)).sighting_id == one(payload("click.txt")).sighting_id


def test_two_clicks_and_two_recipients_are_told_apart() -> None:
    click = payload("click.txt").decode()
    later, other = click.replace("09:00:00", "09:00:01"), click.replace("u@", "v@")
    elsewhere = click + "&b=2"
    assert len({one(text).sighting_id for text in (click, later, other, elsewhere)}) == 4


# ---------------------------------------------------------------------------------------------- EventBridge


@pytest.mark.parametrize(
    ("word", "kind", "suppress"),
    [
        ("dm:Deliver:Succeed", R.DELIVERED, False),
        ("dm:Feedback:FblReport", R.COMPLAINED, True),
        ("dm:Feedback:UnSubscribe", R.UNSUBSCRIBED, True),
        ("dm:Trace:Open", R.OPENED, False),
        ("dm:Trace:Click", R.CLICKED, False),
        ("dm:Feedback:Subscribe", None, False),
        ("dm:Validator:GrayListResult", None, False),
    ],
)
def test_every_type_of_eventbridge_has_its_meaning(word: str, kind: ReceiptKind | None, suppress: bool) -> None:
    reading = read(json.dumps({"type": word, "id": "1", "data": {"env_id": "1", "rcpt": "u@example.net"}}))
    assert [(one.kind, one.suppress) for one in reading.sightings] == ([] if kind is None else [(kind, suppress)])
    assert reading.unknown_words == ()


@pytest.mark.parametrize("word", ["Deliver:SendSuccessfully", "Deliver:SendFailed", "Deliver:Open", "Deliver:Click"])
def test_mns_event_names_are_known(word: str) -> None:
    assert word in EVENTS


@pytest.mark.parametrize("text", ['{"type": "dm:New:Thing", "data": {}}', "event=Thing&env_id=1"])
def test_a_new_event_is_counted(text: str) -> None:
    reading = read(text)
    assert reading.sightings == ()
    assert reading.unknown_words[0].startswith("event:")


def test_a_repeated_key_or_a_document_type_is_refused() -> None:
    assert isinstance(DM.read_events(b'{"type": "dm:Trace:Open", "type": "x", "data": {}}', NOW), Unreadable)
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]><Message><MessageBody>&b;</MessageBody></Message>'
    assert isinstance(DM.read_events(bomb.encode(), NOW), Unreadable)


MUTANTS = [payload(path.name) for path in sorted(PAYLOADS.iterdir())]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(MUTANTS), st.data())
def test_no_mutation_raises(original: bytes, data: Any) -> None:
    start = data.draw(st.integers(0, len(original)))
    end = data.draw(st.integers(start, min(len(original), start + 40)))
    found = DM.read_events(original[:start] + data.draw(st.binary(max_size=20)) + original[end:], NOW)
    assert isinstance(found, Reading | Unreadable)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    assert isinstance(DM.read_events(data, NOW), Reading | Unreadable)
