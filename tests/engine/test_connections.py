"""A broker that hangs up between two requests: on uvloop that is a lost connection like any other."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from streams.engine import connections
from streams.engine.loops import Loop


async def _hung_up(bootstrap: str) -> tuple[AIOKafkaConnection, list[object]]:
    """A connection that is gone before its driver knows."""
    host, port = bootstrap.split(":")
    ended: list[object] = []
    connection = await create_conn(host, int(port), on_close=lambda conn, reason: ended.append(reason))
    connection._writer.transport.abort()
    await asyncio.sleep(0)
    return connection, ended


def test_a_request_on_a_closed_transport_is_a_lost_connection(kafka: str) -> None:
    async def ask() -> None:
        connection, ended = await _hung_up(kafka)
        with pytest.raises(KafkaConnectionError, match="broken"):
            connection.send(MetadataRequest([]))
        assert ended and not connection.connected()

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(ask())


def test_that_is_still_needed(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask() -> None:
        connection, _ = await _hung_up(kafka)
        with pytest.raises(RuntimeError, match="closed"):
            connection.send(MetadataRequest([]))
        connection.close()

    monkeypatch.setattr(AIOKafkaConnection, "send", connections._send)
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(ask())
