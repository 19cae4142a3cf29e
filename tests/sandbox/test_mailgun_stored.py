"""Stored messages are shown and sent again; the allow-list keeps addresses off the bounce list."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import aiohttp
from mailgun.client import Client

from tests.sandbox.conftest import START, ledger_lines

AUTH = {"Authorization": "Basic " + b64encode(b"api:key-sandbox").decode()}
LETTER = {"from": "a@mg.example.com", "subject": "Hello", "text": "Hi", "v:message_id": "m-1", "v:attempt": "1"}


async def events(http: aiohttp.ClientSession, url: str) -> list[dict[str, Any]]:
    async with http.get(f"{url}/v3/mg.example.com/events", headers=AUTH, params={"event": "accepted"}) as answer:
        return list((await answer.json())["items"])


async def test_a_stored_message_is_shown_and_sent_again_with_its_variables_and_an_id_of_its_own(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(webhook_delay_s=0.0)
    form = {**LETTER, "to": "u@example.net", "o:tag": "news"}
    async with http.post(f"{sandbox.url}/v3/mg.example.com/messages", data=form, headers=AUTH) as answer:
        assert answer.status == 200
    (first,) = await events(http, sandbox.url)
    where = first["storage"]["url"]
    assert where.startswith(f"{sandbox.url}/v3/domains/mg.example.com/messages/")
    async with http.get(where, headers=AUTH) as answer:
        shown = await answer.json()
    assert (shown["Subject"], shown["body-plain"], shown["recipients"]) == ("Hello", "Hi", "u@example.net")
    async with http.get(where, headers={**AUTH, "Accept": "message/rfc2822"}) as answer:
        assert "Subject: Hello" in (await answer.json())["body-mime"]
    async with http.post(where, data={"to": "u@example.net"}, headers=AUTH) as answer:
        again = await answer.json()
    assert again["message"] == "Queued. Thank you."
    one, two = [line for line in ledger_lines(sandbox) if "provider" in line]
    assert two["provider_message_id"] == again["id"].strip("<>") != one["provider_message_id"]
    assert (two["variables"], two["tags"]) == ({"message_id": "m-1", "attempt": "1"}, ["news"])


async def test_it_is_refused_without_the_key_without_recipients_and_when_it_is_gone(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(webhook_delay_s=0.0, mailgun={"keep_days": 0.0})
    async with http.post(
        f"{sandbox.url}/v3/mg.example.com/messages", data={**LETTER, "to": "u@example.net"}, headers=AUTH
    ) as answer:
        assert answer.status == 200
    (first,) = await events(http, sandbox.url)
    async with http.post(first["storage"]["url"], data={"to": "u@example.net"}) as answer:
        assert (answer.status, await answer.text()) == (401, "Forbidden")
    await asyncio.sleep(0.002)
    async with http.post(first["storage"]["url"], data={"to": "u@example.net"}, headers=AUTH) as answer:
        assert answer.status == 404
    assert len([line for line in ledger_lines(sandbox) if "provider" in line]) == 1


async def test_the_allow_list_keeps_an_address_and_a_domain_off_the_bounce_list(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(webhook_delay_s=0.0)
    base = f"{sandbox.url}/v3/mg.example.com"
    for form in ({"domain": "example.org", "reason": "partner"}, {"address": "bounce@example.net"}):
        async with http.post(f"{base}/whitelists", data=form, headers=AUTH) as answer:
            assert answer.status == 200
    to = "bounce@example.org,bounce@example.net,bounce@example.com"
    async with http.post(f"{base}/messages", data={**LETTER, "to": to}, headers=AUTH) as answer:
        assert answer.status == 200
    async with http.get(f"{base}/bounces", headers=AUTH) as answer:
        assert [item["address"] for item in (await answer.json())["items"]] == ["bounce@example.com"]
    async with http.get(f"{base}/whitelists", headers=AUTH) as answer:
        listed = (await answer.json())["items"]
    assert {(item["type"], item["value"]) for item in listed} == {
        ("domain", "example.org"),
        ("address", "bounce@example.net"),
    }
    async with http.delete(f"{base}/whitelists/example.org", headers=AUTH) as answer:
        assert answer.status == 200
    async with http.get(f"{base}/whitelists/example.org", headers=AUTH) as answer:
        assert answer.status == 404


async def test_the_official_package_keeps_every_list(start: START) -> None:
    sandbox = await start(webhook_delay_s=0.0)

    def use() -> dict[str, Any]:
        with Client(auth=("api", "key-sandbox"), api_url=sandbox.url) as mailgun:
            domain = "mg.example.com"
            answers = {
                "bounce": mailgun.bounces.create(data={"address": "b@example.net", "code": 550}, domain=domain),
                "complaint": mailgun.complaints.create(data={"address": "c@example.net"}, domain=domain),
                "unsubscribe": mailgun.unsubscribes.create(
                    data={"address": "u@example.net", "tag": "*"}, domain=domain
                ),
                "allow": mailgun.whitelists.create(data={"address": "a@example.net", "reason": "r"}, domain=domain),
                "bounces": mailgun.bounces.get(domain=domain),
                "complaints": mailgun.complaints.get(domain=domain),
                "unsubscribes": mailgun.unsubscribes.get(domain=domain),
                "whitelists": mailgun.whitelists.get(domain=domain),
                "gone": mailgun.bounces.delete(domain=domain, bounce_address="b@example.net"),
            }
            return {name: (answer.status_code, answer.json()) for name, answer in answers.items()}

    told = await asyncio.to_thread(use)
    assert {status for status, _ in told.values()} == {200}
    for name, address in (("bounces", "b@"), ("complaints", "c@"), ("unsubscribes", "u@"), ("whitelists", "a@")):
        (item,) = told[name][1]["items"]
        assert item.get("address", item.get("value")) == f"{address}example.net"
