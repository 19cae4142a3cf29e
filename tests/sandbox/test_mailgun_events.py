"""Mailgun's webhooks (signature, retries, the old form) and its events API."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest

from streams.sandbox import Sandbox, WebhookFormat
from tests.sandbox.conftest import START, Receiver, ledger_lines, settled

AUTH = {"Authorization": "Basic " + b64encode(b"api:key-sandbox").decode()}
FATES = ["success", "bounce", "ooto", "complaint", "suppressionlist", "softbounce", "blocked", "defer", "open", "click",
         "unsubscribe", "reject", "delayedbounce", "silent"]  # fmt: skip


async def send(http: aiohttp.ClientSession, sandbox: Sandbox, to: str, **options: str) -> str:
    form = {"from": "a@mg.example.com", "to": to, "subject": "hi", "html": '<a href="https://shop.example/x">x</a>'}
    url = f"{sandbox.url}/v3/mg.example.com/messages"
    async with http.post(url, data={**form, **options}, headers=AUTH) as answer:
        assert answer.status == 200, await answer.text()
        return str((await answer.json())["id"]).strip("<>")


async def get(http: aiohttp.ClientSession, url: str, **query: str) -> dict[str, Any]:
    async with http.get(url, params=query, headers=AUTH) as answer:
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())


async def test_webhooks_are_signed_and_carry_the_event(
    start: START, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(mailgun={"webhook_url": receiver.url, "signing_key": "sign-me"})
    message_id = await send(http, sandbox, "bounce+1@example.net", **{"v:message_id": "m-1", "o:tag": "news"})
    accepted, failed = [request.json() for request in await receiver.wait_for(2)]
    for envelope in (accepted, failed):
        signed = envelope["signature"]
        text = f"{signed['timestamp']}{signed['token']}".encode()
        assert hmac.new(b"sign-me", text, hashlib.sha256).hexdigest() == signed["signature"]
        assert len(signed["token"]) == 50
        assert abs(int(signed["timestamp"]) - time.time()) < 30
    assert accepted["signature"]["token"] != failed["signature"]["token"]
    event = failed["event-data"]
    assert (event["event"], event["severity"], event["reason"]) == ("failed", "permanent", "bounce")
    assert event["delivery-status"]["code"] == 550
    assert event["delivery-status"]["enhanced-code"] == "5.1.1"
    assert event["recipient"] == "bounce+1@example.net"
    assert event["user-variables"] == {"message_id": "m-1"}
    assert event["tags"] == ["news"]
    assert event["message"]["headers"]["message-id"] == message_id
    assert accepted["event-data"]["event"] == "accepted"
    assert accepted["event-data"]["delivery-status"] is None
    assert receiver.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("fate", FATES)
async def test_what_is_reported_is_what_the_ledger_planned(
    start: START, receiver: Receiver, http: aiohttp.ClientSession, fate: str
) -> None:
    sandbox = await start(mailgun={"webhook_url": receiver.url})
    await send(http, sandbox, f"{fate}+7@example.net")
    await settled(sandbox)
    lines = ledger_lines(sandbox)
    planned = lines[0]["plan"]["events"]
    assert sorted(line["event"] for line in lines[1:]) == sorted(planned)
    assert {line["answer"] for line in lines[1:]} <= {"delivered"}
    seen = [request.json()["event-data"] for request in receiver.requests]
    assert sorted(event["id"] for event in seen) == sorted(line["event_id"] for line in lines[1:])
    names = {"temporary": "temporary_fail", "permanent": "permanent_fail"}
    assert sorted(names.get(event.get("severity"), event["event"]) for event in seen) == sorted(planned)


async def test_special_events_have_their_fields(start: START, receiver: Receiver, http: aiohttp.ClientSession) -> None:
    sandbox = await start(mailgun={"webhook_url": receiver.url})
    for fate in ("click", "reject", "delayedbounce", "defer", "suppressionlist"):
        await send(http, sandbox, f"{fate}@example.net")
    await settled(sandbox)
    events = [request.json()["event-data"] for request in receiver.requests]
    by_name = {(event["event"], event.get("recipient", "")): event for event in events}
    assert by_name["clicked", "click@example.net"]["url"] == "https://shop.example/x"
    assert by_name["clicked", "click@example.net"]["client-info"]["bot"] == ""
    rejected = by_name["rejected", ""]
    assert "recipient" not in rejected
    assert rejected["message"]["headers"]["to"] == "reject@example.net"
    assert by_name["failed", "delayedbounce@example.net"]["flags"]["is-delayed-bounce"] is True
    assert by_name["failed", "defer@example.net"]["delivery-status"]["retry-seconds"] == 600
    assert by_name["failed", "suppressionlist@example.net"]["delivery-status"]["code"] == 605


async def test_500_is_repeated_byte_for_byte_and_406_ends_it(
    start: START, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(
        mailgun={"webhook_url": receiver.url, "webhook_events": frozenset({"accepted"}), "retry_scale": 0.00005}
    )
    receiver.answers = [500, 204, 503, 200, 406]
    await send(http, sandbox, "success@example.net")
    await receiver.wait_for(4)
    await settled(sandbox)
    assert len({request.body for request in receiver.requests}) == 1
    await send(http, sandbox, "success@example.net")
    await settled(sandbox)
    assert len(receiver.requests) == 5
    first, second = [line for line in ledger_lines(sandbox) if "webhook" in line]
    assert (first["answer"], first["attempts"], first["status"]) == ("delivered", 4, 200)
    assert (second["answer"], second["attempts"], second["status"]) == ("refused", 1, 406)


async def test_retries_end_with_the_schedule(start: START, receiver: Receiver, http: aiohttp.ClientSession) -> None:
    sandbox = await start(
        mailgun={"webhook_url": receiver.url, "webhook_events": frozenset({"accepted"}), "retry_scale": 1e-6}
    )
    receiver.answers = [500] * 20
    await send(http, sandbox, "success@example.net")
    await settled(sandbox)
    (line,) = [line for line in ledger_lines(sandbox) if "webhook" in line]
    assert (line["answer"], line["attempts"]) == ("gave_up", 7)


@pytest.mark.parametrize(("retried", "attempts"), [(False, 1), (True, 2)])
async def test_delivered_is_not_retried_unless_asked(
    start: START, receiver: Receiver, http: aiohttp.ClientSession, retried: bool, attempts: int
) -> None:
    options = {"webhook_url": receiver.url, "webhook_events": frozenset({"delivered"}), "retry_delivered": retried}
    sandbox = await start(mailgun={**options, "retry_scale": 1e-6})
    receiver.answers = [503]
    await send(http, sandbox, "success@example.net")
    await settled(sandbox)
    assert len(receiver.requests) == attempts


async def test_the_old_form_has_the_signature_and_the_variables_as_fields(
    start: START, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    options = {"webhook_url": receiver.url, "webhook_format": WebhookFormat.LEGACY, "signing_key": "k"}
    sandbox = await start(mailgun=options)
    await send(http, sandbox, "bounce@example.net", **{"v:message_id": "m-1"})
    (request,) = await receiver.wait_for(1)
    form = {name: values[-1] for name, values in parse_qs(request.body.decode()).items()}
    assert (form["event"], form["code"], form["message_id"]) == ("bounced", "550", "m-1")
    text = f"{form['timestamp']}{form['token']}".encode()
    assert hmac.new(b"k", text, hashlib.sha256).hexdigest() == form["signature"]
    assert ["X-Mailgun-Variables", '{"message_id": "m-1"}'] in json.loads(form["message-headers"])


async def test_a_hard_bounce_suppresses_the_address_from_then_on(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start(webhook_delay_s=0.0)
    await send(http, sandbox, "bounce+x@example.net")
    await send(http, sandbox, "bounce+x@example.net")
    assert [line["plan"]["outcome"] for line in ledger_lines(sandbox)] == ["bounce", "suppressed_bounce"]


async def test_events_are_paged_in_order_without_gaps_or_repeats_in_both_directions(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start(webhook_delay_s=0.02)
    people = [f"u{number}@example.net" for number in range(60)]
    for begin in range(0, 60, 20):
        await send(http, sandbox, ",".join(people[begin : begin + 20]), **{"recipient-variables": "{}"})
    url = f"{sandbox.url}/v3/mg.example.com/events"
    end = str(time.time() + 0.2)
    while time.time() < float(end):  # the events' own time has to pass
        await get(http, url, begin="0", ascending="yes", limit="1")
    seen: list[dict[str, Any]] = []
    page = await get(http, url, begin="0", end=end, limit="7")
    previous: list[str] = []
    while page["items"]:
        seen += page["items"]
        previous.append(page["paging"]["previous"])
        page = await get(http, page["paging"]["next"])
    assert len(seen) == len({event["id"] for event in seen}) == 120
    times = [event["timestamp"] for event in seen]
    assert times == sorted(times)
    back = await get(http, previous[3])
    assert [event["id"] for event in back["items"]] == [event["id"] for event in seen[14:21]]
    last = await get(http, page["paging"]["last"])
    assert [event["id"] for event in last["items"]] == [event["id"] for event in seen[-7:]]
    down: list[dict[str, Any]] = []
    page = await get(http, url, begin=end, end="0", limit="50")
    while page["items"]:
        down += page["items"]
        page = await get(http, page["paging"]["next"])
    assert [event["id"] for event in down] == [event["id"] for event in reversed(seen)]


async def test_events_are_filtered(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start(webhook_delay_s=0.0)
    wanted = await send(http, sandbox, "Click@example.net", **{"o:tag": "news", "v:message_id": "m-1"})
    await send(http, sandbox, "bounce@example.net,success@example.net")
    url = f"{sandbox.url}/v3/mg.example.com/events"

    async def names(**query: str) -> list[str]:
        page = await get(http, url, begin="0", ascending="yes", **query)
        return sorted(event["event"] for event in page["items"])

    assert await names(recipient="click@example.net") == ["accepted", "clicked", "delivered", "opened"]
    assert await names(**{"message-id": wanted, "event": "opened OR clicked"}) == ["clicked", "opened"]
    assert await names(event="failed", severity="permanent") == ["failed"]
    assert await names(tags="news", event="NOT accepted") == ["clicked", "delivered", "opened"]
    assert await names(recipient="nobody@example.net") == []
    assert len(await names()) == 8
    async with http.get(url, params={"begin": "0"}, headers=AUTH) as answer:
        assert answer.status == 400


async def test_the_events_api_may_lag(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start(mailgun={"events_delay_s": 3600.0}, webhook_delay_s=0.0)
    await send(http, sandbox, "success@example.net")
    page = await get(http, f"{sandbox.url}/v3/mg.example.com/events", begin="0", ascending="yes")
    assert page["items"] == []
    assert page["paging"]["next"]
