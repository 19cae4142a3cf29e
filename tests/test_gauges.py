"""Gauges that are brought up to date right before they are read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.credentials import Credentials, RefreshableCredentials

from streams.core.message import Stream
from streams.gauges import measure
from streams.metrics import Metrics
from streams.providers.ses import Config, Ses
from streams.settings import KafkaSettings, ProviderSettings, Settings, Store, WorkerSettings
from tests.agents.dispatch_desk import NOW, Desk

SETTINGS = Settings(KafkaSettings("localhost:9"), providers={"mailgun": ProviderSettings("mailgun", "mailgun")})
ENDS = datetime(2026, 12, 1, tzinfo=UTC)


async def test_what_is_held_and_since_when_the_oldest_waits_is_shown() -> None:
    d = await Desk().open()
    metrics = Metrics()
    d.breakers.read_control(b"pause/tenant/acme", b"{}")
    await d.give(d.message("a@example.net"), d.message("b@example.net", stream=Stream.BULK), topic="outbound.bulk")
    measure(metrics, SETTINGS, d.breakers, d.dispatch, {})
    assert metrics.held_messages.at("mailgun").value == 2
    assert metrics.oldest_open.at("bulk").value == NOW / 1000
    d.breakers.read_control(b"pause/tenant/acme", None)
    await d.wake(0)
    measure(metrics, SETTINGS, d.breakers, d.dispatch, {})
    assert metrics.held_messages.at("mailgun").value == metrics.oldest_open.at("bulk").value == 0


async def test_credentials_that_end_are_shown_and_lasting_ones_are_not() -> None:
    d = await Desk().open()
    metrics = Metrics()
    temporary, lasting = (Ses(name, Config("eu-west-1")) for name in ("temporary", "lasting"))
    temporary._signer._credentials = RefreshableCredentials("a", "s", "t", ENDS, dict, "test")
    lasting._signer._credentials = Credentials("a", "s")
    measure(metrics, SETTINGS, d.breakers, d.dispatch, {"temporary": temporary, "lasting": lasting})
    assert dict(metrics.credential_expiry.items()).keys() == {("temporary",)}
    assert metrics.credential_expiry.at("temporary").value == ENDS.timestamp()


async def test_room_on_the_disk_is_shown_where_tables_lie_on_it(tmp_path: Path) -> None:
    d = await Desk().open()
    metrics = Metrics()
    measure(metrics, SETTINGS, d.breakers, d.dispatch, {})
    assert not dict(metrics.data_dir_free.items())
    on_disk = replace(SETTINGS, worker=WorkerSettings(store=Store.ROCKSDB, data_dir=str(tmp_path)))
    measure(metrics, on_disk, d.breakers, d.dispatch, {})
    free = metrics.data_dir_free.at("rocksdb").value
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    measure(
        metrics, replace(on_disk, worker=replace(on_disk.worker, data_dir="/no/such/place")), d.breakers, d.dispatch, {}
    )
    assert metrics.data_dir_free.at("rocksdb").value == free
