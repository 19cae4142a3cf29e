"""Which pushes of the message service are taken: signature, digest, certificate, topic, date, and every way around."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from streams.providers import directmail
from streams.providers._mns import certificate_url, messages, string_to_sign
from streams.providers._mns_queue import (
    Access,
    Trouble,
    change_visibility,
    delete,
    read_changed,
    read_deleted,
    read_received,
    receive,
)
from streams.providers.base import (
    CertificateNeeded,
    Exchange,
    HttpRequest,
    HttpResponse,
    Inbound,
    NoResponse,
    Refused,
    Verdict,
    Verified,
    judge,
)
from tests.providers.mns_signing import FILE, PATH, URL, pushed
from tests.providers.sns_signing import NOW_MS, START, certificate, rsa_key

PAYLOADS = Path(__file__).parent.parent / "payloads" / "directmail"
XML = (PAYLOADS / "notification.xml").read_bytes()
JSON = (PAYLOADS / "notification.json").read_bytes()
BARE = (PAYLOADS / "click.txt").read_bytes()
TOPIC = "1234567890123456/directmail-events"
MESSAGE = "6CC4D900CA59A2CD-1-15180534A8F-200000002"
PEM = certificate(name="mns.example.com")


def answered(pem: bytes = PEM) -> HttpResponse:
    return HttpResponse(200, {}, pem)


def dm(**options: Any) -> directmail.DirectMail:
    return directmail.create("dm", directmail.Config(**{"topics": (TOPIC,), **options}))


def verdict(inbound: Inbound, now_ms: int = NOW_MS, pem: bytes = PEM, **options: Any) -> Verdict:
    provider = dm(**options)
    provider.learn_certificate(URL, answered(pem), now_ms)
    return provider.verify(inbound, now_ms)


def result(found: Verdict) -> str:
    return found.result if isinstance(found, Refused) else type(found).__name__


@pytest.mark.parametrize("body", [XML, JSON], ids=["XML", "JSON"])
@pytest.mark.parametrize("raw_md5", [False, True], ids=["hex", "raw"])
def test_a_signed_push_of_our_topic_is_taken_and_keyed_by_its_message(body: bytes, raw_md5: bool) -> None:
    assert verdict(pushed(body, raw_md5=raw_md5)) == Verified(key=MESSAGE)


def test_the_certificate_is_fetched_once_by_https_whatever_scheme_is_named() -> None:
    provider = dm()
    inbound = pushed(XML, url=URL.replace("https:", "http:"))
    assert provider.verify(inbound, NOW_MS) == CertificateNeeded(URL)
    provider.learn_certificate(URL, answered(), NOW_MS)
    assert provider.verify(inbound, NOW_MS) == Verified(key=MESSAGE)


async def test_a_missing_certificate_is_asked_for_at_its_host_and_a_failure_is_remembered() -> None:
    asked: list[HttpRequest] = []

    async def exchange(request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        asked.append(request)
        return HttpResponse(404, {}, b"")

    exchanging: Exchange = exchange
    provider = dm()
    for _ in range(3):
        found = await judge(provider, pushed(XML), exchanging, NOW_MS)
        assert isinstance(found, CertificateNeeded) and found.retry_at_ms > NOW_MS
    assert [request.url for request in asked] == [URL]


def test_a_pinned_certificate_is_never_fetched(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(PEM)
    assert isinstance(dm(pinned_certificates=str(tmp_path)).verify(pushed(XML), NOW_MS), Verified)


# ---------------------------------------------------------------------------------------------- attacks


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"key": rsa_key(number=1)}, "bad_signature"),
        ({"algorithm": SHA256()}, "bad_signature"),
        ({"signed_path": "/webhooks/other"}, "bad_signature"),
        ({"digest_of": b"another body"}, "bad_signature"),
        ({"url": "https://evil.example/x509_public_certificate.pem"}, "bad_signature"),
        ({"at_ms": NOW_MS - 901_000}, "stale"),
        ({"at_ms": NOW_MS + 901_000}, "stale"),
        ({"date": "yesterday"}, "stale"),
    ],
)
def test_what_is_signed_wrongly_is_refused(change: dict[str, Any], expected: str) -> None:
    assert result(verdict(pushed(XML, **change))) == expected


@pytest.mark.parametrize(
    "name", ["authorization", "content-md5", "date", "x-mns-signing-cert-url", "x-mns-request-id", "content-type"]
)
def test_a_header_that_is_missing_changed_or_repeated_is_refused(name: str) -> None:
    good = pushed(XML)
    missing = {key: value for key, value in good.headers.items() if key != name}
    assert result(verdict(replace(good, headers=missing))) in ("malformed", "bad_signature")
    changed = {**good.headers, name: b64encode(b"something else").decode()}
    assert isinstance(verdict(replace(good, headers=changed)), Refused)
    twice = CIMultiDict(good.headers)
    twice.add(name, good.headers[name])
    assert result(verdict(replace(good, headers=twice))) == "malformed"


def test_an_unsigned_header_of_the_service_breaks_the_signature_and_a_proxys_does_not() -> None:
    good = pushed(XML)
    assert result(verdict(replace(good, headers={**good.headers, "x-mns-more": "1"}))) == "bad_signature"
    assert isinstance(verdict(replace(good, headers={**good.headers, "x-forwarded-for": "192.0.2.1"})), Verified)


@pytest.mark.parametrize("body", [XML.replace(b"u@", b"v@"), XML + b" ", b""])
def test_a_body_whose_digest_was_not_signed_is_refused(body: bytes) -> None:
    assert result(verdict(replace(pushed(XML), body=body))) == "bad_signature"


@pytest.mark.parametrize(
    "body",
    [
        XML.replace(b"directmail-events", b"others"),
        XML.replace(b"<TopicOwner>1234567890123456", b"<TopicOwner>666"),
        JSON.replace(b"directmail-events", b"others"),
        b"<Messages>" + XML.partition(b"?>")[2] * 2 + b"</Messages>",
        BARE,
        b"\xff",
        b"<!DOCTYPE a>" + XML.partition(b"?>")[2],
    ],
)
def test_a_message_of_another_topic_or_of_none_is_refused_before_any_certificate_is_fetched(body: bytes) -> None:
    assert result(dm().verify(pushed(body), NOW_MS)) == "bad_signature"


def test_without_topics_nothing_is_taken() -> None:
    assert result(dm(topics=()).verify(pushed(XML), NOW_MS)) == "bad_signature"


def test_a_simplified_message_needs_the_secret_in_the_signed_path() -> None:
    good = f"{PATH}?secret=sesame"
    header = {"x_mns_message_id": "M-1"}
    assert verdict(pushed(BARE, path=good, **header), push_secret="sesame") == Verified(key="M-1")
    for path in (PATH, f"{PATH}?secret=", f"{PATH}?secret=other", f"{PATH}?x=secret=sesame"):
        assert result(verdict(pushed(BARE, path=path), push_secret="sesame")) == "bad_signature"
        assert result(verdict(pushed(XML, path=path), push_secret="sesame")) == "bad_signature"
    assert result(verdict(pushed(BARE, path=good, signed_path=PATH), push_secret="sesame")) == "bad_signature"
    assert isinstance(verdict(pushed(XML, path=good), push_secret="sesame"), Verified)


@pytest.mark.parametrize("body", [XML, JSON, b64encode(XML)], ids=["XML", "JSON", "base64"])
def test_a_simplified_message_that_looks_like_an_envelope_of_our_topic_is_not_believed(body: bytes) -> None:
    """Anybody may let the service push from a topic of his own to us: it signs, and the body is all his."""
    inbound = pushed(body, x_mns_message_id="M-1")
    assert result(verdict(inbound)) == "bad_signature"
    without = {name: value for name, value in inbound.headers.items() if name != "x-mns-message-id"}
    assert result(verdict(replace(inbound, headers=without))) == "bad_signature"
    good = pushed(body, path=f"{PATH}?secret=sesame", x_mns_message_id="M-1")
    assert verdict(good, push_secret="sesame") == Verified(key="M-1")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("body", [b"A" * 8 + b" " * 1_000_000 + b"!", b"A" * 1_000_000 + b"=" * 9, b"<a>" * 300_000])
def test_a_body_made_for_slow_patterns_costs_no_time(body: bytes) -> None:
    """It is looked at before its signature is: whoever finds the path may send it."""
    assert result(dm().verify(pushed(body), NOW_MS)) == "bad_signature"
    directmail.events.read_events(body, NOW_MS)


def test_the_path_of_the_subscription_counts_where_a_proxy_changes_it() -> None:
    inbound = pushed(XML, path="/inner", signed_path="/mail/hooks?a=1")
    assert result(verdict(inbound)) == "bad_signature"
    assert isinstance(verdict(inbound, push_path="/mail/hooks?a=1"), Verified)


@pytest.mark.parametrize(
    "pem",
    [
        certificate(end=START - timedelta(days=1)),
        certificate(start=START + timedelta(days=1)),
        b"no certificate",
        b"x" * 70_000,
    ],
    ids=["expired", "not yet", "none", "large"],
)
def test_a_certificate_that_cannot_be_used_leaves_the_push_with_the_service(pem: bytes) -> None:
    assert isinstance(verdict(pushed(XML), pem=pem), CertificateNeeded)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        URL.replace("https", "http"),
        "https://mns-cert.oss-cn-hangzhou.aliyuncs.com/a.pem",
        "https://mns-cert.oss-ap-southeast-1.aliyuncs.com/a-1_2.crt",
    ],
)
def test_certificates_lie_at_the_services_own_hosts(url: str) -> None:
    assert certificate_url(url) == url.replace("http:", "https:")


@pytest.mark.parametrize(
    "url",
    [
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com.evil.example/a.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com@evil.example/a.pem",
        "https://evil.example/https://mnstest.oss-cn-hangzhou.aliyuncs.com/a.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.comevil/a.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com./a.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com:8443/a.pem",
        "https://MNSTEST.oss-cn-hangzhou.aliyuncs.com/a.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com/../a.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com/a/b.pem",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com/a.pem?x=1",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com/a.pem#x",
        "https://mnstest.oss-cn-hangzhou.aliyuncs.com\\@evil.example/a.pem",
        "https://mnstest.oss-cn-beijing.aliyuncs.com/a.pem",
        "https://mns-cert.oss-evil/x.aliyuncs.com/a.pem",
        "https://evil-mns-cert.oss-cn-hangzhou.aliyuncs.com/a.pem",
        "ftp://mnstest.oss-cn-hangzhou.aliyuncs.com/a.pem",
        "file:///etc/passwd",
        "https://127.0.0.1/a.pem",
        URL + "\n",
        "",
    ],
)
def test_no_other_address_is_ever_fetched(url: str) -> None:
    assert certificate_url(url) == ""


@given(st.text())
def test_what_passes_the_rule_begins_with_a_host_of_the_service(url: str) -> None:
    found = certificate_url(url)
    assert not found or found.startswith(("https://mnstest.oss-cn-hangzhou.aliyuncs.com/", "https://mns-cert.oss-"))


@given(st.dictionaries(st.text(), st.text()), st.binary(), st.text())
def test_no_request_makes_the_verification_raise(headers: dict[str, str], body: bytes, path: str) -> None:
    assert isinstance(dm().verify(Inbound(headers, body, "", path), NOW_MS), Refused)


def test_a_line_end_in_a_header_is_no_way_to_move_text_between_fields() -> None:
    headers = {"content-md5": "a", "date": "b\nx-mns-version:1", "content-type": ""}
    assert string_to_sign("POST", headers, "/") is None


# ---------------------------------------------------------------------------------------------- the queue

ACCESS = Access("https://1.mns.cn-hangzhou.aliyuncs.com", "events", "LTAI", "secret")
EMPTY = b'<Error xmlns="http://mns.aliyuncs.com/doc/v1/"><Code>MessageNotExist</Code><Message>m</Message></Error>'


def test_a_request_to_the_queue_names_its_queue_and_carries_its_signature() -> None:
    request = receive(ACCESS, 16, 20, NOW_MS)
    assert (
        request.url == "https://1.mns.cn-hangzhou.aliyuncs.com/queues/events/messages?numOfMessages=16&waitseconds=20"
    )
    headers = dict(request.headers)
    assert headers["authorization"].startswith("MNS LTAI:")
    assert headers["date"] == "Thu, 01 Jan 2026 00:00:00 GMT"
    assert "security-token" not in headers
    assert dict(receive(replace(ACCESS, token="sts"), 1, 0, NOW_MS).headers)["security-token"] == "sts"


def test_a_batch_delete_lists_the_handles_and_signs_their_digest() -> None:
    request = delete(ACCESS, ["1-a<b", "2-c"], NOW_MS)
    assert b"<ReceiptHandle>1-a&lt;b</ReceiptHandle><ReceiptHandle>2-c</ReceiptHandle>" in request.body
    assert {"content-md5", "content-type"} <= dict(request.headers).keys()


def test_a_handle_in_a_query_cannot_add_parameters() -> None:
    assert change_visibility(ACCESS, "1-a&b", 30, NOW_MS).url.endswith("ReceiptHandle=1-a%26b&VisibilityTimeout=30")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (HttpResponse(404, {}, EMPTY), []),
        (HttpResponse(404, {}, EMPTY.replace(b"MessageNotExist", b"QueueNotExist")), Trouble("QueueNotExist", "m")),
        (HttpResponse(503, {}, b"<html>"), Trouble("503", "status 503")),
        (NoResponse(sent=True, detail="late"), Trouble("", "late")),
        (HttpResponse(200, {}, b"{}"), Trouble("", "the answer is no list of messages")),
    ],
)
def test_an_empty_queue_is_no_trouble_and_a_missing_one_is(
    answer: HttpResponse | NoResponse, expected: list[Any] | Trouble
) -> None:
    assert read_received(answer) == expected


def test_a_message_is_kept_as_it_came_but_for_its_handle() -> None:
    body = (PAYLOADS / "queue_message.xml").read_bytes().replace(
        b"<MessageBody>", b"<ReceiptHandle>1-x</ReceiptHandle><MessageBody>"
    )  # fmt: skip
    found = read_received(HttpResponse(200, {}, body))
    assert not isinstance(found, Trouble)
    (taken,) = found
    assert (taken.handle, taken.times, taken.enqueued_ms) == ("1-x", 1, 1_767_229_200_500)
    assert b"1-x" not in taken.xml
    (kept,) = messages(taken.xml.decode()) or []
    assert kept["MessageBody"] == taken.body


def test_a_partial_delete_tells_which_handles_are_left() -> None:
    errors = (
        b'<Errors xmlns="http://mns.aliyuncs.com/doc/v1/"><Error><ErrorCode>MessageNotExist</ErrorCode>'
        b"<ErrorMessage>m</ErrorMessage><ReceiptHandle>1-x</ReceiptHandle></Error></Errors>"
    )
    assert read_deleted(HttpResponse(404, {}, errors)) == ("1-x",)
    assert read_deleted(HttpResponse(204, {}, b"")) == ()
    assert isinstance(read_deleted(HttpResponse(403, {}, EMPTY)), Trouble)


def test_a_change_of_visibility_gives_a_new_handle() -> None:
    answer = (
        b"<ChangeVisibility><ReceiptHandle>1-y</ReceiptHandle><NextVisibleTime>1</NextVisibleTime></ChangeVisibility>"
    )
    assert read_changed(HttpResponse(200, {}, answer)) == "1-y"
    assert isinstance(read_changed(HttpResponse(200, {}, b"<a/>")), Trouble)
