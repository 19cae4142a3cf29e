"""Our own links: the pixel, the redirect, and the page to unsubscribe.

Rules:

1. A visitor never waits for Kafka and never suffers with it: the pixel is shown and the redirect made at once. What is
   told of it is on its way then; if Kafka does not take it, it is lost and counted.
2. Only an unsubscription is answered when all in-sync replicas have it, else 503: that must not be lost.
3. A GET never unsubscribes. A POST does, whatever its body says (RFC 8058), and is never redirected.
4. The target of a redirect comes out of a token that we sealed, and out of nothing else.
5. What fetches a message's links over and over is told once per visitor and moment, and at most so often per message.
   Who unsubscribes again while Kafka is still to take the first time waits for that: webhooks need the room.
"""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from aiohttp import hdrs
from aiohttp.web import BaseRequest, Response

from streams.ingress.answers import NOT_NOW
from streams.ingress.body import Arriving, Unusable, read_body
from streams.metrics import Metrics
from streams.producer import Unavailable, WebhookProducer
from streams.settings import Settings
from streams.topics import Topics
from streams.tracking.facts import TYPE, Fact
from streams.tracking.pages import PAGE_HEADERS, ask_page, done_page, language_of, later_page, unknown_page
from streams.tracking.setup import keyring_of
from streams.tracking.tokens import Keyring, Origin, Purpose, open_click, open_origin
from streams.tracking.urls import is_sealed_form

PREFIX = "/t/"

_GIF = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
_FRESH = {"Cache-Control": "no-store, max-age=0", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_MAX_FORM = 65_536
_MAX_AGENT = 512
_MOMENT_MS = 10_000
_MOST_PER_MOMENT = 60
_MOST_MESSAGES = 20_000
_QUIET_S = 1.0
_EARLY = ("prefetch", "prerender", "preview")
_EARLY_HEADERS = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Moment:
    """What was fetched of one message lately."""

    since_ms: int
    links: set[int] = field(default_factory=set)
    visits: set[int] = field(default_factory=set)


class Visits:
    """Answers everything under :data:`PREFIX`. ``arriving`` is shared with the webhooks."""

    def __init__(
        self,
        settings: Settings,
        ring: Keyring,
        producer: WebhookProducer,
        metrics: Metrics,
        now_ms: Callable[[], int],
        arriving: Arriving,
    ) -> None:
        self._ring = ring
        self._producer = producer
        self._count = metrics.tracking_visits
        self._now_ms = now_ms
        self._arriving = arriving
        self._topic = Topics(settings.kafka.prefix, settings.kafka.ledger_days).webhooks(TYPE)
        self._ip_header = settings.tracking.ip_header
        self._read_timeout_s = settings.ingress.read_timeout_s
        self._retry_after = str(settings.ingress.retry_after_s)
        self._most_under_way = max(1, settings.ingress.max_pending // 4)  # webhooks need the rest
        self._under_way: set[asyncio.Task[None]] = set()
        self._leaving: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._lately: OrderedDict[str, _Moment] = OrderedDict()
        self._quiet_until = 0.0

    async def handle(self, request: BaseRequest, path: str) -> Response:
        """Answer a request for ``path``, which begins with :data:`PREFIX`."""
        kind, slash, token = path[len(PREFIX) :].partition("/")
        look = request.method in (hdrs.METH_GET, hdrs.METH_HEAD)
        if not slash or kind not in tuple(Purpose):
            return Response(status=404, text="not found\n")
        if kind == Purpose.UNSUBSCRIBE:
            if request.method == hdrs.METH_POST:
                return await self._unsubscribe(request, token)
            return self._ask(request, token) if look else _not_allowed("GET, HEAD, POST")
        if not look:
            return _not_allowed("GET, HEAD")
        return self._open(request, token) if kind == Purpose.OPEN else self._click(request, token)

    async def settled(self) -> None:
        """When all that is on its way to Kafka has arrived, or is lost."""
        while self._under_way:
            await asyncio.gather(*self._under_way, return_exceptions=True)

    # ------------------------------------------------------------------------------------------ kinds

    def _open(self, request: BaseRequest, token: str) -> Response:
        origin = open_origin(self._ring, Purpose.OPEN, token)
        if origin is None:
            self._count.at("open", "forged").inc()
        else:
            self._tell(request, origin, Purpose.OPEN, token)
        return Response(body=_GIF, headers={**_FRESH, hdrs.CONTENT_TYPE: "image/gif"})  # a broken image helps nobody

    def _click(self, request: BaseRequest, token: str) -> Response:
        opened = open_click(self._ring, token)
        if opened is None or not is_sealed_form(opened[1]):
            self._count.at("click", "forged").inc()
            return self._page(404, unknown_page(_language(request)))
        self._tell(request, opened[0], Purpose.CLICK, token)
        headers = {**_FRESH, "X-Robots-Tag": "noindex, nofollow", hdrs.LOCATION: opened[1]}
        return Response(status=302, headers=headers)

    def _ask(self, request: BaseRequest, token: str) -> Response:
        origin = open_origin(self._ring, Purpose.UNSUBSCRIBE, token)
        self._count.at("page", "forged" if origin is None else "shown").inc()
        if origin is None:
            return self._page(404, unknown_page(_language(request)))
        return self._page(200, ask_page(_language(request), origin.list_id))

    async def _unsubscribe(self, request: BaseRequest, token: str) -> Response:
        origin = open_origin(self._ring, Purpose.UNSUBSCRIBE, token)
        if origin is None:
            self._count.at("unsubscribe", "forged").inc()
            return self._last(self._page(404, unknown_page(_language(request))))
        body = await read_body(request, _MAX_FORM, self._read_timeout_s, self._arriving)
        if body is Unusable.TOO_LARGE:
            return self._last(Response(status=413, text="too large\n"))
        if body in (Unusable.TOO_SLOW, Unusable.TOO_MANY):
            return self._last(self._later(request))
        one_click = isinstance(body, bytes) and b"List-Unsubscribe" in body  # what else it says does not matter
        fact = Fact(Purpose.UNSUBSCRIBE, token, self._now_ms(), self._ip(request), _agent(request), one_click=one_click)
        try:
            await asyncio.shield(self._leave(origin, fact))
        except Unavailable as exc:
            self._count.at("unsubscribe", "unavailable").inc()
            self._say(str(exc))
            return self._later(request)
        self._count.at("unsubscribe", "stored").inc()
        return self._page(200, done_page(_language(request), origin.list_id))

    # ------------------------------------------------------------------------------------------ telling

    def _leave(self, origin: Origin, fact: Fact) -> asyncio.Task[None]:
        """Puts the unsubscription on its way, or the same one that is on its way already."""
        key = (origin.message_id, origin.list_id)
        task = self._leaving.get(key)
        if task is None:
            task = self._leaving[key] = asyncio.get_running_loop().create_task(self._store(origin, fact))
            task.add_done_callback(lambda _: self._leaving.pop(key, None))
        return task

    def _tell(self, request: BaseRequest, origin: Origin, purpose: Purpose, token: str) -> None:
        """Put the visit on its way to Kafka, unless it was told just now."""
        now_ms, ip, agent = self._now_ms(), self._ip(request), _agent(request)
        head = request.method == hdrs.METH_HEAD
        kind = "click" if purpose is Purpose.CLICK else "open"
        moment = self._moment(origin.message_id, now_ms)
        visit = hash((token, ip, agent, head))
        if visit in moment.visits or len(moment.visits) >= _MOST_PER_MOMENT:
            self._count.at(kind, "repeated").inc()
            return
        if len(self._under_way) >= self._most_under_way:
            self._count.at(kind, "lost").inc()
            return
        moment.visits.add(visit)
        if purpose is Purpose.CLICK:
            moment.links.add(hash(token))
        early = any(word in request.headers.get(name, "").lower() for name in _EARLY_HEADERS for word in _EARLY)
        fact = Fact(purpose, token, now_ms, ip, agent, head, early, max(1, len(moment.links)))
        task = asyncio.get_running_loop().create_task(self._stored_or_lost(kind, origin, fact))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _stored_or_lost(self, kind: str, origin: Origin, fact: Fact) -> None:
        try:
            await self._store(origin, fact)
        except Unavailable as exc:
            self._count.at(kind, "lost").inc()
            self._say(str(exc))
        else:
            self._count.at(kind, "stored").inc()

    async def _store(self, origin: Origin, fact: Fact) -> None:
        headers: list[tuple[str, str | bytes | None]] = [
            ("provider", TYPE.encode()),
            ("account", b""),
            ("received_at", b"%d" % fact.at_ms),
            ("verified", b"1"),
        ]
        await self._producer.send(self._topic, origin.message_id.encode(), fact.encoded(), headers)

    def _moment(self, message_id: str, now_ms: int) -> _Moment:
        found = self._lately.get(message_id)
        if found is None or now_ms - found.since_ms > _MOMENT_MS:
            found = self._lately[message_id] = _Moment(now_ms)
            self._lately.move_to_end(message_id)
            if len(self._lately) > _MOST_MESSAGES:
                self._lately.popitem(last=False)
        return found

    def _ip(self, request: BaseRequest) -> str:
        """The visitor's address: the connection's, or the last entry of the header that our own proxy writes."""
        given = request.headers.getall(self._ip_header, []) if self._ip_header else []
        text = given[-1].rpartition(",")[2].strip() if given else request.remote or ""
        try:
            return str(ip_address(text.removeprefix("[").partition("]")[0] if text.startswith("[") else text))
        except ValueError:
            return ""

    # ------------------------------------------------------------------------------------------ answers

    def _page(self, status: int, html: str) -> Response:
        return Response(status=status, text=html, content_type="text/html", headers=PAGE_HEADERS)

    def _later(self, request: BaseRequest) -> Response:
        response = self._page(NOT_NOW, later_page(_language(request)))
        response.headers[hdrs.RETRY_AFTER] = self._retry_after
        return response

    def _last(self, response: Response) -> Response:
        """After it nothing more is read: a body that is still coming must not be taken for a request."""
        response.force_close()
        return response

    def _say(self, why: str) -> None:
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET_S
            log.warning("visits of our own links are not stored: %s", why)


def visits_of(
    settings: Settings, producer: WebhookProducer, metrics: Metrics, now_ms: Callable[[], int], arriving: Arriving
) -> Visits | None:
    """The pages of our own links; None where tracking is off."""
    ring = keyring_of(settings)
    return None if ring is None else Visits(settings, ring, producer, metrics, now_ms, arriving)


def _agent(request: BaseRequest) -> str:
    text = request.headers.get(hdrs.USER_AGENT, "")[:_MAX_AGENT]
    return "".join(c if c.isprintable() else "?" for c in text)


def _language(request: BaseRequest) -> str:
    return language_of(request.headers.get(hdrs.ACCEPT_LANGUAGE, ""))


def _not_allowed(methods: str) -> Response:
    return Response(status=405, headers={hdrs.ALLOW: methods})
