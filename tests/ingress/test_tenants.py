"""Webhooks of accounts that tenants have brought: verified with their own keys, taken within seconds, changed in use."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from streams.core.tenant import Tenant
from streams.ingress import running
from streams.ingress.tenants import TenantRoutes
from streams.kafka import KafkaClient, NewRecord
from streams.metrics import Metrics
from streams.serde.configuration import encode_tenant
from streams.settings import IngressSettings, KafkaSettings, Profile, ProviderSettings, Settings
from streams.settings.model import DispatchSettings
from streams.tenant_webhooks import TenantWebhooks
from tests.ingress.conftest import Client
from tests.ingress.fakes import create_topics, records


def webhook(key: str, token: str) -> str:
    stamp = str(int(time.time()))
    signature = hmac.new(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    return json.dumps({
        "signature": {"timestamp": stamp, "token": token, "signature": signature},
        "event-data": {"event": "delivered", "id": token},
    })  # fmt: skip


def tenant(name: str, folder: Path) -> Tenant:
    settings = {
        "domain": f"{name}.example",
        "api_key": f"file:{folder}/{name}",
        "signing_keys": f"file:{folder}/{name}",
    }
    return Tenant(name, account_settings={"mailgun": settings})


def settings_of(bootstrap: str, prefix: str, folder: Path) -> Settings:
    options = {"domain": "mg.example.com", "api_key": "env:API", "signing_keys": ["env:SIGNING"]}
    return Settings(
        kafka=KafkaSettings(bootstrap=bootstrap, profile=Profile.EMBEDDED, prefix=prefix),
        ingress=IngressSettings(port=0, drain_timeout_s=2.0),
        providers={"mailgun": ProviderSettings("mailgun", "mailgun", options=options)},
        dispatch=DispatchSettings(tenant_secrets=(f"file:{folder}/",)),
    )


ENV = {"API": "key", "SIGNING": "signing-main"}


async def test_a_tenants_webhooks_are_verified_with_its_own_key_and_stored_with_its_name(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    create_topics(embedded_kafka, f"{topic_prefix}webhooks.mailgun", f"{topic_prefix}tenants")
    (tmp_path / "acme").write_text("signing-acme")
    with KafkaClient(embedded_kafka) as kafka:
        kafka.send(NewRecord(f"{topic_prefix}tenants", b"acme", encode_tenant(tenant("acme", tmp_path))))
    settings = settings_of(embedded_kafka, topic_prefix, tmp_path)
    metrics = Metrics()
    async with (
        running(settings, TenantWebhooks(settings, ENV), metrics=metrics) as (host, port),
        aiohttp.ClientSession() as session,
    ):
        client = Client(f"http://{host}:{port}", session, metrics, topic_prefix, embedded_kafka)

        async def post(path: str, key: str, token: str) -> int:
            return (await client.post(path, webhook(key, token)))[0]

        assert await post("/webhooks/mailgun/acme", "signing-acme", "t1") == 200
        assert await post("/webhooks/mailgun/acme", "signing-main", "t2") == 406
        assert await post("/webhooks/mailgun", "signing-acme", "t3") == 406
        assert await post("/webhooks/mailgun", "signing-main", "t4") == 200
        assert await post("/webhooks/mailgun/nobody", "signing-acme", "t5") == 404
        assert await post("/webhooks/pigeon/acme", "signing-acme", "t6") == 404
    found = await asyncio.to_thread(records, embedded_kafka, f"{topic_prefix}webhooks.mailgun", 2)
    accounts = sorted(dict(record.headers())["account"] for record in found)
    assert accounts == [b"", b"@acme"]
    assert {dict(record.headers())["provider"] for record in found} == {b"mailgun"}


class Topic:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.reads = 0

    def __call__(self) -> dict[bytes, bytes]:
        self.reads += 1
        return dict(self.rows)


@pytest.fixture
def stage(tmp_path: Path) -> tuple[TenantWebhooks, Topic, list[float]]:
    topic, clock = Topic(), [100.0]
    settings = settings_of("localhost:9", "", tmp_path)
    return TenantWebhooks(settings, ENV, read=topic, clock_s=lambda: clock[0]), topic, clock


def store_acme(topic: Topic, folder: Path, key: str = "one") -> None:
    (folder / "acme").write_text(key)
    topic.rows[b"acme"] = encode_tenant(tenant("acme", folder))


def keys_of(adapter: Any) -> tuple[str, ...]:
    keys: tuple[str, ...] = adapter.config.signing_keys
    return keys


async def test_a_new_tenant_is_known_within_seconds_and_strangers_do_not_make_us_read_for_each_of_theirs(
    stage: tuple[TenantWebhooks, Topic, list[float]], tmp_path: Path
) -> None:
    webhooks, topic, clock = stage
    for number in range(100):
        assert await webhooks.of_tenant("mailgun", f"stranger{number}") is None
    assert topic.reads == 1
    store_acme(topic, tmp_path)
    clock[0] += 4
    adapter = await webhooks.of_tenant("mailgun", "acme")
    assert adapter is not None and keys_of(adapter) == ("one",)
    assert await webhooks.of_tenant("mailgun", "acme") is adapter
    assert topic.reads == 2


async def test_a_new_key_is_in_use_within_seconds_and_a_tenant_that_has_gone_is_not_found(
    stage: tuple[TenantWebhooks, Topic, list[float]], tmp_path: Path
) -> None:
    webhooks, topic, clock = stage
    store_acme(topic, tmp_path)
    assert await webhooks.of_tenant("mailgun", "acme") is not None
    (tmp_path / "acme").write_text("another")
    clock[0] += 3
    adapter = await webhooks.of_tenant("mailgun", "acme")
    assert adapter is not None and keys_of(adapter) == ("another",)
    (tmp_path / "acme").unlink()
    clock[0] += 3
    assert await webhooks.of_tenant("mailgun", "acme") is None
    del topic.rows[b"acme"]
    clock[0] += 30
    assert await webhooks.of_tenant("mailgun", "acme") is None


@pytest.mark.parametrize(
    "name", [b"\xff", b"%FF%00", b"%0a", b"\xc3\xa9", b"%ED%A0%80", b"a" * 3000, b"%2e%2e", b"@acme"]
)
async def test_no_name_in_a_path_is_more_than_unknown(embedded_kafka: str, topic_prefix: str, name: bytes) -> None:
    create_topics(embedded_kafka, f"{topic_prefix}webhooks.mailgun", f"{topic_prefix}tenants")
    settings = settings_of(embedded_kafka, topic_prefix, Path("/none"))
    async with running(settings, TenantWebhooks(settings, ENV)) as (host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"POST /webhooks/mailgun/" + name + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        status = int((await asyncio.wait_for(reader.readline(), 20)).split()[1])
        writer.close()
    assert status in (400, 404)


@pytest.mark.parametrize("name", ["x|mailgun", "x/mailgun", "x,y", "é"])
async def test_a_tenant_whose_name_no_request_can_have_has_no_path(
    stage: tuple[TenantWebhooks, Topic, list[float]], tmp_path: Path, name: str
) -> None:
    """Whoever stores tenants could else choose one that reads as a list of providers, and speak for all of them."""
    webhooks, topic, _ = stage
    store_acme(topic, tmp_path)
    topic.rows[name.encode()] = encode_tenant(replace(tenant("acme", tmp_path), tenant=name))
    routes: TenantRoutes[str] = TenantRoutes(webhooks, lambda provider, tenant, adapter: tenant)
    assert await routes.find("/webhooks/mailgun/acme") == "acme"
    assert await routes.find(f"/webhooks/mailgun/{quote(name, safe='')}") is None


async def test_a_tenant_that_is_known_does_not_wait_for_what_a_stranger_makes_us_read(
    stage: tuple[TenantWebhooks, Topic, list[float]], tmp_path: Path
) -> None:
    webhooks, topic, clock = stage
    store_acme(topic, tmp_path)
    assert await webhooks.of_tenant("mailgun", "acme") is not None
    clock[0] += 10.0
    go_on = threading.Event()
    webhooks._read = lambda: dict(topic.rows) if go_on.wait(10) else {}
    stranger = asyncio.create_task(webhooks.of_tenant("mailgun", "stranger"))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(webhooks.of_tenant("mailgun", "acme"), 5) is not None
    assert not stranger.done()
    go_on.set()
    assert await stranger is None
