"""The account's suppression list of SES, read and changed (see SyncsSuppressions); with ``tenant_name``, that tenant's.

Rules:

1. One list with two reasons: each is asked for by itself, from a date on, page by page.
2. Adding and removing is a call per address (SES allows about one such call a second); 404 to a removal says that the
   address was not there, which is as good.
3. Requests are not signed here.

Source: Amazon SES API v2 reference, ListSuppressedDestinations, PutSuppressedDestination,
DeleteSuppressedDestination.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode

from streams.providers._payload import address, detail, epoch_ms, iso_ms, json_object, mapping, sequence, text
from streams.providers.base import HttpRequest, HttpResponse, Listed, ListFailed, ListName, ListPage, NoResponse
from streams.providers.ses.config import Config
from streams.providers.ses.response import ERRORS, Fate, error_code

REASONS: Final[Mapping[ListName, str]] = {ListName.BOUNCE: "BOUNCE", ListName.COMPLAINT: "COMPLAINT"}
"""What SES calls the two parts of its list."""

PATH: Final = "/v2/email/suppression/addresses"
PAGE: Final = 1000

_RETRY_S: Final = 60.0
_THROTTLED_S: Final = 2.0
_PASSING: Final = frozenset({Fate.THROTTLED, Fate.BY_WORDS, Fate.QUOTA, Fate.RETRY, Fate.UNCERTAIN})


def list_request(config: Config, name: ListName, since_ms: int, token: str = "") -> HttpRequest:
    """A page of the addresses with one reason, the first without a ``token``."""
    query = {"Reason": REASONS[name], "PageSize": str(PAGE)}
    if since_ms:
        moment = datetime.fromtimestamp(since_ms // 1000, UTC)  # to the second: none is left out
        query["StartDate"] = f"{moment:%Y-%m-%dT%H:%M:%SZ}"
    if config.tenant_name:
        query["TenantName"] = config.tenant_name
    if token:
        query["NextToken"] = token
    url = f"{config.endpoint}{PATH}?{urlencode(query, quote_via=quote)}"
    return HttpRequest("GET", url, (("accept", "application/json"),))


def read_list(
    config: Config, name: ListName, since_ms: int, answer: HttpResponse | NoResponse
) -> ListPage | ListFailed:
    """One page; the request for the next one is not signed yet."""
    page = json_object(answer.body) if isinstance(answer, HttpResponse) and answer.status == 200 else None
    if page is None or not isinstance(page.get("SuppressedDestinationSummaries"), list):
        return _failed(answer)
    found = (_entry(mapping(item)) for item in sequence(page["SuppressedDestinationSummaries"]))
    entries = tuple(one for one in found if one and one.name is name and not 0 < one.since_ms < since_ms)
    token = text(page.get("NextToken"), 8_192)
    return ListPage(entries, list_request(config, name, since_ms, token) if token else None)


def add_requests(config: Config, entries: Sequence[Listed]) -> tuple[HttpRequest, ...]:
    """A call per address; other lists than SES's two reasons are left out."""
    return tuple(_put(config, entry) for entry in entries if entry.name in REASONS and "@" in entry.address[1:])


def remove_requests(config: Config, entries: Sequence[Listed]) -> tuple[HttpRequest, ...]:
    """A call per address, whatever the reason it is listed for."""
    named = dict.fromkeys(entry.address for entry in entries if entry.name in REASONS and "@" in entry.address[1:])
    query = f"?{urlencode({'TenantName': config.tenant_name})}" if config.tenant_name else ""
    return tuple(
        HttpRequest("DELETE", f"{config.endpoint}{PATH}/{quote(one, safe='')}{query}", (("accept", _JSON),))
        for one in named
    )


def read_change(answer: HttpResponse | NoResponse) -> ListFailed | None:
    """None if it is as we want it now."""
    if isinstance(answer, HttpResponse) and answer.status == 200:
        return None
    if isinstance(answer, HttpResponse) and answer.status == 404 and error_code(answer) == "NotFoundException":
        return None
    return _failed(answer)


_JSON: Final = "application/json"


def _put(config: Config, entry: Listed) -> HttpRequest:
    body = {"EmailAddress": entry.address, "Reason": REASONS[entry.name]}
    if config.tenant_name:
        body["TenantName"] = config.tenant_name
    data = json.dumps(body, separators=(",", ":")).encode("ascii")
    return HttpRequest("PUT", f"{config.endpoint}{PATH}", (("accept", _JSON), ("content-type", _JSON)), data)


def _entry(item: Mapping[str, Any]) -> Listed | None:
    mailbox, reason = address(item.get("EmailAddress")), text(item.get("Reason"), 64)
    name = next((name for name, word in REASONS.items() if word == reason), None)
    if not mailbox or name is None:
        return None
    written = item.get("LastUpdateTime")
    return Listed(name, mailbox, epoch_ms(written) or iso_ms(written))


def _failed(answer: HttpResponse | NoResponse) -> ListFailed:
    if isinstance(answer, NoResponse):
        return ListFailed(detail(answer.detail), _RETRY_S)
    body = json_object(answer.body) or {}
    code = error_code(answer)
    said = detail(body.get("message"), body.get("Message"), answer.body[:500].decode("utf-8", "replace"))
    fate = ERRORS[code][0] if code in ERRORS else None
    if answer.status == 429 or fate in (Fate.THROTTLED, Fate.BY_WORDS, Fate.QUOTA):
        return ListFailed(f"{code or answer.status}: {said}", _THROTTLED_S)
    if answer.status >= 500 or answer.status == 408 or fate in _PASSING:
        return ListFailed(f"{code or answer.status}: {said}", _RETRY_S)
    return ListFailed(f"{code or answer.status}: {said}")
