"""SES's suppression list: its pages, its calls, and a round trip with signatures checked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

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
from streams.providers.ses import Config, Ses, create, lists
from streams.sandbox import AccessCheck, Sandbox, SandboxConfig, SesConfig

NOW_MS = 1_767_225_700_000
L = ListName


def ses(**more: Any) -> Ses:
    given = {"region": "us-east-1", "access_key_id": "AKIASANDBOX000000000", "secret_access_key": "sandbox-secret"}
    return create("ses", Config(**{**given, **more}))


def page(*items: dict[str, Any], token: str = "") -> HttpResponse:
    body = {"SuppressedDestinationSummaries": list(items)} | ({"NextToken": token} if token else {})
    return HttpResponse(200, {}, json.dumps(body).encode())


def refusal(status: int, code: str, said: str = "no") -> HttpResponse:
    return HttpResponse(status, {"x-amzn-errortype": code}, json.dumps({"message": said}).encode())


def query(request: HttpRequest) -> dict[str, list[str]]:
    return parse_qs(urlsplit(request.url).query)


def test_it_syncs_the_two_reasons_of_its_one_list() -> None:
    provider = ses()
    assert isinstance(provider, SyncsSuppressions)
    assert provider.reads_lists == provider.writes_lists == (L.BOUNCE, L.COMPLAINT)


def test_a_list_is_asked_for_by_reason_and_from_a_date_on() -> None:
    first = ses().list_request(L.COMPLAINT, 1_767_225_600_999, NOW_MS)
    assert (first.method, urlsplit(first.url).path) == ("GET", "/v2/email/suppression/addresses")
    assert query(first) == {"Reason": ["COMPLAINT"], "PageSize": ["1000"], "StartDate": ["2026-01-01T00:00:00Z"]}
    assert "StartDate" not in query(ses().list_request(L.BOUNCE, 0, NOW_MS))
    assert any(name == "authorization" for name, _ in first.headers)


def test_a_page_has_its_entries_and_the_request_for_the_next_one() -> None:
    items = [
        {"EmailAddress": "a@example.net", "Reason": "BOUNCE", "LastUpdateTime": 1_767_225_600.25},
        {"EmailAddress": "b@example.net", "Reason": "COMPLAINT", "LastUpdateTime": 1_767_225_600},
        {"EmailAddress": "old@example.net", "Reason": "BOUNCE", "LastUpdateTime": 1_000_000_000},
        {"EmailAddress": "", "Reason": "BOUNCE"},
        {"EmailAddress": "c@example.net", "Reason": "NEW_WORD"},
    ]
    found = ses().read_list(L.BOUNCE, 1_767_000_000_000, page(*items, token="t/+="), NOW_MS)
    assert isinstance(found, ListPage)
    assert found.entries == (Listed(L.BOUNCE, "a@example.net", 1_767_225_600_250),)
    assert found.next is not None
    assert query(found.next)["NextToken"] == ["t/+="]
    assert query(found.next)["Reason"] == ["BOUNCE"]


def test_the_last_page_has_no_next_one() -> None:
    assert ses().read_list(L.BOUNCE, 0, page(), NOW_MS) == ListPage(())


def test_an_address_is_put_and_taken_off_with_a_call_each() -> None:
    entries = (
        Listed(L.BOUNCE, "a+b@example.net"),
        Listed(L.COMPLAINT, "c@example.net"),
        Listed(L.UNSUBSCRIBE, "u@example.net"),
        Listed(L.BOUNCE, "@example.org"),
    )
    added = ses().add_requests(entries, NOW_MS)
    assert [(one.method, json.loads(one.body)) for one in added] == [
        ("PUT", {"EmailAddress": "a+b@example.net", "Reason": "BOUNCE"}),
        ("PUT", {"EmailAddress": "c@example.net", "Reason": "COMPLAINT"}),
    ]
    removed = ses().remove_requests((*entries, entries[0]), NOW_MS)
    assert [(one.method, urlsplit(one.url).path.rpartition("/")[2]) for one in removed] == [
        ("DELETE", "a%2Bb@example.net"),
        ("DELETE", "c@example.net"),
    ]


def test_a_tenant_of_ses_has_a_list_of_its_own() -> None:
    provider, entry = ses(tenant_name="shop"), Listed(L.BOUNCE, "a@example.net")
    assert query(provider.list_request(L.BOUNCE, 0, NOW_MS))["TenantName"] == ["shop"]
    assert json.loads(provider.add_requests((entry,), NOW_MS)[0].body)["TenantName"] == "shop"
    assert query(provider.remove_requests((entry,), NOW_MS)[0])["TenantName"] == ["shop"]


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (NoResponse(True, "timeout", timeout=True), 60.0),
        (refusal(429, "TooManyRequestsException"), 2.0),
        (refusal(400, "ThrottlingException"), 2.0),
        (refusal(500, "InternalServiceErrorException"), 60.0),
        (refusal(503, ""), 60.0),
        (refusal(403, "AccessDeniedException", "not authorized to perform ses:ListSuppressedDestinations"), None),
        (refusal(400, "BadRequestException"), None),
        (HttpResponse(200, {}, b"<html>"), None),
    ],
    ids=["no-answer", "429", "throttling", "500", "503", "403", "400", "not-json"],
)
def test_a_failure_says_whether_asking_again_helps(answer: HttpResponse | NoResponse, wait_s: float | None) -> None:
    failed = ses().read_list(L.BOUNCE, 0, answer, NOW_MS)
    assert isinstance(failed, ListFailed)
    assert failed.wait_s == wait_s
    if not (isinstance(answer, HttpResponse) and answer.status == 200):
        changed = ses().read_change(answer, NOW_MS)
        assert changed is not None
        assert changed.wait_s == wait_s


def test_taking_off_what_is_not_there_is_as_good() -> None:
    assert ses().read_change(refusal(404, "NotFoundException:http://internal"), NOW_MS) is None
    assert ses().read_change(refusal(404, "UnknownOperationException"), NOW_MS) is not None
    assert ses().read_change(HttpResponse(200, {}, b"{}"), NOW_MS) is None


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Sandbox]:
    config = SandboxConfig(ledger_path=tmp_path / "ledger", ses=SesConfig(check=AccessCheck.SIGNATURE))
    sandbox = Sandbox(config)
    await sandbox.start()
    yield sandbox
    await sandbox.stop()


async def test_the_list_goes_round_page_by_page_with_every_signature_checked(
    running: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PAGE", 2)
    provider = ses(endpoint_url=running.url)
    entries = tuple(Listed(L.BOUNCE, f"u+{number}/é@example.net") for number in range(5))
    async with HttpExchange() as exchange:

        async def told(since_ms: int = 0) -> list[str]:
            request: HttpRequest | None = provider.list_request(L.BOUNCE, since_ms, NOW_MS)
            found: list[str] = []
            while request is not None:
                got = provider.read_list(L.BOUNCE, since_ms, await exchange(request, 10.0), NOW_MS)
                assert isinstance(got, ListPage), got
                found += [entry.address for entry in got.entries]
                request = got.next
            return found

        for request in provider.add_requests(entries, NOW_MS):
            assert provider.read_change(await exchange(request, 10.0), NOW_MS) is None
        assert await told() == [entry.address for entry in entries]
        assert await told(4_102_444_800_000) == []
        for request in provider.remove_requests((*entries[:3], Listed(L.BOUNCE, "nobody@example.net")), NOW_MS):
            assert provider.read_change(await exchange(request, 10.0), NOW_MS) is None
        assert await told() == [entry.address for entry in entries[3:]]
