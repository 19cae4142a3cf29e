"""Mailgun's own suppression lists of a domain, read and changed: bounces, complaints, unsubscribes, allow-list.

Rules:

1. The lists cannot be asked "since when": every page is read, and older entries are left out here.
2. The next page is followed only on the host that was asked, for the request carries the API key.
3. Entries go a thousand to a call. Taking one off is a call each; 404 says that it was not there, which is as good.
4. An entry of ours that is no bounce says so in the bounce's text (``BY_HAND``), and is told from a bounce by it.
5. An unsubscription without tags stops all mail of the domain, transactional mail too: so ours are pushed only where
   the configuration says that this domain sends nothing else (``push_unsubscribes``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from itertools import groupby
from typing import Any, Final
from urllib.parse import quote, urlencode

from streams.providers._payload import address, detail, iso_ms, json_object, mapping, sequence, text
from streams.providers.base import HttpRequest, HttpResponse, Listed, ListFailed, ListName, ListPage, NoResponse
from streams.providers.mailgun.config import Config
from streams.providers.mailgun.hosts import is_same_host
from streams.providers.mailgun.response import wait_s

PATHS: Final[Mapping[ListName, str]] = {
    ListName.BOUNCE: "bounces",
    ListName.COMPLAINT: "complaints",
    ListName.UNSUBSCRIBE: "unsubscribes",
    ListName.ALLOW: "whitelists",
}

BY_HAND: Final = "suppressed by hand"
"""How the text of an entry begins that was put among the bounces without a bounce."""

PAGE: Final = 1000
"""Entries of a page, and of a call that adds some: the most that Mailgun takes."""

_RETRY_S: Final = 60.0
_EVERYTHING: Final = "*"


def list_request(config: Config, authorization: str, name: ListName) -> HttpRequest:
    """The first page of a list."""
    return _get(f"{_url(config, name)}?{urlencode({'limit': PAGE})}", authorization)


def read_list(
    config: Config,
    authorization: str,
    name: ListName,
    since_ms: int,
    answer: HttpResponse | NoResponse,
    now_ms: int,
) -> ListPage | ListFailed:
    """One page; the end is a page without entries."""
    page = json_object(answer.body) if isinstance(answer, HttpResponse) and answer.status == 200 else None
    if page is None or not isinstance(page.get("items"), list):
        return _failed(answer, now_ms)
    items = sequence(page["items"])
    if not items:
        return ListPage(())
    url = text(mapping(page.get("paging")).get("next"))
    if not is_same_host(url, config.base_url):
        return ListFailed("the next page of the list lies elsewhere")
    entries = (_entry(name, mapping(item)) for item in items)
    kept = tuple(e for e in entries if e is not None and (not e.since_ms or e.since_ms >= since_ms))
    return ListPage(kept, _get(url, authorization))


def add_requests(config: Config, authorization: str, entries: Sequence[Listed], now_ms: int) -> tuple[HttpRequest, ...]:
    """As few calls as Mailgun allows, one list after the other; the allow-list takes one entry a call."""
    requests: list[HttpRequest] = []
    for name, of_list in groupby(sorted(entries, key=_by_list), key=lambda entry: entry.name):
        listed = list(of_list)
        url = _url(config, name)
        if name is ListName.ALLOW:
            requests += [_post(url, authorization, _FORM, urlencode(_allowed(entry)).encode()) for entry in listed]
            continue
        for start in range(0, len(listed), PAGE):
            records = [_record(entry, now_ms) for entry in listed[start : start + PAGE]]
            requests.append(_post(url, authorization, _JSON, json.dumps(records, separators=(",", ":")).encode()))
    return tuple(requests)


def remove_requests(config: Config, authorization: str, entries: Sequence[Listed]) -> tuple[HttpRequest, ...]:
    """A call each: one without an address would clear the whole list, and so would dots (they are steps in a path)."""
    return tuple(
        HttpRequest("DELETE", f"{_url(config, entry.name)}/{quote(_value(entry), safe='')}", _headers(authorization))
        for entry in entries
        if _value(entry).strip(".")
    )


def read_change(answer: HttpResponse | NoResponse, now_ms: int) -> ListFailed | None:
    """None if it is as we want it now."""
    if isinstance(answer, HttpResponse) and (answer.status == 200 or _was_absent(answer)):
        body = json_object(answer.body)
        return None if body is not None else ListFailed(f"not an answer of the lists: {_said(answer)}")
    return _failed(answer, now_ms)


# ---------------------------------------------------------------------------------------------- entries


def _entry(name: ListName, item: Mapping[str, Any]) -> Listed | None:
    if name is ListName.ALLOW:
        value = text(item.get("value"), 320).strip()
        if text(item.get("type")).lower() == "domain":
            value = "@" + value.lstrip("@")
        if not value.partition("@")[2]:
            return None
        return Listed(name, value, _since_ms(item), detail(item.get("reason")))
    mailbox = address(item.get("address"))
    if not mailbox:
        return None
    tags = tuple(tag for tag in (text(one, 128) for one in sequence(item.get("tags"))) if tag)
    said, code = detail(item.get("error")), text(item.get("code"), 32)
    by_hand = name is ListName.BOUNCE and said.startswith(BY_HAND)
    if by_hand:
        said = said.removeprefix(BY_HAND).removeprefix(": ")
    elif code:
        said = detail(f"{code} {said}")
    everything = name is not ListName.UNSUBSCRIBE or _EVERYTHING in tags
    return Listed(name, mailbox, _since_ms(item), said, () if everything else tags, by_hand)


def _since_ms(item: Mapping[str, Any]) -> int:
    """``created_at`` (the allow-list writes ``createdAt``): RFC 2822, or ISO 8601."""
    written = text(item.get("created_at") or item.get("createdAt"), 64)
    try:
        moment = parsedate_to_datetime(written)
    except ValueError:
        return iso_ms(written)
    return max(0, round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000))


def _record(entry: Listed, now_ms: int) -> dict[str, Any]:
    moment = datetime.fromtimestamp((entry.since_ms or now_ms) // 1000, UTC)
    record: dict[str, Any] = {"address": entry.address, "created_at": format_datetime(moment, usegmt=True)}
    if entry.name is ListName.BOUNCE:
        said = detail(entry.detail)
        if entry.by_hand:
            said = f"{BY_HAND}: {said}" if said else BY_HAND
        record |= {"code": "550", "error": said}
    elif entry.name is ListName.UNSUBSCRIBE:
        record["tags"] = list(entry.tags) or [_EVERYTHING]
    return record


def _allowed(entry: Listed) -> dict[str, str]:
    kind = "domain" if entry.address.startswith("@") else "address"
    return {kind: _value(entry)} | ({"reason": detail(entry.detail)} if entry.detail else {})


def _value(entry: Listed) -> str:
    """How the list calls it: a domain without the @ that marks it with us."""
    return entry.address.removeprefix("@")


def _by_list(entry: Listed) -> int:
    return tuple(PATHS).index(entry.name)


# ---------------------------------------------------------------------------------------------- calls

_JSON: Final = "application/json"
_FORM: Final = "application/x-www-form-urlencoded"


def _url(config: Config, name: ListName) -> str:
    return f"{config.base_url}/v3/{config.domain}/{PATHS[name]}"


def _headers(authorization: str) -> tuple[tuple[str, str], ...]:
    return ("authorization", authorization), ("accept", _JSON)


def _get(url: str, authorization: str) -> HttpRequest:
    return HttpRequest("GET", url, _headers(authorization))


def _post(url: str, authorization: str, content_type: str, body: bytes) -> HttpRequest:
    return HttpRequest("POST", url, (*_headers(authorization), ("content-type", content_type)), body)


def _was_absent(answer: HttpResponse) -> bool:
    """A 404 of the list ("… not found in …"), not of the domain."""
    return answer.status == 404 and "domain not found" not in _said(answer).lower()


def _failed(answer: HttpResponse | NoResponse, now_ms: int) -> ListFailed:
    if isinstance(answer, NoResponse):
        return ListFailed(detail(answer.detail), _RETRY_S)
    said = _said(answer)
    asked_s = wait_s(answer, said, now_ms)
    passing = answer.status in (420, 429) or answer.status >= 500 or answer.status == 408 or asked_s is not None
    return ListFailed(f"{answer.status} {said}", (asked_s or _RETRY_S) if passing else None)


def _said(answer: HttpResponse) -> str:
    body = json_object(answer.body)
    return detail(body.get("message")) if body else detail(answer.body[:2000].decode("utf-8", "replace"))
