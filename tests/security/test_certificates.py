"""Signing certificates: where they come from, over which TLS, and what must be in them."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from streams.providers import directmail, ses
from streams.providers._http import HttpExchange
from streams.providers.base import (
    CertificateNeeded,
    Exchange,
    HttpRequest,
    HttpResponse,
    Inbound,
    NoResponse,
    Provider,
    Refused,
    Verified,
    judge,
)
from tests.providers import mns_signing, sns_signing
from tests.providers.sns_signing import NOW_MS, START, TOPIC, certificate, curve_key, notification, rsa_key, signed
from tests.security.test_tampering import PUSH
from tests.security.tls import DAY, Authority, authority, serving

Answer = Callable[[web.Request], web.StreamResponse | None]


def sns() -> tuple[Provider, Inbound]:
    return ses.create("ses", ses.Config("us-east-1", topic_arns=(TOPIC,))), Inbound({}, signed(notification()))


def mns() -> tuple[Provider, Inbound]:
    config = directmail.Config(topics=("1234567890123456/directmail-events",))
    return directmail.create("dm", config), mns_signing.pushed(PUSH)


BOTH = pytest.mark.parametrize("service", [sns, mns])


def at(port: int, exchange: Exchange, deadline_s: float = 2.0) -> Exchange:
    """Asks the loopback, under the name ``localhost``, instead of the service's own host."""

    async def asked(request: HttpRequest, _: float) -> HttpResponse | NoResponse:
        path = request.url.rpartition("/")[2]
        assert request.url in (sns_signing.URL, mns_signing.URL)
        return await exchange(HttpRequest(request.method, f"https://localhost:{port}/{path}"), deadline_s)

    return asked


def gives(body: bytes, status: int = 200, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: web.Response(status=status, body=body, headers=named)


SERVERS: dict[str, Callable[[Authority], bytes]] = {
    "self-signed": lambda ours: ours.server("localhost", alone=True),
    "of another host": lambda ours: ours.server("sns.us-east-1.amazonaws.com"),
    "of a name around it": lambda ours: ours.server("localhost.evil.example", "evil-localhost"),
    "expired": lambda ours: ours.server("localhost", begins=-2 * DAY, ends=-DAY),
    "not yet valid": lambda ours: ours.server("localhost", begins=DAY, ends=2 * DAY),
    "of an authority that nobody knows": lambda ours: authority("theirs").server("localhost"),
    "none at all": lambda ours: b"",
}


@BOTH
@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
async def test_no_signing_certificate_is_taken_from_a_host_that_cannot_prove_its_name(
    tmp_path: Path, service: Callable[[], tuple[Provider, Inbound]], server: Callable[[Authority], bytes]
) -> None:
    adapter, inbound = service()
    ours = authority()
    async with (
        serving(tmp_path, server(ours), gives(certificate())) as host,
        HttpExchange(verify=ours.trusted) as exchange,
    ):
        verdict = await judge(adapter, inbound, at(host.port, exchange), NOW_MS)
    assert isinstance(verdict, CertificateNeeded)
    assert verdict.retry_at_ms > NOW_MS
    assert host.asked == []
    assert isinstance(adapter.verify(inbound, NOW_MS), CertificateNeeded), "nothing was learned"


@BOTH
async def test_from_the_right_host_it_is_taken(tmp_path: Path, service: Callable[[], tuple[Provider, Inbound]]) -> None:
    adapter, inbound = service()
    ours = authority()
    async with (
        serving(tmp_path, ours.server("localhost"), gives(certificate())) as host,
        HttpExchange(verify=ours.trusted) as exchange,
    ):
        assert isinstance(await judge(adapter, inbound, at(host.port, exchange), NOW_MS), Verified)
    assert len(host.asked) == 1


class Endless:
    """A body without end, in chunks; with ``pause_s`` between them."""

    def __init__(self, chunk: bytes, pause_s: float = 0.0) -> None:
        self.chunk, self.pause_s = chunk, pause_s

    def __call__(self, request: web.Request) -> web.StreamResponse:
        async def body() -> Any:
            while True:
                yield self.chunk
                await asyncio.sleep(self.pause_s)

        return web.Response(body=body())


ANSWERS: dict[str, Answer] = {
    "a redirect to another host": gives(b"", 302, Location="https://evil.example/x.pem"),
    "a redirect to a good one": lambda r: (
        web.Response(body=certificate())
        if r.path == "/good.pem"
        else web.Response(status=301, headers={"Location": "/good.pem"})
    ),
    "a redirect with a good one as its page": gives(certificate(), 302, Location="/"),
    "an error with a good one as its page": gives(certificate(), 500),
    "a part of it": gives(certificate(), 206),
    "empty": gives(b""),
    "a page": gives(b"<html>" + certificate()[30:]),
    "more than 64 KiB": gives(certificate() + b"\n" * 65_536),
    "a chunked giant": Endless(b"\n" * 65_536),
    "one byte after the other": Endless(b"-", 0.05),
    "a bomb": gives(gzip.compress(b"\n" * 50_000_000), Content_Encoding="gzip"),
    "a bomb in a bomb": gives(gzip.compress(gzip.compress(b"\n" * 50_000_000)), Content_Encoding="gzip, gzip"),
}


@BOTH
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_whatever_else_the_host_answers_leaves_the_webhook_with_its_sender(
    tmp_path: Path, service: Callable[[], tuple[Provider, Inbound]], answer: Answer
) -> None:
    adapter, inbound = service()
    ours = authority()
    async with (
        serving(tmp_path, ours.server("localhost"), answer) as host,
        HttpExchange(verify=ours.trusted) as exchange,
    ):
        assert isinstance(await judge(adapter, inbound, at(host.port, exchange), NOW_MS), CertificateNeeded)
        assert isinstance(await judge(adapter, inbound, at(host.port, exchange), NOW_MS + 1), CertificateNeeded)
    assert len(host.asked) == 1, "neither followed nor asked again at once"


# ---------------------------------------------------------------------------------------------- what is in it


def named(*names: tuple[x509.ObjectIdentifier, str], issuer: str = "anybody") -> bytes:
    """A certificate for the right key with this subject, signed by somebody else."""
    subject = x509.Name([x509.NameAttribute(kind, name) for kind, name in names])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(rsa_key().public_key())
        .serial_number(1)
        .not_valid_before(START - DAY)
        .not_valid_after(START + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sns.amazonaws.com")]), critical=False)
        .sign(rsa_key(number=9), SHA256())
    )
    return built.public_bytes(Encoding.PEM)


CN, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME
SECOND = timedelta(seconds=1)
UNUSABLE = {
    "expired a second ago": certificate(end=START - SECOND),
    "expired long ago": certificate(start=START - 400 * DAY, end=START - 300 * DAY),
    "valid in a second": certificate(start=START + SECOND),
    "an elliptic curve": certificate(curve_key()),
    "no certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    "DER": x509.load_pem_x509_certificate(certificate()).public_bytes(Encoding.DER),
    "a public key": rsa_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    "another key": certificate(rsa_key(number=5)),
    "another key first, the right one second": certificate(rsa_key(number=5)) + certificate(),
}
OF_ANOTHER = {
    "another name": named((CN, "evil.example")),
    "a region's name": named((CN, "sns.us-east-1.amazonaws.com")),
    "a name around it": named((CN, "sns.amazonaws.com.evil.example")),
    "the name in capitals": named((CN, "SNS.amazonaws.com")),
    "a blank behind it": named((CN, "sns.amazonaws.com ")),
    "NUL behind it": named((CN, "sns.amazonaws.com\0.evil.example")),
    "a wildcard": named((CN, "*.amazonaws.com")),
    "two names, the right one last": named((CN, "evil.example"), (CN, "sns.amazonaws.com")),
    "two names, the right one first": named((CN, "sns.amazonaws.com"), (CN, "evil.example")),
    "the name as unit": named((OU, "sns.amazonaws.com")),
    "the name as alternative alone": named(),
}


@BOTH
@pytest.mark.parametrize("pem", UNUSABLE.values(), ids=UNUSABLE)
def test_a_certificate_that_cannot_prove_anything_proves_nothing(
    service: Callable[[], tuple[Provider, Inbound]], pem: bytes
) -> None:
    adapter, inbound = service()
    for url in (sns_signing.URL, mns_signing.URL):
        adapter.learn_certificate(url, HttpResponse(200, {}, pem), NOW_MS)
    assert isinstance(adapter.verify(inbound, NOW_MS), CertificateNeeded | Refused)


@pytest.mark.parametrize("pem", OF_ANOTHER.values(), ids=OF_ANOTHER)
def test_a_certificate_of_sns_is_issued_to_sns_and_nobody_else(pem: bytes) -> None:
    adapter, inbound = sns()
    adapter.learn_certificate(sns_signing.URL, HttpResponse(200, {}, pem), NOW_MS)
    assert isinstance(adapter.verify(inbound, NOW_MS), CertificateNeeded)


def test_who_issued_it_is_not_asked_for_the_host_that_gave_it_vouches_for_it() -> None:
    adapter, inbound = sns()
    pem = named((CN, "sns.amazonaws.com"), issuer="anybody")
    adapter.learn_certificate(sns_signing.URL, HttpResponse(200, {}, pem), NOW_MS)
    assert isinstance(adapter.verify(inbound, NOW_MS), Verified)


@BOTH
@pytest.mark.parametrize("key", ["short", "Ed25519"])
def test_no_weak_or_foreign_kind_of_key_is_used(service: Callable[[], tuple[Provider, Inbound]], key: str) -> None:
    adapter, inbound = service()
    keys = {"short": short_key(), "Ed25519": ed25519.Ed25519PrivateKey.generate()}
    chosen = keys[key]
    subject = x509.Name([x509.NameAttribute(CN, "sns.amazonaws.com")])
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(chosen.public_key())
        .serial_number(1)
        .not_valid_before(START - DAY)
        .not_valid_after(START + DAY)
        .sign(chosen, SHA256() if key == "short" else None)
    )
    for url in (sns_signing.URL, mns_signing.URL):
        adapter.learn_certificate(url, HttpResponse(200, {}, built.public_bytes(Encoding.PEM)), NOW_MS)
    assert isinstance(adapter.verify(inbound, NOW_MS), CertificateNeeded)


def short_key() -> rsa.RSAPrivateKey:
    """Shorter than what this library still makes by itself: RSA of 768 bits, from two primes of 384."""
    p = 2**384 - 2**320 + 2**64
    q = 2**384 - 2**300 + 2**64
    p, q = _prime(p), _prime(q)
    e = 65_537
    d = pow(e, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), rsa.rsa_crt_iqmp(p, q), rsa.RSAPublicNumbers(e, p * q)
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def _prime(number: int) -> int:
    number |= 1
    while any(pow(base, number - 1, number) != 1 for base in (2, 3, 5, 7)) or (number - 1) % 65_537 == 0:
        number += 2
    return number
