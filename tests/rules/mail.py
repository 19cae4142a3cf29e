"""A small mail for adapters, and the sandbox as a place to send it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streams.core.ids import message_id, recipient_key
from streams.core.message import Mailbox
from streams.providers.base import Batch, Entry
from streams.sandbox import MailgunConfig, OutcomeMix, Sandbox, SandboxConfig, SesConfig


def entry(email: str = "ann@example.net", attempt: int = 1) -> Entry:
    return Entry(message_id("acme", "k1", recipient_key("acme", email)), attempt, Mailbox(email))


def mail(*entries: Entry, **parts: Any) -> Batch:
    sender = Mailbox("shop@mg.example.com", "Shop")
    return Batch(sender, entries or (entry(),), **{"subject": ("Hi",), "text": ("Hello",), **parts})


@asynccontextmanager
async def sandbox(folder: Path) -> AsyncIterator[Sandbox]:
    """Takes everything, tells nobody."""
    config = SandboxConfig(
        ledger_path=folder / "ledger.jsonl",
        webhook_delay_s=0.01,
        mix=OutcomeMix.only_success(),
        mailgun=MailgunConfig(),
        ses=SesConfig(),
    )
    running = Sandbox(config)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()
