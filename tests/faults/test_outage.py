"""A provider answers 5xx to every call for five minutes, with traffic going on, and two workers.

The breaker opens for the whole fleet within 10 s, and from then on the provider gets one probe per interval. Messages
that have another way take it; those that name the provider are held in the ledger and let their offsets go. When the
provider is well again everything flows within 60 s. What was in a call when it failed is uncertain, and is not sent by
the other provider in silence.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.core.breaker import BreakerRecord, BreakerState
from streams.core.clock import STEP_MS
from streams.core.event import EventType
from streams.settings import load_settings
from streams.settings.model import BreakerSettings
from tests.brokers import KafkaServer
from tests.faults.conftest import FULL
from tests.faults.figures import Figures
from tests.fleet import SECRETS, Fleet, ids_of, single
from tests.fleet.log import records, unread

WORKERS = ("w1", "w2")
BEAT_S = 0.5
QUICK = {"STREAMS_BREAKER__OPEN_S": "1", "STREAMS_BREAKER__MAX_OPEN_S": "4"}
"""For the short size; the full one has the defaults."""
STATUSES = ((500, 0.4), (503, 0.5), (502, 1.0))
"""Each with the share of what the ones before have left."""


@dataclass(slots=True)
class Traffic:
    """Messages at a steady pace: half may go any way, a quarter each names a provider."""

    fleet: Fleet
    number: int = 0
    free: dict[str, float] = field(default_factory=dict)
    """The messages with a choice, and when they were asked for (epoch seconds)."""
    bound: set[str] = field(default_factory=set)
    """Those that name the provider that fails."""
    other: set[str] = field(default_factory=set)
    patient: set[str] = field(default_factory=set)
    """Those that in doubt wait for a person."""

    @property
    def ids(self) -> set[str]:
        return {*self.free, *self.bound, *self.other}

    def beat(self, size: int = 4) -> None:
        self.fleet.produce(self._next() for _ in range(size))
        time.sleep(BEAT_S)

    def _next(self) -> dict[str, Any]:
        self.number += 1
        kind, patient = self.number % 4, self.number % 3 == 0
        names = {"provider": ("mailgun", "ses")[kind]} if kind < 2 else {}
        request = single(self.number, on_uncertain="hold" if patient else "resend", **names)
        (identity,) = ids_of(request)
        if patient:
            self.patient.add(identity)
        if kind < 2:
            (self.bound, self.other)[kind].add(identity)
        else:
            self.free[identity] = time.time()
        return request


@dataclass(frozen=True, slots=True)
class Period:
    """The time from one record of the breaker to the next; `calls` are the sends that began in it."""

    record: BreakerRecord
    until_ms: int
    calls: list[int]


def periods(history: Sequence[BreakerRecord], sends: Iterable[int]) -> list[Period]:
    """The records are dated by workers' clocks, the calls by the provider's, and these agree within STEP_MS. So a call as
    near as that to a probe's time is the probe, and one as near to the closing comes after it.
    """
    begins = [
        record.changed_ms + (STEP_MS if record.state is BreakerState.OPEN and number else -STEP_MS)
        for number, record in enumerate(history)
    ]
    return [
        Period(record, end, [at for at in sends if begin <= at < end])
        for record, begin, end in zip(history, begins, [*begins[1:], 1 << 62], strict=True)
    ]


def history_of(fleet: Fleet, provider: str) -> list[BreakerRecord]:
    """The breaker's records, in order; the topic is young enough that none was compacted away.

    An owner that is replaced may write a record again; another decision under the same number would be wrong.
    """
    found = [r for r in records(fleet.bootstrap, f"{fleet.prefix}breakers") if r.key == provider.encode() and r.value]
    decided: dict[int, BreakerRecord] = {}
    for record in found:
        made = msgspec.json.decode(record.value or b"", type=BreakerRecord)
        assert decided.setdefault(made.epoch, made) == made, f"decided twice: {decided[made.epoch]}, {made}"
    return [decided[epoch] for epoch in sorted(decided)]


def is_state(fleet: Fleet, state: str) -> bool:
    return all(fleet.metric(name, "streams_breaker_state", provider="mailgun", state=state) == 1 for name in WORKERS)


@pytest.mark.timeout(150)
def test_a_provider_that_answers_5xx_is_left_alone_and_comes_back(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    environment = {} if FULL else QUICK
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, environment=environment) as fleet:
        for name in WORKERS:
            fleet.start_worker(name)
        traffic = Traffic(fleet)
        fleet.until("both workers are ready", lambda: all(map(fleet.is_ready, WORKERS)), 60)
        traffic.beat(size=40)
        fleet.until("the first have ended", lambda: fleet.seen.ended >= traffic.ids, 60)

        began_s = time.time()
        for status, share in STATUSES:
            fleet.fault(kind="status", provider="mailgun", status=status, rate=share, scope="any")
        open_s = opened(traffic, began_s)
        figures.at_most("until both workers know that the breaker is open", open_s - began_s, 10, "s")
        while time.time() < began_s + sized(300, 12):
            traffic.beat()
        while_it_is_down(fleet, traffic, open_s, figures)
        fleet.heal()
        healed_s = time.time()
        fleet.until("the breaker is closed", lambda: is_state(fleet, "closed"), 120)
        closed_s = time.time()
        figures.at_most("until the breaker is closed again", closed_s - healed_s, 60, "s")
        waiting = traffic.bound - uncertain(fleet)
        fleet.until("what was held has left", lambda: fleet.seen.sent >= waiting, 120)
        figures.at_most("until everything that was held has left", time.time() - healed_s, 60, "s")
        fleet.until("every doubt is settled", lambda: settled(fleet, traffic), 180)
        figures.at_most("until every doubt is settled", time.time() - healed_s, 60, "s")
        fleet.until("the providers have reported everything", lambda: not fleet.stats()["pending_webhooks"], 60)
        fleet.until("every message has ended", lambda: fleet.seen.ended >= fleet.seen.sent, 60)

        about_calls(fleet, int(began_s * 1000), load_settings(fleet.config, SECRETS | environment).breaker, figures)
        account = fleet.account(traffic.ids)
        figures.account(account)
        figures.none("accepted twice", account.twice)
        taken = {line["variables"]["message_id"] for line in fleet.ledger() if "plan" in line}
        figures.none("in doubt, told to wait, and sent all the same", account.uncertain & traffic.patient & taken)


def opened(traffic: Traffic, began_s: float) -> float:
    """Goes on until both workers say that the breaker is open; answers when that was."""
    while not is_state(traffic.fleet, "open"):
        assert time.time() < began_s + 60, "the breaker does not open"
        traffic.beat(size=8)
    return time.time()


def uncertain(fleet: Fleet) -> set[str]:
    return {event.message_id for event in fleet.seen.events if event.type is EventType.UNCERTAIN}


def settled(fleet: Fleet, traffic: Traffic) -> bool:
    """Everything has been handed over, but what is in doubt and left for a person, who is told so."""
    held = {
        event.message_id
        for event in fleet.seen.events
        if event.type is EventType.UNCERTAIN and event.reason and "held until a person" in event.reason.detail
    }
    return fleet.seen.sent | held >= traffic.ids


def while_it_is_down(fleet: Fleet, traffic: Traffic, open_s: float, figures: Figures) -> None:
    """What has a way has gone it, what has none is held and its offsets have been let go."""
    doubtful = uncertain(fleet)
    bound = traffic.bound - doubtful - fleet.seen.sent
    figures.at_least("messages with no other way, at the end of the outage", len(bound), 1)
    fleet.until("all requests are read", lambda: unread(fleet.bootstrap, fleet.prefix, "send-requests") == 0, 10)
    fleet.until("offsets go on", lambda: unread(fleet.bootstrap, fleet.prefix, "outbound") == 0, 10)
    held = sum(fleet.metric(name, "streams_held_messages", provider="mailgun") for name in WORKERS)
    figures.at_least("of these, held in the ledger with their offsets committed", held / max(1, len(bound)), 0.95)
    fleet.until("failover", lambda: fleet.seen.sent >= (set(traffic.free) | traffic.other) - uncertain(fleet), 10)
    sent = {event.message_id: event for event in fleet.seen.events if event.type is EventType.SENT}
    free = {name: at_s for name, at_s in traffic.free.items() if at_s > open_s and name in sent}
    figures.at_least("messages with another way, asked for while it was open", len(free), 1)
    figures.none("of these, sent by the provider that is down", [n for n in free if sent[n].provider != "ses"])
    waits = sorted(sent[name].occurred_ms / 1000 - at_s for name, at_s in free.items())
    figures.note("of these, 95 % were sent within", waits[int(0.95 * len(waits))], "s")
    figures.at_most("of these, the slowest was sent within", waits[-1], 10, "s")


def about_calls(fleet: Fleet, began_ms: int, policy: BreakerSettings, figures: Figures) -> None:
    """The provider's own list of calls against the breaker's records."""
    calls = fleet.calls("mailgun", began_ms)
    sends = [call["began_ms"] for call in calls if call["sends"]]
    history = periods(history_of(fleet, "mailgun"), sends)
    assert history[0].record.state is BreakerState.OPEN
    assert history[-1].record.state is BreakerState.CLOSED
    first = next(n for n, period in enumerate(history) if period.record.state is BreakerState.CLOSED)
    figures.note("times it opened again after it had closed", (len(history) - first) // 2)
    history = history[:first]
    shut = [period for period in history if period.record.state is BreakerState.OPEN]
    late = [at for period in shut for at in period.calls]
    figures.at_most("last call before everybody knew, after", max(0, *late, began_ms) / 1000 - began_ms / 1000, 10, "s")
    figures.none("calls while it was open, later than that", [at for period in shut[1:] for at in period.calls])
    probes = [period.calls for period in history if period.record.state is BreakerState.HALF_OPEN]
    figures.note("probes", len(probes))
    figures.at_most("calls per probe, at most", max(map(len, probes)), 1)
    early = [after.record for before, after in itertools.pairwise(history) if is_early(before, after)]
    figures.none("probes before their interval was over", early)
    waits = [(period.record.retry_at_ms - period.record.changed_ms) / 1000 for period in shut]
    expected = [min(policy.max_open_s, policy.open_s * 2**number) for number in range(len(shut))]
    figures.note("intervals", " ".join(f"{wait:g}" for wait in waits), "s")
    figures.none(
        "intervals that are shorter than configured", [w for w, e in zip(waits, expected, strict=True) if w < e]
    )
    asked = [call for call in calls if not call["sends"] and call["fault"]]
    figures.note("questions about doubtful messages meanwhile", len(asked))


def is_early(before: Period, after: Period) -> bool:
    """Whether a probe was granted, or went out, before the provider's rest was over."""
    begins = min((*(at + STEP_MS for at in after.calls), after.record.changed_ms))
    return before.record.state is BreakerState.OPEN and begins < before.record.retry_at_ms
