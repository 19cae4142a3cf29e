"""One decision for the fleet, and what a process makes of it."""

from __future__ import annotations

import msgspec

from streams.agents.breaker_view import BreakerView, Door
from streams.agents.breakers import Breakers
from streams.core.breaker import BreakerPolicy, BreakerRecord, BreakerState, OutcomeSum
from streams.serde.internal import pack
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record

NOW = 1_700_000_000_000
POLICY = BreakerPolicy(consecutive=3, open_s=10)


def published(view: BreakerView, **fields: object) -> None:
    made = BreakerRecord("mailgun", **fields)  # type: ignore[arg-type]
    view.read_breaker(b"mailgun", msgspec.json.encode(made))


def test_rule_14_a_process_shuts_its_own_door_at_once_and_the_next_record_decides_again() -> None:
    view = BreakerView("w1", POLICY)
    for _ in range(3):
        view.failed("mailgun", NOW, "503")
    assert view.door("mailgun", NOW) is Door.SHUT
    assert view.door("mailgun", NOW + 3_000) is Door.OPEN
    published(view, state=BreakerState.OPEN, epoch=1, retry_at_ms=NOW + 10_000)
    assert view.door("mailgun", NOW + 3_000) is Door.SHUT


def test_rule_14_an_open_breaker_is_woken_by_the_next_who_wants_to_send_and_only_the_holder_probes_once() -> None:
    view = BreakerView("w1", POLICY)
    published(view, state=BreakerState.OPEN, epoch=1, retry_at_ms=NOW)
    assert view.sums(NOW) == []
    assert view.door("mailgun", NOW) is Door.SHUT
    (asked,) = view.sums(NOW)
    assert asked.asks_probe
    assert asked.epoch == 1
    published(view, state=BreakerState.HALF_OPEN, epoch=2, holder="w1", lease_until_ms=NOW + 60_000)
    assert view.door("mailgun", NOW) is Door.PROBE
    assert view.spend_probe("mailgun") == 2
    assert view.door("mailgun", NOW) is Door.SHUT
    view.succeeded("mailgun", probe_epoch=2)
    (told,) = view.sums(NOW)
    assert told.probe_result == 1


def test_another_workers_probe_keeps_our_door_shut() -> None:
    view = BreakerView("w1", POLICY)
    published(view, state=BreakerState.HALF_OPEN, epoch=2, holder="w2", lease_until_ms=NOW + 60_000)
    assert view.door("mailgun", NOW) is Door.SHUT


def test_an_older_record_cannot_undo_a_newer_one() -> None:
    view = BreakerView("w1", POLICY)
    published(view, state=BreakerState.OPEN, epoch=5, retry_at_ms=NOW + 10_000)
    published(view, state=BreakerState.CLOSED, epoch=4)
    assert view.state("mailgun") is BreakerState.OPEN


def test_operators_can_force_and_release_a_breaker_and_pause_what_they_like() -> None:
    view = BreakerView("w1", POLICY)
    view.read_control(b"breaker/mailgun", b'{"action": "open"}')
    assert view.door("mailgun", NOW) is Door.SHUT
    view.read_control(b"breaker/mailgun", None)
    assert view.door("mailgun", NOW) is Door.OPEN
    view.read_control(b"pause/tenant/acme", b"{}")
    view.read_control(b"pause/provider/ses", b"{}")
    assert view.paused("acme", "bulk")
    assert not view.paused("other", "bulk")
    assert view.provider_paused("ses")
    view.read_control(b"pause/tenant/acme", None)
    assert not view.paused("acme", "bulk")


def test_unreadable_records_of_the_compacted_topics_change_nothing() -> None:
    view = BreakerView("w1", POLICY)
    view.read_breaker(b"mailgun", b"\xff garbage")
    view.read_control(b"breaker/mailgun", b"not json")
    view.read_control(b"nonsense", b"{}")
    assert view.door("mailgun", NOW) is Door.OPEN


async def test_the_agent_publishes_a_decision_before_it_keeps_its_window() -> None:
    engine = FakeEngine(automatic=False)
    agent = Breakers(engine, engine.table("breaker_windows"), "breakers", FakeUnit, POLICY)
    outcome = OutcomeSum("w1", 1, "mailgun", epoch=0, at_ms=NOW, failed=3, run_failed=3)
    batch = FakeBatch("provider-outcomes", 2, [record(pack(outcome), b"mailgun"), record(b"garbage", b"mailgun")])
    await agent.handle(batch)
    (decision,) = engine.on("breakers")
    told = msgspec.json.decode(decision.value or b"", type=BreakerRecord)
    assert (told.state, decision.key, decision.partition) == (BreakerState.OPEN, b"mailgun", 0)
    assert engine.writes == []
    engine.acknowledge("breakers")
    assert len(engine.writes) == 1
    assert not batch.done
    engine.acknowledge()
    assert batch.done


async def test_rule_14_a_redelivered_sum_publishes_nothing_again() -> None:
    engine = FakeEngine()
    agent = Breakers(engine, engine.table("breaker_windows"), "breakers", FakeUnit, POLICY)
    outcome = OutcomeSum("w1", 1, "mailgun", epoch=0, at_ms=NOW, failed=3, run_failed=3)
    for _ in range(2):
        await agent.handle(FakeBatch("provider-outcomes", 2, [record(pack(outcome), b"mailgun")]))
    assert len(engine.on("breakers")) == 1


async def test_a_change_of_state_is_told_once() -> None:
    told: list[tuple[str, str]] = []

    class Listener:
        def breaker_changed(self, provider: str, to: str) -> None:
            told.append((provider, to))

    engine = FakeEngine()
    agent = Breakers(engine, engine.table("breaker_windows"), "breakers", FakeUnit, POLICY, Listener())
    outcome = OutcomeSum("w1", 1, "mailgun", epoch=0, at_ms=NOW, failed=3, run_failed=3)
    for _ in range(2):
        await agent.handle(FakeBatch("provider-outcomes", 2, [record(pack(outcome), b"mailgun")]))
    assert told == [("mailgun", "open")]
