"""Mailgun's sending calls and lists over real HTTP, with the documented texts."""

from __future__ import annotations

import gzip
import json
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from streams.sandbox import Sandbox
from tests.sandbox.conftest import START, ledger_lines

AUTH = {"Authorization": "Basic " + b64encode(b"api:key-sandbox").decode()}
OTHER = {"Authorization": "Basic " + b64encode(b"api:other").decode()}
LETTER = {"from": "Shop <a@mg.example.com>", "to": "u@example.net", "subject": "hi", "text": "hello"}


async def send(http: aiohttp.ClientSession, sandbox: Sandbox, form: Any, path: str = "mg.example.com/messages",
               headers: dict[str, str] = AUTH) -> tuple[int, Any]:  # fmt: skip
    async with http.post(f"{sandbox.url}/v3/{path}", data=form, headers=headers) as answer:
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else text


async def test_an_accepted_message_is_one_line_of_the_ledger_per_recipient(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    form = [
        *LETTER.items(),
        ("cc", "Other <o@example.net>"),
        ("v:message_id", "m-1"),
        ("o:tag", "news"),
        ("o:tag", "x"),
    ]
    status, content = await send(http, sandbox, form)
    assert status == 200
    assert content["message"] == "Queued. Thank you."
    first, second = ledger_lines(sandbox)
    assert f"<{first['provider_message_id']}>" == content["id"]
    assert (first["recipient"], second["recipient"]) == ("u@example.net", "o@example.net")
    assert first["variables"] == {"message_id": "m-1"}
    assert first["tags"] == ["news", "x"]
    assert first["subject"] == "hi"
    assert first["size"] == 5
    assert first["plan"] == {"outcome": "success", "end": "delivered", "events": ["accepted", "delivered"]}
    assert first["call_id"] == second["call_id"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"from": ""}, "from parameter is missing"),
        ({"to": ""}, "to parameter is missing"),
        ({"text": None}, "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified"),
        ({"to": "u@example.net, nobody"}, "to parameter is not a valid address. please check documentation"),
        ({"to": "a b@example.net"}, "to parameter is not a valid address. please check documentation"),
        ({"to": ".a@example.net"}, "to parameter is not a valid address. please check documentation"),
        ({"from": "shop"}, "from parameter is not a valid address. please check documentation"),
        ({"recipient-variables": "[]"}, "recipient-variables parameter is not a valid JSON object of objects"),
        ({"o:deliverytime": "soon"}, "o:deliverytime parameter is not a valid RFC 2822 date"),
        ({"v:x": "y" * 17000}, "o:, h:, v: and t: parameters exceed 16 KB in total"),
        ({"to": ",".join(f"u{n}@example.net" for n in range(1001))},
         "to parameter: a message may have at most 1000 recipients"),
    ],
)  # fmt: skip
async def test_a_wrong_parameter_refuses_the_call_and_queues_nothing(
    start: START, http: aiohttp.ClientSession, change: dict[str, str | None], message: str
) -> None:
    sandbox = await start()
    form = {name: value for name, value in {**LETTER, **change}.items() if value is not None}
    assert await send(http, sandbox, form) == (400, {"message": message})
    assert ledger_lines(sandbox) == []


async def test_more_than_three_tags_are_refused(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    status, content = await send(http, sandbox, [*LETTER.items(), *(("o:tag", str(n)) for n in range(4))])
    assert status == 400
    assert "o:tag" in content["message"]


async def test_wrong_key_wrong_domain_and_wrong_path_answer_as_the_real_service(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    assert await send(http, sandbox, LETTER, headers=OTHER) == (401, "Forbidden")
    assert await send(http, sandbox, LETTER, headers={}) == (401, "Forbidden")
    status, content = await send(http, sandbox, LETTER, "else.example.com/messages")
    assert (status, content) == (404, {"message": "Domain not found: else.example.com"})
    assert await send(http, sandbox, LETTER, "mg.example.com/x/messages") == (200, "Mailgun Magnificent API")
    async with http.get(sandbox.url) as answer:
        assert await answer.text() == "Mailgun Magnificent API"
    assert ledger_lines(sandbox) == []


async def test_a_message_over_25_mb_is_too_large(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    form = aiohttp.FormData(LETTER)
    form.add_field("attachment", BytesIO(b"x" * (25 * 1024 * 1024 + 1)), filename="a.bin")
    status, _ = await send(http, sandbox, form)
    assert status == 413


async def test_a_gzipped_body_is_read(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    headers = {**AUTH, "Content-Encoding": "gzip", "Content-Type": "application/x-www-form-urlencoded"}
    body = gzip.compress(b"from=a%40mg.example.com&to=u%40example.net&text=x")
    url = f"{sandbox.url}/v3/mg.example.com/messages"
    async with http.post(url, data=body, headers=headers) as answer:
        assert answer.status == 200
    assert len(ledger_lines(sandbox)) == 1


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_batch_replaces_placeholders_for_each_recipient_and_drops_duplicates_in_any_case(
    start: START, http: aiohttp.ClientSession, multipart: bool
) -> None:
    sandbox = await start()
    variables = {"a@example.net": {"mid": "1", "name": "Ann", "n": 7}, "b@example.net": {"mid": "2"}}
    fields = {
        "from": "s@mg.example.com",
        "to": "a@example.net, Bob <b@example.net>, A@EXAMPLE.NET",
        "subject": "to %recipient.name% at %recipient%",
        "html": "<p>%recipient.n% %recipient.name%</p>",
        "h:X-Ref": "r-%recipient.mid%",
        "v:message_id": "m-%recipient.mid%",
        "recipient-variables": json.dumps(variables),
    }
    form: Any = fields
    if multipart:
        form = aiohttp.FormData(fields)
        form.add_field("inline", b"png", filename="logo.png")
    status, content = await send(http, sandbox, form)
    assert status == 200
    ann, bob = ledger_lines(sandbox)
    assert ann["recipient"] == "a@example.net"
    assert ann["variables"] == {"message_id": "m-1"}
    assert ann["subject"] == "to Ann at a@example.net"
    assert bob["variables"] == {"message_id": "m-2"}
    assert bob["subject"] == "to %recipient.name% at b@example.net"
    assert ann["provider_message_id"] == bob["provider_message_id"] == content["id"].strip("<>")
    query = {"call_id": ann["call_id"], "recipient": "A@example.net"}
    async with http.get(f"{sandbox.url}/sandbox/rendered", params=query) as answer:
        copy = await answer.json()
    assert copy["html"] == "<p>7 Ann</p>"
    assert ann["size"] == len(copy["html"]) + (3 if multipart else 0)
    assert copy["headers"] == {"x-ref": "r-1"}
    assert copy["to"] == ["a@example.net"]


async def test_a_per_recipient_message_id_is_in_the_events_but_not_in_the_answer(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    variables = {"a@example.net": {"mid": "1"}, "b@example.net": {"mid": "2"}}
    form = {**LETTER, "to": "a@example.net,b@example.net", "h:Message-Id": "<%recipient.mid%@example.com>",
            "recipient-variables": json.dumps(variables)}  # fmt: skip
    _, content = await send(http, sandbox, form)
    ids = [line["provider_message_id"] for line in ledger_lines(sandbox)]
    assert ids == ["1@example.com", "2@example.com"]
    assert content["id"].strip("<>") not in ids
    _, content = await send(http, sandbox, {**LETTER, "h:Message-Id": "<mine@example.com>"})
    assert content["id"] == "<mine@example.com>"


async def test_without_recipient_variables_nothing_is_replaced(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    await send(http, sandbox, {**LETTER, "subject": "%recipient.name%", "v:x": "%recipient%"})
    (line,) = ledger_lines(sandbox)
    assert line["subject"] == "%recipient.name%"
    assert line["variables"] == {"x": "%recipient%"}


async def test_a_whole_mime_message_is_taken_with_its_own_subject(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    form = aiohttp.FormData({"to": "u@example.net", "v:message_id": "m-9"})
    mime = b"From: a@mg.example.com\r\nTo: u@example.net\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\nbody"
    form.add_field("message", mime, filename="message.mime", content_type="message/rfc822")
    status, _ = await send(http, sandbox, form, "mg.example.com/messages.mime")
    assert status == 200
    (line,) = ledger_lines(sandbox)
    assert line["subject"] == "grüße"
    assert line["size"] == len(mime)
    assert line["variables"] == {"message_id": "m-9"}


async def test_a_scheduled_message_is_planned_for_its_time_and_too_far_ahead_is_refused(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    when = datetime.now(UTC) + timedelta(hours=2)
    status, _ = await send(http, sandbox, {**LETTER, "o:deliverytime": format_datetime(when)})
    assert status == 200
    (line,) = ledger_lines(sandbox)
    assert abs(line["scheduled_ms"] / 1000 - time.time() - 7200) < 5
    status, _ = await send(http, sandbox, {**LETTER, "o:deliverytime": str(int(time.time()) + 8 * 86400)})
    assert status == 400


async def test_suppressed_addresses_are_accepted_and_then_failed_with_their_code(
    start: START, http: aiohttp.ClientSession
) -> None:
    sandbox = await start()
    base = f"{sandbox.url}/v3/mg.example.com"
    for name, address in (("bounces", "b@example.net"), ("unsubscribes", "n@example.net"), ("complaints", "c@x.org")):
        async with http.post(f"{base}/{name}", data={"address": address}, headers=AUTH) as answer:
            assert answer.status == 200
    await send(http, sandbox, {**LETTER, "to": "B@example.net,n@example.net,c@x.org"})
    lines = [line for line in ledger_lines(sandbox) if "provider" in line]
    assert [line["plan"]["outcome"] for line in lines] == [
        "suppressed_bounce", "suppressed_unsubscribe", "suppressed_complaint",
    ]  # fmt: skip
    assert {line["plan"]["end"] for line in lines} == {"suppressed"}
    async with http.get(f"{base}/bounces/b@example.net", headers=AUTH) as answer:
        assert (await answer.json())["address"] == "b@example.net"
    async with http.delete(f"{base}/bounces/b@example.net", headers=AUTH) as answer:
        assert answer.status == 200
    async with http.get(f"{base}/bounces/b@example.net", headers=AUTH) as answer:
        assert answer.status == 404


async def test_lists_are_paged_and_take_json_arrays(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    url = f"{sandbox.url}/v3/mg.example.com/bounces"
    everyone = [{"address": f"u{number:02}@example.net", "code": 550} for number in range(25)]
    async with http.post(url, json=everyone, headers=AUTH) as answer:
        assert answer.status == 200
    seen: list[str] = []
    page = f"{url}?limit=10"
    for _ in range(4):
        async with http.get(page, headers=AUTH) as answer:
            content = await answer.json()
        seen += [item["address"] for item in content["items"]]
        page = content["paging"]["next"]
    assert seen == [item["address"] for item in everyone]


async def test_test_mode_is_accepted_with_its_flag(start: START, http: aiohttp.ClientSession) -> None:
    sandbox = await start()
    await send(http, sandbox, {**LETTER, "to": "bounce@example.net", "o:testmode": "yes"})
    (line,) = ledger_lines(sandbox)
    assert line["plan"]["outcome"] == "test_mode"
