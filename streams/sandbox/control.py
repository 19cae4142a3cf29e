"""The pages below `/sandbox/`: ledger, statistics, calls, faults, copies as sent, SNS topic and certificate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from streams.sandbox.calls import Calls
from streams.sandbox.faults import Faults, Kind
from streams.sandbox.keys import Keys
from streams.sandbox.ledger import PROVIDERS, Ledger
from streams.sandbox.mns import Mns
from streams.sandbox.recent import Recent
from streams.sandbox.sns import Sns
from streams.sandbox.sqs import Sqs
from streams.sandbox.webhooks import Webhooks

_KINDS: Final = frozenset({"accepted", "webhook", "list"})


class Control:
    """Answers requests below /sandbox/."""

    def __init__(self, ledger: Ledger, faults: Faults, webhooks: Webhooks, sns: Sns, sqs: Sqs, mns: Mns,
                 recent: Recent, calls: Calls, set_account: Callable[[str, str], None], keys: Keys,
                 refuse_connections: Callable[[float], None], started_ms: int) -> None:  # fmt: skip
        self._ledger = ledger
        self._faults = faults
        self._webhooks = webhooks
        self._sns = sns
        self._sqs = sqs
        self._mns = mns
        self._recent = recent
        self._calls = calls
        self._set_mailgun_account = set_account
        self._keys = keys
        self._refuse_connections = refuse_connections
        self._started_ms = started_ms

    async def handle(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Answers one request."""
        path = request.path.rstrip("/")
        match request.method, path.split("/")[2:]:
            case "GET", ["stats"]:
                return _json(self.stats())
            case "GET", ["ledger"]:
                return await self._stream_ledger(request)
            case "GET", ["calls"]:
                return self._list_calls(request)
            case "GET", ["rendered"]:
                copy = self._recent.rendered(request.query.get("call_id", ""), request.query.get("recipient", ""))
                return _json({"error": "not known (any more)"}, 404) if copy is None else _json(copy)
            case method, ["faults", *rest] if len(rest) <= 1:
                return self._handle_faults(method, rest[0] if rest else None, body)
            case "PUT", ["mailgun", "accounts", domain]:
                return self._set_account(domain, body)
            case "PUT", [("mailgun" | "ses") as provider, "keys"]:
                return self._set_keys(provider, body)
            case "POST", ["sns", "subscribe"]:
                return self._subscribe(body)
            case "GET", ["sns"]:
                return _json(self._sns_state())
            case "GET", ["sns", name] if name == self._sns.file_name:
                return web.Response(body=self._sns.certificate, content_type="application/x-pem-file")
            case "GET", ["mns", name] if name == self._mns.file_name:
                return web.Response(body=self._mns.certificate, content_type="application/x-pem-file")
        return _json({"error": f"no such page: {request.method} {path}"}, 404)

    def stats(self) -> dict[str, Any]:
        """The counts, as one object."""
        ledger = self._ledger
        return {
            "accepted": {provider: ledger.accepted[provider] for provider in PROVIDERS},
            "calls": {provider: ledger.calls[provider] for provider in PROVIDERS},
            "recipients": sum(ledger.accepted.values()),
            "ends": {provider: dict(ledger.ends[provider]) for provider in PROVIDERS},
            "reported": {provider: dict(ledger.reported_events[provider]) for provider in PROVIDERS},
            "answers": {provider: dict(ledger.answers[provider]) for provider in PROVIDERS},
            "duplicates": ledger.duplicates,
            "pending_webhooks": self._webhooks.pending,
            "webhook_attempts": self._webhooks.attempts,
            "webhook_duplicates": self._webhooks.duplicates_posted,
            "queue": {
                "url": self._sqs.url,
                "sent": self._sqs.queue.sent,
                "deleted": self._sqs.queue.deleted,
                "left": len(self._sqs.queue),
                "dead": len(self._sqs.dead),
            },
            "faults": {str(kind): number for kind, number in self._faults.injected.items()},
            "cpu_s": time.process_time(),
            "started_ms": self._started_ms,
        }

    async def _stream_ledger(self, request: web.BaseRequest) -> web.StreamResponse:
        provider, since_ms = request.query.get("provider"), _since_ms(request)
        kind = request.query.get("kind")
        if since_ms is None:
            return _json({"error": "since is a time in epoch milliseconds"}, 400)
        if provider not in (None, *PROVIDERS) or kind not in (None, *_KINDS):
            return _json(
                {"error": f"provider is one of {', '.join(PROVIDERS)}; kind is accepted, webhook or list"}, 400
            )
        await self._ledger.committed()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        blocks = self._ledger.lines(provider, since_ms, _KINDS if kind is None else frozenset({kind}))
        while (block := await asyncio.to_thread(next, blocks, None)) is not None:
            if block:
                await response.write(block)
        await response.write_eof()
        return response

    def _list_calls(self, request: web.BaseRequest) -> web.Response:
        provider, since_ms = request.query.get("provider"), _since_ms(request)
        if since_ms is None or provider not in (None, *PROVIDERS):
            return _json({"error": f"since is in epoch milliseconds, provider one of {', '.join(PROVIDERS)}"}, 400)
        return _json({"calls": self._calls.since(since_ms, provider)})

    def _handle_faults(self, method: str, rule: str | None, body: bytes) -> web.Response:
        if method == "GET" and rule is None:
            return _json({"faults": msgspec.to_builtins(self._faults.active())})
        if method == "DELETE" and (rule is None or rule.isdigit()):
            removed = self._faults.remove(None if rule is None else int(rule))
            return _json({"removed": removed}, 200 if removed or rule is None else 404)
        if method != "POST" or rule is not None:
            return _json({"error": "POST, GET, DELETE /sandbox/faults or DELETE /sandbox/faults/{id}"}, 405)
        try:
            fault = self._faults.add(msgspec.json.decode(body))
        except (ValueError, msgspec.DecodeError) as error:
            return _json({"error": str(error)}, 400)
        if fault.kind is Kind.CONNECT_REFUSED and fault.seconds is not None:
            self._refuse_connections(fault.seconds)
        return _json(msgspec.to_builtins(fault), 201)

    def _set_account(self, domain: str, body: bytes) -> web.Response:
        """Another Mailgun account: its domain, and the API key that is good for it from now on."""
        try:
            self._set_mailgun_account(domain, str(msgspec.json.decode(body)["api_key"]))
        except (ValueError, KeyError, TypeError) as error:
            return _json({"error": f"api_key: {error}"}, 400)
        return _json({"domain": domain}, 200)

    def _set_keys(self, provider: str, body: bytes) -> web.Response:
        try:
            return _json(self._keys.put(provider, body))
        except ValueError as error:
            return _json({"error": str(error)}, 400)

    def _subscribe(self, body: bytes) -> web.Response:
        try:
            content = msgspec.json.decode(body)
            self._sns.subscribe(str(content["endpoint"]))
        except (ValueError, KeyError, TypeError) as error:
            return _json({"error": f"endpoint: {error}"}, 400)
        return _json(self._sns_state(), 202)

    def _sns_state(self) -> dict[str, Any]:
        sns = self._sns
        return {
            "topic_arn": sns.topic_arn,
            "endpoint": sns.endpoint,
            "confirmed": sns.confirmed,
            "subscription_arn": sns.subscription_arn,
            "confirmation_answers": sns.confirmations,
            "signing_cert_url": sns.certificate_url,
            "certificate": f"/sandbox/sns/{sns.file_name}",
        }


def _since_ms(request: web.BaseRequest) -> int | None:
    try:
        return int(request.query.get("since", "0"))
    except ValueError:
        return None


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")
