"""Dispatch takes a message in ahead of its record: nothing is sent too early, twice, or forgotten for that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from streams.agents.dispatch.config import LaneConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.intake.ahead import NobodyAhead
from streams.core.ids import partition_of
from streams.core.ledger import LedgerState
from streams.core.message import Message, RecordRef
from streams.core.receipt import ReceiptKind
from streams.providers.base import Found
from streams.serde.internal import pack
from streams.serde.public import encode_request
from tests.agents import test_intake
from tests.agents.dispatch_desk import PARTITIONS, Desk
from tests.agents.fake_engine import FakeBatch, FakePlaced, record


async def desk(**kwargs: Any) -> Desk:
    return await Desk(**kwargs).open()


def home(message: Message) -> int:
    return partition_of(message.message_id, PARTITIONS)


async def ahead(d: Desk, message: Message, *, says: bool = True) -> FakePlaced:
    """What intake does: emit, hand on, send off."""
    placed = d.engine.place("outbound", home(message), message.message_id.encode(), pack(message))
    placed.says = says
    d.dispatch.ahead.take(message, home(message), placed)
    d.dispatch.ahead.send_off()
    await d.settled()
    return placed


async def read(d: Desk, message: Message, offset: int = 0, **fields: Any) -> FakeBatch:
    """The record is delivered."""
    d.stored[RecordRef("outbound", home(message), offset)] = message
    records = [record(pack(message), message.message_id.encode(), offset)]
    batch = FakeBatch("outbound", home(message), records, generation=d.engine.current_generation)
    await d.dispatch.handle(batch)
    await d.settled()
    return batch


@pytest.mark.parametrize(("first", "second"), [("attempts", "outbound"), ("outbound", "attempts")])
async def test_the_provider_is_called_when_the_row_and_the_message_are_acknowledged(first: str, second: str) -> None:
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENDING and row.source is None
    d.engine.acknowledge(first)
    await d.settled()
    assert d.requests == []
    d.engine.acknowledge(second)
    await d.settled()
    assert len(d.requests) == 1


async def test_a_message_that_is_never_acknowledged_is_never_sent() -> None:
    d = await desk(automatic=False)
    await ahead(d, d.message())
    d.engine.acknowledge("attempts")
    d.engine.acknowledge("outbound", error=RuntimeError("the process is ending"))
    await d.settled()
    assert d.requests == [] and len(d.crashes) == 1


async def test_the_record_that_comes_later_is_done_at_once_and_sends_nothing() -> None:
    d = await desk()
    message = d.message()
    await ahead(d, message)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT and row.source == RecordRef("outbound", home(message), 0)
    batch = await read(d, message)
    assert batch.done
    assert len(d.requests) == 1 and len(d.receipts()) == 1


async def test_the_offset_waits_until_the_receipt_is_acknowledged() -> None:
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message)
    d.engine.acknowledge("outbound")
    batch = await read(d, message)
    for step in ("attempts", "attempts", "receipts"):
        assert not batch.done
        d.engine.acknowledge(step)
        await d.settled()
    assert batch.done and len(d.requests) == 1


async def test_a_record_that_is_read_before_its_acknowledgement_is_known_is_the_same_message() -> None:
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message)
    batch = await read(d, message)
    for step in ("outbound", "attempts", "attempts", "receipts"):
        assert not batch.done
        d.engine.acknowledge(step)
        await d.settled()
    assert batch.done
    assert len(d.requests) == 1 and len(d.receipts()) == 1


async def test_where_the_broker_does_not_say_the_offset_the_record_is_known_by_its_content() -> None:
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message, says=False)
    d.engine.acknowledge("outbound")
    batch = await read(d, message, offset=7)
    for step in ("attempts", "attempts", "receipts"):
        assert not batch.done
        d.engine.acknowledge(step)
        await d.settled()
    row = d.row(message)
    assert row is not None and row.source == RecordRef("outbound", home(message), 7)
    assert batch.done and len(d.requests) == 1


async def test_also_when_it_comes_after_the_end() -> None:
    d = await desk()
    message = d.message()
    await ahead(d, message, says=False)
    batch = await read(d, message, offset=7)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT
    assert row.source == RecordRef("outbound", home(message), 7)
    first, again = d.receipts()
    assert first == again  # the same event id: nobody is told twice
    assert batch.done and len(d.requests) == 1


async def test_a_repeat_and_a_conflict_are_told_apart_as_ever() -> None:
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message)
    repeat = await read(d, message, offset=1)
    other = await read(d, d.message(fingerprint="another"), offset=2)
    while d.engine.acknowledge():
        await d.settled()
    assert repeat.done and other.done
    assert len(d.requests) == 1
    assert [receipt.kind for receipt in d.receipts()].count(ReceiptKind.CONFLICT) == 1


async def test_a_repeat_that_is_read_first_is_not_taken_for_the_record() -> None:
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message)
    repeat = await read(d, message, offset=1)
    d.engine.acknowledge("outbound")
    own = await read(d, message)
    assert repeat.done and not own.done
    while d.engine.acknowledge():
        await d.settled()
    assert own.done and len(d.requests) == 1


async def test_an_expectation_ends_with_its_partition_and_with_its_generation() -> None:
    d = await desk()
    message = d.message()
    await ahead(d, message)
    places = FakeBatch("outbound", home(message), [], generation=2)
    assert not d.dispatch.ahead.claim(places, 0)
    other = d.message("v@example.net", "k2")
    assert home(other) != home(message)
    await ahead(d, other)
    await d.dispatch.partition_lost(home(other))
    await d.dispatch.partition_ready(home(other))
    assert not d.dispatch.ahead.claim(FakeBatch("outbound", home(other), []), 0)


@pytest.mark.parametrize("known", ["resting", "under way"])
async def test_what_is_known_already_waits_for_its_record(known: str) -> None:
    d = await desk(automatic=known == "resting")
    message = d.message()
    await d.give(message)
    placed = d.engine.place("outbound", home(message), message.message_id.encode(), pack(message))
    d.dispatch.ahead.take(message, home(message), placed)
    d.dispatch.ahead.send_off()
    while d.engine.acknowledge():
        await d.settled()
    assert len(d.requests) == 1


async def test_a_crash_in_between_leaves_a_question_that_the_record_brings_the_message_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message)
    d.engine.acknowledge("attempts")  # and the process dies: nobody knows whether the provider was called
    await d.restarted()
    d.engine.acknowledge()
    await d.settled()
    d.engine.automatic = True
    row = d.row(message)
    assert row is not None and row.state is LedgerState.UNCERTAIN and row.source is None
    await d.wake(3600)
    assert d.providers["mailgun"].questions == []  # without its message it waits
    assert "is gone" not in caplog.text
    d.providers["mailgun"].finding = Found("p-9", d.clock())
    batch = await read(d, message)
    row = d.row(message)
    assert batch.done
    assert row is not None and row.state is LedgerState.UNCERTAIN and row.source is not None
    assert [receipt.kind for receipt in d.receipts()] == [ReceiptKind.UNCERTAIN]
    await d.wake(3600)
    row = d.row(message)
    assert row is not None and row.state is LedgerState.SENT and row.provider_message_id == "p-9"
    assert d.requests == []


async def regained(d: Desk, partition: int) -> None:
    """The partition goes away and comes back; calls under way end meanwhile."""
    leaving = asyncio.ensure_future(d.dispatch.partition_lost(partition))
    await d.settled()
    d.engine.automatic = True
    d.engine.acknowledge()
    await leaving
    d.engine.current_generation += 1
    await d.dispatch.partition_ready(partition)
    await d.settled()


async def test_a_call_ends_though_its_partition_leaves_and_the_record_sends_nothing_again() -> None:
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message)
    await regained(d, home(message))
    batch = await read(d, message)
    assert batch.done
    assert len(d.requests) == 1


async def test_what_stood_in_line_when_its_partition_left_is_sent_for_its_record() -> None:
    d = await desk(lanes={"mailgun": LaneConfig(rate=0.001)})
    message = d.message()
    await ahead(d, message)
    assert d.requests == [] and message.message_id in d.dispatch.busy
    await regained(d, home(message))
    assert message.message_id not in d.dispatch.busy
    batch = await read(d, message)
    assert message.message_id in d.dispatch.busy and not batch.done


async def test_beyond_half_of_what_may_be_under_way_everybody_waits_for_the_record() -> None:
    d = await desk(automatic=False, max_in_flight=4)
    messages = [d.message(f"u{n}@example.net", f"k{n}") for n in range(3)]
    taken = []
    for message in messages:
        taken.append(d.dispatch.ahead.takes(home(message)))
        await ahead(d, message)
    assert taken == [True, True, False]


async def test_a_partition_of_somebody_else_is_not_taken() -> None:
    d = await desk()
    message = d.message()
    await d.dispatch.partition_lost(home(message))
    assert not d.dispatch.ahead.takes(home(message))


async def test_a_row_that_rests_names_its_record() -> None:
    d = await desk(automatic=False, lanes={"mailgun": LaneConfig()})
    message = d.message(send_at_ms=d.clock() + 60_000)
    await ahead(d, message)
    assert d.row(message) is None  # not before the message is safe
    d.engine.acknowledge("outbound")
    await d.settled()
    row = d.row(message)
    assert row is not None and row.state is LedgerState.PARKED and row.source == RecordRef("outbound", home(message), 0)


# ------------------------------------------------------------------------------------------- intake's side


class Taking(NobodyAhead):
    """Takes the partitions that it is told to."""

    def __init__(self, *partitions: int) -> None:
        self.partitions = partitions
        self.taken: list[tuple[Message, int, Any]] = []
        self.sent_off = 0

    def takes(self, partition: int) -> bool:
        return partition in self.partitions

    def take(self, message: Message, partition: int, placed: Any, size_bytes: int = 0) -> None:
        self.taken.append((message, partition, placed))

    def send_off(self) -> None:
        self.sent_off += 1


async def given(taking: Taking, *emails: str, **fields: Any) -> test_intake.Desk:
    d = test_intake.Desk()
    d.intake.ahead = taking
    await d.take(encode_request(test_intake.request(*emails, **fields)))
    return d


async def test_intake_hands_on_what_it_has_emitted() -> None:
    taking = Taking(*range(test_intake.PARTITIONS))
    d = await given(taking, "ann@example.com", "bob@example.com")
    emitted = d.engine.on("outbound")
    assert [message for message, _, _ in taking.taken] == d.messages()
    assert [partition for _, partition, _ in taking.taken] == [one.partition for one in emitted]
    assert [placed.offset for _, _, placed in taking.taken] == [one.offset for one in emitted]
    assert taking.sent_off == 1


async def test_what_was_taken_in_goes_on_its_way_before_others_have_their_turn() -> None:
    class Watching(Taking):
        def __init__(self) -> None:
            super().__init__(*range(test_intake.PARTITIONS))
            self.waiting = 0
            self.seen: set[int] = set()

        def take(self, message: Message, partition: int, placed: Any, size_bytes: int = 0) -> None:
            self.waiting += 1

        def send_off(self) -> None:
            self.waiting = 0

        async def look(self) -> None:
            while True:
                self.seen.add(self.waiting)
                await asyncio.sleep(0)

    watching, d = Watching(), test_intake.Desk()
    d.intake.ahead = watching
    look = asyncio.create_task(watching.look())
    many = (encode_request(test_intake.request(idempotency_key=f"order-{n}")) for n in range(300))
    await d.take(*many)
    look.cancel()
    assert len(d.messages()) == 300
    assert watching.seen == {0}


@pytest.mark.parametrize(
    ("emails", "fields"),
    [
        pytest.param(["ann@example.com"], {"stream": "bulk"}, id="bulk mail"),
        pytest.param([f"u{n}@example.com" for n in range(20)], {}, id="many at once"),
    ],
)
async def test_what_is_in_no_hurry_goes_by_its_record(emails: list[str], fields: dict[str, Any]) -> None:
    taking = Taking(*range(test_intake.PARTITIONS))
    d = await given(taking, *emails, **fields)
    assert taking.taken == []
    assert len(d.messages("outbound.bulk" if fields else "outbound")) == len(emails)


async def test_a_partition_that_nobody_takes_here_goes_by_its_record() -> None:
    taking = Taking()
    d = await given(taking)
    assert taking.taken == [] and len(d.messages()) == 1


async def test_what_met_a_message_under_way_begins_nothing_when_the_partition_has_gone_meanwhile() -> None:
    """A broker that answers after the session: its acknowledgement comes when the partition is not ours any more."""
    d = await desk(automatic=False)
    message = d.message()
    await ahead(d, message)
    early = await read(d, message)  # Kafka has delivered it before it has acknowledged it
    d.dispatch.config = replace(d.dispatch.config, handover_s=0.1)  # nothing ends in that time
    await d.dispatch.partition_lost(home(message))
    d.engine.acknowledge()
    await d.settled()
    assert message.message_id not in d.dispatch.busy
    assert early.abandoned and not early.done
    d.engine.automatic = True
    d.engine.acknowledge()
    d.engine.current_generation += 1
    await d.dispatch.partition_ready(home(message))
    again = await read(d, message)
    await d.wake(3600)
    assert again.done
    row = d.row(message)
    assert row is not None and row.state is not LedgerState.SENDING


async def test_a_run_of_an_earlier_generation_begins_nothing() -> None:
    d = await desk()
    message = d.message()
    d.stored[RecordRef("outbound", home(message), 0)] = message
    records = [record(pack(message), message.message_id.encode(), 0)]
    old = FakeBatch("outbound", home(message), records, generation=d.engine.current_generation)
    await regained(d, home(message))
    await d.dispatch.handle(old)
    await d.settled()
    assert old.abandoned and not old.done and d.requests == []
    again = await read(d, message)
    assert again.done and len(d.requests) == 1


async def test_who_has_stood_in_line_since_before_the_partition_went_is_not_called() -> None:
    """As when a batch is composed one by one while its partition is being given away."""
    d = await desk()
    message = d.message()
    batch = FakeBatch("outbound", home(message), [])
    flight = Flight(message, home(message), RecordRef("outbound", home(message), 0), batch)
    flight.generation = d.engine.current_generation
    await regained(d, home(message))
    gate = d.dispatch.lanes.gates["mailgun"]
    d.dispatch.boarding.stand_alone(gate, [flight])
    gate.pump()
    await d.settled()
    assert d.requests == [] and d.row(message) is None
    assert batch.abandoned and not batch.done
