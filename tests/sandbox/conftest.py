"""Sandboxes that end with their test, and a webhook receiver whose answers a test may script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from streams.sandbox import MailgunConfig, OutcomeMix, Sandbox, SandboxConfig, SesConfig

START = Callable[..., Awaitable[Sandbox]]


@dataclass
class Received:
    """One request of a provider."""

    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        return dict(msgspec.json.decode(self.body))


@dataclass
class Receiver:
    """Answers with `answers` in turn, then 200."""

    url: str = ""
    requests: list[Received] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        self.requests.append(Received(dict(request.headers), await request.read()))
        async with self.changed:
            self.changed.notify_all()
        return web.Response(status=self.answers.pop(0) if self.answers else 200)

    async def wait_for(self, count: int) -> list[Received]:
        async with asyncio.timeout(15), self.changed:
            await self.changed.wait_for(lambda: len(self.requests) >= count)
        return self.requests


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = Receiver()
    runner = web.ServerRunner(web.Server(found.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield found
    await runner.cleanup()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[START]:
    """`await start(mailgun={...}, ses={...}, **fields)`: quick events, every unnamed address delivered."""
    running: list[Sandbox] = []

    async def starting(
        mailgun: dict[str, Any] | None = None, ses: dict[str, Any] | None = None, **fields: Any
    ) -> Sandbox:
        config = SandboxConfig(
            ledger_path=tmp_path / "ledger.jsonl",
            webhook_delay_s=0.01,
            mix=OutcomeMix.only_success(),
            mailgun=MailgunConfig(**(mailgun or {})),
            ses=SesConfig(**(ses or {})),
        )
        sandbox = Sandbox(replace(config, **fields))
        await sandbox.start()
        running.append(sandbox)
        return sandbox

    yield starting
    for sandbox in running:
        if sandbox.url:
            await sandbox.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def settled(sandbox: Sandbox) -> None:
    """Waits until nothing is left to report."""
    async with asyncio.timeout(15):
        while sandbox.webhooks.pending:
            await asyncio.sleep(0.005)
    await sandbox.ledger.committed()


def ledger_lines(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [dict(msgspec.json.decode(line)) for line in sandbox.ledger.path.read_bytes().splitlines()]
