"""Our own links at the ingress: what a visitor gets, what is told of it, and what happens while Kafka is away."""

from __future__ import annotations

import asyncio
import json
from html.parser import HTMLParser

import aiohttp
import pytest

from streams.ingress import running
from streams.providers.base import Reading
from streams.settings import IngressSettings, KafkaSettings, Profile, Settings
from streams.tracking.automation import Networks
from streams.tracking.facts import TrackingReader
from streams.tracking.tokens import Purpose, seal_origin
from tests.ingress.fakes import create_topics, records
from tests.ingress.visiting import URL, click_token, leave_token, open_token, visiting, visiting_a_process
from tests.tracking.origins import MESSAGE_ID, NEW, NOW_MS, OLD, origin, ring

ONE_CLICK = b"List-Unsubscribe=One-Click"


class TestPixel:
    async def test_it_is_a_gif_that_nobody_keeps_and_an_open_on_kafka(self) -> None:
        token = open_token()
        async with visiting() as visitor:
            status, headers, body = await visitor.ask("GET", f"/t/o/{token}")
            assert (status, headers["Content-Type"]) == (200, "image/gif")
            assert body.startswith(b"GIF89a")
            assert "no-store" in headers["Cache-Control"]
            (record,) = visitor.shelf.kept
            assert record.key == MESSAGE_ID.encode()
            assert record.headers | {"received_at": b""} == {
                "provider": b"tracking", "account": b"", "verified": b"1", "received_at": b""
            }  # fmt: skip
            (fact,) = visitor.facts
            assert (fact["kind"], fact["token"], fact["ip"], fact["ua"]) == ("o", token, "127.0.0.1", "Browser/1")
            reading = TrackingReader(ring(), Networks(), 1 << 50).read_events(record.value, NOW_MS)
            assert isinstance(reading, Reading)
            assert reading.sightings[0].message_id == MESSAGE_ID
            await visitor.until_counted("open", "stored", 1)

    async def test_a_token_that_is_none_still_gives_the_picture_and_tells_nothing(self) -> None:
        async with visiting() as visitor:
            for path in ("/t/o/nonsense", "/t/o/", f"/t/o/{open_token()}x", f"/t/o/{leave_token()}"):
                assert (await visitor.ask("GET", path))[0] == 200
            assert visitor.counted("open", "forged") == 4
            assert visitor.shelf.kept == []


class TestRedirect:
    async def test_it_leads_where_the_mail_led_and_tells_a_click(self) -> None:
        async with visiting() as visitor:
            status, headers, body = await visitor.ask("GET", f"/t/c/{click_token()}?utm=added-by-somebody")
            assert (status, headers["Location"], body) == (302, URL, b"")
            assert "no-store" in headers["Cache-Control"]
            assert visitor.facts[0]["kind"] == "c"

    async def test_head_gets_the_headers_alone_and_is_told_as_such(self) -> None:
        async with visiting() as visitor:
            assert (await visitor.ask("HEAD", f"/t/c/{click_token()}"))[0] == 302
            status, headers, body = await visitor.ask("HEAD", f"/t/o/{open_token()}")
            assert (status, headers["Content-Type"], body) == (200, "image/gif", b"")
            assert all(fact["head"] for fact in visitor.facts)

    async def test_a_prefetch_is_told_as_such(self) -> None:
        async with visiting() as visitor:
            await visitor.ask("GET", f"/t/c/{click_token()}", headers={"Sec-Purpose": "prefetch;prerender"})
            assert visitor.facts[0]["prefetch"] is True

    async def test_a_visitor_who_reloads_is_told_once_and_led_on_each_time(self) -> None:
        async with visiting() as visitor:
            for _ in range(5):
                assert (await visitor.ask("GET", f"/t/c/{click_token()}"))[0] == 302
            assert visitor.counted("click", "repeated") == 4
            assert len(visitor.shelf.kept) == 1

    async def test_how_many_links_of_a_mail_were_fetched_at_once_is_told(self) -> None:
        async with visiting() as visitor:
            for number in range(4):
                await visitor.ask("GET", f"/t/c/{click_token(f'{URL}{number}')}")
            assert sorted(fact.get("links", 1) for fact in visitor.facts) == [1, 2, 3, 4]

    async def test_what_is_told_of_one_message_at_once_is_bounded(self) -> None:
        async with visiting() as visitor:
            token = open_token()
            for number in range(70):
                await visitor.ask("GET", f"/t/o/{token}", headers={"User-Agent": f"Flood/{number}"})
            assert visitor.counted("open", "repeated") == 10

    async def test_other_methods_are_not_allowed(self) -> None:
        async with visiting() as visitor:
            for path, allowed in (("o/x", "GET, HEAD"), ("c/x", "GET, HEAD"), ("u/x", "GET, HEAD, POST")):
                status, headers, _ = await visitor.ask("DELETE", f"/t/{path}")
                assert (status, headers["Allow"]) == (405, allowed)
            assert (await visitor.ask("POST", "/t/c/x", b""))[0] == 405
            for path in ("/t/", "/t/x/y", "/t", "/t/o", "/t/oo/x"):
                assert (await visitor.ask("GET", path))[0] == 404


class TestUnsubscribe:
    async def test_looking_at_the_page_changes_nothing(self) -> None:
        async with visiting() as visitor:
            for method in ("GET", "HEAD"):
                for _ in range(3):
                    status, headers, _ = await visitor.ask(method, f"/t/u/{leave_token()}")
                    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
            assert visitor.counted("page", "shown") == 6
            assert visitor.shelf.kept == []

    async def test_the_page_asks_in_the_readers_language_and_has_one_button(self) -> None:
        async with visiting() as visitor:
            _, _, body = await visitor.ask(
                "GET", f"/t/u/{leave_token()}", headers={"Accept-Language": "de-AT,en;q=0.5"}
            )
            page = _Page(body)
            assert page.root == {"lang": "de"}
            assert "news" in page.text
            assert "Abmelden" in page.text
            assert page.forms == [{"method": "post"}]
            assert page.buttons == 1
            assert page.loads == []

    @pytest.mark.parametrize(
        ("content_type", "body", "one_click"),
        [
            ("application/x-www-form-urlencoded", ONE_CLICK, True),
            (
                "multipart/form-data; boundary=b",
                b'--b\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b--\r\n',
                True,
            ),
            ("application/x-www-form-urlencoded", b"confirm=1", False),
            ("text/plain", b"", False),
            ("application/json", b"\xff{", False),
            ("multipart/form-data", b"no boundary", False),
        ],
        ids=["form", "multipart", "button", "empty", "json", "broken multipart"],
    )
    async def test_a_post_unsubscribes_whatever_its_body_says(
        self, content_type: str, body: bytes, one_click: bool
    ) -> None:
        async with visiting() as visitor:
            token = leave_token()
            headers = {"Content-Type": content_type}
            status, answered, page = await visitor.ask("POST", f"/t/u/{token}", body, headers)
            assert status == 200
            assert "Location" not in answered
            assert b"unsubscribed from <strong>news</strong>" in page
            (fact,) = visitor.facts
            assert (fact["kind"], fact["token"], fact.get("one_click", False)) == ("u", token, one_click)

    async def test_a_post_again_is_answered_the_same_and_is_the_same_sighting(self) -> None:
        async with visiting() as visitor:
            token = leave_token()
            for _ in range(2):
                assert (await visitor.ask("POST", f"/t/u/{token}", ONE_CLICK))[0] == 200
            reader = TrackingReader(ring(), Networks(), 1)
            seen = [reader.read_events(record.value, NOW_MS) for record in visitor.shelf.kept]
            assert len({r.sightings[0].sighting_id for r in seen if isinstance(r, Reading)}) == 1

    async def test_a_body_without_end_is_refused(self) -> None:
        async with visiting() as visitor:
            assert (await visitor.ask("POST", f"/t/u/{leave_token()}", b"x" * 100_000))[0] == 413
            assert visitor.shelf.kept == []

    async def test_a_key_that_is_kept_honours_old_mail_and_one_that_is_gone_does_not(self) -> None:
        before = seal_origin(ring(OLD), Purpose.UNSUBSCRIBE, origin(list_id="news"))
        async with visiting(secrets=(NEW, OLD)) as visitor:
            assert (await visitor.ask("POST", f"/t/u/{before}", ONE_CLICK))[0] == 200
            assert (await visitor.ask("POST", f"/t/u/{leave_token()}", ONE_CLICK))[0] == 200

    async def test_an_expired_key_is_said_so(self) -> None:
        before = seal_origin(ring(OLD), Purpose.UNSUBSCRIBE, origin(list_id="news"))
        async with visiting() as visitor:
            for method in ("GET", "POST"):
                status, _, body = await visitor.ask(method, f"/t/u/{before}")
                assert status == 404
                assert b"not valid" in body
            assert visitor.counted("unsubscribe", "forged") == 1


class TestVisitorsAddress:
    async def test_only_the_header_that_is_configured_counts_and_of_it_the_last_entry(self) -> None:
        headers = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}
        async with visiting() as visitor:
            await visitor.ask("GET", f"/t/o/{open_token()}", headers=headers)
            assert visitor.facts[0]["ip"] == "127.0.0.1"

    @pytest.mark.parametrize(
        ("value", "ip"),
        [("6.6.6.6, 203.0.113.9", "203.0.113.9"), ("2001:db8::1", "2001:db8::1"), ("[2001:db8::1]", "2001:db8::1"),
         ("<script>", ""), ("", "")],
    )  # fmt: skip
    async def test_behind_a_proxy(self, value: str, ip: str) -> None:
        async with visiting(tracking={"ip_header": "X-Forwarded-For"}) as visitor:
            await visitor.ask("GET", f"/t/o/{open_token()}", headers={"X-Forwarded-For": value})
            assert visitor.facts[0].get("ip", "") == ip


class TestKafkaAway:
    async def test_the_picture_is_shown_and_the_visitor_led_on_at_once(self) -> None:
        async with visiting() as visitor:
            back = visitor.shelf.away = asyncio.Event()
            assert (await visitor.ask("GET", f"/t/o/{open_token()}"))[0] == 200
            assert (await visitor.ask("GET", f"/t/c/{click_token()}"))[0] == 302
            assert visitor.counted("open", "lost") == 0
            back.set()
            await visitor.until_counted("open", "lost", 1)
            await visitor.until_counted("click", "lost", 1)

    async def test_an_unsubscription_is_not_confirmed(self, topic_prefix: str, unused_port: int) -> None:
        nowhere = f"127.0.0.1:{unused_port}"
        async with visiting_a_process(nowhere, topic_prefix, produce_timeout_s=1.0) as visitor:
            assert (await visitor.ask("GET", f"/t/u/{leave_token()}"))[0] == 200
            assert (await visitor.ask("GET", f"/t/o/{open_token()}"))[0] == 200
            status, headers, body = await visitor.ask("POST", f"/t/u/{leave_token()}", ONE_CLICK)
            assert (status, headers["Retry-After"]) == (503, "30")
            assert b"try again" in body
            assert visitor.counted("unsubscribe", "unavailable") == 1
            await visitor.until_counted("open", "lost", 1)

    async def test_what_waits_for_kafka_leaves_room_for_webhooks(self) -> None:
        async with visiting(max_pending=8) as visitor:
            back = visitor.shelf.away = asyncio.Event()
            for number in range(6):
                await visitor.ask("GET", f"/t/o/{open_token(attempt=number)}")
            assert visitor.counted("open", "lost") == 4  # at once: two are waiting
            back.set()
            await visitor.until_counted("open", "lost", 6)

    async def test_an_unsubscription_that_is_asked_for_over_and_over_takes_one_place(self) -> None:
        async with visiting() as visitor:
            back = visitor.shelf.away = asyncio.Event()
            posts = [asyncio.create_task(visitor.ask("POST", f"/t/u/{leave_token()}", ONE_CLICK)) for _ in range(20)]
            for _ in range(20):  # by now the posts wait for Kafka
                assert (await visitor.ask("GET", f"/t/u/{leave_token()}"))[0] == 200
            asked = visitor.shelf.asked
            back.set()
            assert {status for status, _, _ in await asyncio.gather(*posts)} == {503}
            assert asked == 1
            visitor.shelf.away = None
            assert (await visitor.ask("POST", f"/t/u/{leave_token()}", ONE_CLICK))[0] == 200
            assert len(visitor.shelf.kept) == 1


async def test_what_was_told_right_before_the_end_is_on_kafka(embedded_kafka: str, topic_prefix: str) -> None:
    topic = f"{topic_prefix}webhooks.tracking"
    create_topics(embedded_kafka, topic)
    async with visiting_a_process(embedded_kafka, topic_prefix) as visitor:
        assert (await visitor.ask("GET", f"/t/o/{open_token()}"))[0] == 200
        assert (await visitor.ask("POST", f"/t/u/{leave_token()}", ONE_CLICK))[0] == 200
    kinds = {json.loads(record.value())["kind"] for record in records(embedded_kafka, topic, 2)}
    assert kinds == {"o", "u"}


async def test_without_links_of_our_own_the_paths_do_not_exist(embedded_kafka: str, topic_prefix: str) -> None:
    settings = Settings(
        kafka=KafkaSettings(bootstrap=embedded_kafka, profile=Profile.EMBEDDED, prefix=topic_prefix),
        ingress=IngressSettings(port=0),
    )
    async with (
        running(settings, {}) as (host, port),
        aiohttp.ClientSession() as session,
        session.get(f"http://{host}:{port}/t/o/{open_token()}") as answer,
    ):
        assert answer.status == 404


class _Page(HTMLParser):
    """What of a page matters here."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.root: dict[str, str | None] = {}
        self.forms: list[dict[str, str | None]] = []
        self.buttons = 0
        self.loads: list[str] = []
        self.text = ""
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "html":
            self.root = given
        elif tag == "form":
            self.forms.append(given)
        elif tag == "button":
            self.buttons += 1
        if tag in ("script", "img", "link", "iframe") or "src" in given or "href" in given:
            self.loads.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
