"""Mailgun's own suppression lists: pages read, entries added and taken off, mapped to our words and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from streams.providers._http import HttpExchange
from streams.providers.base import (
    HttpRequest,
    HttpResponse,
    Listed,
    ListFailed,
    ListName,
    ListPage,
    NoResponse,
    SyncsSuppressions,
)
from streams.providers.mailgun import Config, Mailgun, create
from tests.providers.test_against_sandbox import mailgun_at, sandbox

L = ListName
NOW = 1_800_000_000_000
JUNE_MS = 1_781_000_000_000


def mailgun(**changes: Any) -> Mailgun:
    return create("mg", Config("mg.example.com", "key-1", **changes))


def page(*items: dict[str, Any], next_url: str = "https://api.mailgun.net/v3/mg.example.com/bounces?page=next") -> Any:
    return HttpResponse(200, {}, json.dumps({"items": items, "paging": {"next": next_url}}).encode())


def read(name: ListName, answer: Any, since_ms: int = 0) -> ListPage:
    found = mailgun().read_list(name, since_ms, answer, NOW)
    assert isinstance(found, ListPage), found
    return found


def test_it_syncs() -> None:
    provider: object = mailgun()
    assert isinstance(provider, SyncsSuppressions)
    assert provider.reads_lists == tuple(ListName)


def test_our_unsubscriptions_are_pushed_only_to_a_domain_that_sends_no_transactional_mail() -> None:
    assert L.UNSUBSCRIBE not in mailgun().writes_lists
    assert L.UNSUBSCRIBE in mailgun(push_unsubscribes=True).writes_lists
    assert {L.BOUNCE, L.COMPLAINT, L.ALLOW} <= set(mailgun().writes_lists)


WHEN = "Tue, 09 Jun 2026 10:13:20 GMT"


@pytest.mark.parametrize(
    ("name", "item", "listed"),
    [
        pytest.param(
            L.BOUNCE,
            {"address": "a@example.net", "code": "550", "error": "5.1.1 no such user", "created_at": WHEN},
            Listed(L.BOUNCE, "a@example.net", JUNE_MS, "550 5.1.1 no such user"),
            id="bounce",
        ),
        pytest.param(
            L.BOUNCE,
            {"address": "a@example.net", "code": "550", "error": "suppressed by hand: asked by phone"},
            Listed(L.BOUNCE, "a@example.net", 0, "asked by phone", by_hand=True),
            id="by hand",
        ),
        pytest.param(
            L.COMPLAINT,
            {"address": "a@example.net", "created_at": "2026-06-09T10:13:20Z"},
            Listed(L.COMPLAINT, "a@example.net", JUNE_MS),
            id="complaint",
        ),
        pytest.param(
            L.UNSUBSCRIBE,
            {"address": "a@example.net", "tags": ["*"], "created_at": WHEN},
            Listed(L.UNSUBSCRIBE, "a@example.net", JUNE_MS),
            id="unsubscribed from everything",
        ),
        pytest.param(
            L.UNSUBSCRIBE,
            {"address": "a@example.net", "tags": ["news", "offers"]},
            Listed(L.UNSUBSCRIBE, "a@example.net", tags=("news", "offers")),
            id="unsubscribed from tags",
        ),
        pytest.param(
            L.ALLOW,
            {"type": "domain", "value": "example.net", "reason": "partner", "createdAt": WHEN},
            Listed(L.ALLOW, "@example.net", JUNE_MS, "partner"),
            id="allowed domain",
        ),
        pytest.param(
            L.ALLOW,
            {"type": "address", "value": "a@example.net", "reason": "", "createdAt": WHEN},
            Listed(L.ALLOW, "a@example.net", JUNE_MS),
            id="allowed address",
        ),
    ],
)
def test_an_entry_is_read_in_our_words(name: ListName, item: dict[str, Any], listed: Listed) -> None:
    assert read(name, page(item)).entries == (listed,)


def test_entries_from_before_the_time_asked_for_are_left_out_and_those_without_a_time_are_not() -> None:
    items = ({"address": "old@example.net", "created_at": WHEN}, {"address": "when@example.net"})
    found = read(L.COMPLAINT, page(*items), since_ms=JUNE_MS + 1)
    assert [entry.address for entry in found.entries] == ["when@example.net"]


def test_the_end_is_a_page_without_entries_and_the_next_page_is_asked_with_the_key() -> None:
    assert read(L.BOUNCE, page()) == ListPage(())
    following = read(L.BOUNCE, page({"address": "a@example.net"})).next
    assert following is not None
    assert dict(following.headers)["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "url", ["https://evil.example.net/v3/x", "http://api.mailgun.net/v3/x", "", "https://[", "/v3/x"]
)
def test_a_next_page_elsewhere_is_not_asked_with_our_key(url: str) -> None:
    found = mailgun().read_list(L.BOUNCE, 0, page({"address": "a@example.net"}, next_url=url), NOW)
    assert isinstance(found, ListFailed)


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (HttpResponse(401, {}, b"Forbidden"), None),
        (HttpResponse(404, {}, b'{"message": "Domain not found: x"}'), None),
        (HttpResponse(200, {}, b"Mailgun Magnificent API"), None),
        (HttpResponse(200, {}, b'{"items": 5}'), None),
        (HttpResponse(500, {}, b""), 60.0),
        (HttpResponse(429, {}, b'{"message": "x limit exceeded, try again after 120 seconds"}'), 120.0),
        (NoResponse(sent=True, detail="reset"), 60.0),
    ],
)
def test_what_is_no_page_says_whether_asking_again_helps(
    answer: HttpResponse | NoResponse, wait_s: float | None
) -> None:
    found = mailgun().read_list(L.BOUNCE, 0, answer, NOW)
    assert isinstance(found, ListFailed)
    assert found.wait_s == wait_s
    changed = mailgun().read_change(answer, NOW)
    if not (isinstance(answer, HttpResponse) and answer.body == b'{"items": 5}'):
        assert isinstance(changed, ListFailed)


def test_entries_are_added_a_thousand_to_a_call_and_list_by_list() -> None:
    entries = [Listed(L.BOUNCE, f"u{n}@example.net", JUNE_MS) for n in range(1500)]
    entries += [Listed(L.COMPLAINT, "c@example.net"), Listed(L.UNSUBSCRIBE, "u@example.net", tags=("news",))]
    calls = mailgun().add_requests(entries, NOW)
    told = [(call.url.rpartition("/")[2], len(json.loads(call.body))) for call in calls]
    assert told == [("bounces", 1000), ("bounces", 500), ("complaints", 1), ("unsubscribes", 1)]
    assert json.loads(calls[0].body)[0] == {
        "address": "u0@example.net",
        "created_at": WHEN,
        "code": "550",
        "error": "",
    }
    assert json.loads(calls[3].body)[0]["tags"] == ["news"]


def test_what_was_suppressed_by_hand_is_no_bounce_when_it_comes_back() -> None:
    entry = Listed(L.BOUNCE, "a@example.net", JUNE_MS, "asked by phone", by_hand=True)
    (call,) = mailgun().add_requests([entry], NOW)
    (back,) = read(L.BOUNCE, page(*json.loads(call.body))).entries
    assert back == entry


def test_the_allow_list_takes_addresses_and_domains_one_by_one() -> None:
    entries = [Listed(L.ALLOW, "@example.net", detail="partner"), Listed(L.ALLOW, "a@example.org")]
    calls = mailgun().add_requests(entries, NOW)
    assert [parse_qs(call.body.decode()) for call in calls] == [
        {"domain": ["example.net"], "reason": ["partner"]},
        {"address": ["a@example.org"]},
    ]


def test_an_entry_is_taken_off_by_its_quoted_name_and_never_a_whole_list() -> None:
    entries = [Listed(L.BOUNCE, "a+b/../c@example.net"), Listed(L.ALLOW, "@example.net"), Listed(L.BOUNCE, "")]
    entries += [Listed(name, address) for name in (L.BOUNCE, L.ALLOW) for address in (".", "..", "@.", "@..")]
    calls = mailgun().remove_requests(entries, NOW)
    assert [(call.method, call.url.partition("mg.example.com")[2]) for call in calls] == [
        ("DELETE", "/bounces/a%2Bb%2F..%2Fc%40example.net"),
        ("DELETE", "/whitelists/example.net"),
    ]


@pytest.mark.parametrize(
    ("status", "message"), [(200, "Address has been removed"), (404, "Address not found in bounces table")]
)
def test_a_removal_of_what_is_not_there_is_done_too(status: int, message: str) -> None:
    assert mailgun().read_change(HttpResponse(status, {}, json.dumps({"message": message}).encode()), NOW) is None


async def test_both_ways_against_the_stand_in(tmp_path: Path) -> None:
    async with sandbox(tmp_path) as running, HttpExchange() as exchange:
        provider = mailgun_at(running, push_unsubscribes=True)
        entries = [Listed(L.BOUNCE, f"u{n:04}@example.net", JUNE_MS) for n in range(1100)]
        entries += [
            Listed(L.COMPLAINT, "c@example.net", JUNE_MS),
            Listed(L.UNSUBSCRIBE, "u@example.net", JUNE_MS, tags=("news",)),
            Listed(L.ALLOW, "@example.org", detail="partner"),
            Listed(L.ALLOW, "a@example.net"),
        ]
        for call in provider.add_requests(entries, NOW):
            assert provider.read_change(await exchange(call, 10), NOW) is None

        async def all_of(name: ListName) -> list[Listed]:
            found: list[Listed] = []
            call: HttpRequest | None = provider.list_request(name, 0, NOW)
            while call is not None:
                told = provider.read_list(name, 0, await exchange(call, 10), NOW)
                assert isinstance(told, ListPage)
                found += told.entries
                call = told.next
            return found

        assert len({entry.address for entry in await all_of(L.BOUNCE)}) == 1100
        assert await all_of(L.COMPLAINT) == [Listed(L.COMPLAINT, "c@example.net", JUNE_MS)]
        assert await all_of(L.UNSUBSCRIBE) == [Listed(L.UNSUBSCRIBE, "u@example.net", JUNE_MS, tags=("news",))]
        assert {entry.address for entry in await all_of(L.ALLOW)} == {"@example.org", "a@example.net"}
        for call in provider.remove_requests([*entries[1090:], Listed(L.BOUNCE, "nobody@example.net")], NOW):
            assert provider.read_change(await exchange(call, 10), NOW) is None
        assert len(await all_of(L.BOUNCE)) == 1090
        assert await all_of(L.ALLOW) == []
