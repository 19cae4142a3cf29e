"""The ingress as a process, and as several on one port: serves, leaves when asked, says why it cannot start."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from streams.broker import free_port
from streams.processes import BoundProcess, log_tail
from tests.ingress.fakes import create_topics, records

ROOT = Path(__file__).parent.parent.parent
KEY = "signing-key"


def mailgun_webhook(token: str) -> bytes:
    stamp = str(int(time.time()))
    mac = hmac.new(KEY.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()
    block = {"timestamp": stamp, "token": token, "signature": mac}
    return json.dumps(
        {"signature": block, "event-data": {"event": "delivered", "id": token, "timestamp": 1.5}}
    ).encode()


def start(tmp_path: Path, bootstrap: str, prefix: str, port: int, **more: str) -> BoundProcess:
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SIGNING": KEY,
        "STREAMS_KAFKA_BOOTSTRAP": bootstrap,
        "STREAMS_KAFKA_PROFILE": "embedded",
        "STREAMS_KAFKA_PREFIX": prefix,
        "STREAMS_INGRESS_PORT": str(port),
        "STREAMS_PROVIDERS__MAILGUN__TYPE": "mailgun",
        "STREAMS_PROVIDERS__MAILGUN__DOMAIN": "mg.example.com",
        "STREAMS_PROVIDERS__MAILGUN__API_KEY": "env:SIGNING",
        "STREAMS_PROVIDERS__MAILGUN__SIGNING_KEYS": "env:SIGNING",
        **more,
    }
    return BoundProcess([sys.executable, "-m", "streams", "ingress"], env=env, cwd=tmp_path, log=tmp_path / "log")


@asynccontextmanager
async def answering(process: BoundProcess, port: int, log: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A session whose every request has a connection of its own: the kernel chooses a process for each."""
    apart = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", connector=apart) as session, asyncio.timeout(40):
        while True:
            assert process.returncode is None, log_tail(log)
            try:
                async with session.get("/health/ready") as answer:
                    if answer.status == 200:
                        break
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)
        yield session


@pytest.mark.parametrize("workers", [1, 2])
async def test_processes_serve_one_port_and_leave_when_asked(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, unused_port: int, workers: int
) -> None:
    topic = f"{topic_prefix}webhooks.mailgun"
    create_topics(embedded_kafka, topic)
    metrics_port = free_port()
    more = {"STREAMS_INGRESS_WORKERS": str(workers)}
    if workers > 1:
        more["STREAMS_INGRESS_METRICS_PORT"] = str(metrics_port)
    process = start(tmp_path, embedded_kafka, topic_prefix, unused_port, **more)
    try:
        async with answering(process, unused_port, tmp_path / "log") as session:

            async def post(token: str) -> int:
                async with session.post("/webhooks/mailgun", data=mailgun_webhook(token)) as answer:
                    return answer.status

            assert {await post(f"token-{n}") for n in range(20)} == {200}
            if workers > 1:
                async with session.get(f"http://127.0.0.1:{metrics_port}/metrics") as answer:
                    assert "streams_ingress_requests_total" in await answer.text()
        process.signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 20) == 0, log_tail(tmp_path / "log")
    finally:
        process.kill()
    stored = await asyncio.to_thread(records, embedded_kafka, topic, 20)
    assert {record.key() for record in stored} == {f"token-{n}".encode() for n in range(20)}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_taken_port_ends_the_command_with_one_sentence(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, unused_port: int, workers: int
) -> None:
    with socket.create_server(("127.0.0.1", unused_port)):
        more = {"STREAMS_INGRESS_WORKERS": str(workers)}
        process = start(tmp_path, embedded_kafka, topic_prefix, unused_port, **more)
        try:
            assert process.wait(30) == 1
        finally:
            process.kill()
    said = log_tail(tmp_path / "log")
    assert f"[ingress] cannot listen on 127.0.0.1:{unused_port}: address already in use" in said
    assert "Traceback" not in said


def test_a_wrong_key_ends_the_command_with_code_2(tmp_path: Path, unused_port: int) -> None:
    process = start(tmp_path, "x:1", "", unused_port, STREAMS_INGRESS__PROT="1")
    try:
        assert process.wait(30) == 2
    finally:
        process.kill()
    assert "did you mean port?" in log_tail(tmp_path / "log")
