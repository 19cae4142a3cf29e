"""The sandbox as a service: one port, routing by path, faults and latency around the providers, start and stop.

Order of an answer: the body is read, a fault that strikes before acceptance acts, the provider works (its lines are
durable when it returns), the latency passes, a fault that strikes after acceptance acts. Built on aiohttp's
low-level server, without application, router or middleware between a request and its handler.
"""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web

from streams.sandbox.calls import Calls
from streams.sandbox.config import SandboxConfig
from streams.sandbox.control import Control
from streams.sandbox.directmail import DirectMail, is_call
from streams.sandbox.faults import REQUEST_KINDS, Fault, Faults, Kind
from streams.sandbox.keys import Keys
from streams.sandbox.ledger import Ledger
from streams.sandbox.mailgun import Mailgun, answer, api_key, magnificent
from streams.sandbox.mns import Mns
from streams.sandbox.outcomes import Draw
from streams.sandbox.recent import Recent
from streams.sandbox.resuming import Resumes, resume
from streams.sandbox.ses import Ses, error_answer
from streams.sandbox.sigv4 import check
from streams.sandbox.sns import Sns
from streams.sandbox.sqs import TARGET, Sqs
from streams.sandbox.suppressions import SuppressionLists
from streams.sandbox.webhooks import Webhooks

if TYPE_CHECKING:
    from streams.sandbox.smtp import Smtp

_MAX_BODY: Final = 64 * 1024 * 1024
_BEFORE: Final = frozenset({Kind.STATUS, Kind.THROTTLE, Kind.TIMEOUT_BEFORE, Kind.RESET_BEFORE})


def _epoch_ms() -> int:
    return time.time_ns() // 1_000_000


class Sandbox:
    """The providers of one configuration. `start`, then `stop`; `ledger` and `faults` may be used directly."""

    def __init__(self, config: SandboxConfig, now_ms: Callable[[], int] = _epoch_ms) -> None:
        self.config = config
        self._now_ms = now_ms
        self._random = random.Random(config.seed)
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._stopping = asyncio.Event()
        self._relisten: asyncio.Task[None] | None = None
        self.port = config.port
        self.url = ""

    def _build(self) -> None:
        config, now_ms = self.config, self._now_ms
        unit_ms = config.webhook_delay_s * 1000
        self.ledger = Ledger(config.ledger_path, config.identity_variable, config.index_limit)
        self.faults = Faults(config.seed, now_ms)
        self.webhooks = Webhooks(
            self.ledger, unit_ms, config.webhook_concurrency, config.webhook_duplicate_rate, config.seed, now_ms
        )
        key_path = config.ledger_path.with_name(config.ledger_path.name + ".sns.key")
        self.sns = Sns(config.ses, key_path, self.webhooks.poster, now_ms)
        self.sqs = Sqs(config.ses, now_ms, lambda: self.url)
        lists, draw, recent = SuppressionLists(), Draw(config.seed, config.mix), Recent()
        self.calls = Calls()
        self.mailgun = Mailgun(
            config.mailgun, self.ledger, self.webhooks, lists, draw, recent,
            identity_variable=config.identity_variable, unit_ms=unit_ms, seed=config.seed, now_ms=now_ms,
        )  # fmt: skip
        self.ses_keys: dict[str, str] = {}  # those of the configuration, until somebody changes them
        self.ses = Ses(
            config.ses, self.ledger, self.webhooks, lists, draw, recent, self.sns, self.sqs, self.faults,
            identity_variable=config.identity_variable, unit_ms=unit_ms, now_ms=now_ms, keys=self.ses_keys,
        )  # fmt: skip
        self.mns = Mns(config.directmail, config.ledger_path.with_name(config.ledger_path.name + ".mns.key"), now_ms)
        self.directmail = DirectMail(
            config.directmail, self.ledger, self.webhooks, draw, recent, self.mns,
            identity_variable=config.identity_variable, now_ms=now_ms,
        )  # fmt: skip
        self.control = Control(
            self.ledger,
            self.faults,
            self.webhooks,
            self.sns,
            self.sqs,
            self.mns,
            recent,
            self.calls,
            self.mailgun.set_account,
            Keys(self.mailgun, self.ses_keys),
            self.refuse_connections,
            now_ms(),
        )
        self.smtp = self._smtp(draw, recent, unit_ms)
        if config.ses.webhook_url is not None:
            self.sns.attach(config.ses.webhook_url)
        providers: dict[str, Resumes] = {"mailgun": self.mailgun, "ses": self.ses, "directmail": self.directmail}
        if self.smtp is not None:
            providers["smtp"] = self.smtp
        resume(self.ledger, providers, lists, self.ses.account.quota)

    def _smtp(self, draw: Draw, recent: Recent, unit_ms: float) -> Smtp | None:
        """The SMTP server, if one is wanted; only then is aiosmtpd needed."""
        config = self.config
        if config.smtp is None:
            return None
        from streams.sandbox.smtp import Smtp

        return Smtp(
            config.smtp, config.host, config.ledger_path.parent, self.ledger, draw, recent, self.faults,
            identity_variable=config.identity_variable, unit_ms=unit_ms, now_ms=self._now_ms,
            pending=self.webhooks.count, hold=self._hold,
        )  # fmt: skip

    async def start(self) -> str:
        """Opens the ledger, listens, and returns the base URL (`http://host:port`)."""
        self._build()
        self._stopping.clear()
        self._server = web.Server(self._handle, request_factory=self._request, access_log=None)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=2.0)
        await self._runner.setup()
        await self._listen()
        self.webhooks.start()
        if self.smtp is not None:
            await self.smtp.start()
        if self.config.ses.webhook_url is not None and self.config.ses.confirm_first:
            self.sns.subscribe(self.config.ses.webhook_url)
        self.url = f"http://{self.config.host}:{self.port}"
        return self.url

    async def _listen(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, self.config.host, self.port, backlog=1024, reuse_address=True)
        await self._site.start()
        if self.port == 0:
            self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stops listening, drops what is being reported (a restart resumes it), commits and closes the ledger."""
        self._stopping.set()
        if self._relisten is not None:
            self._relisten.cancel()
            with suppress(asyncio.CancelledError):
                await self._relisten
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self.smtp is not None:
            await self.smtp.stop()
        await self.sns.stop()
        await self.webhooks.stop()
        await self.ledger.close()

    def refuse_connections(self, seconds: float) -> None:
        """Closes the listener and every connection, and listens again after `seconds`."""
        if self._relisten is None or self._relisten.done():
            self._relisten = asyncio.create_task(self._refuse(seconds))

    async def _refuse(self, seconds: float) -> None:
        assert self._site is not None
        await asyncio.sleep(0.02)  # the answer to the request that asked for this
        await self._site.stop()
        for connection in self._server.connections:
            _abort(connection.transport)
        if self.smtp is not None:
            await self.smtp.stop_listening()
        await asyncio.sleep(seconds)
        await self._listen()
        if self.smtp is not None:
            await self.smtp.start()

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=_MAX_BODY)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return answer(413, {"message": "Request body is too large"})
        if path.startswith("/v2/email/"):
            return await self._provide(self.ses, request, body)
        if path.startswith(("/v3/", "/v4/")):
            return await self._provide(self.mailgun, request, body)
        if path.startswith("/sandbox/"):
            return await self.control.handle(request, body)
        if (target := request.headers.get("X-Amz-Target", "")).startswith(TARGET):
            return await self._answer_sqs(request, target, body)
        if path.startswith("/queues/") or (path.partition("?")[0] == "/" and is_call(request, body)):
            return await self._provide(self.directmail, request, body)
        if path.partition("?")[0] == "/" and (request.method == "POST" or "Action=" in path):
            return self._answer_sns(request, body)
        return magnificent()

    def _answer_sns(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        denied = None
        if request.method == "POST":  # a browser confirms with a GET of SubscribeURL, which is not signed
            denied = check(
                self.config.ses, "sns", "POST", request.raw_path, request.headers, body, self._now_ms(), self.ses_keys
            )
        if denied is not None:
            return web.Response(status=denied.status, text=f"<ErrorResponse><Error><Code>{denied.code}</Code></Error>"
                                "</ErrorResponse>", content_type="text/xml")  # fmt: skip
        return self.sns.handle(body, request.query_string)

    async def _answer_sqs(self, request: web.BaseRequest, target: str, body: bytes) -> web.StreamResponse:
        denied = check(
            self.config.ses, "sqs", request.method, request.raw_path, request.headers, body, self._now_ms(),
            self.ses_keys,
        )  # fmt: skip
        if denied is not None:
            return error_answer(denied.code, denied.message, denied.status)
        return await self.sqs.handle(target, body)

    async def _provide(
        self, provider: Mailgun | Ses | DirectMail, request: web.BaseRequest, body: bytes
    ) -> web.StreamResponse:
        began_ms = self._now_ms()
        account, sending = provider.account_and_operation(request)
        fault = self.faults.hit(provider.provider, account, sending, REQUEST_KINDS)
        if fault is not None and fault.kind in _BEFORE:
            response: web.StreamResponse = provider.fault(fault, account)
        else:
            response = await provider.handle(request, body)
        await self._wait_latency()
        if fault is not None and fault.kind not in (Kind.STATUS, Kind.THROTTLE):
            response = await self._strike(fault, request, response, provider, account)
        key = api_key(request.headers) if provider is self.mailgun else account
        self.calls.add(provider.provider, account, sending, began_ms, self._now_ms(), response, fault, key)
        return response

    async def _wait_latency(self) -> None:
        base, jitter = self.config.latency_ms
        if base or jitter:
            await self._hold((base + jitter * self._random.lognormvariate(0.0, 0.6)) / 1000)

    async def _hold(self, seconds: float) -> None:
        """Sleeps, but not longer than the sandbox lives."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _strike(self, fault: Fault, request: web.BaseRequest, response: web.StreamResponse,
                      provider: Mailgun | Ses | DirectMail, account: str) -> web.StreamResponse:  # fmt: skip
        match fault.kind:
            case Kind.STATUS_AFTER:
                return provider.fault(fault, account)
            case Kind.SLOW:
                return await self._answer_slowly(request, response, fault.hold_s)
            case Kind.TIMEOUT_BEFORE | Kind.TIMEOUT_AFTER:
                await self._hold(fault.hold_s)
        _abort(request.transport)
        return response

    async def _answer_slowly(
        self, request: web.BaseRequest, response: web.StreamResponse, seconds: float
    ) -> web.StreamResponse:
        assert isinstance(response, web.Response)
        content = response.body if isinstance(response.body, bytes) else b""
        slow = web.StreamResponse(status=response.status, headers=response.headers)
        slow.content_length = len(content)
        await slow.prepare(request)
        with suppress(ConnectionError):
            for position in range(len(content)):
                await self._hold(seconds / max(1, len(content)))
                await slow.write(content[position : position + 1])
            await slow.write_eof()
        return slow


def _abort(transport: asyncio.BaseTransport | None) -> None:
    if transport is not None:
        cast("asyncio.Transport", transport).abort()  # uvloop's transports are not subclasses


async def serve(config: SandboxConfig, on_ready: Callable[[Sandbox], None] | None = None) -> None:
    """Runs a sandbox until SIGINT, SIGTERM or cancellation, then stops it cleanly. `on_ready` hears when it listens."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    sandbox = Sandbox(config)
    try:
        await sandbox.start()
        if on_ready is not None:
            on_ready(sandbox)
        await ended.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        await sandbox.stop()
