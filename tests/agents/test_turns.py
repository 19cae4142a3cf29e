"""Long runs of work let others have their turn: no agent keeps the event loop for a whole batch."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from streams.agents.turns import Turn
from streams.core.receipt import ReceiptKind
from tests.agents import test_intake, test_normalise, test_track
from tests.agents.fake_engine import FakeBatch, record
from tests.core.receipts import receipt

MANY = 200


async def track() -> None:
    await test_track.Desk().take(*(receipt(ReceiptKind.SENT, n) for n in range(MANY)))


async def normalise() -> None:
    values = [test_normalise.payload(sighting_id=str(n)) for n in range(MANY)]
    records = [record(value, b"key", n, 1, test_normalise.headers()) for n, value in enumerate(values)]
    await test_normalise.Desk().normalise.handle(FakeBatch("t.webhooks.mailgun", 3, records))


async def intake() -> None:
    wanted = test_intake.request(*(f"ann{n}@example.com" for n in range(MANY)))
    await test_intake.Desk().take(test_intake.encode_request(wanted))


@pytest.mark.parametrize("work", [track, normalise, intake])
async def test_others_have_their_turn_while_a_long_run_is_worked_through(work: Callable[[], Awaitable[None]]) -> None:
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(another())
    await work()
    other.cancel()
    assert turns >= MANY // 75


def test_a_turn_is_over_now_and_then_and_begins_again() -> None:
    turn = Turn()
    ends = [n for n in range(100) if turn.over()]
    assert len(ends) >= 4
    assert len({b - a for a, b in itertools.pairwise(ends)}) == 1


def test_long_steps_count_for_several() -> None:
    short, long = Turn(60), Turn(60)
    assert [short.over() for _ in range(60)].index(True) == 59
    assert [long.over(25) for _ in range(6)] == [False, False, True] * 2
