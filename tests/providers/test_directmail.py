"""DirectMail's send call: what is sent, how it is signed, what its answers mean, what it cannot carry."""

from __future__ import annotations

import hmac
import json
from base64 import b64encode
from hashlib import sha1
from typing import Any
from urllib.parse import parse_qs, quote

import pytest

from streams.core.event import ReasonKind
from streams.core.message import Attachment, Mailbox
from streams.core.outcome import Accepted, AttemptResult, Deferred, Outcome, Rejected, Scope, Uncertain
from streams.providers import directmail
from streams.providers.base import Batch, Entry, HttpResponse, NoResponse, Refuses, Slot, dialogue_of
from streams.providers.directmail.config import HOSTS

ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklma"
NOW = 1_767_229_260_000
K = ReasonKind


def dm(**options: Any) -> directmail.DirectMail:
    keys = {"access_key_id": "LTAI", "access_key_secret": "secret", **options}
    return directmail.create("dm", directmail.Config(**keys))


def entry(email: str = "u+x@example.net", **variables: str) -> Entry:
    return Entry(ID, 2, Mailbox(email), variables)


def batch(*entries: Entry, **parts: Any) -> Batch:
    parts = {"subject": ("Hi",), "text": ("Hello",), **parts}
    return Batch(Mailbox("n@mail.example.com", "Shop"), entries or (entry(),), **parts)


def sent(provider: directmail.DirectMail, message: Batch) -> dict[str, str]:
    body = provider.build_request(message, NOW).body.decode()
    return {name: values[0] for name, values in parse_qs(body, keep_blank_values=True, strict_parsing=True).items()}


def answered(status: int, body: Any, message: Batch | None = None) -> Outcome:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    outcomes = dm().read_response(message or batch(), HttpResponse(status, {}, data), NOW)
    assert isinstance(outcomes, tuple)
    (outcome,) = outcomes
    return outcome


# ---------------------------------------------------------------------------------------------- the request


def test_a_message_becomes_one_call_for_one_recipient() -> None:
    form = sent(dm(), batch(entry(n="Ann"), html=("<p>Dear ", Slot("n"), "</p>"), subject=("Grüße ", Slot("n"))))
    assert form["Action"] == "SingleSendMail" and form["Version"] == "2015-11-23"
    assert (form["AccountName"], form["ToAddress"]) == ("n@mail.example.com", "u+x@example.net")
    assert (form["Subject"], form["HtmlBody"], form["TextBody"]) == ("Grüße Ann", "<p>Dear Ann</p>", "Hello")
    assert (form["AddressType"], form["ReplyToAddress"], form["FromAlias"]) == ("1", "false", "Shop")
    assert json.loads(form["Headers"]) == {"Message-ID": f"<{ID}.2@mail.example.com>"}
    assert "TagName" not in form and "ClickTrace" not in form


def test_two_recipients_never_share_a_call() -> None:
    two = batch(entry(), entry("v@example.net"))
    assert dm().limits.max_recipients == 1
    assert dm().fits(two)
    with pytest.raises(ValueError):
        dm().build_request(two, NOW)


def test_reply_address_headers_and_unsubscription_are_passed_on() -> None:
    headers = (("List-Unsubscribe", "<https://t.example.com/u/1>"), ("list-unsubscribe-post", "List-Unsubscribe=One-Click"),
               ("X-User-Id", "7\r\nBcc: a@b.example"))  # fmt: skip
    form = sent(
        dm(unsubscribe_link="disabled", unsubscribe_filter="mailfrom_domain", reply_to_address=True),
        batch(headers=headers, reply_to=(Mailbox("help@example.com", "Help\n"),)),
    )
    named = json.loads(form["Headers"])
    assert named["List-Unsubscribe"] == "<https://t.example.com/u/1>"
    assert named["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert "\n" not in named["X-User-Id"]
    assert (form["ReplyAddress"], form["ReplyAddressAlias"], form["ReplyToAddress"]) == (
        "help@example.com", "Help", "false",
    )  # fmt: skip
    assert (form["UnSubscribeLinkType"], form["UnSubscribeFilterLevel"]) == ("disabled", "mailfrom_domain")


@pytest.mark.parametrize(
    ("options", "parts", "tag", "traced"),
    [
        ({}, {"track_opens": True, "tags": ("shop",)}, None, None),  # nothing is tracked without a tag of the console
        ({"tag": "all"}, {}, "all", "0"),
        ({"tag": "all"}, {"track_clicks": True}, "all", "1"),
        ({"tag": "all", "click_trace": True}, {}, "all", "1"),
        ({"tag": "all", "click_trace": True}, {"track_opens": False}, "all", "0"),
        ({"tag": "all", "message_tags": True}, {"tags": ("not one!", "shop")}, "shop", "0"),
        ({"tag": "all", "message_tags": True}, {"tags": ("not one!",)}, "all", "0"),
    ],
)
def test_tracking_needs_a_tag(options: Any, parts: Any, tag: str | None, traced: str | None) -> None:
    form = sent(dm(**options), batch(**parts))
    assert (form.get("TagName"), form.get("ClickTrace")) == (tag, traced)


def test_the_signature_is_the_documented_one_over_all_parameters() -> None:
    form = sent(dm(security_token="sts"), batch())
    given = form.pop("Signature")
    assert (form["SignatureMethod"], form["SignatureVersion"], form["SecurityToken"]) == ("HMAC-SHA1", "1.0", "sts")
    assert form["Timestamp"] == "2026-01-01T01:01:00Z"
    pairs = "&".join(f"{quote(k, safe='~')}={quote(form[k], safe='~')}" for k in sorted(form))
    expected = hmac.new(b"secret&", f"POST&%2F&{quote(pairs, safe='~')}".encode(), sha1).digest()
    assert given == b64encode(expected).decode()


def test_no_two_calls_share_a_nonce() -> None:
    assert len({sent(dm(), batch())["SignatureNonce"] for _ in range(50)}) == 50


def test_acs3_signs_the_headers_instead() -> None:
    request = dm(signature="acs3", security_token="sts").build_request(batch(), NOW)
    headers = dict(request.headers)
    assert headers["x-acs-action"] == "SingleSendMail"
    assert headers["x-acs-security-token"] == "sts"
    assert headers["authorization"].startswith(
        "ACS3-HMAC-SHA256 Credential=LTAI,SignedHeaders=content-type;host;x-acs-"
    )
    assert b"Signature" not in request.body and b"LTAI" not in request.body


@pytest.mark.parametrize("region", HOSTS)
def test_each_region_has_its_host(region: str) -> None:
    assert dm(region=region).build_request(batch(), NOW).url == f"https://{HOSTS[region]}/"


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"mime": b"Subject: x\r\n\r\n"}, "finished messages"),
        ({"attachments": (Attachment("a.txt", "text/plain", b"a"),)}, "attachments"),
        ({"visible_to": (Mailbox("v@example.net"),)}, "visible recipients"),
        ({"visible_cc": (Mailbox("v@example.net"),)}, "visible recipients"),
        ({"reply_to": (Mailbox("a@example.com"), Mailbox("b@example.com"))}, "second reply address"),
        ({"headers": (("X-Campaign", "1"),)}, "header X-Campaign"),
        ({"headers": tuple((f"X-User-{n}", "1") for n in range(10))}, "more than 9 headers"),
        ({"subject": ("s" * 257,)}, "256"),
        ({"html": ("x" * 6_000_001,)}, "6000000"),
    ],
)
def test_what_the_api_cannot_carry_is_refused_in_words(parts: Any, said: str) -> None:
    provider = dm()
    assert isinstance(provider, Refuses) and dialogue_of(provider) is None
    reason = provider.refusal(batch(**parts))
    assert reason is not None and said in reason.detail


def test_an_address_with_a_comma_is_refused_because_it_would_be_two() -> None:
    reason = dm().refusal(batch(entry('"a,b"@example.net')))
    assert reason is not None and reason.kind is K.INVALID_ADDRESS
    assert dm().refusal(batch()) is None


# ---------------------------------------------------------------------------------------------- the answer


def test_the_env_id_is_the_providers_id_and_the_request_id_is_not() -> None:
    assert answered(200, {"EnvId": "600000051708", "RequestId": "2D086F6-xxxx"}) == Accepted("600000051708")
    assert isinstance(answered(200, {"RequestId": "2D086F6-xxxx"}), Uncertain)
    assert isinstance(answered(200, b"<html>"), Uncertain)


@pytest.mark.parametrize(
    ("status", "code", "outcome", "scope", "kind"),
    [
        (400, "EmailFormatError", Rejected, Scope.RECIPIENT, K.INVALID_ADDRESS),
        (400, "EmailLengthError", Rejected, Scope.RECIPIENT, K.INVALID_ADDRESS),
        (400, "InvalidAddress.Malformed", Rejected, Scope.RECIPIENT, K.INVALID_ADDRESS),
        (400, "InvalidToAddress", Rejected, Scope.RECIPIENT, K.INVALID_ADDRESS),
        (404, "InvalidMailAddress.NotFound", Deferred, Scope.ACCOUNT, K.CONFIGURATION),
        (400, "Forbidden", Deferred, Scope.ACCOUNT, K.ACCOUNT),
        (403, "Forbidden.RAM", Deferred, Scope.ACCOUNT, K.CREDENTIALS),
        (404, "InvalidUser.NotFound", Deferred, Scope.ACCOUNT, K.ACCOUNT),
        (404, "InvalidAccessKeyId.NotFound", Deferred, Scope.ACCOUNT, K.CREDENTIALS),
        (400, "SignatureDoesNotMatch", Deferred, Scope.ACCOUNT, K.CREDENTIALS),
        (400, "InvalidTimeStamp.Expired", Deferred, Scope.ACCOUNT, K.CONFIGURATION),
        (500, "InternalServiceError", Deferred, Scope.PROVIDER, K.PROVIDER_ERROR),
        (400, "Throttling", Deferred, Scope.LANE, K.THROTTLED),
        (400, "Throttling.User", Deferred, Scope.LANE, K.THROTTLED),
        (503, "Throttling.Api", Deferred, Scope.LANE, K.THROTTLED),
        (400, "SomethingNew", Rejected, Scope.MESSAGE, K.INVALID_REQUEST),
        (400, "SignatureNonceUsed", Uncertain, Scope.PROVIDER, K.PROVIDER_ERROR),
        (500, "SomethingNew", Uncertain, Scope.PROVIDER, K.PROVIDER_ERROR),
        (502, "", Uncertain, Scope.PROVIDER, K.PROVIDER_ERROR),
        (429, "", Deferred, Scope.LANE, K.THROTTLED),
        (413, "", Rejected, Scope.MESSAGE, K.MESSAGE_TOO_LARGE),
        (302, "", Deferred, Scope.ACCOUNT, K.CONFIGURATION),
    ],
)
def test_every_error_has_its_retry_class(
    status: int, code: str, outcome: type[Outcome], scope: Scope, kind: ReasonKind
) -> None:
    body = {"Code": code, "Message": "said so", "RequestId": "1"} if code else b"<html>no</html>"
    found = answered(status, body)
    assert isinstance(found, outcome) and not isinstance(found, Accepted)
    assert (found.scope, found.reason.kind, found.reason.code) == (scope, kind, code or str(status))


@pytest.mark.parametrize("said", ["AccountName is wrong", "The address n@mail.example.com is not valid"])
def test_an_address_error_about_the_sender_holds_the_account(said: str) -> None:
    found = answered(400, {"Code": "InvalidAddress.Malformed", "Message": said})
    assert isinstance(found, Deferred) and found.scope is Scope.ACCOUNT


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (NoResponse(sent=False, detail="refused"), AttemptResult.CONNECT_ERROR),
        (NoResponse(sent=True, detail="reset"), AttemptResult.TIMEOUT),
        (NoResponse(sent=True, detail="late", timeout=True), AttemptResult.TIMEOUT),
    ],
)
def test_no_answer_is_uncertain_unless_nothing_was_sent(answer: NoResponse, result: AttemptResult) -> None:
    outcomes = dm().read_response(batch(), answer, NOW)
    assert isinstance(outcomes, tuple)
    (found,) = outcomes
    assert not isinstance(found, Accepted) and found.result is result
    assert isinstance(found, Uncertain) is answer.sent


# ---------------------------------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"region": "mars"}, "region"),
        ({"region": "ap-northeast-1"}, "endpoint_url"),
        ({"access_key_secret": ""}, "belong together"),
        ({"signature": "2"}, "signature"),
        ({"tag": "a b"}, "tag"),
        ({"click_trace": True}, "click_trace"),
        ({"unsubscribe_link": "always"}, "unsubscribe_link"),
        ({"unsubscribe_filter": "always"}, "unsubscribe_filter"),
        ({"topics": ("events",)}, "ACCOUNT-ID/TOPIC-NAME"),
        ({"mns_queue": "q"}, "mns_account_id"),
        ({"mns_queue": "q", "mns_account_id": "1", "access_key_id": "", "access_key_secret": ""}, "access_key_id"),
        ({"mns_wait_s": 31}, "mns_wait_s"),
        ({"mns_batch": 17}, "mns_batch"),
        ({"mns_visibility_s": 0}, "mns_visibility_s"),
        ({"endpoint_url": "https://dm.example.com/path"}, "endpoint_url"),
        ({"push_path": "webhooks"}, "push_path"),
    ],
)
def test_a_wrong_key_is_one_line_that_names_it(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dm(**options)


def test_an_entry_that_only_reads_needs_no_credentials_and_one_that_sends_does() -> None:
    directmail.create("dm", directmail.Config(topics=("1/events",))).prepare()
    with pytest.raises(ValueError, match="access_key_id"):
        directmail.create("dm", directmail.Config()).prepare()


def test_webhooks_of_entries_that_share_a_topic_a_secret_or_a_queue_may_be_of_either() -> None:
    queue = {"mns_queue": "events", "mns_account_id": "1"}
    one = dm(topics=("1/a", "1/b"), push_secret="s", **queue)
    for other in (dm(topics=("1/b",)), dm(push_secret="s"), dm(**queue)):
        assert one.proves_alike(other) and other.proves_alike(one)
    for other in (dm(topics=("1/c",)), dm(), dm(**{**queue, "mns_account_id": "2"})):
        assert not one.proves_alike(other)
    assert not one.proves_alike(object())


def test_the_queue_is_that_of_the_account_in_its_region() -> None:
    queue = dm(region="eu-central-1", mns_queue="events", mns_account_id="123").queue
    assert queue is not None and queue.endpoint == "https://123.mns.eu-central-1.aliyuncs.com"
    assert dm().queue is None
