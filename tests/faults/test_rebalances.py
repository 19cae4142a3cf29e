"""Workers come and go while messages are sent: gracefully all the time, and one that was given up for dead and returns.

* Comings and goings: nothing is lost, nothing done twice, no message in doubt; the events of each message keep their
  order, whoever recorded them.
* A frozen worker (SIGSTOP for longer than its session) loses its partitions. When it goes on it calls no provider for
  them and writes no row over the new owner's; what it had under way was in doubt, and has been settled.
* A worker that is told to end (SIGTERM) waits for the answers that come within `shutdown_timeout_s`, records them, and
  ends with 0. What takes longer is in doubt, and is settled by the next worker.
"""

from __future__ import annotations

import itertools
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest

from streams.core.event import DeliveryEvent, EventType
from streams.core.ledger import AttemptRow, LedgerState
from streams.serde.internal import unpacker
from tests.brokers import KafkaServer
from tests.faults.beside import Beside
from tests.faults.figures import Figures
from tests.fleet import Fleet, campaign, single
from tests.fleet.log import rows

FATES = ("success", "success", "bounce", "open", "defer")
MARGIN_S = 8.0
"""Beside `shutdown_timeout_s`: its final grace of 5 s, and the time a process takes to go on a busy machine."""


def out_of_order(events: Iterable[DeliveryEvent]) -> set[str]:
    """Messages whose events (in the order of their partition) go back in time, or from report to acceptance."""
    last: dict[str, tuple[int, int]] = {}
    wrong: set[str] = set()
    for event in events:
        step = {EventType.ACCEPTED: 0, EventType.SENT: 1}.get(event.type, 2)
        before = last.get(event.message_id, (0, 0))
        if event.recorded_ms < before[0] or step < before[1]:
            wrong.add(event.message_id)
        last[event.message_id] = (event.recorded_ms, step)
    return wrong


class Traffic(Beside):
    """Requests at a steady pace: 40 single messages and half a campaign of 20 a second."""

    patience_s = 60.0

    def __init__(self, fleet: Fleet) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self._fleet = fleet

    def run(self) -> None:
        for tick in itertools.count():
            if self.pause(0.5):
                return
            requests = [single(n, FATES[n % len(FATES)]) for n in range(20 * tick, 20 * tick + 20)]
            if tick % 4 == 0:
                requests.append(campaign(tick, 20))
            self.ids |= self._fleet.produce(requests)


@pytest.mark.timeout(200)
def test_workers_come_and_go_under_load_and_nothing_is_lost_or_done_twice(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    changes, every_s = sized(30, 4), sized(10, 5)
    workers, numbers = ["w0", "w1"], itertools.count(2)
    codes, slowest_s, in_calls = [], 0.0, 0.0
    slow = ("--latency-ms", "500")
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, partitions=6, sandbox=slow) as fleet:
        for name in workers:
            fleet.start_worker(name)
        fleet.until("both workers are ready", lambda: all(map(fleet.is_ready, workers)), 60)
        with Traffic(fleet) as load:
            begin_s = time.monotonic()
            for change in range(changes):
                due_s = begin_s + (change + 1) * every_s
                fleet.until("it is time", lambda due_s=due_s: time.monotonic() >= due_s or load.error is not None, 60)
                if change % 2 == 0:
                    workers.append(f"w{next(numbers)}")
                    fleet.start_worker(workers[-1])
                else:
                    fleet.until("the newest is up", lambda: fleet.is_live(workers[-1]), 60)
                    in_calls += fleet.metric(workers[0], "streams_inflight_sends")
                    begun_s = time.monotonic()
                    codes.append(fleet.stop_worker(workers.pop(0)))
                    slowest_s = max(slowest_s, time.monotonic() - begun_s)
            whole_s = time.monotonic() - begin_s
        fleet.until("every message has ended", lambda: fleet.seen.ended >= load.ids, 60)
        fleet.until("the providers have reported", lambda: not fleet.stats()["pending_webhooks"], 60)
        codes += [fleet.stop_worker(name) for name in workers]
        account, events = fleet.account(load.ids), list(fleet.seen.events)
    figures.note("workers that came or went", changes)
    figures.note("on average every", whole_s / changes, "s")
    figures.at_least("messages in calls of those that went, when they were told", in_calls, 1)
    figures.note("slowest graceful end", slowest_s, "s")
    figures.none("workers that did not end with 0", [code for code in codes if code])
    figures.account(account, twice_if_uncertain=False)
    figures.equal("in doubt", len(account.uncertain), 0)
    figures.equal("events repeated", account.repeated_events, 0)
    figures.none("messages whose events are out of order", out_of_order(events))


@pytest.mark.timeout(300)
def test_two_workers_share_the_work_and_stopping_one_moves_its_partitions_and_loses_nothing(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, figures: Figures
) -> None:
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        fleet.start_worker("w1")
        fleet.start_worker("w2")
        first = fleet.produce([*(single(n) for n in range(1_000)), campaign(1, 1_000)])
        fleet.until("the first half has ended", lambda: fleet.seen.ended >= first, 120)
        second = fleet.produce([*(single(n) for n in range(1_000, 2_000)), campaign(2, 1_000)])
        fleet.until("the second half is under way", lambda: len(fleet.seen.sent & second) > 200, 60)
        figures.equal("exit code of the one that is stopped", fleet.stop_worker("w2"), 0)
        fleet.until("every message has ended", lambda: fleet.seen.ended >= first | second, 120)
        account = fleet.account(first | second)
    figures.account(account, twice_if_uncertain=False)
    figures.equal("in doubt", len(account.uncertain), 0)
    figures.equal("events repeated", account.repeated_events, 0)


# ---------------------------------------------------------------------------------------------- given up for dead

UNDER_WAY = "answers under way"
BEFORE_ANY_CALL = "dispatch.after_ledger:1"
"""In front of the last look at the lease, and nobody is past it: no call may follow at all."""
FREEZES = (BEFORE_ANY_CALL, UNDER_WAY, "dispatch.after_answer:3", "track.after_events:2", "dispatch.before_call:3")
"""Whoever is past that look may have bytes on their way, in the process or in the kernel: they leave when it goes on,
for messages that are in doubt by then. The last place is right behind it.
"""


def requests(begin: int) -> list[dict[str, Any]]:
    """180 messages of either policy."""
    policies = itertools.cycle(("hold", "resend"))
    return [
        *(single(n, on_uncertain=next(policies)) for n in range(begin, begin + 80)),
        *(campaign(n, 50, on_uncertain=next(policies)) for n in (begin, begin + 1)),
    ]


def freeze(fleet: Fleet, name: str, place: str, begin: int) -> set[str]:
    """A worker that stands still in the middle of sending; answers the messages."""
    armed = {} if place == UNDER_WAY else {"STREAMS_FAILPOINT": f"{place}:stop"}
    worker = fleet.start_worker(name, **armed)
    fleet.until("the worker is ready", lambda: fleet.is_ready(name), 40)
    if place != UNDER_WAY:
        ids = fleet.produce(requests(begin))
    else:
        fleet.fault(kind="slow", hold_s=2)
        taken = fleet.stats()["recipients"]
        ids = fleet.produce(requests(begin))
        fleet.until("answers are under way", lambda: fleet.stats()["recipients"] > taken, 30)
        worker.signal(signal.SIGSTOP)
        fleet.heal()
    process = psutil.Process(worker.pid)
    fleet.until(f"the worker stands still at {place}", lambda: process.status() == psutil.STATUS_STOPPED, 40)
    return ids


def accepted(fleet: Fleet, ids: set[str]) -> list[str]:
    """The messages that providers took, in that order."""
    lines = (line for line in fleet.ledger() if "plan" in line)
    return [line["variables"]["message_id"] for line in lines if line["variables"].get("message_id") in ids]


def attempts(fleet: Fleet, ids: set[str]) -> dict[bytes, AttemptRow]:
    found = rows(fleet.bootstrap, fleet.prefix, "attempts", unpacker(AttemptRow))
    return {key: row for key, row in found.items() if key.decode() in ids}


@pytest.mark.timeout(300)
def test_a_worker_that_was_given_up_for_dead_calls_nobody_and_overwrites_nothing(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    everything: set[str] = set()
    codes: list[int] = []
    silent: set[str] = set()
    rewritten: set[bytes] = set()
    repeated: set[str] = set()
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        for number, place in enumerate(FREEZES[: sized(len(FREEZES), 2)]):
            zombie, heir = f"zombie{number}", f"heir{number}"
            ids = freeze(fleet, zombie, place, 1_000 * number)
            fleet.start_worker(heir)
            fleet.until(f"{heir} has settled everything", lambda ids=ids: fleet.seen.rests(ids), 90)
            taken, before = accepted(fleet, ids), attempts(fleet, ids)
            doubted = fleet.account(ids).uncertain & ids
            told = {event.event_id for event in fleet.seen.events}
            fleet.worker(zombie).signal(signal.SIGCONT)
            fleet.until("it has noticed", lambda zombie=zombie: has_joined(fleet, zombie), 60)
            codes.append(fleet.stop_worker(heir))
            more = fleet.produce(requests(1_000 * number + 500))
            fleet.until("it does all the work again", lambda more=more: fleet.seen.ended >= more, 60)
            codes.append(fleet.stop_worker(zombie))
            late = set(accepted(fleet, ids)[len(taken) :])
            figures.note(f"frozen at {place}", f"{len(doubted)} in doubt, {len(late)} of them called late")
            silent |= late if place == BEFORE_ANY_CALL else late - doubted
            others = ids - late  # a late acceptance is proof, and settles the doubt
            rewritten |= {key for key, row in attempts(fleet, others).items() if before[key] != row}
            repeated |= {event.event_id for event in fleet.seen.events if event.message_id in others} - told
            everything |= ids | more
        account = fleet.account(everything)
    figures.none("workers that did not end with 0", [code for code in codes if code])
    figures.none("called late, and nobody knew", silent)
    figures.none("rows written over", rewritten)
    figures.none("events told late", repeated)
    figures.account(account)


def has_joined(fleet: Fleet, name: str) -> bool:
    """Whether a worker has been given partitions anew."""
    assert fleet.worker(name).returncode is None, fleet.log(name)
    return fleet.metric(name, "streams_rebalances_total") > 1


# ---------------------------------------------------------------------------------------------- told to end


@pytest.mark.timeout(120)
def test_a_worker_that_is_told_to_end_waits_for_its_answers_and_records_them(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, figures: Figures
) -> None:
    limit_s = 10
    environment = {"STREAMS_WORKER__SHUTDOWN_TIMEOUT_S": str(limit_s)}
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, environment=environment) as fleet:
        fleet.start_worker("w1")
        fleet.until("the worker is ready", lambda: fleet.is_ready("w1"), 40)
        fleet.fault(kind="slow", hold_s=2)
        ids = fleet.produce(requests(0))
        fleet.until("answers are under way", lambda: fleet.stats()["recipients"] > 20, 30)
        calls = fleet.metric("w1", "streams_inflight_sends")
        begun_s = time.monotonic()
        code = fleet.stop_worker("w1")
        took_s = time.monotonic() - begun_s
        taken = set(accepted(fleet, ids))
        fleet.heal()
        unrecorded = [key for key, row in attempts(fleet, taken).items() if row.state is not LedgerState.SENT]
        fleet.start_worker("w2")
        fleet.until("every message has ended", lambda: fleet.seen.ended >= ids, 60)
        account = fleet.account(ids)
    figures.at_least("messages in calls at SIGTERM", calls, 1)
    figures.none("taken by a provider, and not recorded at the end", unrecorded)
    figures.equal("exit code", code, 0)
    figures.at_most("ends after", took_s, limit_s + MARGIN_S, "s")
    figures.account(account, twice_if_uncertain=False)
    figures.equal("in doubt", len(account.uncertain), 0)


@pytest.mark.timeout(180)
def test_a_worker_that_is_told_to_end_does_not_wait_for_a_provider_that_hangs(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, figures: Figures
) -> None:
    limit_s, deadline_s = 3, 14
    environment = {
        "STREAMS_WORKER__SHUTDOWN_TIMEOUT_S": str(limit_s),
        "STREAMS_PROVIDERS__MAILGUN__DEADLINE_S": str(deadline_s),
        "STREAMS_PROVIDERS__SES__DEADLINE_S": str(deadline_s),
    }
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, environment=environment) as fleet:
        fleet.start_worker("w1")
        fleet.until("the worker is ready", lambda: fleet.is_ready("w1"), 40)
        fleet.fault(kind="timeout_after", hold_s=60)
        ids = fleet.produce(requests(0))
        fleet.until("calls hang", lambda: fleet.stats()["recipients"] > 20, 30)
        begun_s = time.monotonic()
        code = fleet.stop_worker("w1")
        took_s = time.monotonic() - begun_s
        taken = set(accepted(fleet, ids))
        fleet.heal()
        fleet.start_worker("w2")
        fleet.until("every message rests", lambda: fleet.seen.rests(ids), 90)
        account = fleet.account(ids)
    figures.equal("exit code", code, 0)
    figures.at_most("ends after", took_s, limit_s + MARGIN_S, "s")
    figures.none("taken meanwhile, and never in doubt", taken - account.uncertain)
    figures.account(account)
    figures.none("sent twice", account.twice)
