"""Rule 14: a decision is taken once, from what was seen after the last one, and known before the first send."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from streams.agents.breaker_view import BreakerView, Door
from streams.agents.breakers import Breakers
from streams.app import create_app
from streams.core.breaker import BreakerPolicy, BreakerRecord, BreakerState, BreakerWindow, OutcomeSum, fold
from streams.engine import EngineApp, ensure_topics
from streams.engine import TopicSpec as EngineTopic
from streams.serde.internal import pack
from streams.settings import load_settings
from streams.topics import Topics
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record
from tests.engine.support import produce
from tests.rules.test_rule_12_what_is_frozen import CONFIG, Started

NOW = 1_700_000_000_000
POLICY = BreakerPolicy(window_s=30, min_requests=10, consecutive=5, open_s=10)


def outcome(worker: str, sequence: int, **fields: object) -> OutcomeSum:
    values: dict[str, object] = {"epoch": 0, "at_ms": NOW} | fields
    return OutcomeSum(worker=worker, sequence=sequence, provider="mailgun", **values)  # type: ignore[arg-type]


def closed_again() -> BreakerWindow:
    state = BreakerWindow(BreakerRecord("mailgun"))
    for one in (
        outcome("w1", 1, failed=5, run_failed=5),
        outcome("w1", 2, epoch=1, at_ms=NOW + 10_000, asks_probe=True),
        outcome("w1", 3, epoch=2, at_ms=NOW + 10_001, succeeded=1, probe_result=1),
    ):
        state = fold(state, one, POLICY)
    assert (state.record.state, state.record.epoch) == (BreakerState.CLOSED, 3)
    return state


@pytest.mark.parametrize("stale", [{"failed": 9, "run_failed": 9}, {"failed": 30, "run_failed": 1}])
def test_rule_14_failures_from_before_the_last_decision_do_not_open_it_with_the_next_fresh_sum(
    stale: dict[str, int],
) -> None:
    """The sum of a slow worker is folded late, and only then a healthy one comes."""
    state = fold(closed_again(), outcome("w2", 1, epoch=0, at_ms=NOW + 10_500, **stale), POLICY)
    state = fold(state, outcome("w1", 4, epoch=3, at_ms=NOW + 10_600, succeeded=1), POLICY)
    assert state.record.state is BreakerState.CLOSED
    again = fold(state, outcome("w2", 1, epoch=0, at_ms=NOW + 10_700, **stale), POLICY)
    assert again is state, "and it has been seen"


async def test_rule_14_the_next_owner_of_the_provider_goes_on_where_the_last_one_stopped() -> None:
    """Opened by one worker, which dies; the wait, the count of trips and what was counted are in the table."""
    engine = FakeEngine()
    for sums in (
        [outcome("w1", 1, failed=5, run_failed=5)],
        [outcome("w1", 1, failed=5, run_failed=5), outcome("w2", 1, epoch=1, at_ms=NOW + 9_999, asks_probe=True)],
        [outcome("w2", 2, epoch=1, at_ms=NOW + 10_000, asks_probe=True)],
    ):
        owner = Breakers(engine, engine.table("breaker_windows"), "breakers", FakeUnit, POLICY)
        await owner.handle(FakeBatch("provider-outcomes", 2, [record(pack(one), b"mailgun") for one in sums]))
    told = [msgspec.json.decode(e.value or b"", type=BreakerRecord) for e in engine.on("breakers")]
    assert [(one.state, one.epoch, one.holder) for one in told] == [
        (BreakerState.OPEN, 1, ""),
        (BreakerState.HALF_OPEN, 2, "w2"),
    ]


def test_rule_14_a_holder_that_died_is_replaced_when_its_lease_has_run_out() -> None:
    view = BreakerView("w9", POLICY)
    held = BreakerRecord("mailgun", BreakerState.HALF_OPEN, epoch=2, holder="the dead one", lease_until_ms=NOW + 60_000)
    view.read_breaker(b"mailgun", msgspec.json.encode(held))
    assert view.door("mailgun", NOW + 59_999) is Door.SHUT
    assert view.sums(NOW + 59_999) == []
    assert view.door("mailgun", NOW + 60_000) is Door.SHUT
    (asked,) = view.sums(NOW + 60_000)
    granted = fold(BreakerWindow(held), asked, POLICY)
    assert (granted.record.holder, granted.record.epoch) == ("w9", 3)


async def test_rule_14_a_worker_knows_every_breaker_and_pause_before_it_joins_its_group(
    embedded_kafka: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that starts in the middle of an outage must not send even one message to see for itself."""
    topics = Topics(topic_prefix)
    names = [topics.name("breakers"), topics.name("controls")]
    compacted = {"cleanup.policy": "compact"}
    assert await ensure_topics(embedded_kafka, [EngineTopic(name, 1, config=compacted) for name in names]) == []
    record = BreakerRecord("mailgun", BreakerState.OPEN, epoch=4, retry_at_ms=time.time_ns() // 1_000_000 + 60_000)
    history = [(0, f"other{n}".encode(), msgspec.json.encode(BreakerRecord(f"other{n}"))) for n in range(2_000)]
    await produce(embedded_kafka, names[0], [*history, (0, b"mailgun", msgspec.json.encode(record))])
    await produce(embedded_kafka, names[1], [(0, b"pause/tenant/acme", b"{}")])
    path = tmp_path / "streams.toml"
    path.write_text(
        CONFIG.format(bootstrap=embedded_kafka, prefix=topic_prefix, partitions=4, folder=tmp_path, more="")
    )
    app = create_app(load_settings(path, env={}))
    known: list[object] = []

    async def joined(_: EngineApp) -> None:
        now_ms = time.time_ns() // 1_000_000
        known.extend([app.parts.view.door("mailgun", now_ms), app.parts.view.paused("acme", "bulk")])
        raise Started

    monkeypatch.setattr(EngineApp, "on_start", joined)
    app.status.bind()
    try:
        with pytest.raises(Started):
            await app.on_start()
    finally:
        await app.parts.stop()
        await app.status.stop()
    assert known == [Door.SHUT, True]
