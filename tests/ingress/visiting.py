"""An ingress with links of its own, and a visitor."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import aiohttp.web
import yarl

from streams.ingress import running
from streams.ingress.server import Ingress
from streams.metrics import Metrics
from streams.producer import Headers, Unavailable
from streams.settings import IngressSettings, KafkaSettings, Profile, Secret, Settings, TrackingSettings
from streams.tracking.tokens import Purpose, binder_of, seal_link, seal_origin
from tests.ingress.fakes import provider
from tests.tracking.origins import NEW, NOW_MS, origin, ring

URL = "https://shop.example.com/sale?a=1&b=2#c"
BINDER = binder_of("campaign")


def open_token(**changes: object) -> str:
    return seal_origin(ring(), Purpose.OPEN, origin(**changes))


def click_token(url: str = URL, **changes: object) -> str:
    who = seal_origin(ring(), Purpose.CLICK, origin(content=BINDER, **changes))
    return f"{who}.{seal_link(ring(), url, BINDER)}"


def leave_token(list_id: str = "news", **changes: object) -> str:
    return seal_origin(ring(), Purpose.UNSUBSCRIBE, origin(list_id=list_id, **changes))


@dataclass
class Stored:
    """A record as the producer took it."""

    topic: str
    key: bytes
    value: bytes
    headers: dict[str, bytes]


@dataclass
class Shelf:
    """A producer that keeps what it is given in a list; ``away`` holds everything back until it is set, then fails."""

    kept: list[Stored] = field(default_factory=list)
    away: asyncio.Event | None = None
    broken: str = ""
    asked: int = 0

    async def send(self, topic: str, key: bytes, value: bytes, headers: Headers) -> None:
        self.asked += 1
        if self.away is not None:
            await self.away.wait()
            raise Unavailable("Kafka is away")
        self.kept.append(Stored(topic, key, value, {name: bytes(value or b"") for name, value in headers}))  # type: ignore[arg-type]

    async def ready(self) -> str:
        return ""


@dataclass
class Visitor:
    """Fetches, follows nothing, and sees what was stored."""

    session: aiohttp.ClientSession
    base: str
    metrics: Metrics
    shelf: Shelf = field(default_factory=Shelf)

    async def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        address = yarl.URL(f"{self.base}{path}", encoded=True)
        async with self.session.request(method, address, data=body, headers=headers, allow_redirects=False) as answer:
            return answer.status, answer.headers, await answer.read()

    def counted(self, kind: str, result: str) -> float:
        return self.metrics.tracking_visits.at(kind, result).value

    @property
    def facts(self) -> list[dict[str, Any]]:
        return [json.loads(record.value) for record in self.shelf.kept]

    async def until_counted(self, kind: str, result: str, times: int) -> None:
        async with asyncio.timeout(10):
            while self.counted(kind, result) < times:
                await asyncio.sleep(0.01)


def settings_of(kafka: KafkaSettings, secrets: tuple[bytes, ...], tracking: dict[str, Any], **options: Any) -> Settings:
    keys = tuple(Secret(secret.decode()) for secret in secrets)
    return Settings(
        kafka=kafka,
        ingress=IngressSettings(port=0, **{"drain_timeout_s": 2.0, **options}),
        tracking=TrackingSettings(public_url="https://t.example.com", secrets=keys, **tracking),
    )


@contextlib.asynccontextmanager
async def visiting(
    tracking: dict[str, Any] | None = None, secrets: tuple[bytes, ...] = (NEW,), **options: Any
) -> AsyncIterator[Visitor]:
    """The request handler behind a real socket, in front of a :class:`Shelf`."""
    shelf, metrics = Shelf(), Metrics()
    settings = settings_of(KafkaSettings(bootstrap="nowhere:9092", prefix="v."), secrets, tracking or {}, **options)
    ingress = Ingress(settings, {"mailgun": provider()}, shelf, metrics=metrics, now_ms=lambda: NOW_MS + 60_000)
    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(ingress.handle, access_log=None))
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(headers={"User-Agent": "Browser/1"}) as session:
            yield Visitor(session, f"http://{host}:{port}", metrics, shelf)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def visiting_a_process(bootstrap: str, prefix: str, **options: Any) -> AsyncIterator[Visitor]:
    """A whole ingress with its real producer."""
    kafka = KafkaSettings(bootstrap=bootstrap, profile=Profile.EMBEDDED, prefix=prefix)
    metrics = Metrics()
    async with (
        running(settings_of(kafka, (NEW,), {}, **options), {"mailgun": provider()}, metrics=metrics) as (host, port),
        aiohttp.ClientSession(headers={"User-Agent": "Browser/1"}) as session,
    ):
        yield Visitor(session, f"http://{host}:{port}", metrics)
