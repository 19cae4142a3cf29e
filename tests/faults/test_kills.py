"""A worker dies by SIGKILL, at every step that a message takes, and in the middle of a large run.

Nothing may be lost. Between the provider's acceptance and the recorded result nobody can know whether a message was
sent: each of these is found by the provider's own records (Mailgun's events API, the Send event of SES), or shown by
them not to have been taken; then the request's own policy decides, ``hold`` or ``resend``. Nothing is sent again before
`message.uncertain` has been told.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from streams.core.event import DeliveryEvent, EventType
from streams.failpoints import NAMES
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.fleet import Account, Fleet, campaign, ids_of, single
from tests.fleet.account import account_of, together

KILLS = 10
FLEETS = 4
"""Kills at the same time, each in a fleet of its own: most of a kill is waiting for sessions and leases to end."""

UNDER_WAY = "provider's answer under way"
"""No place in the program: the provider has taken the mail, and its answer trickles in."""
PLACES = (*NAMES, UNDER_WAY)
GAP = ("dispatch.after_ledger", "dispatch.before_call", "dispatch.after_answer", "dispatch.before_result", UNDER_WAY)
"""Where the call under way leaves a message in doubt."""


@dataclass(slots=True)
class Seed:
    """One kill: where, the n-th time, and what is sent meanwhile; all drawn by its number."""

    number: int
    place: str
    messages: int
    nth: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    hold: set[str] = field(default_factory=set)
    """The messages whose policy is to wait for a person; the others' is to be sent again."""

    def __post_init__(self) -> None:
        chance = random.Random(self.number)
        early = self.place.startswith(("intake", "commit"))
        self.nth = chance.randint(1, 3 if early else max(3, self.messages // 50))
        left, n = self.messages, self.number * 10_000
        singles = int(self.messages * chance.choice((0.2, 0.5, 0.9)))
        while left:
            n += 1
            policy, fate = chance.choice(("hold", "resend")), chance.choice(("success", "success", "bounce"))
            size = 1 if left <= singles else min(left - singles, chance.randint(2, 200))
            make = single(n, fate) if size == 1 else campaign(n, size, fate)
            self._add({**make, "on_uncertain": policy})
            left -= size
        chance.shuffle(self.requests)

    def __str__(self) -> str:
        return f"{self.number}: {self.place}, time {self.nth}"

    @property
    def worker(self) -> str:
        return f"w{self.number}"

    def _add(self, request: dict[str, Any]) -> None:
        self.requests.append(request)
        self.ids |= ids_of(request)
        if request["on_uncertain"] == "hold":
            self.hold |= ids_of(request)

    @property
    def waves(self) -> Iterator[list[dict[str, Any]]]:
        """Half at once; what follows comes to a worker with little to do, which takes messages in ahead of records."""
        half = len(self.requests) // 2
        yield self.requests[:half]
        if self.place == UNDER_WAY:
            yield self.requests[half:]
            return
        yield from (self.requests[at : at + 5] for at in range(half, len(self.requests), 5))


@dataclass(slots=True)
class Verdict:
    """The account of one kill, and what the policies were worth."""

    seed: Seed
    account: Account
    disobeyed: set[str]
    """Sent again although held for a person, held although to be sent again, or although a provider has it."""

    @property
    def line(self) -> str:
        one = self.account
        ways = Counter[str]()
        for how, count in one.settled.items():
            ways["found" if "found" in how else "held" if "held" in how else "sent again"] += count
        said = ", ".join(f"{count} {way}" for way, count in sorted(ways.items()))
        return f"{len(one.uncertain)} uncertain{f' ({said})' if said else ''}, {len(one.twice)} twice"


def judged(seed: Seed, fleet: Fleet, events: list[DeliveryEvent]) -> Verdict:
    lines = [line for line in fleet.ledger() if line.get("variables", {}).get("message_id") in seed.ids]
    account = account_of(seed.ids, lines, [event for event in events if event.message_id in seed.ids])
    accepted = {line["variables"]["message_id"] for line in lines if "plan" in line}
    doubted = {(e.message_id, e.attempt) for e in events if e.type is EventType.UNCERTAIN}
    sent_later = {e.message_id for e in events if e.type is EventType.SENT and (e.message_id, e.attempt) not in doubted}
    resent = account.uncertain & sent_later
    return Verdict(seed, account, (resent & seed.hold) | (account.held - seed.hold) | (account.held & accepted))


def kill_at(seed: Seed, fleet: Fleet) -> None:
    """Send, let the worker die in between, send the rest, and let another worker bring everything to its end."""
    name = seed.worker
    under_way = seed.place == UNDER_WAY
    environment = {"STREAMS_WORKER__STORE": ("memory", "rocksdb")[seed.number % 2]}
    armed = {} if under_way else {"STREAMS_FAILPOINT": f"{seed.place}:{seed.nth}"}
    worker = fleet.start_worker(name, **environment, **armed)
    fleet.until(f"{name} is ready", lambda: fleet.is_ready(name) or worker.returncode is not None, 30)
    for number, wave in enumerate(seed.waves):
        if worker.returncode is None:
            if number == 1 and under_way:
                fleet.fault(kind="slow", hold_s=2)
                goal = fleet.stats()["recipients"] + seed.nth
            ids = fleet.produce(wave)
            if under_way and number:
                fleet.until("answers are under way", lambda goal=goal: fleet.stats()["recipients"] >= goal, 30)
                fleet.kill_worker(name)
                fleet.heal()
                break
            fleet.until(
                f"a wave is sent, or {name} dies",
                lambda ids=ids: fleet.seen.sent >= ids or worker.returncode is not None,
                30,
            )
    fleet.until(f"{name} dies at {seed.place}", lambda: under_way or worker.returncode is not None, 60)
    fleet.produce(seed.requests)  # the rest; what was produced before is asked for twice, and sent once
    fleet.start_worker(name, **environment)


def killed_in_turn(seeds: Sequence[Seed], folder: Path, bootstrap: str, prefix: str) -> tuple[list[Verdict], Account]:
    """One kill after the other, in a fleet of their own; each by itself, and all together at the end."""
    verdicts: list[Verdict] = []
    with Fleet(folder, bootstrap, prefix=prefix) as fleet:
        for seed in seeds:
            before = len(fleet.seen.events)
            kill_at(seed, fleet)
            fleet.until(f"every message of {seed} rests", lambda seed=seed: fleet.seen.rests(seed.ids), 90)
            fleet.until("the providers have reported", lambda: not fleet.stats()["pending_webhooks"], 60)
            assert fleet.stop_worker(seed.worker) == 0, fleet.log(seed.worker)
            verdicts.append(judged(seed, fleet, fleet.seen.events[before:]))
        return verdicts, fleet.account({one for seed in seeds for one in seed.ids})


@pytest.mark.timeout(500)
def test_a_worker_killed_at_every_step_loses_nothing_and_sends_nothing_twice(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    places = (*PLACES, *GAP)[: sized(20, len(PLACES))]
    seeds = [Seed(number, place, sized(1_000, 100)) for number, place in enumerate(places)]
    with ThreadPoolExecutor(FLEETS) as pool:
        lines = [
            pool.submit(
                killed_in_turn, seeds[n::FLEETS], tmp_path / f"{n}", apache_kafka.bootstrap, f"{topic_prefix}{n}."
            )
            for n in range(FLEETS)
        ]
        ended = [line.result() for line in lines]
    verdicts = sorted((one for ours, _ in ended for one in ours), key=lambda verdict: verdict.seed.number)
    for verdict in verdicts:
        figures.note(f"{verdict.seed}", verdict.line)
    figures.account(together([account for _, account in ended]), twice_if_uncertain=False)
    figures.none("held or sent again against its policy", [one for verdict in verdicts for one in verdict.disobeyed])


@pytest.mark.timeout(600)
def test_ten_kills_in_a_run_of_20000_messages_lose_nothing_and_send_nothing_twice_silently(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, figures: Figures
) -> None:
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        requests = [campaign(n, 900, on_uncertain="resend") for n in range(20)]
        requests += [single(n, on_uncertain="resend") for n in range(2_000)]
        identities = fleet.produce(requests)
        figures.equal("messages asked for", len(identities), 20_000)
        fleet.start_worker("w1")
        for kill in range(KILLS):
            goal = (kill + 1) * len(identities) // (KILLS + 2)
            fleet.until(f"{goal} messages are sent", lambda goal=goal: len(fleet.seen.sent) >= goal, 90)
            fleet.kill_worker("w1")
            fleet.start_worker("w1")
        fleet.until("every message has ended", lambda: fleet.seen.ended >= identities, 240)
        fleet.until("the providers have reported everything", lambda: not fleet.stats()["pending_webhooks"], 60)
        account = fleet.account(identities)
    figures.note("kills of the worker", fleet.restarts["w1"] - 1)
    figures.account(account)
