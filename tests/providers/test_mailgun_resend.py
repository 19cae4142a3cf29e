"""A stored message goes out again after a soft failure; the key goes to Mailgun's hosts only."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.message import Mailbox
from streams.core.outcome import Accepted, Uncertain
from streams.providers._http import HttpExchange
from streams.providers.base import (
    Batch,
    Earlier,
    Entry,
    Found,
    HttpRequest,
    HttpResponse,
    NoResponse,
    NotFound,
    Question,
    resender_of,
)
from streams.providers.mailgun import Config, Mailgun, create
from streams.providers.mailgun.hosts import storage_url
from tests.providers.test_against_sandbox import ID, batch, mailgun_at, now_ms, sandbox, send

NOW = 1_800_000_000_000
BASE = "https://api.mailgun.net"
STORED = "https://storage-us-east4.api.mailgun.net/v3/domains/mg.example.com/messages/KEY_1="
THEIRS = "20260101000000.1.X@mg.example.com"
LETTER = Batch(Mailbox("a@mg.example.com"), (Entry(f"{ID}a", 2, Mailbox("ann@example.net")),), ("Hi",), ("Hello",))
EARLIER = Earlier(THEIRS, NOW - 600_000)


def mailgun(**changes: Any) -> Mailgun:
    return create("mg", Config("mg.example.com", "key-1", **({"resend_stored": True} | changes)))


@pytest.mark.parametrize(
    "url",
    [
        STORED,
        "https://storage-europe-west1.api.mailgun.net/v3/domains/mg.example.com/messages/AbC-_=",
        "https://sw.mailgun.net/v3/domains/MG.example.com/messages/k",
        f"{BASE}/v3/domains/mg.example.com/messages/k",
    ],
)
def test_a_stored_message_of_ours_at_mailgun_may_be_asked_for_with_the_key(url: str) -> None:
    assert storage_url(url, BASE, "mg.example.com") == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://storage-us-east4.api.mailgun.net/v3/domains/mg.example.com/messages/KEY",
        "https://storage.mailgun.net.evil.example/v3/domains/mg.example.com/messages/KEY",
        "https://evilmailgun.net/v3/domains/mg.example.com/messages/KEY",
        "https://mailgun.net/v3/domains/mg.example.com/messages/KEY",
        "https://a.mailgun.net:8443/v3/domains/mg.example.com/messages/KEY",
        "https://a.mailgun.net@evil.example/v3/domains/mg.example.com/messages/KEY",
        "https://evil.example#a.mailgun.net/v3/domains/mg.example.com/messages/KEY",
        "https://a.mailgun.net/v3/domains/other.example.com/messages/KEY",
        "https://a.mailgun.net/v3/domains/mg.example.com/messages/KEY/../../x",
        "https://a.mailgun.net/v3/domains/mg.example.com/messages/..",
        "https://a.mailgun.net/v3/domains/mg.example.com/messages/",
        "https://a.mailgun.net/v3/domains/mg.example.com/messages/KEY?x=1",
        "https://a.mailgun.net/v3/mg.example.com/messages",
        "https://a.mailgun.net/v3/domains/mg.example.com/messages/KEY\r\nHost: evil",
        "https://a。mailgun.net/v3/domains/mg.example.com/messages/KEY",
        "https://[::1/v3/domains/mg.example.com/messages/KEY",
        "file:///v3/domains/mg.example.com/messages/KEY",
    ],
)
def test_no_other_url_is_given_the_key(url: str) -> None:
    assert storage_url(url, BASE, "mg.example.com") == ""


@given(st.text())
def test_any_text_is_judged_without_an_exception(text: str) -> None:
    assert storage_url(text, BASE, "mg.example.com") in ("", text)


def failed(**changes: Any) -> dict[str, Any]:
    event = {
        "event": "failed",
        "severity": "permanent",
        "reason": "generic",
        "recipient": "ann@example.net",
        "timestamp": NOW / 1000,
        "delivery-status": {"code": 552, "enhanced-code": "5.2.2", "message": "mailbox full"},
        "user-variables": {"message_id": f"{ID}a", "attempt": "1"},
        "message": {"headers": {"message-id": THEIRS}},
        "storage": {"url": STORED, "key": "KEY_1="},
    }
    return event | changes


class Script:
    def __init__(
        self, found: dict[str, Any] | HttpResponse | NoResponse | None, again: HttpResponse | NoResponse
    ) -> None:
        self.found, self.again = found, again
        self.asked: list[HttpRequest] = []

    async def __call__(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        self.asked.append(request)
        if request.method == "POST":
            return self.again
        if isinstance(self.found, HttpResponse | NoResponse):
            return self.found
        items = [] if self.found is None else [self.found]
        return HttpResponse(200, {}, json.dumps({"items": items, "paging": {}}).encode())


QUEUED = HttpResponse(200, {}, b'{"id": "<new@mg.example.com>", "message": "Queued. Thank you."}')


async def test_a_soft_5xx_is_answered_by_a_post_to_where_the_message_is_stored() -> None:
    script = Script(failed(), QUEUED)
    assert await mailgun().resend(LETTER, EARLIER, script, 30.0, NOW) == (Accepted("new@mg.example.com"),)
    assert [(request.method, request.url.partition("?")[0]) for request in script.asked] == [
        ("GET", f"{BASE}/v3/mg.example.com/events"),
        ("POST", STORED),
    ]
    assert script.asked[1].body == b"to=ann%40example.net"


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(None, id="no such event"),
        pytest.param(HttpResponse(401, {}, b"Forbidden"), id="a key that may not read events"),
        pytest.param(NoResponse(sent=True, detail="timeout"), id="no answer"),
        pytest.param(failed(severity="temporary"), id="Mailgun itself will try again"),
        pytest.param(
            failed(**{"delivery-status": {"code": 550, "enhanced-code": "5.1.1", "message": "no such user"}}), id="hard"
        ),
        pytest.param(failed(**{"delivery-status": {"code": 499, "message": "timeout"}}), id="not 5xx"),
        pytest.param(failed(**{"delivery-status": {"code": 605}, "reason": "suppress-bounce"}), id="suppressed there"),
        pytest.param(
            failed(**{"delivery-status": {"code": 550, "message": "5.7.1 blocked"}, "reason": "espblock"}), id="blocked"
        ),
        pytest.param(failed(**{"user-variables": {"message_id": f"{ID}b", "attempt": "1"}}), id="another message"),
        pytest.param(failed(message={"headers": {"message-id": "y@mg.example.com"}}), id="another attempt"),
        pytest.param(failed(storage={"url": "https://evil.example/v3/domains/mg.example.com/messages/K"}), id="host"),
        pytest.param(failed(storage=None), id="not stored"),
    ],
)
async def test_everything_else_is_handed_over_anew(found: Any) -> None:
    script = Script(found, QUEUED)
    assert await mailgun().resend(LETTER, EARLIER, script, 30.0, NOW) is None
    assert [request.method for request in script.asked] == ["GET"]


@pytest.mark.parametrize("again", [HttpResponse(404, {}, b'{"message": "not found"}'), NoResponse(False, "refused")])
async def test_what_is_no_longer_stored_is_handed_over_anew(again: Any) -> None:
    assert await mailgun().resend(LETTER, EARLIER, Script(failed(), again), 30.0, NOW) is None


async def test_an_unread_answer_is_uncertain_and_never_handed_over_anew() -> None:
    outcome = await mailgun().resend(LETTER, EARLIER, Script(failed(), NoResponse(True, "reset")), 30.0, NOW)
    assert outcome is not None
    assert isinstance(outcome[0], Uncertain)  # type: ignore[index]


def test_it_is_an_option() -> None:
    assert resender_of(mailgun()) is not None
    assert resender_of(mailgun(resend_stored=False)) is None


async def test_the_stand_in_sends_what_it_stored_and_is_asked_about_it(tmp_path: Path) -> None:
    letter = batch(Entry(f"{ID}a", 1, Mailbox("softbounce@example.net")))
    async with sandbox(tmp_path) as running, HttpExchange() as exchange:
        provider = mailgun_at(running, resend_stored=True)
        began = now_ms()
        (first,) = await send(provider, letter)
        assert isinstance(first, Accepted)
        earlier = Earlier(first.provider_message_id, began)
        async with asyncio.timeout(10):
            while (again := await provider.resend(letter, earlier, exchange, 10.0, now_ms())) is None:
                await asyncio.sleep(0.02)  # until the failure shows
        (outcome,) = again  # type: ignore[misc]
        assert isinstance(outcome, Accepted)
        assert outcome.provider_message_id != first.provider_message_id
        question = Question(f"{ID}a", 2, "softbounce@example.net", began)
        finding = await provider.find(question, exchange, now_ms())
        assert isinstance(finding, Found)
        absent = Question(f"{ID}a", 2, "softbounce@example.net", now_ms() + 120_000)
        assert isinstance(await provider.find(absent, exchange, now_ms()), NotFound)
