"""Several Mailgun accounts in one sandbox: each domain has the key of its account, and a key may change."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from streams.sandbox import MailgunConfig, OutcomeMix, Sandbox, SandboxConfig

FORM = {"from": "a@x.example", "to": "b@example.net", "subject": "Hi", "text": "Hello"}


@pytest.fixture
async def running(tmp_path: Path):  # type: ignore[no-untyped-def]
    mailgun = MailgunConfig(accounts={"acme.example": "key-acme"})
    sandbox = Sandbox(SandboxConfig(tmp_path / "ledger.jsonl", mailgun=mailgun, mix=OutcomeMix.only_success()))
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


async def post(sandbox: Sandbox, domain: str, key: str) -> int:
    async with httpx.AsyncClient(base_url=sandbox.url, auth=("api", key)) as client:
        return (await client.post(f"/v3/{domain}/messages", data=FORM)).status_code


async def test_a_key_opens_the_domains_of_its_own_account_and_no_others(running: Sandbox) -> None:
    assert await post(running, "acme.example", "key-acme") == 200
    assert await post(running, "mg.example.com", "key-sandbox") == 200
    assert await post(running, "acme.example", "key-sandbox") == 401
    assert await post(running, "mg.example.com", "key-acme") == 401
    assert await post(running, "nowhere.example", "key-acme") == 404
    assert await post(running, "nowhere.example", "key-unknown") == 401


async def test_a_key_may_change_while_the_sandbox_runs(running: Sandbox) -> None:
    async with httpx.AsyncClient(base_url=running.url) as client:
        changed = await client.put("/sandbox/mailgun/accounts/acme.example", json={"api_key": "key-new"})
        refused = await client.put("/sandbox/mailgun/accounts/acme.example", json={})
    assert (changed.status_code, refused.status_code) == (200, 400)
    assert await post(running, "acme.example", "key-acme") == 401
    assert await post(running, "acme.example", "key-new") == 200


async def test_while_keys_are_rotated_several_are_good_and_every_call_says_which_it_used(running: Sandbox) -> None:
    async with httpx.AsyncClient(base_url=running.url) as client:
        assert (await client.put("/sandbox/mailgun/keys", json={"api_keys": ["key-sandbox", "new"]})).is_success
        assert await post(running, "mg.example.com", "key-sandbox") == 200
        assert await post(running, "mg.example.com", "new") == 200
        assert await post(running, "acme.example", "new") == 401, "another account"
        assert (await client.put("/sandbox/mailgun/keys", json={"api_keys": ["new"]})).is_success
        assert await post(running, "mg.example.com", "key-sandbox") == 401
        assert (await client.put("/sandbox/mailgun/keys", json={"api_keys": 1})).status_code == 400
        calls = (await client.get("/sandbox/calls", params={"provider": "mailgun"})).json()["calls"]
    assert [(call["key"], call["status"]) for call in calls] == [
        ("key-sandbox", 200), ("new", 200), ("new", 401), ("key-sandbox", 401),
    ]  # fmt: skip
