"""The DirectMail stand-in: SingleSendMail with either signature, its errors, and its notifications through MNS.

A recipient's fate is told to the topic's endpoint or to the queue (`DirectMailConfig.queue_share`). A Message-ID of the
sender's (`Headers`) is kept and repeated as `msg_id`; `KEY.NUMBER@…` counts as identity KEY and attempt NUMBER in the
ledger, so that duplicates are found.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import uuid4

import msgspec
from aiohttp import web

from streams.sandbox.directmail_config import DirectMailConfig
from streams.sandbox.directmail_events import in_base64, notice, plan
from streams.sandbox.directmail_sign import access_key, check_call, check_queue
from streams.sandbox.faults import Fault, Kind
from streams.sandbox.ledger import Accepted, Ledger
from streams.sandbox.mns import Mns
from streams.sandbox.mns_queue import error as queue_error
from streams.sandbox.outcomes import Draw, falls_within, uuid_event_id
from streams.sandbox.recent import Recent
from streams.sandbox.webhooks import Post, Verdict, Webhooks

_ADDRESS: Final = re.compile(r"[^@\s,<>]+@[^@\s,<>]+\.[^@\s,<>]+")
_TAG: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_LINK: Final = re.compile(r"https?://[^\s\"'<>]+")
_MAX_BODY: Final = 6_000_000
_FAULTS: Final = {
    400: ("InvalidParameter", "The parameter is invalid."),
    403: ("Forbidden", "User not authorized to operate on the specified resource."),
    404: ("InvalidUser.NotFound", "The specified user is not found."),
    429: ("Throttling.User", "Request was denied due to user flow control."),
    500: ("InternalServiceError", "The request processing has failed due to some unknown error."),
    503: ("ServiceUnavailable", "The request has failed due to a temporary failure of the server."),
}


class CallError(Exception):
    """A refusal, by the service's name for it."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class DirectMailReporter:
    """2xx ends a push, everything else is tried again; a queued event ends when its message is deleted."""

    provider = "directmail"

    def __init__(self, config: DirectMailConfig, mns: Mns) -> None:
        self._config = config
        self._mns = mns
        self.retry_delays_s = mns.retry_delays_s

    def wants(self, event: str) -> bool:
        """Whenever there is an endpoint or a queue."""
        return self._mns.target is not None or self._mns.queue is not None

    def prepare(self, record: Accepted, index: int, at_ms: int) -> Post:
        """The signed push of an event, or its way into the queue."""
        event_id = uuid_event_id(record, index)
        message = notice(record, index, at_ms, self._config)
        queue = self._mns.queue
        if queue is not None and self._goes_to_queue(record):
            body = in_base64(message) if self._config.queue_base64 else message
            return Post(event_id, None, b"", b"", 0.0, hand_over=lambda deleted: queue.put(event_id, body, deleted))
        headers, content = self._mns.push(event_id, message)
        return Post(event_id, self._mns.target, headers, content, self._config.webhook_timeout_s)

    def _goes_to_queue(self, record: Accepted) -> bool:
        return self._mns.target is None or falls_within(record, self._config.queue_share)

    def verdict(self, status: int, event: str) -> Verdict:
        """See the class."""
        return Verdict.DELIVERED if 200 <= status < 300 else Verdict.RETRY


class DirectMail:
    """One account. `handle` answers its calls and those to its queue."""

    provider = "directmail"

    def __init__(self, config: DirectMailConfig, ledger: Ledger, webhooks: Webhooks, draw: Draw, recent: Recent,
                 mns: Mns, *, identity_variable: str, now_ms: Callable[[], int]) -> None:  # fmt: skip
        self._config = config
        self._ledger = ledger
        self._webhooks = webhooks
        self._draw = draw
        self._recent = recent
        self._mns = mns
        self._identity_variable = identity_variable
        self._now_ms = now_ms
        self.reporter = DirectMailReporter(config, mns)

    def account_and_operation(self, request: web.BaseRequest) -> tuple[str, bool]:
        """(access key id, whether the call sends mail), for faults; the key of a 1.0 call lies in its body."""
        return access_key(request.headers, {}) or self._config.access_key, not request.path.startswith("/queues/")

    async def handle(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Answers one request."""
        if request.path.startswith("/queues/"):
            return await self._queue(request, body)
        parameters = dict(parse_qsl(request.query_string, keep_blank_values=True))
        parameters |= dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        denied = check_call(self._config, request.raw_path, request.headers, body, parameters, self._now_ms())
        if denied is not None:
            return error_answer(denied.code, denied.message, denied.status)
        action = request.headers.get("x-acs-action") or parameters.get("Action", "")
        try:
            if action != "SingleSendMail":
                raise CallError("InvalidAction.NotFound", "Specified api is not found.", 404)
            env_id = await self._send(parameters)
        except CallError as error:
            return error_answer(error.code, error.message, error.status)
        return _json({"EnvId": env_id, "RequestId": str(uuid4()).upper()})

    async def _queue(self, request: web.BaseRequest, body: bytes) -> web.Response:
        denied = check_queue(self._config, request.method, request.raw_path, request.headers, body, self._now_ms())
        if denied is not None:
            return queue_error(denied.status, denied.code, denied.message)
        if self._mns.queue is None:
            return queue_error(404, "QueueNotExist", "The queue name you provided is not exist.")
        return await self._mns.queue.handle(request, body)

    async def _send(self, parameters: Mapping[str, str]) -> str:
        recipients = self._checked(parameters)
        now, call_id = self._now_ms(), str(uuid4())
        env_id = str(600_000_000_000 + secrets.randbelow(300_000_000_000))
        msg_id, variables = self._identity(parameters, env_id)
        bodies = {name: parameters.get(key, "") for name, key in (("text", "TextBody"), ("html", "HtmlBody"))}
        links = [found[0] for text in reversed(bodies.values()) if (found := _LINK.search(text))]
        size = sum(len(text) for text in bodies.values())
        records = []
        for recipient in recipients:
            outcome = self._draw.outcome(recipient, str(variables.get(self._identity_variable, recipient)))
            records.append(
                Accepted(
                    "directmail", env_id, recipient, {**variables, "msg_id": msg_id},
                    [tag] if (tag := parameters.get("TagName")) else [], now, call_id, parameters["Subject"], size,
                    plan(outcome, self._config.form), parameters["AccountName"],
                    destination=recipients if len(recipients) > 1 else None,
                    detail=links[0] if links else "https://www.example.com/?a=1&from=2",
                )
            )  # fmt: skip
        self._ledger.accept(records)
        await self._ledger.committed()
        shown = {name: value for name, value in parameters.items() if not name.startswith(("Signature", "AccessKey"))}
        self._recent.add(call_id, size, lambda recipient: {**shown, **bodies} if recipient in recipients else None)
        for record in records:
            self.report(record)
        return env_id

    def _checked(self, parameters: Mapping[str, str]) -> list[str]:
        """The recipients. Raises CallError."""
        for name in ("AccountName", "AddressType", "ReplyToAddress", "ToAddress", "Subject"):
            if not parameters.get(name):
                raise CallError(f"Missing{name}", f"{name} is mandatory for this action.")
        sender = parameters["AccountName"]
        if self._config.senders and sender not in self._config.senders:
            raise CallError("InvalidMailAddress.NotFound", "The specified mail address is not found.", 404)
        if parameters["ReplyToAddress"].lower() not in ("true", "false") or parameters["AddressType"] not in ("0", "1"):
            raise CallError("InvalidParameter", "ReplyToAddress or AddressType is not valid.")
        recipients = parameters["ToAddress"].split(",")
        if len(recipients) > 100:
            raise CallError("InvalidToAddress", "There are more than 100 addresses.")
        for recipient in recipients:
            if not _ADDRESS.fullmatch(recipient):
                raise CallError("EmailFormatError", f"The format of {recipient} is wrong.")
        bodies = [parameters.get(name, "") for name in ("HtmlBody", "TextBody")]
        if not any(bodies):
            raise CallError("InvalidBody", "HtmlBody or TextBody is mandatory.")
        if sum(map(len, bodies)) > _MAX_BODY or len(parameters["Subject"]) > 256:
            raise CallError("EmailLengthError", "The mail is too long.")
        tag = parameters.get("TagName")
        if (tag is not None and not _TAG.fullmatch(tag)) or (parameters.get("ClickTrace") == "1" and not tag):
            raise CallError("InvalidTagName", "TagName is not valid.")
        return recipients

    def _identity(self, parameters: Mapping[str, str], env_id: str) -> tuple[str, dict[str, Any]]:
        """(Message-ID without brackets, what it says in terms of the ledger)."""
        try:
            headers = json.loads(parameters.get("Headers") or "{}")
        except ValueError as error:
            raise CallError("InvalidHeaders", "Headers is no JSON object.") from error
        given = next((str(value) for name, value in headers.items() if name.lower() == "message-id"), "").strip("<> ")
        key, dot, number = given.partition("@")[0].partition(".")
        variables: dict[str, Any] = {self._identity_variable: key} if key else {}
        if dot and number.isdigit():
            variables["attempt"] = number
        own = f"{uuid4().hex}@directmail.sandbox"
        return (given or own) if self._config.keeps_message_id else own, variables

    def suppress(self, record: Accepted) -> None:
        """DirectMail's own invalid lists are not played."""

    def report(self, record: Accepted, done: frozenset[int] = frozenset()) -> None:
        """Plans the events of an accepted recipient; `done` are those already reported."""
        self._webhooks.schedule(record, self.reporter, done)

    def fault(self, fault: Fault, account: str) -> web.Response:
        """The answer of a fault."""
        status = fault.status or {Kind.THROTTLE: 429, Kind.STATUS_AFTER: 502}.get(fault.kind, 500)
        code, text = _FAULTS.get(status, ("InternalServiceError", "Service error"))
        if status in (502, 504) and fault.code is None and fault.body is None:  # a proxy in front, not the service
            response = web.Response(status=status, text=f"<html><body>{status}</body></html>", content_type="text/html")
        else:
            http = 400 if fault.kind is Kind.THROTTLE and fault.status is None else status
            response = error_answer(fault.code or code, fault.body if fault.body is not None else text, http)
        response.headers.update(fault.retry_header(self._now_ms()))
        return response


def is_call(request: web.BaseRequest, body: bytes) -> bool:
    """Whether a request to the root is one of DirectMail's: AWS's SNS and SQS are called there too."""
    signs = b"SignatureNonce="
    return (
        "x-acs-action" in request.headers
        or signs in body[-4096:] + body[:65536]
        or ("SignatureNonce=" in request.query_string)
    )


def _json(content: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")


def error_answer(code: str, message: str, status: int) -> web.Response:
    """An error of the service."""
    host = "dm.aliyuncs.com"
    return _json({"RequestId": str(uuid4()).upper(), "HostId": host, "Code": code, "Message": message}, status)
