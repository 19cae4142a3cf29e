"""What `streams doctor` says of an SMTP server, real connections included."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streams.doctor.finding import Finding
from streams.doctor.providers import check_provider
from streams.providers import smtp
from streams.providers._http import HttpExchange
from streams.providers.smtp.config import Encryption
from streams.sandbox import Sandbox, SandboxConfig, SmtpConfig


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    running = Sandbox(SandboxConfig(tmp_path / "ledger.jsonl", smtp=SmtpConfig()))
    await running.start()
    yield running
    await running.stop()


async def look(sandbox: Sandbox, **changes: Any) -> dict[str, Finding]:
    assert sandbox.smtp is not None
    values: dict[str, Any] = {
        "host": "localhost",
        "port": sandbox.smtp.port,
        "tls": Encryption.IMPLICIT,
        "ca_file": str(sandbox.smtp.certificate),
        "username": "sandbox",
        "password": "password-sandbox",
        "return_path": "bounces.example.com",
    }
    adapter = smtp.create("relay", smtp.Config(**(values | changes)))
    return {found.check: found for found in await check_provider("relay", adapter, HttpExchange(), 0)}


async def test_a_sound_server_is_called_sound_and_nothing_is_sent(sandbox: Sandbox) -> None:
    found = await look(sandbox)
    assert all(finding.ok for finding in found.values())
    assert "login sandbox is accepted" in found["relay credentials"].detail
    assert sandbox.ledger.accepted["smtp"] == 0


@pytest.mark.parametrize(
    ("changes", "said", "advice"),
    [
        ({"password": "wrong"}, "535", "username and password"),
        ({"ca_file": ""}, "certificate", "ca_file"),
        ({"port": 1}, "connect", "host and port"),
    ],
)
async def test_what_is_wrong_is_found_and_what_to_do_is_said(
    sandbox: Sandbox, changes: dict[str, Any], said: str, advice: str
) -> None:
    finding = (await look(sandbox, **changes))["relay credentials"]
    assert not finding.ok
    assert said in finding.detail
    assert advice in finding.advice
    assert "wrong" not in finding.detail


async def test_bounces_that_nobody_reads_are_found(sandbox: Sandbox) -> None:
    assert not (await look(sandbox, return_path=""))["relay bounces"].ok
