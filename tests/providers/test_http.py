"""The HTTP edge: every failure is a value, and "not sent" is said only when it is certain."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import uvloop
from aiohttp.connector import Connection

from streams.providers._http import NOT_SENT, HttpExchange, translate
from streams.providers.base import HttpRequest, HttpResponse, NoResponse
from tests.security.tls import authority

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    tasks: set[asyncio.Task[None] | None] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()
        running = [task for task in tasks if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def answering(answer: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\nbody")
            writer.write(answer)
            await writer.drain()

    return handle


async def post(url: str, deadline_s: float = 5.0, exchange: HttpExchange | None = None) -> HttpResponse | NoResponse:
    async with exchange or HttpExchange(max_response_bytes=1000) as door:
        return await door(HttpRequest("POST", url, (("x-test", "1"),), b"body"), deadline_s)


async def test_an_answer_is_complete_with_lower_case_header_names() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nX-Thing: a\r\nContent-Length: 2\r\n\r\nhi")) as url:
        answer = await post(url)
    assert isinstance(answer, HttpResponse)
    assert (answer.status, answer.headers["x-thing"], answer.body) == (200, "a", b"hi")


async def test_what_one_answer_leaves_the_next_call_does_not_bring_back() -> None:
    """A cookie would let a provider tie the calls of different tenants together."""
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\nbody"))
            writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: session=1; Path=/\r\nContent-Length: 2\r\n\r\nhi")
            await writer.drain()

    async with serving(handle) as url, HttpExchange() as exchange:
        named = url.replace("127.0.0.1", "localhost")  # a jar would keep nothing of an address
        for _ in range(2):
            assert isinstance(await exchange(HttpRequest("POST", named, (), b"body"), 5.0), HttpResponse)
    assert len(heads) == 2
    assert not any(b"cookie" in head.lower() for head in heads)


def folded(*encodings: str, size: int) -> bytes:
    """An answer of ``size`` zeros, compressed as often as the header says."""
    body = b"\0" * size
    for _ in encodings:
        body = gzip.compress(body, 9)
    names = ", ".join(encodings)
    return f"HTTP/1.1 200 OK\r\nContent-Encoding: {names}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def test_a_compressed_answer_is_read_although_nobody_asked_for_it() -> None:
    async with serving(answering(folded("gzip", size=1000))) as url:
        answer = await post(url)
    assert isinstance(answer, HttpResponse)
    assert answer.body == b"\0" * 1000


@pytest.mark.parametrize(
    "encodings", [("gzip",), ("gzip", "gzip"), ("gzip", "gzip", "gzip"), ("x-gzip",), ("deflate",)]
)
async def test_a_bomb_is_unfolded_to_the_bound_and_no_layer_further(encodings: tuple[str, ...]) -> None:
    """An answer of two kilobytes in two layers was a gigabyte."""
    answer = folded(*encodings, size=200_000_000)
    tracemalloc.start()
    try:
        async with serving(answering(answer)) as url:
            found = await post(url, 20.0, HttpExchange(max_response_bytes=1_000_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10_000_000
    assert isinstance(found, NoResponse) if len(encodings) == 1 else isinstance(found, HttpResponse)
    assert not isinstance(found, HttpResponse) or len(found.body) < 1_000_000


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"x" * 100)[:-9]], ids=["garbage", "cut"])
async def test_a_compressed_answer_that_is_broken_may_have_been_an_acceptance(body: bytes) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with serving(answering(head + body)) as url:
        answer = await post(url)
    assert isinstance(answer, NoResponse)
    assert answer.sent


async def test_connections_are_reused() -> None:
    peers = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peers.add(writer.get_extra_info("peername"))
        await answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")(reader, writer)

    async with serving(handle) as url, HttpExchange() as exchange:
        for _ in range(3):
            assert isinstance(await exchange(HttpRequest("POST", url, (), b"body"), 5.0), HttpResponse)
    assert len(peers) == 1


async def test_calls_leave_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")) as url:
            await post(f"{url}?recipient=ann@example.net")
    assert [line for line in caplog.records if line.name.startswith("http")] == []


async def test_redirects_are_answers_not_orders() -> None:
    async with serving(answering(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n")) as url:
        answer = await post(url)
    assert isinstance(answer, HttpResponse)
    assert answer.status == 302


async def test_a_refused_connection_was_certainly_not_sent() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        answer = await post(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert isinstance(answer, NoResponse)
    assert not answer.sent


@pytest.mark.parametrize("url", ["http://nowhere.invalid/", "ftp://127.0.0.1/", "http://", "http://[::1/"])
async def test_an_address_that_leads_nowhere_was_certainly_not_sent(url: str) -> None:
    answer = await post(url)
    assert isinstance(answer, NoResponse)
    assert not answer.sent


@pytest.mark.parametrize("url", ["http://a..b/", "http://.../", f"http://{'a' * 70}.example/"])
async def test_a_host_that_is_no_name_was_certainly_not_sent_to(url: str) -> None:
    answer = await post(url)
    assert isinstance(answer, NoResponse)
    assert not answer.sent


@pytest.mark.parametrize("value", ["s3cr3t\n", "s3cr3t\r\nX: y", "s3cr3t\0", "s3cr3tÄ", "s3cr3t\ud800"])
async def test_a_header_that_cannot_be_written_is_a_value_and_not_repeated(value: str) -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as url, HttpExchange() as door:
        answer = await door(HttpRequest("POST", url, (("authorization", value),), b"body"), 5.0)
        assert isinstance(answer, NoResponse)
        assert "s3cr3t" not in answer.detail


async def test_a_server_without_tls_was_certainly_not_sent_to() -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"not tls at all\r\n\r\n")

    async with serving(garbage) as url:
        answer = await post(url.replace("http:", "https:"))
    assert isinstance(answer, NoResponse)
    assert not answer.sent


async def test_a_pool_without_a_free_connection_was_certainly_not_sent() -> None:
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with serving(silent) as url, HttpExchange(max_connections=1, connect_timeout_s=0.2) as exchange:
        first = asyncio.create_task(exchange(HttpRequest("POST", url, (), b"body"), 2.0))
        await arrived.wait()
        second = await exchange(HttpRequest("POST", url, (), b"body"), 5.0)
        assert isinstance(second, NoResponse)
        assert (second.sent, second.timeout) == (False, True)
        assert (await first) == NoResponse(sent=True, detail="no answer within 2 s", timeout=True)


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"body")


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"body")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()


async def half_an_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"body")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")


async def no_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"body")
    writer.write(b"SSH-2.0-thing\r\n\r\n")


async def too_much(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"body")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001)
    await reader.read()


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"body")
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        writer.write(b"x" * 100)
        await writer.drain()


@pytest.mark.parametrize("handler", [hang_up, reset, half_an_answer, no_http, too_much, endless])
async def test_a_call_that_ended_badly_after_the_request_may_have_been_taken(handler: Handler) -> None:
    async with serving(handler) as url:
        answer = await post(url)
    assert isinstance(answer, NoResponse)
    assert (answer.sent, answer.timeout) == (True, False)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("ends", ["reset", "closed", "silent"])
def test_a_connection_that_ended_badly_is_a_value_on_every_loop(run: Callable[..., Any], ends: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\nbody")
        if ends == "reset":
            writer.transport.abort()
        elif ends == "silent":
            await asyncio.sleep(5)

    async def calls() -> list[HttpResponse | NoResponse]:
        async with serving(handle) as url, HttpExchange() as exchange:
            request = HttpRequest("POST", url, (), b"body")
            return await asyncio.gather(*(exchange(request, 0.2 if ends == "silent" else 5.0) for _ in range(5)))

    answers = run(calls())
    assert [type(answer) for answer in answers] == [NoResponse] * 5
    assert all(answer.sent for answer in answers)


async def test_a_dripping_answer_ends_with_the_deadline() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with serving(drip) as url:
        answer = await post(url, deadline_s=0.3)
    assert answer == NoResponse(sent=True, detail="no answer within 0.3 s", timeout=True)


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("ends", ["deadline", "cancelled"])
async def test_a_large_request_that_was_given_up_does_not_arrive_afterwards(
    ends: str, tls: bool, tmp_path: Path
) -> None:
    """A peer that stops reading and goes on later: by then somebody may have decided to send it again."""
    goes_on, heard, over = asyncio.Event(), bytearray(), asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.readuntil(b"\r\n\r\n"))
        await goes_on.wait()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while piece := await reader.read(65_536):
                heard.extend(piece)
        over.set()

    body = b"x" * 32 * 1024 * 1024
    ours = authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (tmp_path / "server.pem").write_bytes(ours.server("127.0.0.1"))
    context.load_cert_chain(tmp_path / "server.pem")
    async with serving(handle, context if tls else None) as url, HttpExchange(verify=ours.trusted) as exchange:
        call = asyncio.ensure_future(exchange(HttpRequest("POST", url, (), body), 0.5 if ends == "deadline" else 60))
        if ends == "deadline":
            answer = await call
            assert isinstance(answer, NoResponse)
            assert (answer.sent, answer.timeout) == (True, True)
        else:
            await asyncio.sleep(0.5)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await asyncio.sleep(0.05)
        goes_on.set()
        async with asyncio.timeout(5):
            await over.wait()
    assert len(heard) < len(body)


async def test_a_process_that_stood_still_beyond_the_deadline_sends_nothing_when_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By then others may have taken the message over; the timer that would end the call has not run yet."""
    came = bytearray()
    connect = aiohttp.TCPConnector.connect

    async def standing_still(*args: Any, **options: Any) -> Connection:
        connection = await connect(*args, **options)
        time.sleep(0.4)  # the whole process
        return connection

    async def listen(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while piece := await reader.read(100):
            came.extend(piece)

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", standing_still)
    async with serving(listen) as url:
        answer = await post(url, deadline_s=0.3)
        await asyncio.sleep(0.1)
    assert isinstance(answer, NoResponse)
    assert not answer.sent and answer.timeout
    assert not came


async def test_cancellation_is_not_swallowed() -> None:
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()

    async with serving(silent) as url:
        task = asyncio.create_task(post(url))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def test_every_exception_of_the_client_is_mapped() -> None:
    exported = {getattr(httpx, name) for name in httpx.__all__}
    exceptions = {e for e in exported if isinstance(e, type) and issubclass(e, Exception)}
    assert exceptions == set(NOT_SENT)


def test_the_cause_underneath_overrules_the_name_on_top() -> None:
    lost = httpx.ConnectTimeout("")
    lost.__cause__ = aiohttp.ServerDisconnectedError()
    assert translate(lost).sent
    slow = httpx.ConnectTimeout("")
    slow.__cause__ = aiohttp.ConnectionTimeoutError()
    assert not translate(slow).sent
    assert not translate(httpx.ConnectTimeout("")).sent
    assert translate(httpx.ReadTimeout("")).sent
    assert translate(aiohttp.ClientPayloadError()).sent
