"""Rule 7: every provider is told message and attempt, and says both back."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from streams.core.event import EventType
from streams.core.lifecycle import advance
from streams.core.message_state import MessageState
from streams.core.outcome import Accepted
from streams.core.receipt import Receipt, ReceiptKind
from streams.providers import mailgun, ses
from streams.providers._http import HttpExchange
from streams.providers.base import Entry, Provider
from streams.sandbox import Sandbox
from tests.rules.mail import entry, mail, sandbox

ADAPTERS = ("mailgun", "ses")


def adapter(name: str, running: Sandbox) -> Provider:
    if name == "mailgun":
        return mailgun.create("mg", mailgun.Config("mg.example.com", api_key="key-sandbox", base_url=running.url))
    return ses.create(
        "ses",
        ses.Config(
            "us-east-1",
            access_key_id="AKIASANDBOX000000000",
            secret_access_key="sandbox-secret",
            endpoint_url=running.url,
        ),
    )


async def taken(provider: Provider, folder: Path, *entries: Entry, **parts: Any) -> list[dict[str, Any]]:
    """What the provider has on record after one call."""
    batch = mail(*entries, **parts)
    now_ms = time.time_ns() // 1_000_000
    async with HttpExchange() as exchange:
        answer = await exchange(provider.build_request(batch, now_ms), 10.0)
    outcomes = provider.read_response(batch, answer, now_ms)
    assert isinstance(outcomes, tuple) and all(isinstance(outcome, Accepted) for outcome in outcomes)
    lines = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    return [line for line in lines if "provider" in line and "recipient" in line]


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize("shape", ["alone", "in a batch", "as MIME"])
async def test_rule_07_message_and_attempt_of_each_recipient_reach_the_provider(
    tmp_path: Path, name: str, shape: str
) -> None:
    sent = [entry("ann@example.net", 3)]
    parts: dict[str, Any] = {}
    if shape == "in a batch":
        sent.append(entry("bob@example.net", 7))
    elif shape == "as MIME":
        parts["mime"] = b"From: shop@mg.example.com\r\nTo: ann@example.net\r\nSubject: whole\r\n\r\nbody\r\n"
    async with sandbox(tmp_path) as running:
        lines = await taken(adapter(name, running), tmp_path, *sent, **parts)
    known = {line["recipient"]: line["variables"] for line in lines}
    for one in sent:
        echoed = known[one.recipient.email]
        assert (echoed["message_id"], str(echoed["attempt"])) == (one.message_id, str(one.attempt))


def test_rule_07_two_acceptances_of_one_attempt_that_failed_and_its_successor_are_one_send_each() -> None:
    """A provider's report of attempt 1 that comes after attempt 2 was begun must not count for attempt 2."""
    state: MessageState | None = None
    mid = entry().message_id
    kinds = [(ReceiptKind.RETRY, 1), (ReceiptKind.SENT, 2), (ReceiptKind.BOUNCED, 2), (ReceiptKind.DELIVERED, 1)]
    doubles, sent = [], []
    from tests.core.receipts import facts

    for at, (kind, attempt) in enumerate(kinds):
        own = facts() if kind in (ReceiptKind.RETRY, ReceiptKind.SENT) else None
        step = advance(state, Receipt(mid, kind, f"{kind}:{attempt}", 1_000 + at, attempt, "mg", facts=own), 5_000)
        state = step.state
        doubles.append(step.double_send)
        sent += [event.attempt for event in step.events if event.type is EventType.SENT]
    assert doubles == [False, False, False, True], "attempt 1 was accepted after all: told, and counted"
    assert sent == [2, 1]
