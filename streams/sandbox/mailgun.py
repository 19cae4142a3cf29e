"""The Mailgun stand-in: authorisation, routing and answers of its HTTP API, and its webhooks.

Wrong paths answer 200 with a line of plain text, a wrong key 401 with the plain text `Forbidden`: both as the real
service.
"""

from __future__ import annotations

import random
import secrets
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from aiohttp import web

from streams.sandbox.config import MailgunConfig, WebhookFormat
from streams.sandbox.faults import Fault, Kind
from streams.sandbox.forms import MalformedFormError, parse_form
from streams.sandbox.ledger import Accepted, Ledger
from streams.sandbox.mailgun_events import NOT_IN_LEGACY, STORAGE_URL, event_data, legacy_form, signature
from streams.sandbox.mailgun_lists import LISTS, MailgunLists
from streams.sandbox.mailgun_query import BadQuery, EventsReader, Query, parse_query
from streams.sandbox.mailgun_send import MailgunSending, Taken
from streams.sandbox.mailgun_stored import StoredMessages, recipients
from streams.sandbox.mailgun_text import Refused
from streams.sandbox.outcomes import Draw, due_ms, short_event_id
from streams.sandbox.posting import Target
from streams.sandbox.recent import Recent
from streams.sandbox.suppressions import SuppressionLists
from streams.sandbox.webhooks import Post, Verdict, Webhooks

_RETRY_S: Final = (300, 600, 900, 3600, 7200, 14400)
_HEX: Final = "0123456789abcdef"
_SENDS: Final = ("messages", "messages.mime")
_AUTOMATIC: Final = {"bounced": "bounces", "complained": "complaints", "unsubscribed": "unsubscribes"}


class MailgunReporter:
    """Signed webhooks; 200 ends, 406 refuses, anything else is tried again."""

    provider = "mailgun"

    def __init__(self, config: MailgunConfig, seed: int, now_ms: Callable[[], int]) -> None:
        self._config = config
        self._key = config.signing_key.encode()
        self._random = random.Random(secrets.randbits(64) ^ seed)  # tokens never repeat, not even after a restart
        self._now_ms = now_ms
        self.target = Target.parse(config.webhook_url) if config.webhook_url else None
        self.retry_delays_s = tuple(delay * config.retry_scale for delay in _RETRY_S)
        json_body = config.webhook_format is WebhookFormat.JSON
        kind = b"application/json" if json_body else b"application/x-www-form-urlencoded"
        self._headers = b"User-Agent: mailgun/treq-15.0.0\r\nContent-Type: " + kind + b"\r\n"

    def sign_with(self, key: str) -> None:
        """From now on; what has been posted before is repeated with its old signature."""
        self._key = key.encode()

    def wants(self, event: str) -> bool:
        """Subscribed events, when there is a URL; the old form knows fewer."""
        if self._config.webhook_format is WebhookFormat.LEGACY and event in NOT_IN_LEGACY:
            return False
        return self.target is not None and event in self._config.webhook_events

    def prepare(self, record: Accepted, index: int, at_ms: int) -> Post:
        """The event in a signed envelope."""
        token = "".join(self._random.choices(_HEX, k=50))
        signed = signature(self._key, str(self._now_ms() // 1000), token)
        data = event_data(record, index, at_ms)
        if self._config.webhook_format is WebhookFormat.JSON:
            body = msgspec.json.encode({"signature": signed, "event-data": data})
        else:
            body = legacy_form(data, record.plan.events[index], signed)
        return Post(short_event_id(record, index), self.target, self._headers, body, self._config.webhook_timeout_s)

    def verdict(self, status: int, event: str) -> Verdict:
        """See the class."""
        if status == 200:
            return Verdict.DELIVERED
        if status == 406:
            return Verdict.REFUSED
        if event == "delivered" and not self._config.retry_delivered:
            return Verdict.GAVE_UP
        return Verdict.RETRY


class Mailgun:
    """One account. `handle` answers every request below /v3 (and /v4/domains)."""

    provider = "mailgun"

    def __init__(self, config: MailgunConfig, ledger: Ledger, webhooks: Webhooks, lists: SuppressionLists, draw: Draw,
                 recent: Recent, *, identity_variable: str, unit_ms: float, seed: int,
                 now_ms: Callable[[], int]) -> None:  # fmt: skip
        self._config = config
        self._ledger = ledger
        self._webhooks = webhooks
        self._lists = lists
        self._recent = recent
        self._unit_ms = unit_ms
        self._now_ms = now_ms
        self._domains = (config.domain, *config.more_domains)
        self._keys = {domain: frozenset({config.api_key}) for domain in self._domains}
        for domain, key in config.accounts.items():
            self.set_account(domain, key)
        self._sending = MailgunSending(config, draw, lists, identity_variable)
        self._list_api = MailgunLists(lists, ledger, now_ms)
        self._stored = StoredMessages(ledger, recent, config.keep_days, now_ms)
        self._reader = EventsReader(ledger, unit_ms, int(config.events_delay_s * 1000))
        self.reporter = MailgunReporter(config, seed, now_ms)

    def set_account(self, domain: str, api_key: str) -> None:
        """A domain of another account, and from now on the key that is good for it."""
        self._keys[domain] = frozenset({api_key})

    def set_keys(self, api_keys: Sequence[str], signing_key: str) -> None:
        """The keys that are good from now on for the account's own domains, and the one that signs its webhooks; an
        empty value leaves things as they are.
        """
        if api_keys:
            self._keys |= dict.fromkeys(self._domains, frozenset(api_keys))
        if signing_key:
            self.reporter.sign_with(signing_key)

    def account_and_operation(self, request: web.BaseRequest) -> tuple[str, bool]:
        """(domain, whether the call sends mail), for faults."""
        parts = request.raw_path.partition("?")[0].split("/")
        return (unquote(parts[2]) if len(parts) > 2 else ""), len(parts) == 4 and parts[3] in _SENDS

    async def handle(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Answers one request."""
        parts = request.raw_path.partition("?")[0].rstrip("/").split("/")[1:]
        if not parts:
            return magnificent()
        if parts[:2] == ["v3", "domains"] and len(parts) == 5 and parts[3] == "messages":
            return await self._handle_stored(request, unquote(parts[2]).lower(), unquote(parts[4]), body)
        known = parts[0] == "v3" and len(parts) >= 3 and parts[2] in (*_SENDS, "events", *LISTS)
        account_wide = len(parts) == 2 and parts[0] in ("v3", "v4") and parts[1] == "domains"
        if not known and not account_wide:
            return magnificent()
        given = api_key(request.headers)
        domain = self._domains[0] if account_wide else unquote(parts[1]).lower()
        if domain not in self._keys and any(given in keys for keys in self._keys.values()):
            return answer(404, {"message": f"Domain not found: {domain}"})
        if given not in self._keys.get(domain, ()):
            return web.Response(status=401, text="Forbidden")
        if account_wide:
            return self._list_domains()
        match parts[2], parts[3:]:
            case ("messages" | "messages.mime") as name, []:
                if request.method != "POST":
                    return answer(405, {"message": "Method not allowed"})
                return await self._send(request, domain, body, mime=name == "messages.mime")
            case "events", [] | [_]:
                return self._events(request, domain, parts[3:])
            case name, rest if name in LISTS and len(rest) <= 1:
                status, content = self._list_api.handle(request, domain, name, rest[0] if rest else None, body)
                if request.method != "GET":
                    await self._ledger.committed()
                return answer(status, content)
        return magnificent()

    async def _send(self, request: web.BaseRequest, domain: str, body: bytes, *, mime: bool) -> web.Response:
        now = self._now_ms()
        try:
            form = parse_form(request.headers.get("Content-Type", ""), body)
            taken = self._sending.take(domain, form, mime=mime, now_ms=now)
        except MalformedFormError as error:
            return answer(400, {"message": f"the request is malformed: {error}"})
        except Refused as refused:
            return answer(refused.status, {"message": refused.message})
        self._recent.add(taken.records[0].call_id, taken.size, taken.rendered)
        return await self._accept(taken)

    async def _accept(self, taken: Taken) -> web.Response:
        self._ledger.accept(taken.records)
        await self._ledger.committed()
        for record in taken.records:
            self.suppress(record)
            self.report(record)
        return answer(200, {"id": taken.answer_id, "message": "Queued. Thank you."})

    async def _handle_stored(self, request: web.BaseRequest, domain: str, key: str, body: bytes) -> web.StreamResponse:
        if api_key(request.headers) not in self._keys.get(domain, ()):
            return web.Response(status=401, text="Forbidden")
        try:
            record = self._stored.find(domain, key)
            if request.method == "GET":
                return self._stored.show(record, request.headers.get("Accept", ""))
            if request.method != "POST":
                return answer(405, {"message": "Method not allowed"})
            addresses = recipients(parse_form(request.headers.get("Content-Type", ""), body))
        except MalformedFormError as error:
            return answer(400, {"message": f"the request is malformed: {error}"})
        except Refused as refused:
            return answer(refused.status, {"message": refused.message})
        return await self._accept(self._sending.take_again(record, addresses, self._now_ms()))

    def report(self, record: Accepted, done: frozenset[int] = frozenset()) -> None:
        """Plans the webhooks of an accepted recipient; `done` are the events already reported."""
        self._webhooks.schedule(record, self.reporter, done)

    def suppress(self, record: Accepted) -> None:
        """Plans the automatic list entry that an accepted recipient's end brings."""
        if not self._config.auto_suppress or record.plan.end not in _AUTOMATIC:
            return
        since_ms = due_ms(record, len(record.plan.events) - 1, self._unit_ms)
        name = _AUTOMATIC[record.plan.end]
        if name == "bounces" and self._list_api.allows(record.domain, record.recipient):
            return
        content = self._list_api.automatic(name, since_ms)
        self._lists.add_from_event(f"mailgun.{name}/{record.domain}", record.recipient, since_ms, content)

    def _events(self, request: web.BaseRequest, domain: str, rest: Sequence[str]) -> web.Response:
        now = self._now_ms()
        try:
            query = Query.from_token(rest[0]) if rest else parse_query(request.query, now)
        except BadQuery as problem:
            return answer(400, {"message": str(problem)})
        items, tokens = self._reader.page(domain, query, now)
        here = f"{request.scheme}://{request.host}"
        for item in items:
            if "storage" in item:  # the sandbox itself is where messages are stored
                item["storage"]["url"] = item["storage"]["url"].replace(STORAGE_URL, here)
        base = f"{request.scheme}://{request.host}/v3/{domain}/events/"
        return answer(200, {"items": items, "paging": {name: base + token for name, token in tokens.items()}})

    def _list_domains(self) -> web.Response:
        items = [{"name": name, "state": "active", "type": "custom", "is_disabled": False} for name in self._domains]
        return answer(200, {"items": items, "total_count": len(items)})

    def fault(self, fault: Fault, account: str) -> web.Response:
        """The answer of a fault."""
        throttled = fault.kind is Kind.THROTTLE
        status = fault.status or (429 if throttled else 502 if fault.kind is Kind.STATUS_AFTER else 500)
        headers = fault.retry_header(self._now_ms())
        if fault.body is not None:
            text = fault.body
            kind = "application/json" if text.lstrip().startswith("{") else "text/plain"
            return web.Response(status=status, text=text, content_type=kind, headers=headers)
        response = _default_fault(status, account or self._config.domain, fault.retry_after_s, self._now_ms())
        response.headers.update(headers)
        return response


def answer(status: int, content: dict[str, Any]) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")


def magnificent() -> web.Response:
    """What a wrong path gets."""
    return web.Response(text="Mailgun Magnificent API")


def _default_fault(status: int, domain: str, retry_after_s: float | None, now_ms: int) -> web.Response:
    """Documented and observed texts by status."""
    wait_s = retry_after_s if retry_after_s is not None else 1
    moment = datetime.fromtimestamp(now_ms / 1000, UTC) + timedelta(seconds=wait_s)
    date = format_datetime(moment.replace(microsecond=0), usegmt=True)
    refused = f"Domain {domain} is not allowed to send:"
    texts = {
        400: "to parameter is not a valid address. please check documentation",
        402: "Request failed: payment is required",
        403: f"{refused} the domain is disabled",
        404: f"Domain not found: {domain}",
        413: "Message is too large: the limit is 25 MB",
        420: f"{refused} recipient limit exceeded, try again after {date}",
        429: f"{refused} account-requests-per-sec limit exceeded, try again after {wait_s:g} seconds",
        500: "Internal Server Error",
    }
    if status == 401:
        return web.Response(status=401, text="Forbidden")
    if status in texts:
        return answer(status, {"message": texts[status]})
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>"
    return web.Response(status=status, text=page, content_type="text/html")


def api_key(headers: Mapping[str, str]) -> str:
    """The API key that a request shows; empty when it shows none, or not as Mailgun wants it."""
    scheme, _, given = headers.get("Authorization", "").partition(" ")
    try:
        user, _, key = b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        return ""
    return key if scheme == "Basic" and user == "api" else ""
