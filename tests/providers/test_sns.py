"""SNS: who may speak, by which certificate; every known way of pretending is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.providers._sns import Certificates, certificate_url, load_pinned
from streams.providers.base import (
    CertificateNeeded,
    Confirm,
    HttpRequest,
    HttpResponse,
    Inbound,
    NoResponse,
    Refused,
    Verdict,
    Verified,
    judge,
)
from streams.providers.ses import Config, Ses, create
from tests.providers.sns_signing import (
    FILE,
    NOW_MS,
    START,
    TOPIC,
    URL,
    certificate,
    curve_key,
    notification,
    rsa_key,
    signed,
    subscription,
)


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("pinned")
    (directory / FILE).write_bytes(certificate())
    return str(directory)


def ses(pinned: str = "", **changes: Any) -> Ses:
    options = {"topic_arns": (TOPIC,), "pinned_certificates": pinned, **changes}
    return create("ses", Config("us-east-1", **options))


def verify(provider: Ses, body: bytes, now_ms: int = NOW_MS, **headers: str) -> Verdict:
    return provider.verify(Inbound(headers, body, "text/plain; charset=UTF-8"), now_ms)


def refused(verdict: Verdict) -> str:
    assert isinstance(verdict, Refused), verdict
    return verdict.result


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "changes", [{}, {"Subject": "hi"}, {"Subject": None}, {"Message": "zwölf\nZeilen\u2028 \U0001f600"}], ids=str
)
def test_an_authentic_notification_is_taken(pinned: str, version: str, changes: dict[str, Any]) -> None:
    body = signed(notification(SignatureVersion=version, **changes))
    assert verify(ses(pinned), body) == Verified(key="11111111-2222-3333-4444-555555555555")


def test_the_same_message_again_is_authentic_again(pinned: str) -> None:
    provider, body = ses(pinned), signed(notification())
    assert verify(provider, body) == verify(provider, body)


def test_version_1_can_be_refused(pinned: str) -> None:
    provider = ses(pinned, allow_signature_v1=False)
    assert refused(verify(provider, signed(notification(SignatureVersion="1")))) == "bad_signature"
    assert isinstance(verify(provider, signed(notification())), Verified)


@pytest.mark.parametrize("field", ["Message", "MessageId", "Timestamp", "TopicArn", "Type"])
def test_a_changed_field_breaks_the_signature(pinned: str, field: str) -> None:
    message = json.loads(signed(notification()))
    message[field] = {"Timestamp": "2026-01-01T00:00:01.000Z", "TopicArn": f"{TOPIC}-2", "Type": "Notification "}.get(
        field, "changed"
    )
    provider = ses(pinned, topic_arns=(TOPIC, f"{TOPIC}-2"))
    assert isinstance(verify(provider, json.dumps(message).encode()), Refused)


def test_a_subject_put_in_afterwards_breaks_the_signature(pinned: str) -> None:
    message = {**json.loads(signed(notification())), "Subject": "new"}
    assert refused(verify(ses(pinned), json.dumps(message).encode())) == "bad_signature"


@pytest.mark.parametrize("version", ["0", "3", "", "2 "])
def test_an_unknown_signature_version_is_refused(pinned: str, version: str) -> None:
    assert refused(verify(ses(pinned), signed(notification(SignatureVersion=version)))) == "bad_signature"


def test_a_message_of_another_topic_is_refused_even_if_it_is_authentic(pinned: str) -> None:
    foreign = "arn:aws:sns:us-east-1:999999999999:theirs"
    verdict = verify(ses(pinned), signed(notification(TopicArn=foreign)))
    assert refused(verdict) == "bad_signature"
    assert "allow-list" in verdict.detail  # type: ignore[union-attr]
    assert isinstance(verify(ses(pinned, topic_arns=()), signed(notification())), Refused)


def test_a_foreign_offer_to_subscribe_is_refused(pinned: str) -> None:
    foreign = "arn:aws:sns:us-east-1:999999999999:theirs"
    assert refused(verify(ses(pinned), signed(subscription(TopicArn=foreign)))) == "bad_signature"


BAD_URLS = [
    "http://sns.us-east-1.amazonaws.com/" + FILE,
    "https://sns.us-east-1.amazonaws.com.evil.example/" + FILE,
    "https://sns.us-east-1.amazonaws.com@evil.example/" + FILE,
    "https://user@sns.us-east-1.amazonaws.com/" + FILE,
    "https://evil.example#sns.us-east-1.amazonaws.com/" + FILE,
    "https://evil.example/\\sns.us-east-1.amazonaws.com/" + FILE,
    "https://evil.example\\@sns.us-east-1.amazonaws.com/" + FILE,
    "https://SNS.us-east-1.amazonaws.com/" + FILE,
    "HTTPS://sns.us-east-1.amazonaws.com/" + FILE,
    "https://sns.us-east-1.amazonaws.com./" + FILE,
    "https://192.0.2.1/" + FILE,
    "https://[::1]/" + FILE,
    "https://localhost/" + FILE,
    "https://sns.us-east-1.amazonaws.com:8443/" + FILE,
    "https://sns.us-east-1.amazonaws.com/" + FILE + "?x=1",
    "https://sns.us-east-1.amazonaws.com/" + FILE + "#x",
    "https://sns.us-east-1.amazonaws.com/a/" + FILE,
    "https://sns.us-east-1.amazonaws.com/../" + FILE,
    "https://sns.us-east-1.amazonaws.com/%53impleNotificationService-0123456789abcdef.pem",
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-xyz.pem",
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789ABCDEF.pem",
    "https://sns.us-east-1.amazonaws.com/anything.pem",
    "https://sns.s3-us-west-2.amazonaws.com/" + FILE,  # a bucket called "sns"
    "https://sns.s3.us-east-1.amazonaws.com/" + FILE,
    "https://sns.us-east-1.amazonaws.com.cn/" + FILE,
    "https://sns.eu-west-1.amazonaws.com/" + FILE,  # another region than the topic's
    "https://evil.sns.us-east-1.amazonaws.com/" + FILE,
    "https://sns.us-east-1.amazonaws.com/" + FILE + "\n",
    " https://sns.us-east-1.amazonaws.com/" + FILE,
    "https://sns.us-e\u0430st-1.amazonaws.com/" + FILE,  # a Cyrillic letter
    "file:///etc/passwd",
    "",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_no_certificate_is_taken_from_anywhere_else(url: str) -> None:
    assert certificate_url(url, "us-east-1") == ""
    verdict = verify(ses(), signed(notification(SigningCertURL=url)))
    assert refused(verdict) == "bad_signature"


@pytest.mark.parametrize(
    ("url", "region", "fetched"),
    [
        (URL, "us-east-1", URL),
        (URL.replace(".com/", ".com:443/"), "us-east-1", URL),
        (URL.replace("us-east-1", "ap-southeast-2"), "ap-southeast-2", URL.replace("us-east-1", "ap-southeast-2")),
        (URL.replace("us-east-1", "us-gov-west-1"), "us-gov-west-1", URL.replace("us-east-1", "us-gov-west-1")),
        (
            URL.replace("us-east-1.amazonaws.com", "cn-north-1.amazonaws.com.cn"),
            "cn-north-1",
            URL.replace("us-east-1.amazonaws.com", "cn-north-1.amazonaws.com.cn"),
        ),
        (URL.replace("us-east-1", "cn-north-1"), "cn-north-1", ""),
    ],
)
def test_the_url_to_fetch_is_written_anew(url: str, region: str, fetched: str) -> None:
    assert certificate_url(url, region) == fetched


@given(st.text(max_size=120) | st.text("htps:/.@#\\snuearwzomc-1?%SiplNotfcaServ0123456789", max_size=120))
def test_no_text_is_a_certificate_url_by_accident(url: str) -> None:
    assert certificate_url(url, "us-east-1") in ("", url.replace(":443", ""))


@pytest.mark.parametrize(
    ("age", "result"), [(timedelta(hours=25), "stale"), (-timedelta(minutes=6), "stale"), (timedelta(hours=23), "")]
)
def test_a_message_is_taken_within_its_window(pinned: str, age: timedelta, result: str) -> None:
    verdict = verify(ses(pinned), signed(notification()), NOW_MS + int(age.total_seconds() * 1000))
    assert (verdict.result if isinstance(verdict, Refused) else "") == result


def test_the_bodys_own_type_counts_whatever_the_header_says(pinned: str) -> None:
    headers = {"x-amz-sns-message-type": "Notification"}
    verdict = ses(pinned).verify(Inbound(headers, signed(subscription())), NOW_MS)
    assert isinstance(verdict, Confirm)


def test_a_repeated_key_is_refused(pinned: str) -> None:
    body = signed(notification()).decode()
    twice = body.replace('"Message":', '"Message": "other", "Message":', 1)
    assert json.loads(twice)["Message"] == json.loads(body)["Message"]
    assert refused(verify(ses(pinned), twice.encode())) == "malformed"


def test_unsigned_raw_delivery_is_refused(pinned: str) -> None:
    raw = b'{"eventType": "Send", "mail": {"messageId": "x"}}'
    assert refused(verify(ses(pinned), raw)) == "malformed"


@pytest.mark.parametrize(
    "field", ["Message", "MessageId", "Timestamp", "TopicArn", "SignatureVersion", "SigningCertURL"]
)
@pytest.mark.parametrize("value", [None, 5, [], {}])
def test_a_field_of_the_wrong_type_is_malformed(pinned: str, field: str, value: object) -> None:
    message = {**json.loads(signed(notification())), field: value}
    assert refused(verify(ses(pinned), json.dumps(message).encode())) == "malformed"


@pytest.mark.parametrize("signature", ["", "!!!", "QUJD", "é"])
def test_a_signature_that_is_none_is_refused(pinned: str, signature: str) -> None:
    message = {**json.loads(signed(notification())), "Signature": signature}
    assert isinstance(verify(ses(pinned), json.dumps(message).encode()), Refused)


def test_half_a_surrogate_pair_is_malformed(pinned: str) -> None:
    body = signed(notification()).replace(b'"{\\"eventType\\":\\"Send\\"}"', b'"\\ud800"')
    assert refused(verify(ses(pinned), body)) == "malformed"


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_an_exception(body: bytes) -> None:
    assert refused(verify(ses(), body)) == "malformed"
    assert refused(verify(ses(), b'{"Type": "Notification",' + body)) == "malformed"


# ------------------------------------------------------------------------------------------------- certificates


class Script:
    """An exchange that always gives one answer and remembers what it was asked."""

    def __init__(self, answer: HttpResponse | NoResponse) -> None:
        self.answer = answer
        self.asked: list[HttpRequest] = []

    async def __call__(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        self.asked.append(request)
        assert deadline_s <= 5
        return self.answer


def served(pem: bytes, status: int = 200) -> Script:
    return Script(HttpResponse(status, {}, pem))


def inbound(**changes: Any) -> Inbound:
    return Inbound({}, signed(notification(**changes)))


def test_a_missing_certificate_is_asked_for() -> None:
    assert verify(ses(), signed(notification())) == CertificateNeeded(URL)


async def test_a_certificate_is_fetched_once() -> None:
    provider, script = ses(), served(certificate())
    for _ in range(3):
        assert isinstance(await judge(provider, inbound(), script, NOW_MS), Verified)
    assert [(r.method, r.url, r.headers) for r in script.asked] == [("GET", URL, ())]


async def test_a_certificate_that_cannot_be_fetched_is_not_asked_for_again_at_once() -> None:
    provider, script = ses(), Script(NoResponse(sent=False, detail="refused"))
    verdict = await judge(provider, inbound(), script, NOW_MS)
    assert isinstance(verdict, CertificateNeeded)
    assert verdict.retry_at_ms > NOW_MS
    await judge(provider, inbound(), script, NOW_MS + 1000)
    assert len(script.asked) == 1
    good = served(certificate())
    assert isinstance(await judge(provider, inbound(), good, verdict.retry_at_ms + 1), Verified)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (served(certificate(), 302), "redirect"),
        (served(certificate(), 404), "absent"),
        (served(b"not a certificate"), "no certificate"),
        (served(certificate() + b"x" * 70_000), "too large"),
        (served(certificate(rsa_key(1024))), "short key"),
        (served(certificate(curve_key())), "no RSA"),
        (served(certificate(name="sns.us-east-1.amazonaws.com")), "regional name"),
        (served(certificate(name="evil.example")), "another name"),
        (served(certificate(end=START - timedelta(seconds=1))), "expired"),
        (served(certificate(start=START + timedelta(days=1))), "not yet valid"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_certificate_that_breaks_a_rule_is_not_used(answer: Script, why: str) -> None:
    assert isinstance(await judge(ses(), inbound(), answer, NOW_MS), CertificateNeeded)


async def test_a_self_made_certificate_with_the_right_name_does_not_fit_the_signature() -> None:
    body = signed(notification(), rsa_key(number=1))
    verdict = await judge(ses(), Inbound({}, body), served(certificate()), NOW_MS)
    assert refused(verdict) == "bad_signature"


async def test_a_certificate_is_forgotten_when_it_expires() -> None:
    provider, script = ses(max_webhook_age_s=1e9), served(certificate(end=START + timedelta(minutes=1)))
    assert isinstance(await judge(provider, inbound(), script, NOW_MS), Verified)
    assert isinstance(verify(provider, signed(notification()), NOW_MS + 120_000), CertificateNeeded)


def test_the_memory_of_certificates_is_bounded() -> None:
    known = Certificates()
    pem = certificate()
    for number in range(100):
        known.learn(f"{URL}{number}", HttpResponse(200, {}, pem), NOW_MS)
        known.learn(f"{URL}-{number}", HttpResponse(404, {}, b""), NOW_MS)
    assert len(known._learned) == 16
    assert len(known._failed_until) == 64


def test_a_pinned_certificate_needs_no_fetch_and_an_expired_one_does(pinned: str, tmp_path: Path) -> None:
    assert isinstance(verify(ses(pinned), signed(notification())), Verified)
    (tmp_path / FILE).write_bytes(certificate(end=START - timedelta(days=1)))
    assert isinstance(verify(ses(str(tmp_path)), signed(notification())), CertificateNeeded)


def test_a_directory_that_pins_nothing_usable_is_refused_in_one_line(tmp_path: Path) -> None:
    assert load_pinned("") == {}
    with pytest.raises(ValueError, match="pinned_certificates"):
        load_pinned(str(tmp_path))
    (tmp_path / "a.pem").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="pinned_certificates"):
        load_pinned(str(tmp_path))


# ------------------------------------------------------------------------------------------------- subscriptions


def test_an_allowed_topic_is_confirmed_at_its_own_region_and_never_by_the_url_in_the_message(pinned: str) -> None:
    body = signed(subscription(SubscribeURL="https://evil.example/?Action=ConfirmSubscription"))
    verdict = verify(ses(pinned), body)
    assert isinstance(verdict, Confirm)
    assert (verdict.topic_arn, verdict.token, verdict.region) == (TOPIC, "token-1", "us-east-1")
    assert (verdict.request.method, verdict.request.url) == ("POST", "https://sns.us-east-1.amazonaws.com/")
    form = parse_qs(verdict.request.body.decode())
    assert form == {
        "Action": ["ConfirmSubscription"],
        "Version": ["2010-03-31"],
        "TopicArn": [TOPIC],
        "Token": ["token-1"],
    }


def test_with_credentials_the_confirmation_is_signed_and_guards_the_unsubscribe(pinned: str) -> None:
    provider = ses(pinned, access_key_id="AKIAEXAMPLE", secret_access_key="secret")
    verdict = verify(provider, signed(subscription()))
    assert isinstance(verdict, Confirm)
    assert parse_qs(verdict.request.body.decode())["AuthenticateOnUnsubscribe"] == ["true"]
    assert "/us-east-1/sns/aws4_request" in dict(verdict.request.headers)["authorization"]


def test_the_end_of_a_subscription_is_stored_and_told_but_never_undone(pinned: str) -> None:
    body = signed(subscription(Type="UnsubscribeConfirmation"))
    provider = ses(pinned)
    assert isinstance(verify(provider, body), Verified)
    reading = provider.read_events(body, NOW_MS)
    assert reading.unknown_words == ("sns:UnsubscribeConfirmation",)  # type: ignore[union-attr]
    assert reading.sightings == ()  # type: ignore[union-attr]
