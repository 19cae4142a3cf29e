"""The SES v2 stand-in: authorisation, routing, answers and errors of its REST API, and its events through SNS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote
from uuid import uuid4

import msgspec
from aiohttp import web

from streams.sandbox.config import QueueForm, SesConfig
from streams.sandbox.faults import ENTRY_KINDS, Fault, Faults, Kind
from streams.sandbox.ledger import Accepted, Ledger
from streams.sandbox.outcomes import Draw, due_ms, falls_within, uuid_event_id
from streams.sandbox.recent import Recent
from streams.sandbox.ses_account import SesAccount
from streams.sandbox.ses_events import as_eventbridge, as_notification, event_json, insights
from streams.sandbox.ses_model import (
    ApiError,
    CreateEmailTemplate,
    PutSuppressedDestination,
    SendBulkEmail,
    SendEmail,
    decode,
)
from streams.sandbox.ses_send import EntryResult, Mail, SesSending, renderer
from streams.sandbox.sigv4 import NO_KEYS, access_key, check
from streams.sandbox.sns import Sns
from streams.sandbox.sqs import Sqs
from streams.sandbox.suppressions import SuppressionLists
from streams.sandbox.webhooks import Post, Verdict, Webhooks

_SEND: Final = "/v2/email/outbound-emails"
_BULK: Final = "/v2/email/outbound-bulk-emails"
_SUPPRESSION: Final = "/v2/email/suppression/addresses"
_TEMPLATES: Final = "/v2/email/templates"
_INSIGHTS: Final = "/v2/email/insights"
_STATES: Final = {
    Kind.PAUSED: ("SendingPausedException", "Sending paused for this account."),
    Kind.SUSPENDED: ("AccountSuspendedException", "Account is suspended."),
    Kind.UNVERIFIED: (
        "MessageRejected",
        "Email address is not verified. The following identities failed the check: {}",
    ),
}
_ENTRY_STATUS: Final = {
    "BadRequestException": "INVALID_PARAMETER",
    "NotFoundException": "TEMPLATE_NOT_FOUND",
    "TooManyRequestsException": "ACCOUNT_THROTTLED",
    "LimitExceededException": "ACCOUNT_DAILY_QUOTA_EXCEEDED",
}
_FAULT_CODES: Final = {
    400: ("BadRequestException", "Bad request"),
    403: ("AccessDeniedException", "User is not authorized to perform: ses:SendEmail"),
    404: ("NotFoundException", "Not found"),
    429: ("TooManyRequestsException", "Maximum sending rate exceeded."),
    500: ("InternalServiceErrorException", "Internal service error"),
    503: ("ServiceUnavailableException", "Service unavailable"),
}


class SesReporter:
    """Events in signed SNS envelopes; 2xx ends, 5xx and 429 are tried again, other answers are final."""

    provider = "ses"

    def __init__(self, config: SesConfig, sns: Sns, sqs: Sqs) -> None:
        self._config = config
        self._sns = sns
        self._sqs = sqs
        self.retry_delays_s = sns.retry_delays_s

    def wants(self, event: str) -> bool:
        """Event types of the destination, when the topic has a subscription of any state."""
        subscribed = self._sns.endpoint is not None or self._config.queue_form is not None
        return subscribed and event in self._config.event_types

    def prepare(self, record: Accepted, index: int, at_ms: int) -> Post:
        """The event in its envelope; nobody to post to while the subscription is not confirmed."""
        event_id = uuid_event_id(record, index)
        queued = self._goes_to_queue(record)
        if not self._sns.confirmed and not queued:
            return Post(event_id, None, b"", b"", 0.0)
        message = event_json(record, index, at_ms, self._config.account_id)
        if not self._sns.confirmed and self._config.queue_form is not QueueForm.ENVELOPE:
            return Post(event_id, None, b"", b"", 0.0, self._enqueue(event_id, message, b""))
        headers, body = self._sns.notification(event_id, message)
        target = self._sns.target if self._sns.confirmed else None
        enqueue = self._enqueue(event_id, message, body) if queued else None
        return Post(event_id, target, headers, body, self._config.webhook_timeout_s, enqueue)

    def _goes_to_queue(self, record: Accepted) -> bool:
        if self._config.queue_form is None:
            return False
        return not self._sns.confirmed or falls_within(record, self._config.queue_share)

    def _enqueue(self, event_id: str, message: str, envelope: bytes) -> Callable[[], None]:
        """Puts the event into the queue, in the queue's form; the other format too where the identity has it on."""
        bodies = [self._queued(event_id, message, envelope)]
        if self._config.identity_notifications and (other := as_notification(message)):
            other_id = str(uuid4())
            bodies.append(self._queued(other_id, other, b""))

        def enqueue() -> None:
            for body in bodies:
                self._sqs.queue.send(body)

        return enqueue

    def _queued(self, event_id: str, message: str, envelope: bytes) -> str:
        match self._config.queue_form:
            case QueueForm.ENVELOPE:
                return (envelope or self._sns.notification(event_id, message)[1]).decode()
            case QueueForm.EVENTBRIDGE:
                return as_eventbridge(event_id, message, self._config.account_id, self._config.region)
        return message

    def verdict(self, status: int, event: str) -> Verdict:
        """See the class."""
        if 200 <= status < 300:
            return Verdict.DELIVERED
        return Verdict.RETRY if status == 0 or status >= 500 or status == 429 else Verdict.REFUSED


class Ses:
    """One account. `handle` answers every request below /v2/email."""

    provider = "ses"

    def __init__(self, config: SesConfig, ledger: Ledger, webhooks: Webhooks, lists: SuppressionLists, draw: Draw,
                 recent: Recent, sns: Sns, sqs: Sqs, faults: Faults, *, identity_variable: str, unit_ms: float,
                 now_ms: Callable[[], int], keys: Mapping[str, str] = NO_KEYS) -> None:  # fmt: skip
        self._config = config
        self._keys = keys
        self._ledger = ledger
        self._webhooks = webhooks
        self._recent = recent
        self._faults = faults
        self._unit_ms = unit_ms
        self._now_ms = now_ms
        self.account = SesAccount(config, ledger, lists, now_ms)
        self._sending = SesSending(config, draw, lists, identity_variable, self.account.templates)
        self.reporter = SesReporter(config, sns, sqs)

    def account_and_operation(self, request: web.BaseRequest) -> tuple[str, bool]:
        """(access key id, whether the call sends mail), for faults."""
        return access_key(request.headers), request.raw_path in (_SEND, _BULK)

    async def handle(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Answers one request."""
        raw_path = request.raw_path
        now_ms, keys = self._now_ms(), self._keys
        denied = check(self._config, "ses", request.method, raw_path, request.headers, body, now_ms, keys)
        if denied is not None:
            return error_answer(denied.code, denied.message, denied.status, decorated=True)
        try:
            content = await self._answer(request, raw_path.partition("?")[0], body)
        except ApiError as error:
            return error_answer(error.code, error.message, error.status)
        return web.Response(
            body=msgspec.json.encode(content),
            content_type="application/json",
            headers={"x-amzn-RequestId": str(uuid4())},
        )

    async def _answer(self, request: web.BaseRequest, path: str, body: bytes) -> dict[str, Any]:
        account, method = self.account, request.method
        if method == "POST" and path == _SEND:
            return await self._send(request, body)
        if method == "POST" and path == _BULK:
            return await self._bulk(request, body)
        if method == "GET" and path == "/v2/email/account":
            return account.get_account(self._faults.state("ses", access_key(request.headers)))
        if path == _SUPPRESSION and method == "PUT":
            return await self._durable(account.put_suppressed(decode(body, PutSuppressedDestination)))
        if path == _SUPPRESSION and method == "GET":
            return account.list_suppressed(request.query, request.query.getall("Reason", []))
        if path == _TEMPLATES and method == "POST":
            return account.create_template(decode(body, CreateEmailTemplate))
        parent, _, last = path.rstrip("/").rpartition("/")
        name = unquote(last)
        match parent, method:
            case "/v2/email/suppression/addresses", "GET":
                return account.get_suppressed(name)
            case "/v2/email/suppression/addresses", "DELETE":
                return await self._durable(account.delete_suppressed(name))
            case "/v2/email/templates", "GET":
                return account.get_template(name)
            case "/v2/email/templates", "DELETE":
                return account.delete_template(name)
            case "/v2/email/insights", "GET":
                return self._insights(name)
        raise ApiError("UnknownOperationException", "The requested operation is not known.", 404)

    async def _durable(self, content: dict[str, Any]) -> dict[str, Any]:
        await self._ledger.committed()
        return content

    def _check_state(self, request: web.BaseRequest, sender: str | None) -> None:
        state = self._faults.state("ses", access_key(request.headers))
        if state is not None:
            self._faults.injected[state] += 1
            code, text = _STATES[state]
            raise ApiError(code, text.format(sender))

    async def _send(self, request: web.BaseRequest, body: bytes) -> dict[str, Any]:
        call: SendEmail = decode(body, SendEmail)
        self._check_state(request, call.from_email_address)
        mail = self._sending.read(call)
        now = self._now_ms()
        self.account.quota.take(mail.recipients, now)
        call_id = str(uuid4())
        message_id, records = self._sending.accept(mail, call_id, now)
        await self._take(call_id, [mail], records)
        return {"MessageId": message_id}

    async def _bulk(self, request: web.BaseRequest, body: bytes) -> dict[str, Any]:
        call: SendBulkEmail = decode(body, SendBulkEmail)
        self._check_state(request, call.from_email_address)
        self._sending.check_bulk(call)
        now, call_id = self._now_ms(), str(uuid4())
        records: list[Accepted] = []
        mails: list[Mail] = []
        results: list[EntryResult] = []
        for entry in call.bulk_email_entries:
            fault = self._faults.hit("ses", access_key(request.headers), True, ENTRY_KINDS)
            if fault is not None:
                results.append(EntryResult(fault.code or "TRANSIENT_FAILURE", fault.body or "Injected failure", None))
                continue
            try:
                mail = self._sending.entry(call, entry)
                self.account.quota.take(mail.recipients, now)
            except ApiError as error:
                results.append(EntryResult(_ENTRY_STATUS.get(error.code, "FAILED"), error.message, None))
                continue
            message_id, accepted = self._sending.accept(mail, call_id, now)
            mails.append(mail)
            records += accepted
            results.append(EntryResult("SUCCESS", None, message_id))
        await self._take(call_id, mails, records)
        return {"BulkEmailEntryResults": [_entry_json(result) for result in results]}

    async def _take(self, call_id: str, mails: list[Mail], records: list[Accepted]) -> None:
        self._ledger.accept(records)
        await self._ledger.committed()
        views = [renderer(mail) for mail in mails]
        self._recent.add(
            call_id,
            sum(mail.size for mail in mails),
            lambda recipient: next((found for view in views if (found := view(recipient)) is not None), None),
        )
        for record in records:
            self.suppress(record)
            self.report(record)

    def report(self, record: Accepted, done: frozenset[int] = frozenset()) -> None:
        """Plans the events of an accepted recipient; `done` are those already reported."""
        self._webhooks.schedule(record, self.reporter, done)

    def suppress(self, record: Accepted) -> None:
        """Plans the automatic list entry that an accepted recipient's end brings."""
        if record.plan.end in ("bounced", "complained"):
            last = 2 if record.plan.end == "complained" or record.plan.outcome == "delayedbounce" else 1
            self.account.suppress_after(record, due_ms(record, last, self._unit_ms))

    def _insights(self, message_id: str) -> dict[str, Any]:
        records = list(self._ledger.find("ses", message_id=message_id))
        if not records:
            raise ApiError("NotFoundException", f"Message {message_id} does not exist", 404)
        now = self._now_ms()
        events = [
            (record, name, at_ms)
            for record in records
            for index, name in enumerate(record.plan.events)
            if (at_ms := due_ms(record, index, self._unit_ms)) <= now
        ]
        return insights(records, events)

    def fault(self, fault: Fault, account: str) -> web.Response:
        """The answer of a fault."""
        status = fault.status or {Kind.THROTTLE: 429, Kind.STATUS_AFTER: 502}.get(fault.kind, 500)
        code, text = _FAULT_CODES.get(status, ("InternalServiceErrorException", "Service error"))
        if status in (502, 504) and fault.code is None and fault.body is None:  # a proxy in front, not the service
            response = web.Response(status=status, text=f"<html><body>{status}</body></html>", content_type="text/html")
        else:
            response = error_answer(fault.code or code, fault.body if fault.body is not None else text, status)
        response.headers.update(fault.retry_header(self._now_ms()))
        return response


def _entry_json(result: EntryResult) -> dict[str, Any]:
    content = {"Status": result.status, "Error": result.error, "MessageId": result.message_id}
    return {name: value for name, value in content.items() if value is not None}


def error_answer(code: str, message: str, status: int, *, decorated: bool = False) -> web.Response:
    """An AWS error: code in x-amzn-ErrorType and in `__type`; the front's own errors carry their decorations."""
    suffix = ":http://internal.amazon.com/coral/com.amazon.coral.service/" if decorated else ""
    prefix = "com.amazon.coral.service#" if decorated else ""
    return web.Response(
        status=status,
        body=msgspec.json.encode({"__type": prefix + code, "message": message}),
        content_type="application/json",
        headers={"x-amzn-ErrorType": code + suffix, "x-amzn-RequestId": str(uuid4())},
    )
