"""What anybody on the network can send to the ingress: real sockets, the real Mailgun and SES adapters, a real broker."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from streams.agents.normalise import TOKEN_LIFE_MS
from streams.providers._sns import parse_envelope
from streams.providers.base import Provider, Refused
from streams.providers.mailgun import Config as MailgunConfig
from streams.providers.mailgun import create as mailgun
from streams.providers.mailgun.config import MAX_WEBHOOK_AGE_S
from streams.providers.mailgun.webhook import MAX_FUTURE_MS
from streams.providers.ses import Config as SesConfig
from streams.providers.ses import create as ses
from tests.ingress.conftest import Client, Open, opened
from tests.providers.sns_signing import TOPIC, notification, signed

__all__ = ["opened"]

KEY = "key-example-signing-0001"
EVENT: Mapping[str, Any] = {"event": "delivered", "id": "one", "timestamp": 1.0}


def providers() -> dict[str, Provider]:
    return {
        "mailgun": mailgun("mailgun", MailgunConfig(domain="mg.example.com", api_key="k", signing_keys=(KEY,))),
        "ses": ses("ses", SesConfig(region="us-east-1", topic_arns=(TOPIC,))),
    }


def block(token: str = "t" * 50, timestamp: int | None = None) -> dict[str, str]:
    when = str(int(time.time()) if timestamp is None else timestamp)
    return {
        "timestamp": when,
        "token": token,
        "signature": hmac.digest(KEY.encode(), f"{when}{token}".encode(), "sha256").hex(),
    }


def webhook(event: Any = EVENT, **signature: Any) -> bytes:
    return json.dumps({"signature": block(**signature), "event-data": event}).encode()


async def raw(client: Client, data: bytes, timeout_s: float = 10.0) -> bytes:
    """All that comes back for these bytes, until the other side closes or nothing comes for a while."""
    host, _, port = client.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    try:
        writer.write(data)
        await writer.drain()
        while True:
            chunk = await asyncio.wait_for(reader.read(65_536), timeout_s)
            if not chunk:
                return answer
            answer += chunk
            if answer.count(b"\r\n\r\n") >= data.count(b"HTTP/1.1\r\n") > 0:
                timeout_s = 0.3
    except (TimeoutError, ConnectionError):
        return answer
    finally:
        writer.close()


def post(body: bytes, *lines: str, path: str = "/webhooks/mailgun") -> bytes:
    head = [f"POST {path} HTTP/1.1", "Host: x", *lines]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


HOSTILE_BODIES = {
    "nested arrays": b'{"signature": ' + json.dumps(block()).encode() + b', "event-data": ' + b"[" * 400_000 + b"}",
    "nested objects": b'{"a":' * 150_000 + b"1" + b"}" * 150_000,
    "a signature that is nested": b'{"signature": ' + b'{"timestamp":' * 60_000,
    "a number without end": b'{"signature": {"timestamp": ' + b"1" * 500_000 + b', "token": "t", "signature": "s"}}',
    "an exponent without end": b'{"signature": {"timestamp": 1e' + b"9" * 1000 + b', "token": "t", "signature": "s"}}',
    "half a surrogate pair": b'{"signature": {"timestamp": "1", "token": "\\ud800", "signature": "\\udfff"}}',
    "a token with line ends": webhook(token="t\r\nX: y"),
    "a token with NUL": webhook(token="t\0"),
    "an empty token": webhook(token=""),
    "a token without end": webhook(token="t" * 100_000),
    "a form without end": b"a=b&" * 250_000,
    "a form of one name": b"token=" * 150_000,
    "bytes that are no text": bytes(range(256)) * 100,
    "a byte order mark": b"\xef\xbb\xbf" + webhook(),
    "an array around it": b"[" + webhook() + b"]",
    "SNS with a nest in its message": json.dumps(notification(Message="[" * 300_000)).encode(),
    "a signature that is a list": b'{"signature": [' + json.dumps(block()).encode() + b"]}",
    "a signature of twice the length": json.dumps({"signature": block() | {"signature": "0" * 128}}).encode(),
}


@pytest.mark.parametrize("path", ["/webhooks/mailgun", "/webhooks/ses"])
async def test_no_body_is_stored_unproven_or_stops_the_ingress(opened: Open, path: str) -> None:
    async with opened(providers()) as client:
        for name, body in HOSTILE_BODIES.items():
            began = time.thread_time()
            status, _ = await client.post(path, body)
            assert status in (400, 403, 406, 413), (name, status)
            assert time.thread_time() - began < 1.0, name
        assert client.counted("mailgun", "accepted") == client.counted("ses", "accepted") == 0
        assert (await client.post("/webhooks/mailgun", webhook()))[0] == 200


async def test_a_signed_token_cannot_be_made_another_by_moving_digits_to_the_timestamp(opened: Open) -> None:
    """The signature covers both without a separator: "17" + "0x" is signed as well as "1" + "70x"."""
    now = str(int(time.time()))
    good = block(token="123" + "4" * 47)
    async with opened(providers()) as client:
        for moved in (-3, -1, 1, 2, 3, 4, 6):
            whole = good["timestamp"] + good["token"]
            cut = len(now) + moved
            shifted = {"timestamp": whole[:cut], "token": whole[cut:], "signature": good["signature"]}
            body = json.dumps({"signature": shifted, "event-data": EVENT}).encode()
            assert (await client.post("/webhooks/mailgun", body))[0] == 406, shifted
        for disguised in (f" {now}", f"+{now}", f"{now}.0", f"{now[:-1]}\u0660", f"0{now}"):
            body = json.dumps({"signature": good | {"timestamp": disguised}, "event-data": EVENT}).encode()
            assert (await client.post("/webhooks/mailgun", body))[0] == 406, disguised


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(post(b"x", "X: " + "y" * 100_000, "Content-Length: 1"), id="a long header"),
        pytest.param(post(b"x", *(f"X-{i}: y" for i in range(2000)), "Content-Length: 1"), id="many headers"),
        pytest.param(b"POST /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", id="a long path"),
        pytest.param(post(b"x", "Content-Length: 1", "Content-Length: 2"), id="two lengths"),
        pytest.param(post(b"x", "Content-Length: -1"), id="a negative length"),
        pytest.param(post(b"x", "Content-Length: 9" + "9" * 30), id="a length beyond numbers"),
        pytest.param(post(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"), id="length and chunks"),
        pytest.param(post(b"0\r\n\r\n", "Transfer-Encoding: chunked, identity"), id="chunks that are none"),
        pytest.param(post(b"zz\r\nx", "Transfer-Encoding: chunked"), id="a chunk size that is none"),
        pytest.param(post(b"x", "Content-Length : 1"), id="a space in a header name"),
        pytest.param(post(b"x", "Content-Length: 1", "X: a\0b"), id="NUL in a header"),
        pytest.param(post(b"x", "Content-Length: 1", " folded: yes"), id="a folded header"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, id="TLS on a plain port"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2"),
        pytest.param(b"GET http://127.0.0.1/metrics HTTP/1.1\r\nHost: x\r\n\r\n", id="a proxy's request"),
        pytest.param(b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n", id="a tunnel"),
    ],
)
async def test_hostile_requests_are_refused_and_the_next_sender_is_served(opened: Open, head: bytes) -> None:
    async with opened(providers()) as client:
        answer = await raw(client, head, 1.0)
        assert not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 5")), answer[:200]
        assert client.counted("mailgun", "accepted") == 0
        assert (await client.post("/webhooks/mailgun", webhook()))[0] == 200


@pytest.mark.parametrize(
    "name", ["..", ".", "%2e%2e/mailgun", "mailgun/../ses", "mailgun%00", "MAILGUN", "mailgun/", "a" * 4000]
)
async def test_no_path_reaches_what_is_not_configured(opened: Open, name: str) -> None:
    async with opened(providers()) as client:
        answer = await raw(client, post(webhook(), f"Content-Length: {len(webhook())}", path=f"/webhooks/{name}"), 1.0)
        assert answer.startswith(b"HTTP/1.1 404"), answer[:100]


async def test_a_webhook_chooses_neither_a_topic_nor_whose_it_is(opened: Open) -> None:
    """Headers that the stored record has are ours, whatever the request's are called."""
    from tests.ingress.fakes import records

    forged = {"provider": "other", "account": "acme", "verified": "1", "token": "x", "received_at": "1"}
    event = dict(EVENT, provider="other", account="acme", tenant="acme", storage={"url": "https://evil.example/"})
    async with opened(providers()) as client:
        status, _ = await client.post("/webhooks/mailgun?account=acme&provider=other", webhook(event), forged)
        assert status == 200
        (record,) = await asyncio.to_thread(records, client.bootstrap, f"{client.topic_prefix}webhooks.mailgun", 1)
    stored = dict(record.headers())
    assert (stored["provider"], stored["account"], stored["verified"]) == (b"mailgun", b"", b"1")
    assert stored["token"] == b"t" * 50
    assert int(stored["received_at"]) > 10**12


async def test_a_stranger_makes_the_ingress_fetch_nothing(opened: Open) -> None:
    """Not SigningCertURL, nor SubscribeURL, of a topic that is not ours; not even one of ours at another host."""
    asked: list[str] = []

    async def exchange(request: Any, deadline_s: float) -> Any:
        asked.append(request.url)
        raise AssertionError(request.url)

    foreign = "arn:aws:sns:us-east-1:999999999999:ses-events"
    hosts = (
        "http://169.254.169.254/latest",
        "https://127.0.0.1/x.pem",
        "https://sns.us-east-1.amazonaws.com@evil/x.pem",
    )
    offers = [
        notification(TopicArn=foreign),
        notification(Type="SubscriptionConfirmation", TopicArn=foreign, Token="t", SubscribeURL=hosts[0]),
    ]
    offers += [notification(SigningCertURL=host) for host in hosts]
    offers += [
        notification(Type="SubscriptionConfirmation", Token="t", SubscribeURL=host, SigningCertURL=host)
        for host in hosts
    ]
    async with opened(providers(), exchange=exchange) as client:
        for offer in offers:
            assert (await client.post("/webhooks/ses", signed(offer)))[0] == 403
    assert asked == []


@pytest.mark.parametrize("size", [100_000, 900_000])
async def test_an_event_full_of_tags_and_variables_is_stored_and_read_in_no_time(opened: Open, size: int) -> None:
    event = dict(EVENT, tags=["t" * 10] * (size // 14), **{"user-variables": {f"v{i}": "x" for i in range(100)}})
    body = webhook(event)
    adapter = providers()["mailgun"]
    async with opened({"mailgun": adapter}) as client:
        assert (await client.post("/webhooks/mailgun", body))[0] == 200
    began = time.thread_time()
    reading = adapter.read_events(body, 1)
    assert time.thread_time() - began < 0.5
    (sighting,) = reading.sightings  # type: ignore[union-attr]
    assert len(repr(sighting)) < 2000


async def test_a_crowd_that_asks_for_readiness_asks_kafka_once(opened: Open, unused_port: int) -> None:
    """Each question to a broker that is away takes two seconds of a thread; certificates are fetched by such threads."""
    async with opened(providers(), bootstrap=f"127.0.0.1:{unused_port}") as client:
        began = time.monotonic()
        answers = await asyncio.gather(*(client.get("/health/ready") for _ in range(200)))
        assert time.monotonic() - began < 8
        assert {status for status, _ in answers} == {503}


def test_a_token_is_remembered_longer_than_its_signature_is_good() -> None:
    longest_ms = MAX_WEBHOOK_AGE_S * 1000 + MAX_FUTURE_MS
    assert longest_ms < TOKEN_LIFE_MS
    with pytest.raises(ValueError, match="max_webhook_age_s"):
        MailgunConfig(domain="mg.example.com", api_key="k", max_webhook_age_s=MAX_WEBHOOK_AGE_S + 1)


def test_no_field_of_an_sns_message_can_be_hidden_in_another() -> None:
    """The string to sign has no quoting: a MessageId with line ends could swallow a Subject."""
    body = json.loads(signed(notification(Subject="s", MessageId="1")))
    body["MessageId"] = "1\nSubject\ns"
    del body["Subject"]
    assert isinstance(parse_envelope(json.dumps(body).encode()), Refused)


async def test_many_halves_of_bodies_are_not_held(opened: Open) -> None:
    """A hundred strangers send most of a large body each, and then wait."""
    part = post(b"x" * 900_000, "Content-Length: 1000000")
    async with opened(providers(), read_timeout_s=20.0) as client:
        host, _, port = client.base.removeprefix("http://").partition(":")
        strangers = [await asyncio.open_connection(host, int(port)) for _ in range(100)]
        try:
            for _, writer in strangers:
                writer.write(part)
            refused = [asyncio.create_task(reader.read(12)) for reader, _ in strangers]
            done, waiting = await asyncio.wait(refused, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            assert done
            assert {task.result() for task in done} == {b"HTTP/1.1 503"}
            assert (await client.post("/webhooks/mailgun", webhook()))[0] == 200
            for task in waiting:
                task.cancel()
        finally:
            for _, writer in strangers:
                writer.transport.abort()
