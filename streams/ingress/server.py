"""Takes webhooks: verify, store in Kafka, and only then say so.

Rules:

1. A 2xx means that all in-sync replicas have the payload, bytes unchanged. Nothing else is ever answered 2xx.
2. Nothing is remembered here: repeats and replays are decided behind the ingress.
3. What cannot be judged or stored now is answered 503: the provider keeps it. What will never be acceptable gets the
   status with which the provider stops (:mod:`streams.ingress.answers`).
4. Content types are not judged (SNS posts JSON as text/plain). A body is bounded in size and time before anything looks
   at it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from aiohttp import hdrs
from aiohttp.web import BaseRequest, Response, StreamResponse

from streams.ingress.answers import NOT_NOW
from streams.ingress.body import Arriving, Unusable, read_body
from streams.ingress.certificates import CertificateFetches
from streams.ingress.constant import ConstantAnswer, answer_to
from streams.ingress.tenants import FindsTenants, Renews, TenantRoutes
from streams.ingress.visits import PREFIX, visits_of
from streams.metrics import Count, Distribution, Metrics, exposition
from streams.producer import Headers, Unavailable, WebhookProducer
from streams.providers.base import (
    CertificateNeeded,
    Confirm,
    Exchange,
    HttpResponse,
    Inbound,
    Provider,
    Refused,
    Verdict,
    Verified,
    WebhookAnswers,
    webhook_answers_of,
)
from streams.settings import Settings
from streams.topics import Topics

_CONFIRM_DEADLINE_S = 10.0
_READY_CACHE_S = 1.0
_QUIET_S = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Target:
    """One set of credentials that may have signed a webhook."""

    label: str
    adapter: Provider
    origin: tuple[tuple[str, bytes], ...]
    accepted: Count
    duration: Distribution


@dataclass(frozen=True, slots=True)
class Route:
    """A webhook path: who may have sent it, where it is stored, how it is answered."""

    targets: tuple[Target, ...]
    topic: str
    answers: WebhookAnswers
    stored: ConstantAnswer


class Ingress:
    """The request handler of one ingress process.

    ``providers`` maps ``name`` and ``name/account`` to adapters; ``exchange`` fetches certificates and confirms
    subscriptions (without it both are "not now").
    """

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, Provider],
        producer: WebhookProducer,
        *,
        exchange: Exchange | None = None,
        metrics: Metrics | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._limit = settings.ingress.max_body_bytes
        self._read_timeout_s = settings.ingress.read_timeout_s
        self._retry_after = {hdrs.RETRY_AFTER: str(settings.ingress.retry_after_s)}
        self._confirms = settings.ingress.confirm_subscriptions
        self._producer = producer
        self._exchange = exchange
        self._certificates = CertificateFetches(exchange)
        self._metrics = metrics or Metrics()
        self._now_ms = now_ms
        self._settings = settings
        self._providers = providers
        self._routes = _routes(settings, providers, self._metrics)
        self._tenants = TenantRoutes(providers, self._route_of) if isinstance(providers, FindsTenants) else None
        self._pages: Mapping[str, Callable[[BaseRequest], Awaitable[Response]]] = {
            "/health/live": self._live,
            "/health/ready": self._ready,
            "/metrics": self._exposition,
        }
        self._arriving = Arriving()
        self.visits = visits_of(settings, producer, self._metrics, now_ms, self._arriving)
        self._draining = False
        self._readiness: tuple[float, str] = (0.0, "not asked yet")
        self._asking: asyncio.Future[str] | None = None
        self._quiet_until = 0.0

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that are served, but for our own pages."""
        return (*self._routes, *((f"{PREFIX}…",) if self.visits else ()))

    async def renew(self, *, at_all: bool = False) -> None:
        """Verify from now on by the secrets of now. What cannot be read stays what it was."""
        if isinstance(self._providers, Renews) and await self._providers.renew(self._told, at_all=at_all):
            self._routes = _routes(self._settings, self._providers, self._metrics)

    def _told(self, provider: str, result: str) -> None:
        self._metrics.credential_reloads.at(provider, result).inc()

    def drain(self) -> None:
        """From now on not ready: whoever spreads the load looks elsewhere. Requests are still served."""
        self._draining = True

    async def handle(self, request: BaseRequest) -> StreamResponse:
        """Answer one request."""
        began = time.perf_counter()
        path = request.raw_path.partition("?")[0]
        route = self._routes.get(path)
        if route is None and self._tenants is not None:
            route = await self._tenants.find(path)
        if route is None:
            return await self._page(request, path)
        if request.method != hdrs.METH_POST:
            return Response(status=405, headers={hdrs.ALLOW: "POST"})
        target = route.targets[0]
        body = await read_body(request, self._limit, self._read_timeout_s, self._arriving)
        if isinstance(body, Unusable):
            response: StreamResponse = self._unusable(route, body)
        else:
            now_ms = self._now_ms()
            inbound = Inbound(request.headers, body, request.headers.get(hdrs.CONTENT_TYPE, ""), request.raw_path)
            verdict = self._verdict(target, inbound, now_ms)
            if type(verdict) is not Verified:
                target, verdict = await self._judge(route, inbound, now_ms, verdict)
            if type(verdict) is Verified:
                response = await self._store(request, route, target, verdict, body, now_ms)
            else:
                response = await self._unverified(route, target, verdict)
        target.duration.observe(time.perf_counter() - began)
        return response

    # ------------------------------------------------------------------------------------------ webhooks

    def _route_of(self, name: str, tenant: str, adapter: Provider) -> Route | None:
        """Like the route of the provider itself, with another one to verify."""
        usual = self._routes.get(f"/webhooks/{name}")
        if usual is None:
            return None
        origin = (("provider", name.encode()), ("account", f"@{tenant}".encode()))
        return replace(usual, targets=(replace(usual.targets[0], adapter=adapter, origin=origin),))

    def _verdict(self, target: Target, inbound: Inbound, now_ms: int) -> Verdict | None:
        """What the adapter says; None where it failed."""
        try:
            return target.adapter.verify(inbound, now_ms)
        except Exception:
            log.exception("the adapter of %s failed on a webhook; its sender is asked to keep it", target.label)
            return None

    async def _judge(
        self, route: Route, inbound: Inbound, now_ms: int, verdict: Verdict | None
    ) -> tuple[Target, Verdict | None]:
        """Who may have signed what the first target has not verified: fetch what is missing, ask the others."""
        refused: tuple[Target, Verdict | None] | None = None
        for index, target in enumerate(route.targets):
            if index:
                verdict = self._verdict(target, inbound, now_ms)
            if isinstance(verdict, CertificateNeeded):
                verdict = await self._certificates.judge(target.adapter, inbound, verdict, now_ms)
            if not isinstance(verdict, Refused):
                return target, verdict
            refused = refused or (target, verdict)
        assert refused is not None
        return refused

    async def _store(
        self, request: BaseRequest, route: Route, target: Target, verdict: Verified, body: bytes, now_ms: int
    ) -> StreamResponse:
        headers: Headers = [*target.origin, ("received_at", b"%d" % now_ms), ("verified", b"1")]
        if verdict.token:
            headers.append(("token", verdict.token.encode()))
        key = verdict.key or verdict.token  # one token, one partition: there its repeats are told from replays
        try:
            await self._producer.send(route.topic, key.encode(), body, headers)
        except Unavailable as exc:
            return self._not_now(target, str(exc))
        target.accepted.inc()
        return answer_to(request, route.stored)

    async def _unverified(self, route: Route, target: Target, verdict: Verdict | None) -> Response:
        match verdict:
            case Refused(result, detail):
                return self._refuse(target, result, detail, route.answers.refusal(result))
            case Confirm():
                return await self._confirm(route, target, verdict)
            case CertificateNeeded(url):
                return self._not_now(target, f"the signing certificate {url} could not be fetched")
            case _:
                return self._not_now(target, "the webhook could not be judged")

    async def _confirm(self, route: Route, target: Target, offer: Confirm) -> Response:
        if not self._confirms:
            return self._refuse(target, "bad_signature", "subscriptions are not confirmed here", route.answers.forged)
        if self._exchange is None:
            return self._not_now(target, "subscriptions cannot be confirmed from here")
        answer = await self._exchange(offer.request, _CONFIRM_DEADLINE_S)
        if not isinstance(answer, HttpResponse) or not 200 <= answer.status < 300:
            why = f"status {answer.status}" if isinstance(answer, HttpResponse) else answer.detail
            return self._not_now(target, f"the subscription to {offer.topic_arn} could not be confirmed: {why}")
        log.info("subscribed to %s for %s", offer.topic_arn, target.label)
        target.accepted.inc()
        return Response(status=route.answers.stored)

    def _unusable(self, route: Route, why: Unusable) -> Response:
        target = route.targets[0]
        match why:
            case Unusable.TOO_LARGE:
                response = self._refuse(target, "too_large", f"more than {self._limit} bytes", route.answers.too_large)
            case Unusable.MALFORMED:
                response = self._refuse(target, "malformed", "the body cannot be read", route.answers.malformed)
            case Unusable.TOO_SLOW:
                response = self._not_now(target, f"the body did not arrive within {self._read_timeout_s:g} s")
            case Unusable.TOO_MANY:
                response = self._not_now(target, f"bodies of {self._arriving.most} bytes are arriving already")
        response.force_close()
        return response

    def _refuse(self, target: Target, result: str, detail: str, status: int) -> Response:
        self._metrics.ingress_requests.at(target.label, result).inc()
        self._say("webhook of %s refused (%s): %s", target.label, result, detail)
        return Response(status=status, text=f"{result}: {detail}\n")

    def _not_now(self, target: Target, detail: str) -> Response:
        self._metrics.ingress_requests.at(target.label, "unavailable").inc()
        self._say("webhook of %s not taken now (%s): %s", target.label, "unavailable", detail)
        return Response(status=NOT_NOW, headers=self._retry_after)

    def _say(self, text: str, *details: str) -> None:
        """At most one line per second: a flood of forgeries must not become a flood of log lines."""
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_S
            log.warning(text, *details)

    # ------------------------------------------------------------------------------------------ pages

    async def _page(self, request: BaseRequest, path: str) -> Response:
        if self.visits is not None and path.startswith(PREFIX):
            return await self.visits.handle(request, path)
        page = self._pages.get(path)
        if page is None:
            return Response(status=404, text="not found\n")
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return Response(status=405, headers={hdrs.ALLOW: "GET, HEAD"})
        return await page(request)

    async def _live(self, request: BaseRequest) -> Response:
        broken = self._producer.broken
        return Response(status=500 if broken else 200, text=f"{broken or 'ok'}\n")

    async def _ready(self, request: BaseRequest) -> Response:
        if self._draining:
            return Response(status=NOT_NOW, text="shutting down\n")
        now = time.monotonic()
        if now - self._readiness[0] > _READY_CACHE_S or self._readiness[1]:
            if self._asking is None or self._asking.done():  # however many ask, Kafka is asked once at a time
                self._asking = asyncio.ensure_future(self._producer.ready())
            self._readiness = (now, await asyncio.shield(self._asking))
        why = self._readiness[1]
        return Response(status=NOT_NOW if why else 200, text=f"{why or 'ok'}\n")

    async def _exposition(self, request: BaseRequest) -> Response:
        content_type, body = exposition(self._metrics.registry, request.headers.get(hdrs.ACCEPT, ""))
        return Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})


def _routes(settings: Settings, providers: Mapping[str, Provider], metrics: Metrics) -> dict[str, Route]:
    """A path per name, per account, and per type: whatever of that type has signed it is found."""
    topics = Topics(settings.kafka.prefix, settings.kafka.ledger_days)
    targets: dict[str, list[Target]] = {}
    kinds: dict[str, tuple[str, WebhookAnswers]] = {}
    for full_name, adapter in providers.items():
        answers = webhook_answers_of(adapter)
        if answers is None:
            continue
        name, _, account = full_name.partition("/")
        target = Target(
            label=name,
            adapter=adapter,
            origin=(("provider", name.encode()), ("account", account.encode())),
            accepted=metrics.ingress_requests.at(name, "accepted"),
            duration=metrics.ingress_duration.at(name),
        )
        for path in {full_name} if account else {full_name, adapter.type}:
            targets.setdefault(path, []).append(target)
            kinds[path] = (topics.webhooks(adapter.type), answers)
    return {
        f"/webhooks/{path}": Route(tuple(targets[path]), topic, answers, ConstantAnswer(answers.stored))
        for path, (topic, answers) in kinds.items()
    }
