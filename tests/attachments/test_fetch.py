"""Fetching, over real TLS, and what must not be reached that way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from streams.attachments import Fetcher, FetcherConfig
from streams.core.message import Attachment
from tests.attachments.conftest import Names, Server


def by_url(url: str, content_type: str = "application/pdf", name: str = "a.pdf") -> Attachment:
    return Attachment(name, content_type, url=url)


@asynccontextmanager
async def fetcher(server: Server, tls: ssl.SSLContext | None, **config: Any) -> AsyncIterator[Fetcher]:
    """One that may ask the server on the loopback, because it is told so."""
    resolver = config.pop("resolver", None)
    values = {"allow_hosts": (f"localhost:{server.port}",), "deadline_s": 5.0, **config}
    made = Fetcher(FetcherConfig(**values), tls=tls, resolver=resolver)
    try:
        yield made
    finally:
        await made.close()


async def why(server: Server, tls: ssl.SSLContext, url: str, **config: Any) -> str:
    content_type = config.pop("content_type", "application/pdf")
    async with fetcher(server, tls, **config) as one:
        found = await one.fetch([by_url(url, content_type)])
    assert isinstance(found, str), found
    return found


async def test_a_file_comes_with_the_name_that_the_sender_gave_it(server: Server, trusting: ssl.SSLContext) -> None:
    server.gives("/a", b"%PDF-1")
    inline = Attachment("b.txt", "text/plain", b"here")
    async with fetcher(server, trusting) as one:
        found = await one.fetch([by_url(server.url("/a"), name="Rechnung März.pdf"), inline])
    assert found == (Attachment("Rechnung März.pdf", "application/pdf", b"%PDF-1"), inline)


async def test_a_file_named_by_many_is_fetched_once(server: Server, trusting: ssl.SSLContext) -> None:
    server.gives("/a")
    async with fetcher(server, trusting) as one:
        both = [by_url(server.url("/a")), by_url(server.url("/a"), name="b.pdf")]
        await asyncio.gather(one.fetch(both), one.fetch(both))
        await one.fetch(both)
    assert server.asked == ["/a"]


# ---------------------------------------------------------------------------------------------- what it is


@pytest.mark.parametrize(
    ("said", "wanted", "becomes"),
    [
        ("application/pdf", "application/octet-stream", "application/pdf"),
        ("application/octet-stream", "application/pdf", "application/pdf"),
        ("binary/octet-stream", "application/octet-stream", "application/octet-stream"),
        ("image/jpg", "image/jpeg", "image/jpeg"),
    ],
)
async def test_the_type_is_the_senders_or_else_the_servers(
    server: Server, trusting: ssl.SSLContext, said: str, wanted: str, becomes: str
) -> None:
    server.gives("/a", content_type=said)
    async with fetcher(server, trusting) as one:
        found = await one.fetch([by_url(server.url("/a"), wanted)])
    assert not isinstance(found, str), found
    assert found[0].content_type == becomes


async def test_a_log_in_page_is_no_invoice(server: Server, trusting: ssl.SSLContext) -> None:
    server.gives("/a", b"<html>", "text/html")
    assert await why(server, trusting, server.url("/a")) == "attachments[0].url is text/html, not application/pdf"


async def test_a_type_that_would_be_a_header_of_its_own_is_not_taken_over(
    server: Server, trusting: ssl.SSLContext
) -> None:
    server.answers["/a"] = lambda request: web.Response(body=b"x", headers={"Content-Type": "text/\tx y; a=b"})
    async with fetcher(server, trusting) as one:
        found = await one.fetch([by_url(server.url("/a"), "application/octet-stream")])
    assert not isinstance(found, str)
    assert found[0].content_type == "application/octet-stream"


# ---------------------------------------------------------------------------------------------- bounds


async def test_a_file_that_is_too_large_is_not_read_to_its_end(server: Server, trusting: ssl.SSLContext) -> None:
    server.gives("/told", b"x" * 1001)

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/pdf"})
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"x" * 512)
        except (ConnectionError, asyncio.CancelledError):
            return answer

    server.answers["/endless"] = endless
    for path in ("/told", "/endless"):
        said = await why(server, trusting, server.url(path), max_bytes=1000)
        assert said == "attachments[0].url has more than 1000 bytes"


async def test_all_files_of_a_request_together_have_a_bound(server: Server, trusting: ssl.SSLContext) -> None:
    server.gives("/a", b"x" * 60)
    async with fetcher(server, trusting, total_bytes=100) as one:
        found = await one.fetch([by_url(server.url("/a")), by_url(server.url("/a"), name="b.pdf")])
    assert found == "attachments have 120 bytes together, at most 100 are allowed"


@pytest.mark.parametrize("where", ["head", "body"])
async def test_a_server_that_dawdles_is_given_up_at_the_deadline(
    server: Server, trusting: ssl.SSLContext, where: str
) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/pdf"})
        if where == "body":
            await answer.prepare(request)
            await answer.write(b"x")
        await asyncio.sleep(30)
        return answer

    server.answers["/a"] = slow
    said = await why(server, trusting, server.url("/a"), deadline_s=0.2)
    assert said == "attachments[0].url could not be fetched within 0.2 s"


async def test_a_bomb_is_not_unpacked(server: Server, trusting: ssl.SSLContext) -> None:
    server.gives("/a", b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    assert "compressed" in await why(server, trusting, server.url("/a"))


# ---------------------------------------------------------------------------------------------- trouble


async def test_trouble_that_passes_is_tried_again_and_a_missing_file_is_not(
    server: Server, trusting: ssl.SSLContext
) -> None:
    answers: Iterator[web.Response] = iter(
        [web.Response(status=503), web.Response(body=b"%PDF", content_type="application/pdf")]
    )
    server.answers["/a"] = lambda request: next(answers)
    async with fetcher(server, trusting) as one:
        assert not isinstance(await one.fetch([by_url(server.url("/a"))]), str)
    assert "HTTP 404" in await why(server, trusting, server.url("/gone"))
    assert server.asked == ["/a", "/a", "/gone"]


async def test_a_failure_says_nothing_of_the_path_which_may_be_a_secret(
    server: Server, trusting: ssl.SSLContext
) -> None:
    said = await why(server, trusting, server.url("/private?signature=s3cr3t"))
    assert "s3cr3t" not in said
    assert "private" not in said


async def test_a_certificate_that_nobody_vouches_for_is_refused(server: Server) -> None:
    async with fetcher(server, None) as one:
        found = await one.fetch([by_url(server.url("/a"))])
    assert isinstance(found, str)
    assert "certificate" in found
    assert server.asked == []


# ---------------------------------------------------------------------------------------------- where it must not lead


async def test_the_loopback_is_not_asked_by_any_name(server: Server, trusting: ssl.SSLContext) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]", "0x7f000001", "2130706433", "127.1", "１２７.0.0.1"):
        async with fetcher(server, trusting, allow_hosts=()) as one:
            found = await one.fetch([by_url(f"https://{host}/a")])
        assert isinstance(found, str), host
    assert server.asked == []


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.7", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00::1"])
async def test_a_public_name_of_an_inner_address_leads_nowhere(
    server: Server, trusting: ssl.SSLContext, address: str
) -> None:
    names = Names(files_example=[address])
    said = await why(server, trusting, "https://files.example/a", resolver=names)
    assert said == "attachments[0].url leads to an address that is not public"
    assert server.asked == []


async def test_a_name_that_changes_its_meaning_is_judged_at_each_connection(
    server: Server, trusting: ssl.SSLContext
) -> None:
    """DNS rebinding: harmless when asked first, the loopback when asked again. What is connected to is what was judged."""
    names = Names(files_example=["10.9.9.9", "127.0.0.1"])
    async with fetcher(server, trusting, resolver=names) as one:
        for _ in range(3):
            found = await one.fetch([by_url("https://files.example/a")])
            assert found == "attachments[0].url leads to an address that is not public"
    assert len(names.asked) == 3
    assert server.asked == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("http://files.example/a", "something else than https"),
        ("https://169.254.169.254/latest", "not public"),
        ("https://localhost:1/a", "names port 1"),
        ("https://inner.example/a", "not public"),
        ("file:///etc/passwd", "something else than https"),
        ("//user@localhost/", "user or password"),
        ("s3://bucket/key", "something else than https"),
        ("https://[", "is no URL"),
        ("https://１２７.0.0.1/", "not public"),
    ],
)
async def test_a_redirect_is_judged_like_the_first_url(
    server: Server, trusting: ssl.SSLContext, place: str, said: str
) -> None:
    server.answers["/a"] = lambda request: web.Response(status=302, headers={"Location": place})
    names = Names(inner_example=["10.0.0.1"], localhost=["127.0.0.1"])
    assert said in await why(server, trusting, server.url("/a"), resolver=names)
    assert server.asked == ["/a"]


async def test_a_redirect_within_what_is_allowed_is_followed_a_few_times(
    server: Server, trusting: ssl.SSLContext
) -> None:
    server.gives("/file")
    server.answers["/a"] = lambda request: web.Response(status=307, headers={"Location": "/file"})
    server.answers["/round"] = lambda request: web.Response(status=301, headers={"Location": "/round"})
    async with fetcher(server, trusting) as one:
        assert not isinstance(await one.fetch([by_url(server.url("/a"))]), str)
    assert "redirects more than 3 times" in await why(server, trusting, server.url("/round"))


async def test_a_proxy_of_the_environment_is_not_used(
    server: Server, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    server.gives("/a")
    async with fetcher(server, trusting) as one:
        assert not isinstance(await one.fetch([by_url(server.url("/a"))]), str)
