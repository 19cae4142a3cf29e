"""The real adapters behind the ingress, and the sandbox in front of it: signed by others, judged and stored by us."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streams.adapters import build_adapters
from streams.ingress import listen, running
from streams.metrics import Metrics
from streams.providers._http import HttpExchange
from streams.sandbox.config import MailgunConfig, OutcomeMix, SandboxConfig, SesConfig
from streams.sandbox.server import Sandbox
from streams.settings import IngressSettings, KafkaSettings, Profile, ProviderSettings, Settings
from tests.ingress.fakes import create_topics, records

ARN = "arn:aws:sns:us-east-1:111122223333:ses-events"
ENV = {"API": "key-sandbox", "SIGNING": "signing-key-sandbox", "OTHER": "another", "ACCESS": "AKIA", "SECRET": "s"}


@dataclass
class Stage:
    """An ingress and a sandbox that know each other."""

    sandbox: Sandbox
    metrics: Metrics
    session: aiohttp.ClientSession
    ingress: str
    bootstrap: str
    prefix: str

    def counted(self, name: str, result: str) -> float:
        return self.metrics.ingress_requests.at(name, result).value

    async def until(self, reached: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not reached():
                await asyncio.sleep(0.01)

    async def stored(self, kind: str, count: int) -> list[dict[str, Any]]:
        found = await asyncio.to_thread(records, self.bootstrap, f"{self.prefix}webhooks.{kind}", count)
        return [json.loads(record.value()) for record in found]

    async def post(self, path: str, payload: Any) -> int:
        async with self.session.post(f"{self.ingress}{path}", data=json.dumps(payload)) as answer:
            return answer.status


@contextlib.asynccontextmanager
async def staged(
    bootstrap: str, prefix: str, tmp_path: Path, mailgun: Any = None, ses: Any = None, confirm_first: bool = False
) -> AsyncIterator[Stage]:
    create_topics(bootstrap, f"{prefix}webhooks.mailgun", f"{prefix}webhooks.ses")
    listener = listen(IngressSettings(port=0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = SandboxConfig(
        tmp_path / "ledger",
        mailgun=MailgunConfig(webhook_url=f"{base}/webhooks/mailgun"),
        ses=SesConfig(
            webhook_url=f"{base}/webhooks/ses",
            certificates_dir=tmp_path,
            default_configuration_set="streams",
            confirm_first=confirm_first,
        ),
        webhook_delay_s=0.001,
        mix=OutcomeMix.only_success(),
    )
    sandbox = Sandbox(config)
    url = await sandbox.start()
    of_mailgun = {"domain": "mg.example.com", "api_key": "env:API", "signing_keys": ["env:SIGNING"], "base_url": url}
    of_ses = {
        "region": "us-east-1",
        "access_key_id": "env:ACCESS",
        "secret_access_key": "env:SECRET",
        "topic_arns": [ARN],
        "pinned_certificates": str(tmp_path),
        "endpoint_url": url,
        "sns_endpoint_url": url,
    }
    settings = Settings(
        kafka=KafkaSettings(bootstrap, Profile.EMBEDDED, prefix=prefix),
        ingress=IngressSettings(port=0, drain_timeout_s=2.0),
        providers={
            "mailgun": ProviderSettings("mailgun", "mailgun", options={**of_mailgun, **(mailgun or {})}),
            "ses": ProviderSettings("ses", "ses", options={**of_ses, **(ses or {})}),
        },
    )
    metrics = Metrics()
    try:
        async with (
            HttpExchange() as exchange,
            running(settings, build_adapters(settings, ENV), exchange=exchange, metrics=metrics, listener=listener),
            aiohttp.ClientSession() as session,
        ):
            yield Stage(sandbox, metrics, session, base, bootstrap, prefix)
    finally:
        await sandbox.stop()


async def send_by_mailgun(stage: Stage, recipient: str) -> None:
    form = {"from": "a@mg.example.com", "to": recipient, "subject": "hi", "text": "hello", "v:message_id": "m-1"}
    headers = {"Authorization": "Basic " + b64encode(b"api:key-sandbox").decode()}
    url = f"{stage.sandbox.url}/v3/mg.example.com/messages"
    async with stage.session.post(url, data=form, headers=headers) as answer:
        assert answer.status == 200


async def send_by_ses(stage: Stage, recipient: str) -> None:
    body = {
        "FromEmailAddress": "a@example.com",
        "Destination": {"ToAddresses": [recipient]},
        "Content": {"Simple": {"Subject": {"Data": "hi"}, "Body": {"Text": {"Data": "hello"}}}},
    }
    async with stage.session.post(f"{stage.sandbox.url}/v2/email/outbound-emails", json=body) as answer:
        assert answer.status == 200


async def test_mailguns_webhooks_are_verified_and_stored(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with staged(embedded_kafka, topic_prefix, tmp_path) as stage:
        await send_by_mailgun(stage, "u@example.net")
        await stage.until(lambda: stage.counted("mailgun", "accepted") >= 2)
        payloads = await stage.stored("mailgun", 2)
        assert {payload["event-data"]["event"] for payload in payloads} == {"accepted", "delivered"}
        assert stage.counted("mailgun", "bad_signature") == 0
        forged = payloads[0]
        forged["signature"]["token"] = forged["signature"]["token"][::-1]
        assert await stage.post("/webhooks/mailgun", forged) == 406
        assert await stage.post("/webhooks/mailgun", payloads[1]) == 200  # a repeat


async def test_a_wrong_mailgun_signing_key_refuses_and_stores_nothing(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with staged(embedded_kafka, topic_prefix, tmp_path, mailgun={"signing_keys": ["env:OTHER"]}) as stage:
        await send_by_mailgun(stage, "u@example.net")
        await stage.until(lambda: stage.counted("mailgun", "bad_signature") >= 2)
        assert stage.counted("mailgun", "accepted") == 0


async def test_two_mailgun_keys_are_accepted_while_one_is_rotated(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    keys = {"signing_keys": ["env:OTHER", "env:SIGNING"]}
    async with staged(embedded_kafka, topic_prefix, tmp_path, mailgun=keys) as stage:
        await send_by_mailgun(stage, "u@example.net")
        await stage.until(lambda: stage.counted("mailgun", "accepted") >= 2)


async def test_the_subscription_to_our_topic_is_confirmed_and_events_flow(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    async with staged(embedded_kafka, topic_prefix, tmp_path, confirm_first=True) as stage:
        await stage.until(lambda: stage.counted("ses", "accepted") >= 1)
        await send_by_ses(stage, "u@example.net")
        await stage.until(lambda: stage.counted("ses", "accepted") >= 3)
        envelopes = await stage.stored("ses", 2)
        assert {json.loads(envelope["Message"])["eventType"] for envelope in envelopes} == {"Send", "Delivery"}
        tampered = {**envelopes[0], "Message": envelopes[0]["Message"].replace("u@example.net", "v@example.net")}
        assert await stage.post("/webhooks/ses", tampered) == 403


@pytest.mark.parametrize(
    "topic", ["arn:aws:sns:us-east-1:111122223333:others", "arn:aws:sns:us-east-1:999999999999:ses-events"]
)
async def test_a_subscription_to_another_topic_is_neither_confirmed_nor_taken(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, topic: str
) -> None:
    ses = {"topic_arns": [topic]}
    async with staged(embedded_kafka, topic_prefix, tmp_path, ses=ses, confirm_first=True) as stage:
        await stage.until(lambda: stage.counted("ses", "bad_signature") >= 1)
        assert not stage.sandbox.sns.confirmed
        assert stage.counted("ses", "accepted") == 0
