"""Mailgun's events of a time span, each in the form of its webhook: what a lost webhook would have told.

Rules:

1. A payload carries the event's own bytes: its id and time are those of the webhook, and so it is the same sighting.
2. A page is trusted when it is older than the delay after which Mailgun shows everything; who asks sees to that.
3. The next page is followed only on the host that was asked, for the request carries the API key.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import msgspec

from streams.providers._payload import detail, epoch_ms, text
from streams.providers.base import EventsPage, HttpRequest, HttpResponse, ListFailed, NoResponse, ToldEvent
from streams.providers.mailgun.config import Config
from streams.providers.mailgun.hosts import is_same_host
from streams.providers.mailgun.response import wait_s

PAGE: Final = 300
"""The most that Mailgun gives at once."""

_RETRY_S: Final = 60.0


class _Paging(msgspec.Struct):
    next: str = ""


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    paging: _Paging = msgspec.field(default_factory=_Paging)


class _Item(msgspec.Struct):
    id: object = ""
    timestamp: object = 0


def source(config: Config) -> str:
    """Whose events they are: a domain's, in its region."""
    return f"mailgun:{config.base_url}/{config.domain.lower()}"


def events_request(config: Config, authorization: str, begin_ms: int, end_ms: int) -> HttpRequest:
    """The first page, oldest first. Mailgun counts in seconds: the span is widened to whole ones."""
    query = {
        "begin": str(begin_ms // 1000),
        "end": str(-(-end_ms // 1000)),
        "ascending": "yes",
        "limit": str(PAGE),
        "event": " OR ".join(config.gap_events),
    }
    return _get(f"{config.base_url}/v3/{config.domain}/events?{urlencode(query)}", authorization)


def read_page(
    config: Config, authorization: str, answer: HttpResponse | NoResponse, now_ms: int
) -> EventsPage | ListFailed:
    """The end is a page without items; ``paging.next`` is always there."""
    if isinstance(answer, NoResponse):
        return ListFailed(detail(answer.detail), _RETRY_S)
    if answer.status != 200:
        said = detail(answer.body[:2000].decode("utf-8", "replace"))
        passing = answer.status >= 500 or answer.status in (408, 420, 429)
        return ListFailed(f"{answer.status} {said}", (wait_s(answer, said, now_ms) or _RETRY_S) if passing else None)
    try:
        page = _DECODER.decode(answer.body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ListFailed("what came is no page of events", _RETRY_S)
    if not page.items:
        return EventsPage(())
    if not is_same_host(page.paging.next, config.base_url):
        return ListFailed("the next page of events lies elsewhere", _RETRY_S)
    told, until_ms = [], 0
    for raw in page.items:
        item = _item(bytes(raw))
        until_ms = max(until_ms, epoch_ms(item.timestamp))
        told.append(ToldEvent(text(item.id, 128).encode(), b'{"event-data":' + bytes(raw) + b"}"))
    return EventsPage(tuple(told), until_ms, _get(page.paging.next, authorization))


def _item(raw: bytes) -> _Item:
    try:
        return _ITEM.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _Item()  # it is handed on, and becomes a dead letter where every payload is read


def _get(url: str, authorization: str) -> HttpRequest:
    return HttpRequest("GET", url, (("authorization", authorization), ("accept", "application/json")))


_DECODER: Final = msgspec.json.Decoder(_Page)
_ITEM: Final = msgspec.json.Decoder(_Item)
