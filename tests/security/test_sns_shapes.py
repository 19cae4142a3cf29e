"""SNS envelopes of an odd shape: downgraded, doubled, shifted, spelt otherwise. What is signed has no quoting."""

from __future__ import annotations

import itertools
import json
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from streams.providers._sns import SIGNED_FIELDS, parse_envelope
from streams.providers.base import Confirm, HttpResponse, Inbound, Refused, Verdict, Verified
from streams.providers.ses import Config, Ses, create
from tests.providers.sns_signing import NOW_MS, TOPIC, URL, certificate, notification, rsa_key, signed, subscription

FOREIGN = "arn:aws:sns:us-east-1:999999999999:theirs"
MESSAGE_ID = notification()["MessageId"]


def ses(**options: Any) -> Ses:
    adapter = create("ses", Config("us-east-1", topic_arns=(TOPIC,), **options))
    adapter.learn_certificate(URL, HttpResponse(200, {}, certificate()), NOW_MS)
    return adapter


SES = ses()


def verify(body: bytes, adapter: Ses = SES) -> Verdict:
    return adapter.verify(Inbound({}, body, "text/plain"), NOW_MS)


def result(body: bytes) -> str:
    verdict = verify(body)
    return verdict.result if isinstance(verdict, Refused) else type(verdict).__name__


def edited(body: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(body), **changes}).encode()


@pytest.mark.parametrize(("made", "claimed"), [("2", "1"), ("1", "2")])
def test_a_signature_of_one_version_is_none_of_the_other(made: str, claimed: str) -> None:
    body = edited(signed(notification(SignatureVersion=made)), SignatureVersion=claimed)
    assert result(body) == "bad_signature"


@pytest.mark.parametrize("version", ["1", "01", "1 ", "1.0", "１", "v1", "", "2\n", "null"])
def test_where_version_1_is_refused_no_spelling_of_it_is_taken(version: str) -> None:
    with_sha1 = rsa_key().sign(canonical(notification()).encode(), PKCS1v15(), SHA1())
    body = json.dumps({**notification(SignatureVersion=version), "Signature": b64encode(with_sha1).decode()}).encode()
    assert isinstance(verify(body, ses(allow_signature_v1=False)), Refused)


@pytest.mark.parametrize("version", [1, 2, True, 2.0, ["2"], {"2": 2}, None])
def test_a_version_that_is_no_text_is_malformed(version: object) -> None:
    assert result(edited(signed(notification()), SignatureVersion=version)) == "malformed"


def canonical(message: dict[str, Any]) -> str:
    names = [name for name in SIGNED_FIELDS[message["Type"]] if name in message]
    return "".join(f"{name}\n{message[name]}\n" for name in names)


def inserted(before: str, name: str, value: str) -> bytes:
    """The message with a key written in front of one of its keys, as text: JSON's own writer knows no repeats."""
    return signed(notification()).decode().replace(f'"{before}"', f'{name}: {value}, "{before}"', 1).encode()


@pytest.mark.parametrize("field", ["Type", "Message", "MessageId", "Timestamp", "TopicArn", "Signature"])
@pytest.mark.parametrize("spelt", ["plain", "escaped"])
def test_no_field_stands_twice_however_it_is_spelt(field: str, spelt: str) -> None:
    name = json.dumps(field) if spelt == "plain" else '"' + "".join(f"\\u{ord(c):04X}" for c in field) + '"'
    assert result(inserted(field, name, json.dumps(json.loads(signed(notification()))[field]))) == "malformed"
    assert result(inserted("SignatureVersion", name, '"other"')) == "malformed"


@pytest.mark.parametrize("field", ["Type", "Message", "MessageId", "Timestamp", "TopicArn", "Signature"])
@pytest.mark.parametrize(
    "spell",
    [str.lower, str.upper, "{}\u200b".format, " {}".format, "{}\0".format],
    ids=["lower", "upper", "zero width", "blank", "NUL"],
)
def test_a_name_in_another_spelling_is_another_name(field: str, spell: Any) -> None:
    """It is neither the field, nor does it get in the field's way."""
    message = json.loads(signed(notification()))
    beside = json.dumps({**message, spell(field): "other"}).encode()
    assert verify(beside) == Verified(key=MESSAGE_ID)
    assert SES.read_events(beside, 1) == SES.read_events(signed(notification()), 1)
    instead = {(spell(name) if name == field else name): value for name, value in message.items()}
    assert result(json.dumps(instead).encode()) == "malformed"


MORE = {
    "a huge number": '"a": ' + "9" * 4000,
    "an endless exponent": '"a": 1e999999999',
    "no number": '"a": NaN, "b": -Infinity',
    "a nest": '"a": ' + "[" * 500 + "]" * 500,
    "prototype": '"__proto__": {"TopicArn": "x"}, "constructor": {}',
    "an empty name": '"": ""',
    "attributes": '"MessageAttributes": {"TopicArn": {"Type": "String", "Value": "x"}}',
    "a confirmation's fields": '"Token": "t", "SubscribeURL": "https://169.254.169.254/"',
}


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_what_stands_beside_the_signed_fields_is_not_used(more: str) -> None:
    body = b"{" + more.encode() + b", " + signed(notification())[1:]
    assert verify(body) == Verified(key=MESSAGE_ID)
    assert SES.read_events(body, 1) == SES.read_events(signed(notification()), 1)


ODD = {
    "more digits than Python reads": b'{"a": ' + b"9" * 5000 + b", " + signed(notification())[1:],
    "UTF-16": signed(notification()).decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + signed(notification()),
    "two objects": signed(notification()) * 2,
    "an array": b"[" + signed(notification()) + b"]",
    "in quotes": json.dumps(signed(notification()).decode()).encode(),
    "a comment": signed(notification()) + b"//",
    "a comma at the end": signed(notification())[:-1] + b",}",
    "single quotes": signed(notification()).replace(b'"Type"', b"'Type'"),
    "overlong UTF-8": signed(notification()).replace(b'"Type"', b'"\xc1\x94ype"'),
    "half a pair": signed(notification()).replace(b'"Type"', b'"\\ud800": 1, "Message\\udfff": 2, "Type"', 1)[:-9],
    "a type of its own": signed(notification()).replace(b"Notification", b"notification", 1),
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_what_is_no_single_json_object_is_malformed(body: bytes) -> None:
    assert result(body) == "malformed"


SHAPES = {
    "MessageId": ["", "a\nb", "a" * 101, "a b", "\u0661", "1\nSubject\ns", "x\r"],
    "TopicArn": [f"{TOPIC}\n", f" {TOPIC}", TOPIC.upper(), f"{TOPIC}:sub", f"{TOPIC}\0", TOPIC.replace("1", "\u0661", 1)],
    "Timestamp": [
        "2026-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "2026-W01-4T00:00:00Z", "20260101T000000Z",
        "2026-01-01T00:00:00.000Z\n", "2026-01-01T00:00:00.000Z" + " " * 16 + "\nTopicArn\nx", "0", "now",
        "２０２６-01-01T00:00:00.000Z", "2026-01-01T24:00:01.000Z", "2026-13-01T00:00:00.000Z",
        "2026-01-01T00:00:00.000+14:00", "9999-12-31T23:59:59.999Z", "0001-01-01T00:00:00.000Z",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"), [pytest.param(f, v, id=f"{f}={v[:30]!r}") for f, values in SHAPES.items() for v in values]
)
def test_a_field_of_a_wrong_shape_is_refused_even_if_it_is_signed(field: str, value: str) -> None:
    verdict = verify(signed(notification(**{field: value})), ses(max_webhook_age_s=86_400))
    assert isinstance(verdict, Refused), verdict


def resplit(text: str, kind: str) -> Iterator[dict[str, str]]:
    """Every envelope of a type whose string to sign is ``text``: all ways to tell its fields apart."""
    for names in (SIGNED_FIELDS[kind], tuple(name for name in SIGNED_FIELDS[kind] if name != "Subject")):
        if not text.startswith(f"{names[0]}\n"):
            continue
        marks = [f"\n{name}\n" for name in names[1:]]
        places = [[at for at in range(len(text)) if text.startswith(mark, at)] for mark in marks]
        for cut in itertools.product(*places):
            starts = (-1, *cut)
            ends = (*cut, len(text) - 1)
            if all(start < end for start, end in itertools.pairwise(starts)):
                heads = [start + len(name) + 2 for start, name in zip(starts, names, strict=True)]
                if all(head <= end for head, end in zip(heads, ends, strict=True)):
                    yield {n: text[h:e] for n, h, e in zip(names, heads, ends, strict=True)}


AUTHOR = {
    "a whole message of ours": canonical(notification(Message="owned"))[len("Message\n") : -1],
    "a whole subscription to ours": canonical(subscription())[len("Message\n") : -1],
    "our topic": f"x\nTopicArn\n{TOPIC}\nType\nNotification",
    "our topic with a subject": f"x\nMessageId\n1\nSubject\ns\nTimestamp\n2026-01-01T00:00:00.000Z\nTopicArn\n{TOPIC}",
    "only names": "x\nMessageId\n\nSubject\n\nTimestamp\n\nTopicArn\n\nType\n",
    "a later time and blanks": f"x\nMessageId\n1\nTimestamp\n2026-01-01T00:00:00.000Z{' ' * 16}\nTopicArn\n{TOPIC}",
    "a confirmation's names": "x\nMessageId\n1\nSubscribeURL\nu\nTimestamp\n2026-01-01T00:00:00.000Z\nToken\nt",
}


@pytest.mark.parametrize("text", AUTHOR.values(), ids=AUTHOR)
@pytest.mark.parametrize("subject", [None, "s"])
def test_no_message_of_a_foreign_topic_can_be_told_apart_otherwise(text: str, subject: str | None) -> None:
    """Its author chooses the message, SNS signs it, and fields have no quotes: however it is cut, it stays foreign."""
    message = notification(TopicArn=FOREIGN, Message=text, **({"Subject": subject} if subject else {}))
    signature, tried = json.loads(signed(message))["Signature"], 0
    for kind in SIGNED_FIELDS:
        for fields in resplit(canonical(message), kind):
            tried += 1
            body = json.dumps({**message, **fields, "Signature": signature}).encode()
            assert isinstance(verify(body), Refused), fields
    assert tried


def test_however_a_message_of_our_topic_is_cut_it_is_told_with_its_own_time_and_type() -> None:
    for text in AUTHOR.values():
        message = notification(Message=text, Timestamp="2025-12-31T12:00:00.000Z")
        signature = json.loads(signed(message))["Signature"]
        taken = []
        for kind, absent in itertools.product(SIGNED_FIELDS, (True, False)):
            for fields in resplit(canonical(message), kind):
                bare = {name: value for name, value in message.items() if name != "Subject" or not absent}
                body = json.dumps({**bare, **fields, "Signature": signature}).encode()
                if not isinstance(verify(body), Refused):
                    taken.append((fields["Type"], fields["Timestamp"], fields["TopicArn"]))
        assert set(taken) == {("Notification", message["Timestamp"], TOPIC)}, taken


@pytest.mark.parametrize(
    "offer",
    [
        pytest.param({"SubscribeURL": "http://169.254.169.254/latest/meta-data"}, id="the cloud's metadata"),
        pytest.param({"SubscribeURL": "https://sns.us-east-1.amazonaws.com@evil.example/"}, id="another host"),
        pytest.param({"SubscribeURL": "file:///etc/passwd"}, id="a file"),
        pytest.param({"Token": "t&TopicArn=x&Action=DeleteTopic"}, id="a parameter in the token"),
        pytest.param({"Token": "t\r\nHost: evil"}, id="a header in the token"),
        pytest.param({"Token": "\u2028é"}, id="a token beyond ASCII"),
        pytest.param({"Token": "t" * 100_000}, id="a token without end"),
    ],
)
def test_a_subscription_leads_to_one_call_of_sns_whatever_it_says(offer: dict[str, str]) -> None:
    verdict = verify(signed(subscription(**offer)))
    assert isinstance(verdict, Confirm)
    assert (verdict.request.method, verdict.request.url) == ("POST", "https://sns.us-east-1.amazonaws.com/")
    form = [pair.partition(b"=")[0] for pair in verdict.request.body.split(b"&")]
    assert form == [b"Action", b"Version", b"TopicArn", b"Token"]
    assert all("\r" not in value and "\n" not in value for _, value in verdict.request.headers)


def test_a_signature_with_another_padding_or_hash_is_refused() -> None:
    text = canonical(notification()).encode()
    from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS

    made = {
        "PSS": rsa_key().sign(text, PSS(MGF1(SHA256()), 32), SHA256()),
        "nothing": b"",
        "zeros": b"\0" * 256,
        "one": b"\0" * 255 + b"\1",
        "too long": rsa_key().sign(text, PKCS1v15(), SHA256()) + b"\0",
        "another key": rsa_key(number=7).sign(text, PKCS1v15(), SHA256()),
    }
    for name, signature in made.items():
        body = json.dumps({**notification(), "Signature": b64encode(signature).decode()}).encode()
        assert isinstance(verify(body), Refused), name
    assert not isinstance(parse_envelope(signed(notification())), Refused)
