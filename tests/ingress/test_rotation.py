"""A signing key is rotated while webhooks come in: both keys during the overlap, then the new one alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from streams.ingress import running
from streams.metrics import Metrics
from streams.settings import IngressSettings, KafkaSettings, Profile, ProviderSettings, Settings
from streams.tenant_webhooks import TenantWebhooks
from tests.ingress.fakes import create_topics
from tests.ingress.test_tenants import webhook


async def until_read(metrics: Metrics, times: int) -> None:
    async with asyncio.timeout(20):
        while metrics.credential_reloads.at("mailgun", "read").value < times:
            await asyncio.sleep(0.01)


async def test_both_keys_are_taken_while_both_are_named_and_then_the_old_one_is_not(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    create_topics(embedded_kafka, f"{topic_prefix}webhooks.mailgun", f"{topic_prefix}tenants")
    keys = [f"file:{tmp_path}/{name}" for name in ("current", "next")]
    for name in ("current", "next", "api"):
        (tmp_path / name).write_text("old\n")
    options = {"domain": "mg.example.com", "api_key": f"file:{tmp_path}/api", "signing_keys": keys}
    settings = Settings(
        kafka=KafkaSettings(bootstrap=embedded_kafka, profile=Profile.EMBEDDED, prefix=topic_prefix),
        ingress=IngressSettings(port=0, drain_timeout_s=2.0),
        providers={"mailgun": ProviderSettings("mailgun", "mailgun", options=options)},
    )
    metrics, reread = Metrics(), asyncio.Event()
    adapters = TenantWebhooks(settings, {}, read=dict)
    async with (
        running(settings, adapters, metrics=metrics, reread=reread) as (host, port),
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
    ):

        async def post(key: str, token: str) -> int:
            async with session.post("/webhooks/mailgun", data=webhook(key, token)) as answer:
                return answer.status

        assert (await post("old", "1"), await post("new", "2")) == (200, 406)
        (tmp_path / "next").write_text("new\n")
        await until_read(metrics, 1)
        assert (await post("old", "3"), await post("new", "4")) == (200, 200)
        (tmp_path / "current").write_text("")
        async with asyncio.timeout(20):
            while not metrics.credential_reloads.at("mailgun", "failed").value:
                await asyncio.sleep(0.01)
        assert (await post("old", "5"), await post("new", "6")) == (200, 200), "a rotation that failed half-way"
        (tmp_path / "current").write_text("new\n")
        reread.set()
        await until_read(metrics, 2)
        assert (await post("old", "7"), await post("new", "8")) == (406, 200)
