"""The doctor looks at DirectMail: keys, ways home, queue. The sandbox answers, and checks every signature."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.doctor.directmail import check_directmail
from streams.doctor.finding import Finding
from streams.providers import directmail
from streams.providers._http import HttpExchange
from streams.sandbox import DirectMailConfig, Sandbox, SandboxConfig


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxConfig(tmp_path / "ledger", directmail=DirectMailConfig(check=True, queue="events")))
    await running.start()
    yield running
    await running.stop()


async def findings(sandbox: Sandbox, **options: Any) -> dict[str, Finding]:
    keys = {"access_key_id": "LTAIsandbox", "access_key_secret": "sandbox-secret", "endpoint_url": sandbox.url,
            "mns_endpoint_url": sandbox.url, **options}  # fmt: skip
    adapter = directmail.create("dm", directmail.Config(**keys))
    async with HttpExchange() as exchange:
        found = await check_directmail("dm", adapter, exchange, time.time_ns() // 1_000_000)
    return {finding.check: finding for finding in found}


@pytest.mark.parametrize("signature", ["1.0", "acs3"])
async def test_good_keys_a_topic_and_a_queue_are_well_and_nothing_is_sent(sandbox: Sandbox, signature: str) -> None:
    found = await findings(sandbox, signature=signature, topics=("1/events",), mns_queue="events")
    assert [finding.ok for finding in found.values()] == [True, True, True]
    assert sandbox.ledger.accepted["directmail"] == 0


async def test_wrong_keys_a_missing_queue_and_no_way_home_are_told_with_what_to_do(sandbox: Sandbox) -> None:
    found = await findings(sandbox, access_key_secret="wrong", mns_queue="others")
    assert "SignatureDoesNotMatch" in found["dm credentials"].detail
    assert "access_key_secret" in found["dm credentials"].advice
    assert not found["dm queue"].ok
    missing = await findings(sandbox, mns_queue="others")
    assert "QueueNotExist" in missing["dm queue"].detail
    lonely = await findings(sandbox)
    assert not lonely["dm notifications"].ok and "topics" in lonely["dm notifications"].advice


async def test_no_answer_names_the_address(sandbox: Sandbox) -> None:
    found = await findings(sandbox, endpoint_url="http://127.0.0.1:9")
    assert "http://127.0.0.1:9" in found["dm credentials"].detail
