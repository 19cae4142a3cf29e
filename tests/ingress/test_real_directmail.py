"""The DirectMail adapter behind the ingress, and the sandbox's message service in front of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streams.adapters import build_adapters
from streams.ingress import listen, running
from streams.metrics import Metrics
from streams.providers import directmail
from streams.providers._http import HttpExchange
from streams.providers.base import HttpRequest, HttpResponse, NoResponse, Reading
from streams.sandbox import DirectMailConfig, NoticeForm, OutcomeMix, PushFormat, Sandbox, SandboxConfig
from streams.sandbox.mns import CERTIFICATE_HOST
from streams.settings import IngressSettings, KafkaSettings, Profile, ProviderSettings, Settings
from tests.ingress.fakes import create_topics, records

TOPIC = "1234567890123456/directmail-events"
FORM = {"Action": "SingleSendMail", "SignatureNonce": "1", "AccountName": "n@mail.example.com", "AddressType": "1",
        "ReplyToAddress": "false", "ToAddress": "click@example.net", "Subject": "s", "TextBody": "t"}  # fmt: skip


@dataclass
class Stage:
    """An ingress and a sandbox that know each other. ``fetched`` are the addresses that the ingress asked."""

    sandbox: Sandbox
    metrics: Metrics
    session: aiohttp.ClientSession
    ingress: str
    bootstrap: str
    topic: str
    fetched: list[str] = field(default_factory=list)

    def counted(self, result: str) -> float:
        return self.metrics.ingress_requests.at("dm", result).value

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not reached():
                await asyncio.sleep(0.01)

    async def send(self) -> None:
        async with self.session.post(f"{self.sandbox.url}/", data=FORM) as answer:
            assert answer.status == 200

    async def repeat(self, path: str, message: str, **changes: str) -> int:
        """A push of the sandbox's, signed for its own endpoint, posted by hand."""
        head, body = self.sandbox.mns.push("M-1", message)
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines()) | changes
        async with self.session.post(f"{self.ingress}{path}", data=body, headers=headers) as answer:
            return answer.status


@contextlib.asynccontextmanager
async def staged(
    bootstrap: str,
    prefix: str,
    tmp_path: Path,
    path: str = "/webhooks/directmail",
    options: Any = None,
    reachable: bool = True,
    **config: Any,
) -> AsyncIterator[Stage]:
    topic = f"{prefix}webhooks.directmail"
    create_topics(bootstrap, topic)
    listener = listen(IngressSettings(port=0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    sandbox = Sandbox(
        SandboxConfig(
            tmp_path / "ledger",
            directmail=DirectMailConfig(webhook_url=f"{base}{path}", **config),
            webhook_delay_s=0.001,
            mix=OutcomeMix.only_success(),
        )
    )
    url = await sandbox.start()
    settings = Settings(
        kafka=KafkaSettings(bootstrap, Profile.EMBEDDED, prefix=prefix),
        ingress=IngressSettings(port=0, drain_timeout_s=2.0),
        providers={"dm": ProviderSettings("dm", "directmail", options={"topics": [TOPIC], **(options or {})})},
    )
    metrics, fetched = Metrics(), list[str]()
    try:
        async with HttpExchange() as network, aiohttp.ClientSession() as session:

            async def exchange(request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
                """The service's certificate host, as far as there is one here."""
                fetched.append(request.url)
                assert request.url.startswith(CERTIFICATE_HOST)
                if not reachable:
                    return NoResponse(sent=False, detail="no route")
                return await network(
                    HttpRequest("GET", request.url.replace(CERTIFICATE_HOST, f"{url}/sandbox/mns/")), deadline_s
                )

            adapters = build_adapters(settings, {"SECRET": "sesame"})
            async with running(settings, adapters, exchange=exchange, metrics=metrics, listener=listener):
                yield Stage(sandbox, metrics, session, base, bootstrap, topic, fetched)
    finally:
        await sandbox.stop()


@pytest.mark.parametrize("form", NoticeForm)
@pytest.mark.parametrize("wrapping", [PushFormat.XML, PushFormat.JSON])
async def test_pushes_are_verified_with_a_fetched_certificate_stored_and_answered_204(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, form: NoticeForm, wrapping: PushFormat
) -> None:
    async with staged(embedded_kafka, topic_prefix, tmp_path, form=form, push_format=wrapping) as stage:
        await stage.send()
        await stage.until(lambda: stage.counted("accepted") >= 3)
        found = await asyncio.to_thread(records, stage.bootstrap, stage.topic, 3)
        kinds = set()
        for record in found:
            reading = directmail.create("dm", directmail.Config()).read_events(record.value(), 1)
            assert isinstance(reading, Reading)
            kinds |= {sighting.kind.value for sighting in reading.sightings}
        assert kinds == {"delivered", "opened", "clicked"}
        assert len(set(stage.fetched)) == 1
        assert stage.sandbox.ledger.answers["directmail"] == {"delivered": 3}
        assert await stage.repeat("/webhooks/directmail", "event=Open&rcpt=u@example.net") == 204


async def test_a_simplified_push_is_taken_with_the_secret_of_its_signed_path(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    options = {"push_secret": "env:SECRET", "topics": []}
    path = "/webhooks/dm?secret=sesame"
    async with staged(
        embedded_kafka, topic_prefix, tmp_path, path=path, options=options, push_format=PushFormat.SIMPLIFIED
    ) as stage:
        await stage.send()
        await stage.until(lambda: stage.counted("accepted") >= 3)
        assert await stage.repeat("/webhooks/dm?secret=other", "event=Open") == 403
        assert await stage.repeat("/webhooks/dm", "event=Open") == 403


async def test_what_is_forged_is_403_what_is_malformed_400_and_both_are_counted(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with staged(embedded_kafka, topic_prefix, tmp_path) as stage:
        path = "/webhooks/directmail"
        assert await stage.repeat(path, "event=Open", Authorization="bm8=") == 403
        assert await stage.repeat(path, "event=Open", **{"Content-MD5": "bm8="}) == 403
        assert await stage.repeat("/webhooks/dm", "event=Open") == 403  # signed for another path
        assert await stage.repeat(path, "event=Open", Authorization="no base64!") == 400
        async with stage.session.post(f"{stage.ingress}{path}", data=b"event=Open") as answer:
            assert answer.status == 400
        assert (stage.counted("bad_signature"), stage.counted("malformed")) == (3, 2)
        assert stage.counted("accepted") == 0


async def test_a_topic_that_is_not_ours_is_refused_and_no_certificate_is_fetched_for_it(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with staged(embedded_kafka, topic_prefix, tmp_path, topic="others") as stage:
        await stage.send()
        await stage.until(lambda: stage.counted("bad_signature") >= 3)
        assert stage.fetched == []


async def test_while_the_certificate_cannot_be_fetched_the_service_keeps_its_push(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with staged(embedded_kafka, topic_prefix, tmp_path, reachable=False) as stage:
        assert await stage.repeat("/webhooks/directmail", "event=Open") == 503
        assert stage.counted("unavailable") == 1
