"""The worker's status pages: metrics, live, ready, and a port that is taken."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import httpx
import pytest

from streams.metrics import Metrics
from streams.settings import WorkerSettings
from streams.status import PortTaken, StatusServer, listen


@dataclass
class Worker:
    live: bool = True
    ready: bool = False
    scrapes: int = 0

    def scraped(self) -> None:
        self.scrapes += 1


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
async def pages(worker: Worker, unused_port: int) -> AsyncIterator[httpx.AsyncClient]:
    metrics = Metrics(version="1.2.3")
    settings = replace(WorkerSettings(), port=unused_port)
    server = StatusServer(settings, metrics, lambda: worker.live, lambda: worker.ready, worker.scraped)
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{unused_port}", trust_env=False) as client:
        yield client
    await server.stop()
    await server.stop()


async def status(pages: httpx.AsyncClient, path: str) -> int:
    return (await pages.get(path)).status_code


async def test_a_worker_is_live_before_it_is_ready(pages: httpx.AsyncClient, worker: Worker) -> None:
    assert (await status(pages, "/health/live"), await status(pages, "/health/ready")) == (200, 503)
    worker.ready = True
    assert await status(pages, "/health/ready") == 200


async def test_a_worker_that_is_ending_is_neither(pages: httpx.AsyncClient, worker: Worker) -> None:
    worker.ready, worker.live = True, False
    assert (await status(pages, "/health/live"), await status(pages, "/health/ready")) == (503, 503)


async def test_metrics_are_brought_up_to_date_and_shown(pages: httpx.AsyncClient, worker: Worker) -> None:
    answer = await pages.get("/metrics")
    assert 'streams_build_info{version="1.2.3"} 1.0' in answer.text
    assert worker.scrapes == 1


async def test_other_paths_do_not_exist(pages: httpx.AsyncClient) -> None:
    assert await status(pages, "/") == 404


def test_a_taken_port_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}: address already in use.*STREAMS_WORKER_PORT"):
            listen(replace(WorkerSettings(), port=port))
