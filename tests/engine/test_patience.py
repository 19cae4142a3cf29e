"""What nobody waits for goes to the broker in company."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable

from streams.engine import Batch, EngineApp, EngineSettings
from tests.engine.conftest import MakeSettings
from tests.engine.support import create, running

A_LONG_TIME_S = 600.0


class Patient(EngineApp):
    """Reads ``source``, and does nothing with it."""

    def __init__(self, settings: EngineSettings, source: str) -> None:
        super().__init__(settings)

        @self.agent(self.batch_topic(source))
        async def ignore(batches: AsyncIterable[Batch]) -> None:
            async for batch in batches:
                batch.release()

    def is_patient(self, topic: str, partition: int) -> bool:
        return topic.endswith("told")


async def test_patient_records_go_with_the_next_that_are_not(
    kafka: str, topic_prefix: str, settings: MakeSettings
) -> None:
    source, told, sent = f"{topic_prefix}in", f"{topic_prefix}told", f"{topic_prefix}sent"
    await create(kafka, source, told, sent)
    app = Patient(settings(patience_s=A_LONG_TIME_S), source)
    async with running(app), asyncio.timeout(60):
        await app.emit(sent, 0, b"k", b"0")  # the topics are known from here on
        first = app.emit(told, 0, b"k", b"0")
        await app.producer.flush()
        assert first.done
        waiting = [app.emit(told, number % 4, b"k", b"%d" % number) for number in range(8)]
        for _ in range(20):
            await asyncio.sleep(0.005)
            assert not any(ticket.done for ticket in waiting)
        await app.emit(sent, 1, b"k", b"1")
        for ticket in waiting:
            await ticket
    assert app.failure is None


async def test_patience_ends_by_itself(kafka: str, topic_prefix: str, settings: MakeSettings) -> None:
    source, told = f"{topic_prefix}in", f"{topic_prefix}told"
    await create(kafka, source, told)
    app = Patient(settings(patience_s=0.02), source)
    async with running(app), asyncio.timeout(60):
        for number in range(5):
            await app.emit(told, 0, b"k", b"%d" % number)
    assert app.failure is None


async def test_a_flush_waits_for_nobodys_patience(kafka: str, topic_prefix: str, settings: MakeSettings) -> None:
    source, told = f"{topic_prefix}in", f"{topic_prefix}told"
    await create(kafka, source, told)
    app = Patient(settings(patience_s=A_LONG_TIME_S), source)
    async with running(app), asyncio.timeout(60):
        tickets = [app.emit(told, number % 4, b"k", b"%d" % number) for number in range(8)]
        await app.producer.flush()
        assert all(ticket.done for ticket in tickets)
        later = app.emit(told, 0, b"k", b"later")
    await later  # a stop flushes too
    assert app.failure is None
