"""Mailgun's suppression lists over HTTP: bounces, unsubscribes, complaints of a domain, and its allow-list.

GET lists (limit, page, address as the divider) or shows one address (404: not suppressed); POST takes one as a form
or up to a thousand as a JSON array; DELETE removes one address or clears the list. Changes are lines in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import unquote, urlencode

import msgspec
from aiohttp import web

from streams.sandbox.forms import Form, MalformedFormError, parse_form
from streams.sandbox.ledger import Ledger, ListChange
from streams.sandbox.mailgun_text import Refused, bare_addresses
from streams.sandbox.suppressions import Entry, SuppressionLists

ALLOW: Final = "whitelists"
LISTS: Final = ("bounces", "unsubscribes", "complaints", ALLOW)
_ADDED: Final = {
    "bounces": "Address has been added to the bounces table",
    "unsubscribes": "Address has been added to the unsubscribes table",
    "complaints": "Address has been added to the complaints table",
    ALLOW: "Address/Domain has been added to the whitelists table",
}
_MISSING: Final = {
    "bounces": "Address not found in bounces table",
    "unsubscribes": "Address not found in unsubscribers table",
    "complaints": "No spam complaints found for this address",
    ALLOW: "Address/Domain not found in whitelists table",
}
_Answer = tuple[int, dict[str, Any]]


class MailgunLists:
    """The list calls of all domains."""

    def __init__(self, lists: SuppressionLists, ledger: Ledger, now_ms: Callable[[], int]) -> None:
        self._lists = lists
        self._ledger = ledger
        self._now_ms = now_ms

    def automatic(self, name: str, at_ms: int) -> dict[str, Any]:
        """The record of an address that an event puts on a list."""
        given = {"code": "550", "error": "5.1.1 no such user"} if name == "bounces" else {}
        return _content(name, given, at_ms)

    def allows(self, domain: str, address: str) -> bool:
        """Whether the address, or its domain, is kept off the bounce list."""
        now_ms, key = self._now_ms(), f"mailgun.{ALLOW}/{domain}"
        return any(self._lists.find(key, one, now_ms) for one in (address, address.rpartition("@")[2]))

    def handle(self, request: web.BaseRequest, domain: str, name: str, address: str | None, body: bytes) -> _Answer:
        """Answers one call; changes are buffered in the ledger."""
        key = f"mailgun.{name}/{domain}"
        match request.method:
            case "GET" if address is None:
                return self._page(request, domain, name, key)
            case "GET":
                entry = self._lists.find(key, unquote(address or ""), self._now_ms())
                return (404, {"message": _MISSING[name]}) if entry is None else (200, _shown(entry))
            case "POST" if address is None:
                return self._add(request, name, key, body)
            case "DELETE":
                return self._remove(name, key, None if address is None else unquote(address))
        return 405, {"message": "Method not allowed"}

    def _change(self, key: str, address: str, entry: dict[str, Any] | None) -> None:
        change = ListChange(key, address, entry, self._now_ms())
        self._lists.apply(change)
        self._ledger.change_list(change)

    def _page(self, request: web.BaseRequest, domain: str, name: str, key: str) -> _Answer:
        try:
            limit = min(1000, max(1, int(request.query.get("limit", "100"))))
        except ValueError:
            return 400, {"message": "limit parameter is not a number"}
        term, divider = request.query.get("term", "").lower(), request.query.get("address", "")
        direction = request.query.get("page", "first")
        entries = [
            entry for entry in self._lists.entries(key, self._now_ms()) if entry.address.lower().startswith(term)
        ]
        if direction == "next":
            chosen = [entry for entry in entries if entry.address > divider][:limit]
        elif direction == "previous":
            chosen = [entry for entry in entries if entry.address < divider][-limit:]
        else:
            chosen = entries[-limit:] if direction == "last" else entries[:limit]
        first, last = (chosen[0].address, chosen[-1].address) if chosen else (divider, divider)
        base = f"{request.scheme}://{request.host}/v3/{domain}/{name}?"
        pages = {"first": "", "last": "", "next": last, "previous": first}
        paging = {
            page: base + urlencode({"page": page, "limit": limit} | ({"address": at} if at else {}))
            for page, at in pages.items()
        }
        return 200, {"items": [_shown(entry) for entry in chosen], "paging": paging}

    def _add(self, request: web.BaseRequest, name: str, key: str, body: bytes) -> _Answer:
        try:
            if request.content_type == "application/json":
                entries = msgspec.json.decode(body, type=list[dict[str, Any]])
                if len(entries) > 1000:
                    return 400, {"message": "Batch size should be less than 1000"}
            else:
                entries = [_one(parse_form(request.headers.get("Content-Type", ""), body))]
            addresses = [_named(name, entry) for entry in entries]
        except Refused as refused:
            return refused.status, {"message": refused.message}
        except (MalformedFormError, msgspec.DecodeError) as error:
            return 400, {"message": f"the request is malformed: {error}"}
        for address, entry in zip(addresses, entries, strict=True):
            self._change(key, address, _content(name, entry, self._now_ms()))
        if request.content_type == "application/json":
            return 200, {"message": f"{len(entries)} addresses have been added to the {name} table"}
        return 200, {"message": _ADDED[name], "address": addresses[0]}

    def _remove(self, name: str, key: str, address: str | None) -> _Answer:
        if address is None:
            self._change(key, "*", None)
            return 200, {"message": f"{name.capitalize()} addresses for this domain have been removed"}
        if self._lists.find(key, address, self._now_ms()) is None:
            return 404, {"message": _MISSING[name]}
        self._change(key, address, None)
        return 200, {"message": "Address has been removed", "address": address}


def _one(form: Form) -> dict[str, Any]:
    entry: dict[str, Any] = {key: values[-1] for key, values in form.values.items()}
    if tags := form.all("tag") + form.all("tags"):
        entry["tags"] = tags
    return entry


def _named(name: str, entry: dict[str, Any]) -> str:
    if name == ALLOW and entry.get("domain"):
        return str(entry["domain"]).lower()
    return bare_addresses([str(entry.get("address", ""))], "address")[0]


def _content(name: str, given: dict[str, Any], now_ms: int) -> dict[str, Any]:
    moment = datetime.fromtimestamp(now_ms / 1000, UTC).replace(microsecond=0)
    if name == ALLOW:
        kind, value = ("domain", given["domain"]) if given.get("domain") else ("address", given.get("address", ""))
        when = moment.strftime("%a, %d %b %Y %H:%M:%S UTC")
        return {"type": kind, "value": value, "reason": str(given.get("reason", "")), "createdAt": when}
    content: dict[str, Any] = {"created_at": str(given.get("created_at") or format_datetime(moment, usegmt=True))}
    if name == "bounces":
        content |= {"code": str(given.get("code", "550")), "error": str(given.get("error", ""))}
    elif name == "unsubscribes":
        content["tags"] = list(given.get("tags") or ["*"])
    return content


def _shown(entry: Entry) -> dict[str, Any]:
    return entry.content if "createdAt" in entry.content else {"address": entry.address, **entry.content}
