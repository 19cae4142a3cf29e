"""Mailgun's official package, unchanged but for its `api_url` (boto3 has the tests of SES)."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from mailgun.client import AsyncClient, Client

from streams.sandbox import Sandbox
from tests.sandbox.conftest import START, ledger_lines


async def test_the_official_package_sends_lists_and_reads_events(start: START) -> None:
    sandbox = await start(webhook_delay_s=0.0)

    def use() -> tuple[Any, Any, Any, Any, bool]:
        with Client(auth=("api", "key-sandbox"), api_url=sandbox.url) as mailgun:
            data = {"from": "a@mg.example.com", "to": ["u@example.net", "bounce@example.net"], "subject": "s",
                    "text": "t", "o:tag": ["one", "two"], "v:message_id": "m-1"}  # fmt: skip
            sent = mailgun.messages.create(
                data=data, domain="mg.example.com", files=[("attachment", ("a.txt", b"abc"))]
            )
            events = mailgun.events.get(domain="mg.example.com", filters={"event": "failed"})
            bounces = mailgun.bounces.get(domain="mg.example.com")
            wrong = Client(auth=("api", "key-other"), api_url=sandbox.url)
            denied = wrong.messages.create(data=data, domain="mg.example.com")
            wrong.close()
            return sent, events, bounces, denied, mailgun.ping()

    sent, events, bounces, denied, alive = await asyncio.to_thread(use)
    assert sent.json()["message"] == "Queued. Thank you."
    assert [line["tags"] for line in ledger_lines(sandbox)] == [["one", "two"]] * 2
    assert [event["recipient"] for event in events.json()["items"]] == ["bounce@example.net"]
    assert [item["address"] for item in bounces.json()["items"]] == ["bounce@example.net"]
    assert (denied.status_code, denied.text) == (401, "Forbidden")
    assert alive


async def test_the_official_async_client_sends_a_batch(start: START) -> None:
    sandbox: Sandbox = await start()
    variables = {f"u{number}@example.net": {"mid": f"m-{number}"} for number in range(1000)}
    data = {"from": "a@mg.example.com", "to": list(variables), "subject": "s", "text": "t",
            "v:message_id": "%recipient.mid%", "recipient-variables": json.dumps(variables)}  # fmt: skip
    async with AsyncClient(auth=("api", "key-sandbox"), api_url=sandbox.url) as mailgun:
        answer = await mailgun.messages.create(data=data, domain="mg.example.com")
    assert answer.status_code == 200
    assert [line["variables"]["message_id"] for line in ledger_lines(sandbox)] == [f"m-{n}" for n in range(1000)]
