"""What strangers can try with our own links: forged and changed tokens, foreign targets, headers, scripts, sizes."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode, urlsafe_b64encode
from hashlib import sha256

import pytest

from streams.tracking.pages import PAGE_HEADERS, WORDS, ask_page, done_page, language_of, later_page, unknown_page
from streams.tracking.tokens import Purpose, seal_link, seal_origin
from tests.ingress.visiting import BINDER, URL, Visitor, click_token, leave_token, open_token, visiting
from tests.tracking.origins import FOREIGN, origin, ring

EVIL = "https://evil.example/"


def b64(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def foreign_click() -> str:
    who = seal_origin(ring(FOREIGN), Purpose.CLICK, origin(content=BINDER))
    return f"{who}.{seal_link(ring(FOREIGN), EVIL, BINDER)}"


WHO, _, WHERE = click_token().partition(".")
OPEN_REDIRECTS = {
    "nothing": "",
    "a bare URL": EVIL,
    "an encoded URL": b64(EVIL),
    "an encoded URL behind a true recipient": f"{WHO}.{b64(EVIL)}",
    "a plain URL behind a true recipient": f"{WHO}.{EVIL}",
    "a percent-encoded URL behind a true recipient": f"{WHO}.https%3A%2F%2Fevil.example",
    "a foreign key": foreign_click(),
    "a foreign link behind a true recipient": f"{WHO}.{foreign_click().partition('.')[2]}",
    "another content's link": f"{WHO}.{seal_link(ring(), EVIL, b'12345678')}",
    "a link used as recipient": f"{WHERE}.{WHERE}",
    "an open's recipient": f"{open_token(content=BINDER)}.{WHERE}",
    "an unsubscriber": f"{leave_token(content=BINDER)}.{WHERE}",
    "a query": f"?url={EVIL}",
    "a true token and more": f"{click_token()}/{EVIL}",
    "a true token and a dot": f"{click_token()}.{EVIL}",
    "cut": click_token()[:-1],
    "only the recipient": f"{WHO}.",
    "only the link": f".{WHERE}",
    "upper case": click_token().upper(),
    "line ends": f"{WHO}.%0d%0aLocation:%20{EVIL}",
    "zero": f"{click_token()}%00",
    "dots": "../../t/c/x",
}


@pytest.mark.parametrize("token", OPEN_REDIRECTS.values(), ids=OPEN_REDIRECTS)
async def test_nothing_but_what_we_sealed_for_this_content_leads_anywhere(token: str) -> None:
    async with visiting() as visitor:
        status, headers, body = await visitor.ask("GET", f"/t/c/{token}")
        assert status == 404
        assert "Location" not in headers
        assert b"evil" not in body
        assert visitor.shelf.kept == []


async def test_a_query_changes_nothing_of_where_a_link_leads() -> None:
    async with visiting() as visitor:
        for more in (f"?url={EVIL}", f"?{EVIL}", "#@evil.example", "?next=//evil.example"):
            assert (await visitor.ask("GET", f"/t/c/{click_token()}{more}"))[1]["Location"] == URL


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example/\r\nSet-Cookie: session=stolen",
        "https://x.example/\nX: y",
        "https://x.example/\r\n\r\n<script>alert(1)</script>",
        "https://x.example/\x00",
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "https://x.example/ü",
        "https://x.example/" + "a" * 2_100,
        " https://x.example/",
    ],
    ids=repr,
)
async def test_even_a_sealed_target_must_be_one_line_and_a_web_address(url: str) -> None:
    async with visiting() as visitor:
        status, headers, _ = await visitor.ask("GET", f"/t/c/{click_token(url)}")
        assert status == 404
        assert not {"Location", "Set-Cookie", "X"} & set(headers)


async def raw(visitor: Visitor, data: bytes) -> bytes:
    """The first answer to these bytes."""
    host, _, port = visitor.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read(65_536)
    finally:
        writer.close()


class TestSizes:
    async def test_a_token_as_long_as_a_request_line_may_be_is_none(self) -> None:
        async with visiting() as visitor:
            for kind, status in (("o", 200), ("c", 404), ("u", 404)):
                assert (await visitor.ask("GET", f"/t/{kind}/{'A' * 7_000}"))[0] == status
                assert (await visitor.ask("GET", f"/t/{kind}/{'A' * 3_500}.{'B' * 3_500}"))[0] == status

    async def test_a_longer_request_line_is_refused_by_the_parser(self) -> None:
        async with visiting() as visitor:
            answer = await raw(visitor, b"GET /t/c/" + b"A" * 1_000_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n")
            assert b" 400 " in answer[:20]
            assert (await visitor.ask("GET", f"/t/o/{open_token()}"))[0] == 200

    async def test_a_user_agent_is_kept_in_part_and_without_what_a_terminal_obeys(self) -> None:
        async with visiting() as visitor:
            agent = "Evil\x1b[2J" + "x" * 3_000
            request = f"GET /t/o/{open_token()} HTTP/1.1\r\nHost: t\r\nUser-Agent: {agent}\r\n\r\n"
            await raw(visitor, request.encode("latin-1"))
            for fact in visitor.facts:  # a parser may refuse the request altogether
                assert len(fact["ua"]) <= 512
                assert "\x1b" not in fact["ua"]

    async def test_records_stay_small_whatever_is_sent(self) -> None:
        async with visiting(tracking={"ip_header": "X-Forwarded-For"}) as visitor:
            headers = {"User-Agent": "ü" * 2_000, "X-Forwarded-For": "9" * 3_000, "Purpose": "prefetch" * 300}
            await visitor.ask("GET", f"/t/c/{click_token()}", headers=headers)
            assert len(visitor.shelf.kept[0].value) < 5_000


class TestPages:
    XSS = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'&{list}"

    @pytest.mark.parametrize("language", WORDS)
    def test_what_varies_is_escaped(self, language: str) -> None:
        for page in (ask_page(language, self.XSS), done_page(language, self.XSS)):
            assert "<script" not in page
            assert "<img" not in page
            assert "&lt;script&gt;" in page
            assert "onerror" in page  # as text
        assert later_page(language).startswith("<!DOCTYPE html>")
        assert WORDS[language].unknown in unknown_page(language)

    async def test_nothing_of_the_request_comes_back(self) -> None:
        async with visiting() as visitor:
            for path in (f"/t/u/{self.XSS}", f"/t/u/{leave_token()}?{self.XSS}", f"/t/c/{self.XSS}"):
                for method in ("GET", "POST"):
                    headers = {"Accept-Language": f"{self.XSS}", "User-Agent": self.XSS, "Referer": self.XSS}
                    quoted = path.replace(" ", "%20")
                    _, _, body = await visitor.ask(method, quoted, self.XSS.encode(), headers)
                    assert b"alert(1)" not in body

    async def test_pages_may_load_nothing_run_nothing_and_be_framed_by_nobody(self) -> None:
        async with visiting() as visitor:
            for method, path in (
                ("GET", f"/t/u/{leave_token()}"),
                ("POST", f"/t/u/{leave_token()}"),
                ("GET", "/t/u/x"),
            ):
                _, headers, body = await visitor.ask(method, path)
                policy = headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "frame-ancestors 'none'" in policy
                assert "base-uri 'none'" in policy
                assert "unsafe" not in policy
                assert (headers["Referrer-Policy"], headers["X-Content-Type-Options"]) == ("no-referrer", "nosniff")
                assert headers["Cache-Control"] == "no-store"
                style = re.findall(rb"<style>(.*?)</style>", body)[0]

                assert b64encode(sha256(style).digest()).decode() in policy

    def test_every_language_has_every_text(self) -> None:
        for words in WORDS.values():
            assert "{list}" in words.ask_list
            assert "{list}" in words.done_list
            assert all((words.title, words.ask, words.button, words.done, words.later, words.unknown))

    @pytest.mark.parametrize(
        ("header", "language"),
        [("", "en"), ("de", "de"), ("fr-CA, en", "fr"), ("xx, es;q=0.1", "es"), ("*", "en"), ("," * 10_000, "en")],
    )
    def test_the_readers_language_or_english(self, header: str, language: str) -> None:
        assert language_of(header) == language

    def test_no_header_of_a_page_can_be_split(self) -> None:
        assert all(value.isprintable() for value in PAGE_HEADERS.values())


async def test_a_recipient_cannot_unsubscribe_somebody_else() -> None:
    async with visiting() as visitor:
        mine = leave_token()
        for place in range(0, len(mine), 7):
            changed = mine[:place] + ("A" if mine[place] != "A" else "B") + mine[place + 1 :]
            assert (await visitor.ask("POST", f"/t/u/{changed}"))[0] == 404
        for other in (open_token(), WHO, click_token(), f"{mine}x", mine[:-2]):
            assert (await visitor.ask("POST", f"/t/u/{other}"))[0] == 404
        assert visitor.shelf.kept == []
