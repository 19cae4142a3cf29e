"""``docs/add-a-provider.md``, followed: a fifth provider in one file under tests, with nothing else edited for it.

Toy itself is an HTTP server here. The address says what becomes of a message, as with the sandbox.
"""

from __future__ import annotations

import hmac
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.event import EventType
from streams.doctor.providers import check_provider
from streams.providers import registry
from streams.providers._http import HttpExchange
from streams.providers.base import Inbound, Reading, Refused
from tests.fleet import Fleet, campaign, single
from tests.providers import toy

pytestmark = pytest.mark.timeout(120)

PAGE = Path(__file__).parents[2] / "docs" / "add-a-provider.md"
KEY, SECRET = "toy-key", "toy-webhook-secret"
EVENTS = {"gone": ("refused", True), "full": ("refused", False), "later": ("later", False), "spam": ("spam", False)}


class ToyServer(ThreadingHTTPServer):
    """Takes messages, remembers them by their ref, and posts what became of them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.webhooks = ""
        self.taken: dict[str, tuple[str, int]] = {}
        self.calls: list[list[dict[str, Any]]] = []
        self.faults: list[str] = []
        self.arrivals: Counter[str] = Counter()
        self.answers: list[int] = []

    def take(self, message: dict[str, Any]) -> dict[str, str]:
        if message["to"].startswith("refused"):
            return {"error": "no such address, says Toy"}
        identity = f"toy-{len(self.taken)}"
        self.taken[message["ref"]] = (identity, time.time_ns() // 1_000_000)
        self.arrivals[message["to"]] += 1
        return {"id": identity}

    def report(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if message["ref"] in self.taken:
                word, gone = EVENTS.get(message["to"].partition("+")[0], ("arrived", False))
                self.post(word, message, gone=gone)

    def post(self, word: str, message: dict[str, Any], **more: Any) -> None:
        identity, at = self.taken[message["ref"]]
        event = {"event": word, "ref": message["ref"], "message": identity, "to": message["to"], "at": at + 5}
        body = json.dumps({**event, "id": f"{identity}-{word}", **more}).encode()
        signature = hmac.digest(SECRET.encode(), body, "sha256").hex()
        answer = httpx.post(self.webhooks, content=body, headers={"x-toy-signature": signature}, trust_env=False)
        self.answers.append(answer.status_code)


class Answers(BaseHTTPRequestHandler):
    """One request to Toy."""

    server: ToyServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault == "busy":
            return self._answer(503, {"error": "nothing was taken"})
        if self.headers["authorization"] != f"Bearer {KEY}":
            return self._answer(401, {})
        self.server.calls.append(body["messages"])
        results = [self.server.take(message) for message in body["messages"]]
        if fault == "silence":  # taken, but the answer is lost
            self.close_connection = True
            return None
        self._answer(200, {"results": results})
        return self.server.report(body["messages"])

    def do_GET(self) -> None:
        known = self.headers["authorization"] == f"Bearer {KEY}"
        ref = parse_qs(urlsplit(self.path).query).get("ref", [""])[0]
        taken = self.server.taken.get(ref)
        self._answer(
            401 if not known else 404 if taken is None else 200, {"id": taken[0], "at": taken[1]} if taken else {}
        )

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Quiet."""


def page_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[ToyServer]:
    with ToyServer() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def fleet(server: ToyServer, embedded_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A worker and an ingress with the page's section, pointed at the server of the test."""
    section = page_blocks("toml")[0].replace("https://toy.example.com", server.url)
    folder = tmp_path_factory.mktemp("toy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY_KEY", KEY)
        patch.setenv("TOY_WEBHOOK_SECRET", SECRET)
        with Fleet(folder, embedded_kafka, prefix="toy.", profile="embedded", ses=section) as running:
            server.webhooks = f"{running.ingress_url}/webhooks/toy"
            running.start_worker("w1")
            yield running


def kinds(fleet: Fleet, identities: set[str]) -> set[EventType]:
    return {event.type for event in fleet.seen.events if event.message_id in identities}


def test_the_page_shows_the_file() -> None:
    code = Path(toy.__file__).read_text(encoding="utf-8")
    blocks = page_blocks("python")
    assert len(blocks) >= 6
    assert [block for block in blocks if block.strip("\n") not in code] == []


def test_every_protocol_of_the_page_exists() -> None:
    from streams.providers import base

    rows = re.findall(r"^\| (`[A-Z].*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([A-Z]\w+)`", row)]
    assert len(names) >= 9
    assert [name for name in names if not hasattr(base, name)] == []


@pytest.mark.parametrize(
    ("fate", "expected"),
    [
        ("well", {EventType.SENT, EventType.DELIVERED}),
        ("gone", {EventType.SENT, EventType.BOUNCED}),
        ("full", {EventType.SENT, EventType.BOUNCED}),
        ("later", {EventType.SENT, EventType.DEFERRED}),
        ("spam", {EventType.SENT, EventType.COMPLAINED}),
        ("refused", {EventType.REJECTED}),
    ],
)
def test_a_message_goes_out_and_its_event_comes_home(fleet: Fleet, server: ToyServer, fate: str, expected: Any) -> None:
    identities = fleet.produce([single(100, fate, provider="toy", idempotency_key=f"one-{fate}")])
    fleet.until(f"{expected}", lambda: expected <= kinds(fleet, identities), 30)
    told = [event for event in fleet.seen.events if event.message_id in identities and event.type in expected]
    assert {event.provider for event in told} == {"toy"}
    if fate != "refused":
        assert {event.provider_message_id for event in told} <= {identity for identity, _ in server.taken.values()}
        assert server.arrivals[f"{fate}+s100@example.net"] == 1
        assert set(server.answers) == {200}
    bounce = next((event for event in told if event.type is EventType.BOUNCED), None)
    assert bounce is None or bounce.bounce_type == ("hard" if fate == "gone" else "soft")


def test_a_hard_bounce_suppresses_the_address(fleet: Fleet, server: ToyServer) -> None:
    first = fleet.produce([single(200, "gone", provider="toy")])
    fleet.until("it bounces", lambda: EventType.BOUNCED in kinds(fleet, first), 30)
    tries = 0

    def suppressed() -> bool:
        nonlocal tries
        tries += 1
        more = fleet.produce([single(200, "gone", provider="toy", idempotency_key=f"again-{tries}")])
        fleet.until("it ends", lambda: bool({EventType.SUPPRESSED, EventType.BOUNCED} & kinds(fleet, more)), 30)
        return EventType.SUPPRESSED in kinds(fleet, more)

    fleet.until("the next one is not sent", suppressed, 30)


def test_a_campaign_goes_out_in_batches_that_fit(fleet: Fleet, server: ToyServer) -> None:
    identities = fleet.produce([campaign(1, 90, "well", provider="toy")])
    fleet.until("all are delivered", lambda: identities <= fleet.seen.ended, 30)
    sizes = [len(call) for call in server.calls if "+c1r" in call[0]["to"]]
    assert sum(sizes) == 90
    assert 1 < max(sizes) <= 20
    assert {server.arrivals[f"well+c1r{n}@example.net"] for n in range(90)} == {1}


def test_a_refusal_that_passes_is_tried_again(fleet: Fleet, server: ToyServer) -> None:
    server.faults += ["busy"]
    identities = fleet.produce([single(300, "well", provider="toy")])
    fleet.until("it is delivered", lambda: identities <= fleet.seen.ended, 30)
    assert server.arrivals["well+s300@example.net"] == 1


def test_a_call_whose_answer_is_lost_is_looked_up_and_not_repeated(fleet: Fleet, server: ToyServer) -> None:
    server.faults += ["silence"]
    identities = fleet.produce([single(400, "well", provider="toy")])
    wanted = {EventType.UNCERTAIN, EventType.SENT}
    fleet.until("it is uncertain, then found", lambda: wanted <= kinds(fleet, identities), 30)
    assert server.arrivals["well+s400@example.net"] == 1


def test_what_cannot_be_carried_is_rejected_before_the_call(fleet: Fleet, server: ToyServer) -> None:
    file = {"filename": "a.txt", "content_type": "text/plain", "data": "YQ=="}
    identities = fleet.produce([single(500, "well", provider="toy", attachments=[file])])
    fleet.until("it is rejected", lambda: EventType.REJECTED in kinds(fleet, identities), 30)
    assert server.arrivals["well+s500@example.net"] == 0


def test_a_forged_webhook_is_answered_as_toy_understands_it(fleet: Fleet, server: ToyServer) -> None:
    for path in ("toy", "nosuch"):
        url = server.webhooks.replace("/toy", f"/{path}")
        answer = httpx.post(url, content=b"{}", headers={"x-toy-signature": "0" * 64}, trust_env=False)
        assert answer.status_code == (401 if path == "toy" else 404)


@pytest.mark.parametrize(("key", "ok"), [(KEY, True), ("wrong", False)])
async def test_the_doctor_asks_the_account(server: ToyServer, key: str, ok: bool) -> None:
    adapter = registry.create("tests.providers.toy", "toy", toy.Config(server.url, key, SECRET))
    exchange = HttpExchange()
    try:
        [found] = await check_provider("toy", adapter, exchange, 0)
    finally:
        await exchange.aclose()
    assert (found.check, found.ok) == ("toy key", ok)
    assert bool(found.advice) is not ok


def test_unknown_words_are_counted() -> None:
    adapter = toy.create("toy", toy.Config("https://toy.example.com", KEY, SECRET))
    assert adapter.read_events(b'{"event": "evaporated"}', 1) == Reading(unknown_words=("evaporated",))


@given(
    st.binary(max_size=400)
    | st.recursive(st.none() | st.text() | st.integers(), st.lists).map(
        lambda v: json.dumps({"event": "refused", "ref": v, "id": v, "at": v, "to": v}).encode()
    ),
    st.text(),
)
def test_nothing_foreign_raises(payload: bytes, signature: str) -> None:
    adapter = toy.create("toy", toy.Config("https://toy.example.com", KEY, SECRET))
    assert isinstance(adapter.verify(Inbound({"x-toy-signature": signature}, payload), 0), Refused)
    adapter.read_events(payload, 1)
