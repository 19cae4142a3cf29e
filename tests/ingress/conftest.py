"""A running ingress on a free port, in front of a real broker."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from streams.ingress import running
from streams.metrics import Metrics
from streams.providers.base import Exchange, Provider
from streams.settings import IngressSettings, KafkaSettings, Profile, Settings
from tests.ingress.fakes import create_topics, provider


@dataclass
class Client:
    """Talks to one ingress."""

    base: str
    session: aiohttp.ClientSession
    metrics: Metrics
    topic_prefix: str
    bootstrap: str

    async def post(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str]]:
        async with self.session.post(f"{self.base}{path}", data=body, headers=headers) as answer:
            await answer.read()
            return answer.status, answer.headers

    async def get(self, path: str) -> tuple[int, str]:
        async with self.session.get(f"{self.base}{path}") as answer:
            return answer.status, await answer.text()

    def counted(self, name: str, result: str) -> float:
        return self.metrics.ingress_requests.at(name, result).value


Open = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture
def opened(embedded_kafka: str, topic_prefix: str) -> Open:
    """``async with opened(providers, exchange=…, **ingress settings) as client``."""
    create_topics(embedded_kafka, f"{topic_prefix}webhooks.mailgun", f"{topic_prefix}webhooks.ses")

    @contextlib.asynccontextmanager
    async def open_(
        providers: Mapping[str, Provider] | None = None,
        exchange: Exchange | None = None,
        bootstrap: str = embedded_kafka,
        **options: Any,
    ) -> AsyncIterator[Client]:
        settings = Settings(
            kafka=KafkaSettings(bootstrap=bootstrap, profile=Profile.EMBEDDED, prefix=topic_prefix),
            ingress=IngressSettings(port=0, **{"drain_timeout_s": 2.0, **options}),
        )
        metrics = Metrics()
        adapters = {"mailgun": provider()} if providers is None else providers
        async with (
            running(settings, adapters, exchange=exchange, metrics=metrics) as (host, port),
            aiohttp.ClientSession() as session,
        ):
            yield Client(f"http://{host}:{port}", session, metrics, topic_prefix, bootstrap)

    return open_
