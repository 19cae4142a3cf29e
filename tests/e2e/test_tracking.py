"""Our own links, end to end: mail out with them, visits in by the ingress, events, and no second mail to who has left."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from email import message_from_string
from email.policy import default as default_policy
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from streams.core.ids import message_id, recipient_key
from streams.demo.system import DemoSystem
from streams.kafka import NewRecord
from streams.serde.records import encode
from tests.e2e.waiting import Recorded, kafka_of, until

pytestmark = pytest.mark.timeout(120)

BASE = "https://t.example.com"
LINK = "https://shop.example.com/sale?a=1&b=2"
HTML = f'<html><body><a href="{LINK.replace("&", "&amp;")}">Sale</a><a href="mailto:a@b.example">us</a></body></html>'
BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0 Safari/537.36"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"


class Tracked(DemoSystem):
    """The demo's system with links of its own."""

    def _write_config(self, ingress_port: int, worker_port: int) -> Path:
        path = super()._write_config(ingress_port, worker_port)
        (self.folder / "tracking.key").write_text("a key for the tests of tracking\n")
        with path.open("a", encoding="utf-8") as config:
            config.write(f'\n[tracking]\npublic_url = "{BASE}"\nsecrets = ["file:{self.folder}/tracking.key"]\n')
            config.write("opens = true\nclicks = true\n")
        return path


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSystem]:
    with Tracked(tmp_path_factory.mktemp("tracked"), "tracked") as running:
        running.start(lambda _: None)
        yield running


@pytest.fixture(scope="module")
def visit(system: DemoSystem) -> Iterator[Callable[..., httpx.Response]]:
    """Asks the ingress for a URL of ours, as the proxy in front of it would."""
    with httpx.Client(base_url=f"http://127.0.0.1:{system.settings.ingress.port}", trust_env=False) as client:

        def ask(method: str, url: str, agent: str = BROWSER, **more: Any) -> httpx.Response:
            assert url.startswith(f"{BASE}/t/")
            return client.request(method, url.removeprefix(BASE), headers={"User-Agent": agent}, **more)

        yield ask


def campaign(key: str, provider: str, *addresses: str, **fields: Any) -> dict[str, Any]:
    return {
        "idempotency_key": key,
        "stream": "bulk",
        "provider": provider,
        "from": {"email": "shop@mg.example.com", "name": ""},
        "recipients": [{"email": address, "name": "", "data": {}} for address in addresses],
        "subject": "Sale",
        "html": HTML,
        "list_id": "news",
        **fields,
    }


def identity(address: str, key: str) -> str:
    return message_id("default", key, recipient_key("default", address))


def produce(system: DemoSystem, *requests: dict[str, Any]) -> None:
    with kafka_of(system) as kafka:
        for request in requests:
            kafka.send(NewRecord("send-requests.bulk", b"key", encode("SendRequest", request)))


def copy_of(system: DemoSystem, message: str, address: str) -> tuple[str, str]:
    """The HTML and the List-Unsubscribe of a copy as the provider would have delivered it."""
    lines = (json.loads(line) for line in system.ledger())
    line = next(line for line in lines if "plan" in line and line["variables"].get("message_id") == message)
    copy = system.rendered(line["call_id"], quote(address))
    if "mime" in copy:
        mail = message_from_string(copy["mime"], policy=default_policy)
        html = mail.get_body(("html",))
        assert html is not None
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        return html.get_content(), str(mail["List-Unsubscribe"])
    assert copy["headers"]["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"
    return copy["html"], copy["headers"]["list-unsubscribe"]


def events_of(recorded: Recorded, message: str, kind: str) -> list[dict[str, Any]]:
    return [e for e in recorded.events() if e["message_id"] == message and e["type"] == f"message.{kind}"]


@pytest.mark.parametrize(("provider", "count"), [("mailgun", 2), ("ses", 1)], ids=["mailgun batch", "ses single"])
def test_open_click_and_one_click_are_events_and_the_list_is_silent_afterwards(
    system: DemoSystem, visit: Callable[..., httpx.Response], provider: str, count: int
) -> None:
    addresses = [f"success+{provider}{number}@mail.example.net" for number in range(count)]
    address, key = addresses[0], f"first-{provider}"
    message, recorded = identity(address, key), Recorded(system)
    produce(system, campaign(key, provider, *addresses))
    until("it is sent", lambda: message in recorded.of_type("message.sent"), system)

    html, header = copy_of(system, message, address)
    (pixel,) = re.findall(rf'<img src="({BASE}/t/o/[^"]+)"', html)
    (click,) = re.findall(rf'<a href="({BASE}/t/c/[^"]+)"', html)
    leave = header.removeprefix("<").removesuffix(">")
    assert LINK not in html.replace("&amp;", "&")
    assert '<a href="mailto:a@b.example">us</a>' in html

    assert visit("GET", pixel, GMAIL).headers["content-type"] == "image/gif"
    assert visit("GET", click).headers["location"] == LINK
    assert visit("HEAD", click).status_code == 302
    page = visit("GET", leave)
    assert (page.status_code, '<form method="post">' in page.text, "news" in page.text) == (200, True, True)
    until("the visits are events", lambda: len(events_of(recorded, message, "clicked")) == 2
          and len(events_of(recorded, message, "opened")) == 1, system)  # fmt: skip
    (opened,) = events_of(recorded, message, "opened")
    assert (opened["automated"], opened["provider"], opened["attempt"]) == ("proxy", provider, 1)
    assert {e["url"] for e in events_of(recorded, message, "clicked")} == {LINK}
    assert "scanner" in {e["automated"] for e in events_of(recorded, message, "clicked")}
    assert events_of(recorded, message, "unsubscribed") == []  # a GET has done nothing

    form = {"List-Unsubscribe": "One-Click"}
    assert visit("POST", leave, data=form).status_code == 200
    assert visit("POST", leave, data=form).status_code == 200
    until("it is an event", lambda: events_of(recorded, message, "unsubscribed") != [], system)
    (unsubscribed,) = events_of(recorded, message, "unsubscribed")
    assert unsubscribed["reason"]["kind"] == "unsubscribe"
    assert "news" in unsubscribed["reason"]["code"]

    again, elsewhere = f"second-{provider}", f"other-{provider}"
    produce(
        system,
        campaign(again, provider, address),
        campaign(elsewhere, provider, address, list_id="offers"),
    )
    silent, open_ = identity(address, again), identity(address, elsewhere)
    until("the list is silent", lambda: silent in recorded.of_type("message.suppressed"), system)
    until("another list is not", lambda: open_ in recorded.of_type("message.sent"), system)
    (suppressed,) = events_of(recorded, silent, "suppressed")
    assert suppressed["reason"]["kind"] == "suppressed_unsubscribe"
    assert silent not in {json.loads(line).get("variables", {}).get("message_id") for line in system.ledger()}


def test_a_visit_that_somebody_makes_up_on_the_topic_is_a_dead_letter(system: DemoSystem) -> None:
    recorded = Recorded(system)
    before = len(recorded.dead_letters())
    headers = (("provider", b"tracking"), ("verified", b"1"))
    with kafka_of(system) as kafka:
        kafka.send(NewRecord("webhooks.tracking", b"k", b'{"kind":"u","token":"AAAA","at":1}', headers=headers))
    until("it is a dead letter", lambda: len(recorded.dead_letters()) == before + 1, system)
    assert b"keys" in recorded.dead_letters()[-1].headers["dlq.detail"]
