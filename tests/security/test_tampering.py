"""Each byte of a signed webhook changed, left out, doubled: what still passes says exactly what was signed."""

from __future__ import annotations

import hmac
import json
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from multidict import CIMultiDict

from streams.providers import directmail, mailgun, ses
from streams.providers._sns import parse_envelope
from streams.providers.base import HttpResponse, Inbound, Refused, Verdict, Verified
from tests.providers import mns_signing, sns_signing
from tests.providers.sns_signing import NOW_MS, TOPIC, certificate, notification, signed, subscription

PUSH = (Path(__file__).parents[1] / "payloads/directmail/notification.xml").read_bytes()
KEY = "key-example-signing-0001"
TOKEN = "0123456789abcdef" * 3
BLOCK = {
    "timestamp": str(NOW_MS // 1000),
    "token": TOKEN,
    "signature": hmac.digest(KEY.encode(), f"{NOW_MS // 1000}{TOKEN}".encode(), "sha256").hex(),
}
EVENT = {"event": "delivered", "id": "one", "timestamp": NOW_MS / 1000, "recipient": "ann@example.net"}
MAILGUN_JSON = json.dumps({"signature": BLOCK, "event-data": EVENT}).encode()
MAILGUN_FORM = urlencode([("recipient", "ann@example.net"), ("event", "delivered"), *BLOCK.items()]).encode()


def ses_with_certificate() -> ses.Ses:
    adapter = ses.create("ses", ses.Config("us-east-1", topic_arns=(TOPIC,)))
    adapter.learn_certificate(sns_signing.URL, HttpResponse(200, {}, certificate()), NOW_MS)
    return adapter


def directmail_with_certificate(**options: Any) -> directmail.DirectMail:
    config = directmail.Config(topics=("1234567890123456/directmail-events",), **options)
    adapter = directmail.create("dm", config)
    pem = certificate(name="mns.example.com")
    adapter.learn_certificate(mns_signing.URL, HttpResponse(200, {}, pem), NOW_MS)
    return adapter


MAILGUN = mailgun.create("mg", mailgun.Config(domain="mg.example.com", api_key="k", signing_keys=(KEY,)))


def changed(body: bytes) -> Iterator[bytes]:
    """Every bit flipped, every byte left out, doubled, or made a blank; every beginning and every end."""
    for at in range(len(body)):
        before, one, after = body[:at], body[at : at + 1], body[at + 1 :]
        yield from (before + bytes((one[0] ^ 1 << bit,)) + after for bit in range(8))
        yield from (before + after, before + one + one + after, before + b" " + after, before, before + one + b"\0")
        yield body[at + 1 :]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(notification(), id="notification"),
        pytest.param(notification(SignatureVersion="1"), id="version 1"),
        pytest.param(notification(Subject="hi", Message="a\nMessageId\nb"), id="names of fields in a message"),
        pytest.param(subscription(), id="subscription"),
    ],
)
def test_whatever_is_changed_in_an_sns_message_it_says_what_was_signed_or_is_refused(message: dict[str, Any]) -> None:
    """Some of it is not signed (blanks, UnsubscribeURL): that may change, what is used of it may not."""
    adapter, body = ses_with_certificate(), signed(message)
    original = parse_envelope(body)
    assert not isinstance(original, Refused)
    assert not isinstance(adapter.verify(Inbound({}, body), NOW_MS), Refused)
    passed = 0
    for forged in changed(body):
        verdict = adapter.verify(Inbound({}, forged), NOW_MS)
        if isinstance(verdict, Refused) or type(verdict).__name__ == "CertificateNeeded":
            continue
        passed += 1
        found = parse_envelope(forged)
        assert found == replace(original, certificate_url=found.certificate_url), forged  # type: ignore[union-attr]
        if isinstance(verdict, Verified):
            assert adapter.read_events(forged, 1) == adapter.read_events(body, 1)
    assert 0 < passed < len(body) * 4, "the blanks between fields may change, and nothing like all"


@pytest.mark.parametrize("body", [MAILGUN_JSON, MAILGUN_FORM], ids=["JSON", "form"])
def test_whatever_is_changed_in_a_mailgun_webhook_its_token_stays_the_signed_one(body: bytes) -> None:
    """The signature does not cover the event; but what comes with the same token is told as a replay."""
    original = MAILGUN.verify(Inbound({}, body), NOW_MS)
    assert original == Verified(token=TOKEN, key=TOKEN)
    for forged in changed(body):
        verdict = MAILGUN.verify(Inbound({}, forged), NOW_MS)
        assert isinstance(verdict, Refused) or verdict == original, forged


def as_json(event: dict[str, Any], **block: Any) -> bytes:
    return json.dumps({"signature": {**BLOCK, **block}, "event-data": event}).encode()


OTHER = {**EVENT, "event": "complained"}
SPELLINGS = {
    "JSON": as_json(OTHER),
    "escapes in the token": as_json(OTHER).replace(TOKEN.encode(), b"".join(b"\\u%04x" % c for c in TOKEN.encode())),
    "escapes in the names": as_json(OTHER).replace(b'"token"', b'"\\u0074oken"'),
    "a number": as_json(OTHER, timestamp=int(BLOCK["timestamp"])),
    "fields in front": b'{"a": 1, ' + as_json(OTHER)[1:],
    "blanks in front": b" \r\n\t" + as_json(OTHER),
    "two signatures": b'{"signature": {"token": "x"}, ' + as_json(OTHER)[1:],
    "a parent's signature": as_json(OTHER, **{"parent-signature": BLOCK["signature"], "signature": "0" * 64}),
    "form": urlencode([("event", "complained"), *BLOCK.items()]).encode(),
    "form, all in percent": b"event=complained&"
    + "&".join(f"{name}={''.join(f'%{ord(c):02x}' for c in value)}" for name, value in BLOCK.items()).encode(),
    "form, fields repeated": b"token=x&timestamp=1&signature=y&event=complained&" + urlencode(BLOCK).encode(),
    "form, names in percent": b"event=complained&%74oken=" + urlencode(BLOCK).encode().replace(b"token=", b"", 1),
}


@pytest.mark.parametrize("body", SPELLINGS.values(), ids=SPELLINGS)
def test_a_signature_used_again_keeps_its_token_however_it_is_written(body: bytes) -> None:
    """Else the replay with another event would not be known for one."""
    verdict = MAILGUN.verify(Inbound({}, body), NOW_MS)
    assert isinstance(verdict, Refused) or verdict == Verified(token=TOKEN, key=TOKEN)


PART = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
MULTIPART = "".join(PART.format(*pair) for pair in (*BLOCK.items(), ("event", "complained"))) + "--b--\r\n"
NOT_TAKEN = {
    "multipart": MULTIPART.encode(),
    "multipart with a form in its preamble": urlencode(BLOCK).encode() + b"\r\n" + MULTIPART.encode(),
    "UTF-16": MAILGUN_JSON.decode().encode("utf-16"),
    "UTF-7": MAILGUN_JSON.decode().encode("utf-7").replace(b"{", b"+AHs-"),
    "a byte order mark": b"\xef\xbb\xbf" + MAILGUN_JSON,
    "a form with semicolons": MAILGUN_FORM.replace(b"&", b";"),
    "a form with overlong characters": MAILGUN_FORM.replace(b"token=0", b"token=%c0%b0", 1),
    "a form with NUL": MAILGUN_FORM.replace(b"token=", b"token=%00", 1),
    "a form with full-width digits": MAILGUN_FORM.replace(b"timestamp=1", "timestamp=\uff11".encode(), 1),
    "JSON with full-width digits": as_json(OTHER, timestamp=BLOCK["timestamp"].replace("1", "\uff11", 1)),
    "JSON with a fraction": as_json(OTHER, timestamp=float(BLOCK["timestamp"])),
    "JSON with true": as_json(OTHER, timestamp=True),
    "JSON with a huge number": as_json(OTHER).replace(f'"{BLOCK["timestamp"]}"'.encode(), b"1" * 5000),
    "a signature in upper case": as_json(OTHER, signature=BLOCK["signature"].upper()),
    "a signature cut": as_json(OTHER, signature=BLOCK["signature"][:-1]),
    "no signature": as_json(OTHER, signature=""),
    "a name in another case": MAILGUN_JSON.replace(b'"signature": {', b'"Signature": {', 1),
    "a key that is empty": as_json(
        OTHER, signature=hmac.digest(b"", f"{BLOCK['timestamp']}{TOKEN}".encode(), "sha256").hex()
    ),
}


@pytest.mark.parametrize("body", NOT_TAKEN.values(), ids=NOT_TAKEN)
def test_no_other_spelling_of_a_mailgun_signature_is_taken(body: bytes) -> None:
    assert isinstance(MAILGUN.verify(Inbound({}, body), NOW_MS), Refused)


def test_an_empty_key_signs_nothing() -> None:
    """A variable that is set to nothing must not become a key that everybody knows."""
    for keys in ((), ("",), (KEY, "")):
        verdict = mailgun.webhook.verify(NOT_TAKEN["a key that is empty"], keys, 86_400, NOW_MS)
        assert isinstance(verdict, Refused) and verdict.result == "bad_signature"


def test_each_byte_of_a_push_is_covered_by_its_signature() -> None:
    adapter, push = directmail_with_certificate(), mns_signing.pushed(PUSH)
    assert isinstance(adapter.verify(push, NOW_MS), Verified)
    for body in changed(PUSH):
        assert isinstance(adapter.verify(replace(push, body=body), NOW_MS), Refused) or body == PUSH


@pytest.mark.parametrize("name", [*mns_signing.pushed(PUSH).headers, "path"])
def test_each_character_of_a_pushs_headers_and_path_is_covered_by_its_signature(name: str) -> None:
    adapter = directmail_with_certificate()
    push = mns_signing.pushed(PUSH, path=f"{mns_signing.PATH}?a=1&b")
    assert isinstance(adapter.verify(push, NOW_MS), Verified)
    value = push.path if name == "path" else push.headers[name]
    passed = []
    for text in (one.decode("latin-1") for one in changed(value.encode())):
        headers = push.headers if name == "path" else {**push.headers, name: text}
        forged = replace(push, headers=headers, path=text if name == "path" else push.path)
        verdict = adapter.verify(forged, NOW_MS)
        if isinstance(verdict, Verified) and text != value:
            passed.append(text)
    if name == "authorization":  # base64 has bits that mean nothing
        assert {b64decode(text, validate=True) for text in passed} <= {b64decode(value)}
    elif name != "host":  # whoever signs does not know it
        assert passed == []


def test_no_header_of_a_push_can_be_put_in_or_taken_away() -> None:
    adapter, push = directmail_with_certificate(), mns_signing.pushed(PUSH, x_mns_more="1")
    assert isinstance(adapter.verify(push, NOW_MS), Verified)
    for name in push.headers:
        without = {key: value for key, value in push.headers.items() if key != name}
        assert name == "host" or isinstance(adapter.verify(replace(push, headers=without), NOW_MS), Refused)
    for added in ("x-mns-a", "X-MNS-Message-Id", "x-mns-version ", "x-mns-"):
        more = CIMultiDict({**push.headers, added: "1"})
        assert isinstance(adapter.verify(replace(push, headers=more), NOW_MS), Refused), added


TWICE = {
    "the topic's name": (b"</TopicName>", b"</TopicName><TopicName>directmail-events</TopicName>"),
    "its owner": (b"</TopicOwner>", b"</TopicOwner><TopicOwner>1234567890123456</TopicOwner>"),
    "with another namespace": (
        b"</TopicName>",
        b"</TopicName><a:TopicName xmlns:a='b'>directmail-events</a:TopicName>",
    ),
    "the message": (b"</Message>", b"</Message><Message>event=other</Message>"),
}


@pytest.mark.parametrize(("after", "instead"), TWICE.values(), ids=TWICE)
def test_an_envelope_that_says_something_twice_is_none(after: bytes, instead: bytes) -> None:
    """Whatever gets a second name into an envelope would decide by it whose the message is."""
    body = PUSH.replace(after, instead, 1)
    assert body != PUSH
    assert isinstance(directmail_with_certificate().verify(mns_signing.pushed(body), NOW_MS), Refused)


AGES = [
    pytest.param("mailgun", 86_400, id="Mailgun"),
    pytest.param("sns", 86_400, id="SNS"),
    pytest.param("mns", 900, id="MNS"),
]
FUTURE_S = {"mailgun": 300, "sns": 300, "mns": 900}


def judged(kind: str, now_ms: int) -> Verdict:
    if kind == "mailgun":
        return MAILGUN.verify(Inbound({}, MAILGUN_JSON), now_ms)
    if kind == "sns":
        return ses_with_certificate().verify(Inbound({}, signed(notification())), now_ms)
    return directmail_with_certificate().verify(mns_signing.pushed(PUSH), now_ms)


@pytest.mark.parametrize(("kind", "oldest_s"), AGES)
def test_a_signature_is_good_for_its_window_to_the_second_and_no_longer(kind: str, oldest_s: int) -> None:
    for age_s in (0, 1, oldest_s, -FUTURE_S[kind]):
        assert isinstance(judged(kind, NOW_MS + age_s * 1000), Verified), age_s
    for age_s in (oldest_s + 1, 10 * oldest_s, 10**8, -FUTURE_S[kind] - 1, -(10**8)):
        verdict = judged(kind, NOW_MS + age_s * 1000)
        assert isinstance(verdict, Refused) and verdict.result == "stale", age_s
