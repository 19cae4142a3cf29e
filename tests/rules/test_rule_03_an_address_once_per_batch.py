"""Rule 3: an address stands in a provider batch at most once, because providers drop the second one silently."""

from __future__ import annotations

import asyncio

from streams.agents.dispatch.config import LaneConfig
from streams.core.message import Stream
from tests.agents.dispatch_desk import Desk

SPELLINGS = ("u@example.net", "U@Example.NET", "v@example.net", "u@example.net")


async def test_rule_03_two_messages_to_one_mailbox_go_in_two_batches_and_both_are_sent() -> None:
    """They gather in front of a busy gate, so that only the address can keep them apart."""
    desk = await Desk(lanes={"mailgun": LaneConfig(concurrency=1)}, batch_wait_ms={}).open()
    free = asyncio.Event()
    desk.during_call = lambda request: free.wait()
    await desk.give(desk.message("first@example.net", stream=Stream.BULK), partition=0)
    messages = [desk.message(email, key=f"k{n}", stream=Stream.BULK) for n, email in enumerate(SPELLINGS)]
    await desk.give(*messages, partition=0)
    assert len(desk.requests) == 1
    free.set()
    await desk.settled()
    batches = [[entry.recipient.email for entry in batch.entries] for batch in desk.providers["mailgun"].batches[1:]]
    assert [sorted(map(str.lower, batch)) for batch in batches] == [
        ["u@example.net", "v@example.net"],
        ["u@example.net"],
        ["u@example.net"],
    ]
    assert sorted(desk.sent_to()) == sorted(["first@example.net", *SPELLINGS]), "nobody is forgotten"


async def test_rule_03_one_mailbox_in_other_spellings_is_still_one() -> None:
    """The adapters write the domain in ASCII and leave unneeded quotes out: then both would be the same address."""
    desk = await Desk(lanes={"mailgun": LaneConfig(concurrency=1)}, batch_wait_ms={}).open()
    free = asyncio.Event()
    desk.during_call = lambda request: free.wait()
    await desk.give(desk.message("first@example.net", stream=Stream.BULK), partition=0)
    spellings = ("ann@bücher.example", "ann@xn--bcher-kva.example", '"ann"@bücher.example')
    messages = [desk.message(email, key=f"k{n}", stream=Stream.BULK) for n, email in enumerate(spellings)]
    await desk.give(*messages, partition=0)
    free.set()
    await desk.settled()
    batches = [[entry.recipient.email for entry in batch.entries] for batch in desk.providers["mailgun"].batches[1:]]
    assert [len(batch) for batch in batches] == [1, 1, 1]
    assert sorted(desk.sent_to()) == sorted(["first@example.net", *spellings])
