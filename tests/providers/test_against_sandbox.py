"""The adapters against the look-alike providers, over HTTP, there and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from streams.core.message import Attachment, Mailbox
from streams.core.outcome import Accepted, Deferred, Rejected, Scope, Split
from streams.core.receipt import ReceiptKind
from streams.providers import mailgun, ses
from streams.providers._http import HttpExchange
from streams.providers.base import (
    Batch,
    Confirm,
    Entry,
    Found,
    HttpResponse,
    Inbound,
    NotFound,
    Provider,
    Question,
    Reading,
    Sighting,
    Slot,
    Verified,
)
from streams.sandbox import AccessCheck, MailgunConfig, OutcomeMix, Sandbox, SandboxConfig, SesConfig

ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklm"
TOPIC = "arn:aws:sns:us-east-1:111122223333:ses-events"
R = ReceiptKind


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def entry(number: int, local: str = "user", **variables: str) -> Entry:
    return Entry(f"{ID}{'abcdefghij'[number]}", 1, Mailbox(f"{local}{number}@example.net"), variables)


def batch(*entries: Entry, **parts: Any) -> Batch:
    return Batch(Mailbox("a@mg.example.com", "Shop"), entries, **{"subject": ("Hi",), "text": ("Hello",), **parts})


class Hooks:
    """Takes the sandbox's webhooks as they arrive."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[Inbound] = asyncio.Queue()

    async def take(self, request: web.BaseRequest) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        await self.arrived.put(Inbound(headers, await request.read(), request.content_type))
        return web.Response()

    async def next(self) -> Inbound:
        async with asyncio.timeout(15):
            return await self.arrived.get()

    async def sightings(self, provider: Provider, count: int) -> list[Sighting]:
        """The next sightings, each from a webhook that proved authentic."""
        found: list[Sighting] = []
        while len(found) < count:
            inbound = await self.next()
            assert isinstance(provider.verify(inbound, now_ms()), Verified)
            reading = provider.read_events(inbound.body, now_ms())
            assert isinstance(reading, Reading)
            assert reading.unknown_words == ()
            found += reading.sightings
        return found


@pytest.fixture
async def hooks() -> AsyncIterator[tuple[Hooks, str]]:
    found = Hooks()
    runner = web.ServerRunner(web.Server(found.take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield found, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await runner.cleanup()


@asynccontextmanager
async def sandbox(path: Path, mailgun: dict[str, Any] | None = None, ses: dict[str, Any] | None = None) -> Any:
    config = SandboxConfig(
        ledger_path=path / "ledger.jsonl",
        webhook_delay_s=0.01,
        mix=OutcomeMix.only_success(),
        mailgun=MailgunConfig(**(mailgun or {})),
        ses=SesConfig(**(ses or {})),
    )
    running = Sandbox(config)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


def mailgun_at(running: Sandbox, **changes: Any) -> mailgun.Mailgun:
    options = {"api_key": "key-sandbox", "signing_keys": ("signing-key-sandbox",), "base_url": running.url, **changes}
    return mailgun.create("mg", mailgun.Config("mg.example.com", **options))


def ses_at(running: Sandbox, certificates: Path | None = None, **changes: Any) -> ses.Ses:
    options = {
        "access_key_id": "AKIASANDBOX000000000",
        "secret_access_key": "sandbox-secret",
        "configuration_set": "events",
        "topic_arns": (TOPIC,),
        "endpoint_url": running.url,
        "sns_endpoint_url": running.url,
        "pinned_certificates": str(certificates or ""),
        **changes,
    }
    return ses.create("ses", ses.Config("us-east-1", **options))


async def send(provider: Provider, what: Batch) -> Any:
    assert provider.fits(what) == ""
    async with HttpExchange() as exchange:
        answer = await exchange(provider.build_request(what, now_ms()), 10.0)
    return provider.read_response(what, answer, now_ms())


SHAPES = {
    "plain": {},
    "html": {"html": ("<p>ü ", Slot("name"), "</p>"), "tags": ("welcome",)},
    "files": {"attachments": (Attachment("ré.pdf", "application/pdf", b"%PDF\r\n\x00\xff"),)},
    "mime": {"mime": b"From: a@mg.example.com\r\nTo: user0@example.net\r\nSubject: whole\r\n\r\nbody\r\n"},
    "copy": {"visible_to": (Mailbox("boss@example.net", "Boss"),)},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("compressed", [False, True])
async def test_mailgun_takes_every_shape_of_a_message_and_tells_of_it(
    tmp_path: Path, hooks: tuple[Hooks, str], shape: str, compressed: bool
) -> None:
    received, url = hooks
    async with sandbox(tmp_path, mailgun={"webhook_url": url}) as running:
        provider = mailgun_at(running, gzip=compressed)
        (taken,) = await send(provider, batch(entry(0, name="Ann"), **SHAPES[shape]))
        assert isinstance(taken, Accepted)
        told = await received.sightings(provider, 2)
    assert {s.kind for s in told} == {R.PROVIDER_SENT, R.DELIVERED}
    assert {(s.message_id, s.attempt, s.recipient) for s in told} == {(f"{ID}a", 1, "user0@example.net")}
    if shape != "mime":
        assert {s.provider_message_id for s in told} == {taken.provider_message_id}


async def test_mailgun_takes_a_batch_and_every_recipient_is_told_apart(
    tmp_path: Path, hooks: tuple[Hooks, str]
) -> None:
    received, url = hooks
    entries = (entry(0, name="Ann"), entry(1, "bounce+", name="Jörg & <Söhne>"), entry(2, name="x"))
    async with sandbox(tmp_path, mailgun={"webhook_url": url}) as running:
        provider = mailgun_at(running)
        result = await send(
            provider, batch(*entries, text=("Hello ", Slot("name")), html=("<b>", Slot("name"), "</b>"))
        )
        assert [type(one) for one in result] == [Accepted] * 3
        told = await received.sightings(provider, 6)
    final = {s.message_id: s.kind for s in told if s.kind is not R.PROVIDER_SENT}
    assert final[f"{ID}a"] is final[f"{ID}c"] is R.DELIVERED
    assert len(final) == 3


async def test_mailgun_is_asked_whether_it_took_an_attempt(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as running, HttpExchange() as exchange:
        provider = mailgun_at(running)
        began = now_ms()
        question = Question(f"{ID}a", 1, "user0@example.net", began)
        assert await provider.find(question, exchange, now_ms()) == NotFound()
        (taken,) = await send(provider, batch(entry(0)))
        found = await provider.find(question, exchange, now_ms())
        assert isinstance(found, Found)
        assert found.provider_message_id == taken.provider_message_id
        later = Question(f"{ID}a", 2, "user0@example.net", began)
        assert await provider.find(later, exchange, now_ms()) == NotFound()


async def test_mailguns_refusals_are_understood(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as running:
        good, bad = entry(0), Entry(f"{ID}b", 1, Mailbox("nonsense"))
        assert isinstance(await send(mailgun_at(running), batch(good, bad)), Split)
        (refused,) = await send(mailgun_at(running), batch(bad))
        assert isinstance(refused, Rejected)
        assert refused.scope is Scope.RECIPIENT
        (held,) = await send(mailgun_at(running, api_key="wrong"), batch(good))
        assert isinstance(held, Deferred)
        assert held.scope is Scope.ACCOUNT


@pytest.mark.parametrize("shape", SHAPES)
async def test_ses_takes_every_shape_of_a_message_signed_and_tells_of_it(
    tmp_path: Path, hooks: tuple[Hooks, str], shape: str
) -> None:
    received, url = hooks
    options = {"webhook_url": url, "check": AccessCheck.SIGNATURE, "certificates_dir": tmp_path / "certificates"}
    async with sandbox(tmp_path, ses=options) as running:
        provider = ses_at(running, tmp_path / "certificates")
        (taken,) = await send(provider, batch(entry(0, name="Ann"), **SHAPES[shape]))
        assert isinstance(taken, Accepted)
        told = await received.sightings(provider, 2)
    assert {s.kind for s in told} == {R.PROVIDER_SENT, R.DELIVERED}
    assert {(s.message_id, s.attempt, s.recipient) for s in told} == {(f"{ID}a", 1, "user0@example.net")}
    assert {s.provider_message_id for s in told} == {taken.provider_message_id}


async def test_ses_takes_a_batch_and_every_recipient_is_told_apart(tmp_path: Path, hooks: tuple[Hooks, str]) -> None:
    received, url = hooks
    entries = (entry(0, name='Ann "A"'), entry(1, name="Jörg & <Söhne>"))
    options = {"webhook_url": url, "check": AccessCheck.SIGNATURE, "certificates_dir": tmp_path / "certificates"}
    async with sandbox(tmp_path, ses=options) as running:
        provider = ses_at(running, tmp_path / "certificates")
        result = await send(
            provider, batch(*entries, text=("Hello ", Slot("name")), html=("<b>", Slot("name"), "</b>"))
        )
        assert [type(one) for one in result] == [Accepted] * 2
        told = await received.sightings(provider, 4)
    assert {(s.message_id, s.kind) for s in told} == {
        (f"{ID}{letter}", kind) for letter in "ab" for kind in (R.PROVIDER_SENT, R.DELIVERED)
    }


async def test_ses_refuses_a_wrong_signature_and_the_account_is_held(tmp_path: Path) -> None:
    async with sandbox(tmp_path, ses={"check": AccessCheck.SIGNATURE}) as running:
        (held,) = await send(ses_at(running, secret_access_key="wrong"), batch(entry(0)))
    assert isinstance(held, Deferred)
    assert held.scope is Scope.ACCOUNT


async def test_sess_quotas_are_read(tmp_path: Path) -> None:
    async with sandbox(tmp_path, ses={"max_send_rate": 14.0, "max_24h": 200.0}) as running, HttpExchange() as exchange:
        provider = ses_at(running)
        quota = provider.read_quota(await exchange(provider.quota_request(now_ms()), 5.0))
    assert quota is not None
    assert (quota.max_send_rate, quota.max_24h, quota.sending_enabled) == (14.0, 200.0, True)


async def test_a_subscription_is_confirmed_before_events_flow(tmp_path: Path, hooks: tuple[Hooks, str]) -> None:
    received, url = hooks
    options = {"webhook_url": url, "confirm_first": True, "certificates_dir": tmp_path / "certificates"}
    async with sandbox(tmp_path, ses=options) as running, HttpExchange() as exchange:
        provider = ses_at(running, tmp_path / "certificates")
        verdict = provider.verify(await received.next(), now_ms())
        assert isinstance(verdict, Confirm)
        answer = await exchange(verdict.request, 5.0)
        assert isinstance(answer, HttpResponse)
        assert answer.status == 200
        await send(provider, batch(entry(0)))
        assert len(await received.sightings(provider, 2)) == 2
