"""The driver's sender is woken when it can do something, and never too late."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.structs import TopicPartition

from streams.engine.send_queue import SendQueue

NODE, OTHER = 7, 8


class Driver:
    """A producer whose sender is this test: the driver's real queue, two brokers, and who of them owes an answer."""

    def __init__(self) -> None:
        cluster = SimpleNamespace(leader_for_partition=lambda tp: OTHER if tp.partition > 5 else NODE)
        self._message_accumulator = MessageAccumulator(cluster, 1 << 14, 0, 30)
        self._sender = SimpleNamespace(_in_flight=set[int]())
        self.client = SimpleNamespace(cluster=cluster)

    def look(self) -> list[TopicPartition]:
        """What the sender finds to send now."""
        nodes, _ = self._message_accumulator.drain_by_nodes(ignore_nodes=self._sender._in_flight)
        return [tp for batches in nodes.values() for tp in batches]

    async def woken(self, within_s: float) -> bool:
        try:
            await asyncio.wait_for(asyncio.shield(self._message_accumulator.waiter()), within_s)
        except TimeoutError:
            return False
        return True


@pytest.fixture
async def driver() -> Driver:
    made = Driver()
    made.look()  # as a sender that has started
    return made


def put(queue: SendQueue, partition: int, wait_s: float) -> Any:
    builder = BatchBuilder(1 << 14, 0, is_transactional=False)
    builder.append(timestamp=None, key=b"k", value=b"v")
    return queue.put(TopicPartition("t", partition), builder, wait_s)


async def test_what_is_in_a_hurry_wakes_it_at_once(driver: Driver) -> None:
    put(SendQueue(driver), 0, 0.0)
    assert driver._message_accumulator.waiter().done()
    assert driver.look() == [TopicPartition("t", 0)]


async def test_what_waits_wakes_it_when_it_is_ripe_and_not_before(driver: Driver) -> None:
    began_s = time.monotonic()
    put(SendQueue(driver), 0, 0.05)
    assert not driver._message_accumulator.waiter().done()
    assert await driver.woken(10)
    assert time.monotonic() - began_s >= 0.04
    while not driver.look():
        assert await driver.woken(10)


async def test_the_first_that_is_ripe_decides(driver: Driver) -> None:
    queue = SendQueue(driver)
    put(queue, 0, 600.0)
    put(queue, 1, 0.02)
    put(queue, 2, 600.0)
    found: list[TopicPartition] = []
    while not found:
        assert await driver.woken(10)
        found = driver.look()
    assert found == [TopicPartition("t", 1)]


async def test_a_busy_broker_wakes_it_itself(driver: Driver) -> None:
    queue = SendQueue(driver)
    driver._sender._in_flight.add(NODE)
    put(queue, 0, 0.0)
    assert not driver._message_accumulator.waiter().done()
    driver._sender._in_flight.clear()  # the answer, which the sender waits for as well
    assert driver.look() == [TopicPartition("t", 0)]


async def test_a_broker_that_does_not_answer_holds_up_nobody_elses_partitions(driver: Driver) -> None:
    queue = SendQueue(driver)
    driver._sender._in_flight.add(NODE)
    put(queue, 0, 0.0)
    put(queue, 6, 0.0)
    assert driver._message_accumulator.waiter().done()
    assert driver.look() == [TopicPartition("t", 6)]


async def test_it_can_be_woken(driver: Driver) -> None:
    queue = SendQueue(driver)
    put(queue, 0, 600.0)
    queue.wake()
    queue.wake()
    assert driver._message_accumulator.waiter().done()
