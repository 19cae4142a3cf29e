"""Rule 19: nobody waits for records of others, and a share of a rate that was just assigned starts with nothing."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

import streams.agents
from streams.agents.dispatch.config import LaneConfig
from streams.agents.dispatch.flight import Flight
from streams.agents.dispatch.gate import Gate
from streams.core.message import RecordRef, Stream
from streams.core.receipt import ReceiptKind
from tests.agents.dispatch_desk import PARTITIONS, Clock, Desk

AGENTS = Path(streams.agents.__file__).parent


def test_rule_19_no_agent_flushes() -> None:
    for path in AGENTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "flush":
                owner = ast.unparse(node.value)
                assert not owner.endswith(("app", "producer")), f"{path.name}: {owner}.flush"


async def test_rule_19_a_call_waits_for_its_own_row_and_not_for_what_others_have_emitted() -> None:
    desk = await Desk(automatic=False).open()
    await desk.give(desk.message("slow@example.net"))
    desk.engine.acknowledge("attempts")
    await desk.settled()
    desk.engine.acknowledge("attempts")
    await desk.settled()
    assert len(desk.receipts(ReceiptKind.SENT)) == 1 and desk.engine.unacknowledged == 1
    await desk.give(desk.message("quick@example.net"))
    desk.engine.acknowledge("attempts")
    await desk.settled()
    assert desk.sent_to() == ["slow@example.net", "quick@example.net"]


async def test_rule_19_a_worker_that_waited_for_its_first_partition_does_not_begin_with_a_burst() -> None:
    """Joining took ten seconds, in which the owner before has spent the rate."""
    desk = Desk(lanes={"mailgun": LaneConfig(rate=10, burst=100)}, batch_wait_ms={})
    desk.clock.advance(10)
    await desk.open()
    await desk.give(*(desk.message(f"u{n}@example.net") for n in range(30)))
    assert desk.sent_to() == []


async def test_rule_19_partitions_that_come_back_bring_no_tokens() -> None:
    desk = await Desk(lanes={"mailgun": LaneConfig(rate=10, burst=100)}, batch_wait_ms={}).open()
    desk.clock.advance(30)
    for partition in range(PARTITIONS):
        await desk.dispatch.partition_lost(partition)
    desk.clock.advance(30)
    desk.engine.current_generation += 1
    await desk.open()
    await desk.give(*(desk.message(f"u{n}@example.net") for n in range(30)))
    assert desk.sent_to() == []


class Lane:
    """A gate, its clock, and who went through it."""

    def __init__(self, share: float, **limits: float) -> None:
        self.clock = Clock()
        self.desk = Desk()
        self.gone: list[str] = []
        self.gate = Gate("mailgun", LaneConfig(**limits), 0.75, self.clock, self._start, self._wake_in)  # type: ignore[arg-type]
        self.gate.reshare(share)

    def add(self, name: str, stream: Stream = Stream.TRANSACTIONAL) -> None:
        message = self.desk.message(f"{name}@example.net", stream=stream, content_hash=name)
        flight = Flight(message, 0, RecordRef("outbound", 0, 0), None)
        self.gate.line_up(self.gate.add(flight))

    def within(self, seconds: float) -> list[str]:
        """Who goes through while so much time passes."""
        before = len(self.gone)
        for _ in range(50):
            self.clock.advance(seconds / 50)
            self.gate.pump()
        return self.gone[before:]

    def _start(self, gate: Gate, flights: list[Flight]) -> None:
        self.gone += [flight.message.recipient.email.partition("@")[0] for flight in flights]
        gate.calls -= 1  # answered at once

    def _wake_in(self, seconds: float, callback: Callable[[], None]) -> None:
        """The test pumps by itself."""


def test_rule_19_a_share_of_the_partitions_has_that_share_of_the_rate() -> None:
    lane = Lane(0.25, rate=40, burst=4)
    for n in range(100):
        lane.add(f"u{n}")
    assert len(lane.within(1)) == pytest.approx(10, abs=1)
    lane.gate.reshare(0.5)
    assert len(lane.within(1)) == pytest.approx(20, abs=1)


def test_rule_19_who_loses_every_partition_has_no_rate_without_limit() -> None:
    lane = Lane(1.0, rate=10, burst=2)
    lane.gate.reshare(0.0)
    for n in range(100):
        lane.add(f"u{n}")
    lane.gate.pump()
    assert lane.gone == []
    lane.gate.reshare(0.25)
    assert len(lane.within(1)) <= 3


def in_debt() -> Lane:
    """A batch above the burst was granted in advance: three seconds' worth."""
    lane = Lane(1.0, rate=10, burst=10)
    lane.clock.advance(1)
    for n in range(40):
        message = lane.desk.message(f"u{n}@example.net")
        former = lane.gate.add(Flight(message, 0, RecordRef("outbound", 0, n), None))
    lane.gate.line_up(former)
    lane.gate.pump()
    assert len(lane.gone) == 40
    return lane


def test_rule_19_a_debt_is_paid_before_the_next_message_goes() -> None:
    lane = in_debt()
    for n in range(3):
        message = lane.desk.message(f"next{n}@example.net")
        former = lane.gate.add(Flight(message, 0, RecordRef("outbound", 0, n), None))
    lane.gate.line_up(former)
    assert lane.within(2.9) == []
    assert len(lane.within(0.5)) == 3


def test_rule_19_a_debt_outlives_a_rebalance() -> None:
    """Giving the partitions away for a moment is no discharge."""
    lane = in_debt()
    lane.gate.reshare(0.0)
    lane.gate.reshare(1.0)
    lane.add("next")
    assert lane.within(2.9) == []
    assert lane.within(0.5) == ["next"]


def test_rule_19_transactional_mail_takes_what_tokens_there_are_before_bulk() -> None:
    lane = Lane(1.0, rate=10, burst=5)
    for n in range(20):
        lane.add(f"b{n}", Stream.BULK)
    for n in range(5):
        lane.add(f"t{n}")
    assert [name[0] for name in lane.within(0.5)] == ["t"] * len(lane.gone)
    assert len(lane.gone) >= 4


def after_a_large_batch(rate: float = 10) -> Lane:
    """Bulk has just been granted ten seconds' worth in one call."""
    lane = Lane(1.0, rate=rate, burst=rate)
    lane.clock.advance(1)
    for n in range(int(10 * rate)):
        message = lane.desk.message(f"b{n}@example.net", stream=Stream.BULK)
        former = lane.gate.add(Flight(message, 0, RecordRef("outbound.bulk", 0, n), None))
    lane.gate.line_up(former)
    lane.gate.pump()
    assert len(lane.gone) == 10 * rate
    return lane


def test_rule_19_transactional_mail_does_not_wait_for_what_bulk_has_spent_in_advance() -> None:
    lane = after_a_large_batch()
    lane.add("t0")
    lane.gate.pump()
    assert lane.gone[-1] == "t0"


def test_rule_19_what_transactional_mail_spends_then_is_bounded_by_the_rate_and_paid_back_by_bulk() -> None:
    lane = after_a_large_batch()
    for n in range(200):
        lane.add(f"t{n}")
    lane.add("later", Stream.BULK)
    gone = lane.within(9)
    assert len(gone) == pytest.approx(90, abs=4)  # the reserve's burst above the rate, no more
    assert "later" not in gone
    assert len(lane.within(10)) == pytest.approx(100, abs=2)
    idle = after_a_large_batch()
    for n in range(20):
        idle.add(f"t{n}")
    idle.add("later", Stream.BULK)
    assert "later" not in idle.within(9.5)  # nine seconds of debt, and the two that went before
    assert "later" in idle.within(2.0)
