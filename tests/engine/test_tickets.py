from __future__ import annotations

import asyncio

import pytest

from streams.engine import Ticket, acked
from streams.engine.errors import ProduceError


async def test_everybody_who_waits_for_a_ticket_learns_of_the_acknowledgement() -> None:
    ticket = Ticket()
    waiters = [asyncio.create_task(acked([ticket, ticket])) for _ in range(3)]
    await asyncio.sleep(0)
    assert not ticket.done
    ticket.resolve(7, 1)
    await asyncio.gather(*waiters)
    assert ticket.done
    await ticket


async def test_a_cancelled_waiter_does_not_disturb_the_others() -> None:
    ticket = Ticket()
    cancelled, kept = asyncio.create_task(acked([ticket])), asyncio.create_task(acked([ticket]))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    ticket.resolve(0, 1)
    await kept


async def test_a_failed_ticket_raises_for_everybody() -> None:
    ticket = Ticket()
    waiter = asyncio.create_task(acked([ticket]))
    await asyncio.sleep(0)
    ticket.resolve(None, 0, ProduceError("refused"))
    with pytest.raises(ProduceError, match="refused"):
        await waiter
    with pytest.raises(ProduceError, match="refused"):
        await ticket
