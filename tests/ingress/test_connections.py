"""Clients that are slow on purpose: headers and bodies that trickle, connections without end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from streams.ingress.connections import Connections
from tests.ingress.conftest import Open
from tests.ingress.fakes import provider, signed

HEAD = b"POST /webhooks/mailgun HTTP/1.1\r\nHost: x\r\n"


Both = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[str], Awaitable[Both]]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Opens connections that are closed when the test ends."""
    writers: list[asyncio.StreamWriter] = []

    async def open_(base: str) -> Both:
        place = urlsplit(base)
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writers.append(writer)
        return reader, writer

    yield open_
    for writer in writers:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ended_after_s(reader: asyncio.StreamReader) -> float:
    began = time.monotonic()
    async with asyncio.timeout(10):
        try:
            while await reader.read(1024):
                pass
        except ConnectionError:
            pass
    return time.monotonic() - began


async def trickle(writer: asyncio.StreamWriter, byte: bytes = b"a", every_s: float = 0.02) -> None:
    try:
        while True:
            writer.write(byte)
            await writer.drain()
            await asyncio.sleep(every_s)
    except ConnectionError:
        pass


async def whole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> bytes:
    """One request over an open connection; the answer's status line."""
    writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b"\r\n")[0]


@pytest.mark.parametrize("begun", [b"POST /", HEAD, HEAD + b"X-Long: "], ids=["a path", "a header", "a value"])
async def test_headers_that_trickle_end_the_connection(
    opened: Open, dial: Dial, begun: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with opened({"mailgun": provider()}, read_timeout_s=0.3) as client:
        reader, writer = await dial(client.base)
        writer.write(begun)
        slow = asyncio.create_task(trickle(writer))
        assert 0.2 < await ended_after_s(reader) < 5
        slow.cancel()
    assert "headers did not arrive within 0.3 s" in caplog.text


async def test_headers_that_stop_half_way_on_a_kept_connection_end_it(opened: Open, dial: Dial) -> None:
    async with opened({"mailgun": provider()}, read_timeout_s=0.3) as client:
        reader, writer = await dial(client.base)
        assert b" 200 " in await whole(reader, writer, signed("one"))
        writer.write(HEAD)
        assert await ended_after_s(reader) < 5


class Wire(asyncio.Transport):
    """Carries nothing; knows whether it was closed."""

    closed = False

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


async def test_headers_that_begin_faster_than_the_connection_end_it_when_they_stop() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    server = Connections(answer, headers_timeout_s=10, most=10, access_log=None)
    connection, wire = server(), Wire()
    connection.connection_made(wire)
    connection.data_received(HEAD)  # its task has not had a turn yet
    await asyncio.sleep(0)
    server.end_slow(asyncio.get_running_loop().time() + 5)
    assert not wire.closed
    server.end_slow(asyncio.get_running_loop().time() + 11)
    assert wire.closed
    connection.connection_lost(None)


async def test_an_idle_connection_is_kept_and_used_again(dial: Dial) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(text="ok")

    server = Connections(answer, headers_timeout_s=10, most=10, access_log=None)
    runner = web.ServerRunner(server)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = "http://127.0.0.1:{1}".format(*runner.addresses[0])
        kept, early = await dial(base), await dial(base)  # opened ahead, as proxies do
        assert b" 200 " in await whole(*kept, b"x")
        server.end_slow(asyncio.get_running_loop().time() + 3600)
        for connection in (kept, early):
            assert b" 200 " in await whole(*connection, b"y")
    finally:
        await runner.cleanup()


async def test_a_body_that_trickles_is_answered_not_now(opened: Open, dial: Dial) -> None:
    async with opened({"mailgun": provider()}, read_timeout_s=0.3) as client:
        reader, writer = await dial(client.base)
        writer.write(HEAD + b"Content-Length: 1000\r\n\r\n")
        slow = asyncio.create_task(trickle(writer))
        async with asyncio.timeout(5):
            assert b" 503 " in await reader.readuntil(b"\r\n")
        slow.cancel()


async def test_no_more_connections_are_taken_than_configured_and_a_free_place_is_used(
    opened: Open, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with opened({"mailgun": provider()}, max_connections=3) as client:
        crowd = [await dial(client.base) for _ in range(3)]
        for number, (reader, writer) in enumerate(crowd):
            assert b" 200 " in await whole(reader, writer, signed(f"crowd-{number}"))
        one_more, writer = await dial(client.base)
        assert await ended_after_s(one_more) < 5
        crowd[0][1].close()

        async def taken() -> bool:
            try:
                return b" 200 " in await whole(*await dial(client.base), signed("late"))
            except (ConnectionError, asyncio.IncompleteReadError):
                return False

        async with asyncio.timeout(5):
            while not await taken():
                pass
    assert "there are 3 already" in caplog.text
