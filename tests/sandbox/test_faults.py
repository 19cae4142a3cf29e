"""Every kind of fault, as a real HTTP client sees it, and what the ledger says about it."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from streams.sandbox import Sandbox
from tests.sandbox.conftest import START, ledger_lines

AUTH = {"Authorization": "Basic " + b64encode(b"api:key-sandbox").decode()}
FORM = {"from": "a@mg.example.com", "to": "u@example.net", "text": "x"}
SES_BODY = {
    "FromEmailAddress": "a@example.com",
    "Destination": {"ToAddresses": ["u@example.net"]},
    "Content": {"Simple": {"Subject": {"Data": "hi"}, "Body": {"Text": {"Data": "x"}}}},
}


async def fault(http: aiohttp.ClientSession, sandbox: Sandbox, **rule: Any) -> dict[str, Any]:
    async with http.post(f"{sandbox.url}/sandbox/faults", json=rule) as answer:
        assert answer.status == 201, await answer.text()
        return dict(await answer.json())


async def send(http: aiohttp.ClientSession, sandbox: Sandbox, timeout_s: float = 5.0) -> tuple[int, str, Any]:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    url = f"{sandbox.url}/v3/mg.example.com/messages"
    async with http.post(url, data=FORM, headers=AUTH, timeout=timeout) as answer:
        return answer.status, await answer.text(), answer.headers


async def send_ses(http: aiohttp.ClientSession, sandbox: Sandbox) -> tuple[int, str, Any]:
    async with http.post(f"{sandbox.url}/v2/email/outbound-emails", json=SES_BODY) as answer:
        return answer.status, await answer.text(), answer.headers


async def test_a_status_is_answered_without_accepting_and_ends_with_its_count(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind="status", provider="mailgun", status=503, count=2, retry_after=7)
    for _ in range(2):
        status, _, headers = await send(http, sandbox)
        assert (status, headers["Retry-After"]) == (503, "7")
    assert ledger_lines(sandbox) == []
    assert (await send(http, sandbox))[0] == 200
    assert sandbox.faults.injected == {"status": 2}


@pytest.mark.parametrize(
    ("status", "text"),
    [(401, "Forbidden"), (402, "payment"), (403, "is not allowed to send"), (404, "Domain not found"),
     (420, "try again after "), (429, "try again after 120 seconds"), (413, "too large"), (502, "<html>")],
)  # fmt: skip
async def test_mailgun_statuses_have_their_texts(
    start: START, http: aiohttp.ClientSession, status: int, text: str
) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind="status", status=status, retry_after=120)
    seen, body, _ = await send(http, sandbox)
    assert seen == status
    assert text in body


async def test_throttling_speaks_each_providers_language(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind="throttle", retry_after=3)
    status, text, headers = await send(http, sandbox)
    assert (status, headers["Retry-After"]) == (429, "3")
    assert "account-requests-per-sec limit exceeded, try again after 3 seconds" in json.loads(text)["message"]
    status, text, headers = await send_ses(http, sandbox)
    assert (status, headers["x-amzn-ErrorType"]) == (429, "TooManyRequestsException")
    sandbox.faults.remove(None)
    await fault(http, sandbox, kind="throttle", provider="ses", status=400, code="LimitExceededException",
                body="Daily message quota exceeded.")  # fmt: skip
    status, text, headers = await send_ses(http, sandbox)
    assert (status, headers["x-amzn-ErrorType"]) == (400, "LimitExceededException")
    assert json.loads(text)["message"] == "Daily message quota exceeded."
    assert (await send(http, sandbox))[0] == 200


@pytest.mark.parametrize(("kind", "accepted"), [("timeout_before", 0), ("timeout_after", 1)])
async def test_a_timeout_holds_the_answer_before_or_after_acceptance(
    start: START, http: aiohttp.ClientSession, kind: str, accepted: int
) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind=kind, hold_s=30)
    with pytest.raises(TimeoutError):
        await send(http, sandbox, timeout_s=0.3)
    assert len(ledger_lines(sandbox)) == accepted


@pytest.mark.parametrize(
    ("kind", "accepted"), [("reset_before", 0), ("reset_after", 1), ("timeout_before", 0), ("timeout_after", 1)]
)
async def test_a_reset_or_the_end_of_a_held_timeout_cuts_the_connection(
    start: START, http: aiohttp.ClientSession, kind: str, accepted: int
) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind=kind, hold_s=0.05)
    with pytest.raises(aiohttp.ClientConnectionError):
        await send(http, sandbox)
    assert len(ledger_lines(sandbox)) == accepted


async def test_a_5xx_after_acceptance_leaves_the_mail_queued(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind="status_after", status=500)
    assert (await send(http, sandbox))[0] == 500
    assert len(ledger_lines(sandbox)) == 1


async def test_a_slow_answer_trickles_and_is_right_in_the_end(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind="slow", hold_s=0.5)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    status, text, _ = await send(http, sandbox)
    assert status == 200
    assert json.loads(text)["message"] == "Queued. Thank you."
    assert loop.time() - begun >= 0.45


async def test_refused_connections_cut_open_ones_and_come_back_on_the_same_port(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    assert (await send(http, sandbox))[0] == 200
    await fault(http, sandbox, kind="connect_refused", seconds=0.4)
    loop = asyncio.get_running_loop()
    refused = 0
    async with asyncio.timeout(10):
        while True:
            try:
                await send(http, sandbox)
            except aiohttp.ClientConnectorError:
                refused += 1
            except aiohttp.ClientConnectionError:
                continue
            else:
                if refused:
                    break
            until = loop.time() + 0.02
            await asyncio.sleep(until - loop.time())
    assert refused


async def test_rates_accounts_scopes_and_ends_choose_what_is_hit(start: START, http: aiohttp.ClientSession) -> None:
    clock = {"now": 1_000_000}
    sandbox = await start()
    sandbox.faults._now_ms = lambda: clock["now"]
    await fault(http, sandbox, kind="status", account="other.example.com")
    assert (await send(http, sandbox))[0] == 200
    sandbox.faults.remove(None)
    rule = await fault(http, sandbox, kind="status", provider="mailgun", account="mg.example.com", seconds=5)
    assert (await send(http, sandbox))[0] == 500
    async with http.get(f"{sandbox.url}/v3/mg.example.com/events", headers=AUTH) as answer:
        assert answer.status == 200  # the scope is sending
    clock["now"] += 5001
    assert (await send(http, sandbox))[0] == 200
    await fault(http, sandbox, kind="status", scope="any")
    async with http.get(f"{sandbox.url}/v3/mg.example.com/events", headers=AUTH) as answer:
        assert answer.status == 500
    sandbox.faults.remove(None)
    await fault(http, sandbox, kind="status", rate=0.5)
    hits = [(await send(http, sandbox))[0] for _ in range(60)].count(500)
    assert 15 < hits < 45
    assert rule["id"] == 2


async def test_rules_are_listed_removed_and_checked(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    url = f"{sandbox.url}/sandbox/faults"
    rule = await fault(http, sandbox, kind="slow", rate=0.1)
    async with http.get(url) as answer:
        assert [item["id"] for item in (await answer.json())["faults"]] == [rule["id"]]
    async with http.delete(f"{url}/{rule['id']}") as answer:
        assert await answer.json() == {"removed": 1}
    for wrong in (
        {"kind": "fire"},
        {"kind": "slow", "rate": 2},
        {"kind": "connect_refused"},
        {"kind": "slow", "x": 1},
        [],
    ):
        async with http.post(url, json=wrong) as answer:
            assert answer.status == 400, wrong
    async with http.get(url) as answer:
        assert (await answer.json())["faults"] == []


async def test_single_entries_of_a_bulk_call_fail_alone(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind="entry", provider="ses", code="ACCOUNT_THROTTLED", count=2)
    body = {
        "FromEmailAddress": "a@example.com",
        "DefaultContent": {"Template": {"TemplateContent": {"Subject": "s", "Text": "t"}, "TemplateData": "{}"}},
        "BulkEmailEntries": [{"Destination": {"ToAddresses": [f"u{n}@example.net"]}} for n in range(3)],
    }
    async with http.post(f"{sandbox.url}/v2/email/outbound-bulk-emails", json=body) as answer:
        results = (await answer.json())["BulkEmailEntryResults"]
    assert [result["Status"] for result in results] == ["ACCOUNT_THROTTLED", "ACCOUNT_THROTTLED", "SUCCESS"]
    assert [line["recipient"] for line in ledger_lines(sandbox)] == ["u2@example.net"]


async def test_latency_delays_every_provider_answer(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start(latency_ms=(80.0, 10.0))
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert (await send(http, sandbox))[0] == 200
    assert loop.time() - begun >= 0.08


@pytest.mark.parametrize("path", ["mailgun", "ses"])
async def test_retry_after_goes_out_in_seconds_as_a_date_or_as_any_text(
    path: str, start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    call = send if path == "mailgun" else send_ses
    now_s = time.time()
    await fault(http, sandbox, kind="throttle", provider=path, count=1, retry_after=120)
    assert (await call(http, sandbox))[2]["Retry-After"] == "120"
    await fault(http, sandbox, kind="throttle", provider=path, count=1, retry_after=120, retry_date=True)
    date = parsedate_to_datetime((await call(http, sandbox))[2]["Retry-After"])
    assert 118 < date.timestamp() - now_s < 130
    await fault(http, sandbox, kind="throttle", provider=path, count=1, retry_after="soon; or not")
    assert (await call(http, sandbox))[2]["Retry-After"] == "soon; or not"
    rule = {"kind": "throttle", "retry_after": "soon", "retry_date": True}
    async with http.post(f"{sandbox.url}/sandbox/faults", json=rule) as answer:
        assert answer.status == 400


async def test_calls_are_listed_with_their_times_and_what_struck_them(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    await fault(http, sandbox, kind="throttle", provider="mailgun", count=1, retry_after=3)
    await send(http, sandbox)
    await send(http, sandbox)
    await fault(http, sandbox, kind="timeout_after", provider="mailgun", count=1, hold_s=0.2)
    with pytest.raises(aiohttp.ClientError):
        await send(http, sandbox)
    await send_ses(http, sandbox)
    async with http.get(f"{sandbox.url}/sandbox/calls?provider=mailgun") as answer:
        calls = (await answer.json())["calls"]
    assert [(one["status"], one["retry_after"], one["fault"]) for one in calls] == [
        (429, "3", "throttle"), (200, "", ""), (200, "", "timeout_after"),
    ]  # fmt: skip
    assert all(one["sends"] and one["account"] == "mg.example.com" for one in calls)
    assert calls[-1]["answered_ms"] - calls[-1]["began_ms"] >= 190
    async with http.get(f"{sandbox.url}/sandbox/calls?since={calls[-1]['answered_ms'] + 1}") as answer:
        assert [one["provider"] for one in (await answer.json())["calls"]] == ["ses"]
    async with http.get(f"{sandbox.url}/sandbox/calls?since=yesterday") as answer:
        assert answer.status == 400
