"""Every answer of the contract's table, against a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streams.providers.base import HttpResponse, NoResponse
from tests.ingress.conftest import Open
from tests.ingress.fakes import FakeProvider, ScriptedExchange, provider, records, signed

TYPES = ("mailgun", "ses")


def headers_of(record: Any) -> dict[str, bytes]:
    return dict(record.headers())


@pytest.mark.parametrize("kind", TYPES)
async def test_a_verified_webhook_is_answered_200_and_lies_in_kafka_unchanged(opened: Open, kind: str) -> None:
    body = signed("token-1", text="ünïcode \\u0041", spaces="  kept  ")
    async with opened({kind: provider(name=kind, type=kind)}) as client:
        status, _ = await client.post(f"/webhooks/{kind}", body, {"Content-Type": "text/plain; charset=UTF-8"})
        (record,) = await asyncio.to_thread(records, client.bootstrap, f"{client.topic_prefix}webhooks.{kind}", 1)
    assert status == 200
    assert record.value() == body
    assert record.key() == b"token-1"
    headers = headers_of(record)
    assert (headers["provider"], headers["account"], headers["verified"]) == (kind.encode(), b"", b"1")
    assert headers["token"] == b"token-1"
    assert headers["received_at"].isdigit()
    assert client.counted(kind, "accepted") == 1


@pytest.mark.parametrize(
    ("kind", "body", "status", "result"),
    [
        pytest.param("mailgun", signed("t", secret="other"), 406, "bad_signature", id="mailgun forged"),
        pytest.param("mailgun", signed("t", stale=True), 406, "stale", id="mailgun stale"),
        pytest.param("mailgun", b"\xff{not json", 406, "malformed", id="mailgun malformed"),
        pytest.param("mailgun", b"", 406, "malformed", id="mailgun empty"),
        pytest.param("mailgun", b"x" * 5000, 406, "too_large", id="mailgun too large"),
        pytest.param("ses", signed("t", secret="other"), 403, "bad_signature", id="sns forged"),
        pytest.param("ses", signed("t", stale=True), 403, "stale", id="sns stale"),
        pytest.param("ses", b"[]", 400, "malformed", id="sns malformed"),
        pytest.param("ses", b"x" * 5000, 413, "too_large", id="sns too large"),
    ],
)
async def test_what_is_never_acceptable_is_refused_so_that_the_provider_stops(
    opened: Open, kind: str, body: bytes, status: int, result: str
) -> None:
    async with opened({kind: provider(name=kind, type=kind)}, max_body_bytes=4096) as client:
        assert (await client.post(f"/webhooks/{kind}", body))[0] == status
        assert client.counted(kind, result) == 1
        assert client.counted(kind, "accepted") == 0


async def test_each_flipped_bit_of_what_is_signed_is_refused(opened: Open) -> None:
    good = signed("abcdef")
    envelope = json.loads(good)
    async with opened() as client:
        for name in ("token", "mac"):
            for index in range(len(envelope[name])):
                text = envelope[name]
                flipped = text[:index] + chr(ord(text[index]) ^ 1) + text[index + 1 :]
                status, _ = await client.post("/webhooks/mailgun", json.dumps({**envelope, name: flipped}).encode())
                assert status == 406
        assert (await client.post("/webhooks/mailgun", good))[0] == 200


async def test_a_repeat_is_stored_and_answered_like_the_first(opened: Open) -> None:
    async with opened() as client:
        statuses = [(await client.post("/webhooks/mailgun", signed("again")))[0] for _ in range(3)]
        stored = await asyncio.to_thread(records, client.bootstrap, f"{client.topic_prefix}webhooks.mailgun", 3)
    assert statuses == [200, 200, 200]
    assert len({record.partition() for record in stored}) == 1


async def test_a_chunked_giant_is_cut_off_at_the_limit(opened: Open) -> None:
    sent = 0

    async def giant() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(4096):
            sent += 65536
            yield b"x" * 65536

    async with opened({"ses": provider(name="ses", type="ses")}, max_body_bytes=8192) as client:
        try:
            status, _ = await client.post("/webhooks/ses", giant())
        except OSError:
            status = 413  # the connection was cut while we were still writing: as good
        assert status == 413
        assert client.counted("ses", "too_large") == 1
    assert sent < 4096 * 65536


async def test_a_compressed_body_is_unfolded_within_the_limit(opened: Open) -> None:
    body = signed("zipped")
    async with opened(max_body_bytes=4096) as client:
        status, _ = await client.post("/webhooks/mailgun", gzip.compress(body), {"Content-Encoding": "gzip"})
        (record,) = await asyncio.to_thread(records, client.bootstrap, f"{client.topic_prefix}webhooks.mailgun", 1)
    assert status == 200
    assert record.value() == body


@pytest.mark.parametrize(
    ("body", "encoding", "result"),
    [
        pytest.param(gzip.compress(b"0" * 50_000_000), "gzip", "too_large", id="bomb"),
        pytest.param(gzip.compress(b"{}")[:-4], "gzip", "malformed", id="truncated"),
        pytest.param(b"no gzip at all", "gzip", "malformed", id="garbage"),
        pytest.param(b"{}", "br", "malformed", id="unknown"),
    ],
)
async def test_a_gzip_bomb_or_garbage_is_refused(opened: Open, body: bytes, encoding: str, result: str) -> None:
    async with opened(max_body_bytes=65536) as client:
        assert (await client.post("/webhooks/mailgun", body, {"Content-Encoding": encoding}))[0] == 406
        assert client.counted("mailgun", result) == 1


async def test_a_body_that_does_not_arrive_in_time_is_not_taken_now(opened: Open) -> None:
    async with opened(read_timeout_s=0.2) as client:
        host, port = client.base.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /webhooks/mailgun HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()
        assert b" 503 " in head.split(b"\r\n")[0]
        assert b"Retry-After: 30" in head


async def test_a_sender_that_expects_100_continue_gets_it(opened: Open) -> None:
    body = signed("patient")
    async with opened() as client:
        host, port = client.base.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /webhooks/mailgun HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
            % len(body)
        )
        assert b"100 Continue" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.write(body)
        assert b" 200 " in await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()


async def test_paths_that_nobody_is_configured_for_are_404_and_other_methods_405(opened: Open) -> None:
    async with opened() as client:
        for path in ("/webhooks/ses", "/webhooks/mailgun/unknown", "/webhooks/", "/", "/webhooks/../etc/passwd"):
            assert (await client.post(path, signed("t")))[0] == 404
        assert (await client.get("/webhooks/mailgun"))[0] == 405
        assert (await client.post("/health/live", b""))[0] == 405


async def test_accounts_have_paths_and_keys_of_their_own(opened: Open) -> None:
    adapters = {"mailgun": provider(secret="main"), "mailgun/shop": provider(secret="shops")}
    async with opened(adapters) as client:
        assert (await client.post("/webhooks/mailgun/shop", signed("a", "shops")))[0] == 200
        assert (await client.post("/webhooks/mailgun/shop", signed("b", "main")))[0] == 406
        assert (await client.post("/webhooks/mailgun", signed("c", "shops")))[0] == 406
        (record,) = await asyncio.to_thread(records, client.bootstrap, f"{client.topic_prefix}webhooks.mailgun", 1)
    assert headers_of(record)["account"] == b"shop"


async def test_a_path_by_type_finds_whichever_entry_signed_it(opened: Open) -> None:
    adapters = {"mg-us": provider(name="mg-us", secret="us"), "mg-eu": provider(name="mg-eu", secret="eu")}
    async with opened(adapters) as client:
        assert (await client.post("/webhooks/mailgun", signed("a", "eu")))[0] == 200
        assert (await client.post("/webhooks/mg-us", signed("b", "eu")))[0] == 406
        assert (await client.post("/webhooks/mailgun", signed("c", "nobody")))[0] == 406
        (record,) = await asyncio.to_thread(records, client.bootstrap, f"{client.topic_prefix}webhooks.mailgun", 1)
    assert headers_of(record)["provider"] == b"mg-eu"


async def test_an_adapter_that_fails_keeps_the_webhook_at_the_provider(opened: Open) -> None:
    async with opened({"mailgun": provider(fails=True)}) as client:
        status, headers = await client.post("/webhooks/mailgun", signed("t"))
        assert (status, headers["Retry-After"]) == (503, "30")
        assert client.counted("mailgun", "unavailable") == 1


async def test_a_certificate_is_fetched_once_for_many_webhooks(opened: Open) -> None:
    release = asyncio.Event()
    asked = 0

    async def exchange(request: object, deadline_s: float) -> HttpResponse:
        nonlocal asked
        asked += 1
        await release.wait()
        return HttpResponse(200, {}, b"pem")

    adapter = provider(name="ses", type="ses", needs_certificate=True)
    async with opened({"ses": adapter}, exchange=exchange) as client:
        posts = [asyncio.create_task(client.post("/webhooks/ses", signed(f"t{n}"))) for n in range(20)]
        async with asyncio.timeout(10):
            while not asked:
                await asyncio.sleep(0.01)
        release.set()
        assert {status for status, _ in await asyncio.gather(*posts)} == {200}
    assert asked == 1


async def test_without_the_certificate_the_webhook_is_not_taken_now(opened: Open) -> None:
    adapter = FakeProvider(name="ses", type="ses", needs_certificate=True)
    exchange = ScriptedExchange([NoResponse(sent=False, detail="no route to host")])
    async with opened({"ses": adapter}, exchange=exchange) as client:
        status, headers = await client.post("/webhooks/ses", signed("t"))
    assert (status, headers["Retry-After"]) == (503, "30")
    assert adapter.learned == [NoResponse(sent=False, detail="no route to host")]


async def test_a_subscription_to_an_allowed_topic_is_confirmed(opened: Open) -> None:
    exchange = ScriptedExchange([HttpResponse(200, {}, b"<ConfirmSubscriptionResponse/>")])
    async with opened({"ses": provider(name="ses", type="ses")}, exchange=exchange) as client:
        status, _ = await client.post("/webhooks/ses", signed("t", subscribe="arn:aws:sns:us-east-1:1:ours"))
    assert status == 200
    assert [request.body for request in exchange.asked] == [b"Action=ConfirmSubscription"]


async def test_a_confirmation_that_fails_is_tried_again_by_sns(opened: Open) -> None:
    exchange = ScriptedExchange([HttpResponse(500, {}, b"")])
    async with opened({"ses": provider(name="ses", type="ses")}, exchange=exchange) as client:
        assert (await client.post("/webhooks/ses", signed("t", subscribe="arn:x")))[0] == 503


async def test_subscriptions_are_left_alone_where_that_is_configured(opened: Open) -> None:
    exchange = ScriptedExchange([])
    adapters = {"ses": provider(name="ses", type="ses")}
    async with opened(adapters, exchange=exchange, confirm_subscriptions=False) as client:
        assert (await client.post("/webhooks/ses", signed("t", subscribe="arn:x")))[0] == 403
    assert exchange.asked == []


async def test_health_and_metrics_are_served(opened: Open) -> None:
    async with opened() as client:
        await client.post("/webhooks/mailgun", signed("t"))
        assert await client.get("/health/live") == (200, "ok\n")
        assert await client.get("/health/ready") == (200, "ok\n")
        status, text = await client.get("/metrics")
    assert status == 200
    assert 'streams_ingress_requests_total{provider="mailgun",result="accepted"} 1.0' in text
    assert 'streams_ingress_duration_seconds_count{provider="mailgun"} 1.0' in text


def _request(body: bytes, version: str = "1.1", connection: str = "") -> bytes:
    head = f"POST /webhooks/mailgun HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n{connection}\r\n"
    return head.encode() + body


@contextlib.asynccontextmanager
async def _raw(base: str, *requests: bytes) -> AsyncIterator[asyncio.StreamReader]:
    host, port = base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for request in requests:
        writer.write(request)
    yield reader
    writer.close()
    await writer.wait_closed()


async def test_the_answer_is_complete_http_and_the_connection_serves_on(opened: Open) -> None:
    requests = [_request(signed(f"t{n}")) for n in range(3)]
    async with opened() as client, _raw(client.base, *requests) as reader:
        for _ in range(3):
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
            lines = head.split("\r\n")
            assert lines[0] == "HTTP/1.1 200 OK"
            assert "Content-Length: 0" in lines
            assert any(line.startswith("Date: ") and line.endswith(" GMT") for line in lines)


@pytest.mark.parametrize(("version", "connection"), [("1.0", ""), ("1.1", "Connection: close\r\n")])
async def test_a_sender_that_wants_the_connection_closed_gets_that(opened: Open, version: str, connection: str) -> None:
    async with opened() as client, _raw(client.base, _request(signed("t"), version, connection)) as reader:
        answer = await asyncio.wait_for(reader.read(), 10)
    assert answer.startswith(f"HTTP/{version} 200 OK\r\n".encode())


async def test_a_sender_that_leaves_before_the_answer_does_no_harm(opened: Open) -> None:
    async with opened() as client:
        host, port = client.base.removeprefix("http://").split(":")
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(_request(signed("gone")))
            await writer.drain()
            writer.transport.abort()
        assert (await client.post("/webhooks/mailgun", signed("here")))[0] == 200
        assert (await client.get("/health/live"))[0] == 200
