"""Answers that do not come, that break off, or that nobody can read, after the provider has heard the request.

Whoever has heard something may have taken it: the message is in doubt, is looked for where the provider lets us look,
and is never given to another provider in the meantime. What the provider did take is found and not sent again; what it
did not take goes again if the request asked for that (`on_uncertain`), else it waits for a person. A connection that is
refused is no doubt: nothing has left us, and the message simply goes later.

Four providers are troubled at the same time, each through a proxy of its own; the other way of every message is open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import pytest

from streams.core.event import EventType
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.faults.network import DEADLINE_S, PROVIDERS, Network
from tests.faults.proxy import Trouble, Way

HTTP = ("mailgun", "ses", "directmail")
DOUBT = ("timeout", "uncertain")
BODY = "A long letter, so that the request is far longer than its head. " * 200


@dataclass(frozen=True, slots=True)
class Case:
    """One trouble. `heard`: whether the provider got the whole request."""

    name: str
    trouble: Trouble
    heard: bool = True
    providers: tuple[str, ...] = HTTP


CASES = (
    Case("no answer within the deadline", Trouble(Way.ANSWERS, silent=True)),
    Case("reset after the body, before the answer", Trouble(Way.ANSWERS, reset_after_bytes=0)),
    Case("reset in the middle of the answer's head", Trouble(Way.ANSWERS, reset_after_bytes=30)),
    Case("reset in the middle of the answer's body", Trouble(Way.ANSWERS, reset_after_bytes=215)),
    Case("reset in the middle of the request", Trouble(Way.REQUESTS, reset_after_bytes=4_000), heard=False),
    Case("the request never arrives whole", Trouble(Way.REQUESTS, bytes_per_s=200), heard=False),
    Case("an answer of noise", Trouble(Way.ANSWERS, corrupt_every=1)),
    Case("an answer with a broken status line", Trouble(Way.ANSWERS, corrupt_every=8)),
    Case("the answer comes too late", Trouble(Way.ANSWERS, delay_s=DEADLINE_S + 1)),
)
SHORT = ("no answer within the deadline", "reset in the middle of the request")


@pytest.mark.timeout(300)
def test_what_a_provider_may_have_heard_is_in_doubt_and_goes_nowhere_else(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    each = sized(5, 2)
    with Network(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as network:
        network.fleet.start_worker("w1")
        warm_up(network)
        asked: set[str] = set()
        for case in CASES:
            if sized(1, 0) or case.name in SHORT:
                asked |= in_doubt(network, case, each, figures)
        asked |= refused(network, each, figures)
        network.finish(asked, figures)


def warm_up(network: Network) -> None:
    """One message by each way, so that connections are open and kept."""
    first = network.send(PROVIDERS)
    network.fleet.until("every way works", lambda: network.fleet.seen.sent >= first, 60)
    by = Counter(line["provider"] for line in network.fleet.ledger() if "plan" in line)
    assert set(by) == {"mailgun", "ses", "directmail", "smtp"}, by


def in_doubt(network: Network, case: Case, each: int, figures: Figures) -> set[str]:
    """Every message meets the trouble once; then it is mended, and what comes of them is looked at."""
    fleet = network.fleet
    before = network.outcomes()
    network.trouble(case.trouble, case.providers)
    patient = network.send(case.providers, each, on_uncertain="hold", text=BODY)
    eager = network.send(case.providers, each, on_uncertain="resend", text=BODY)
    calls = 2 * each * len(case.providers)

    def outcomes() -> Counter[str]:
        return of(case.providers, network.outcomes() - before)

    fleet.until(f"{case.name}: every call is over", lambda: outcomes().total() >= calls, 40)
    found = outcomes()
    if not case.heard:
        network.cut(case.providers)
    network.mend()
    figures.none(f"{case.name}: taken for accepted or refused", [kind for kind in found if kind not in DOUBT])
    going_on = patient | eager if case.heard else eager
    fleet.until(f"{case.name}: what was taken, or may go again, is sent", lambda: fleet.seen.sent >= going_on, 60)
    if not case.heard:
        fleet.until(f"{case.name}: the others wait for a person", lambda: fleet.seen.held >= patient, 60)
    figures.equal(f"{case.name}: messages said to be in doubt", len(doubted(network) & (patient | eager)), calls)
    about_ledger(network, case, patient, eager, figures)
    gone = of(["direct"], network.outcomes() - before)
    figures.equal(f"{case.name}: gone by the other provider", gone.total(), 0)
    return patient | eager


def of(names: Collection[str], outcomes: Counter[tuple[str, str]]) -> Counter[str]:
    """The outcomes at these providers together."""
    found: Counter[str] = Counter()
    for (name, kind), count in outcomes.items():
        if name in names:
            found[kind] += count
    return found


def doubted(network: Network) -> set[str]:
    return {event.message_id for event in network.fleet.seen.events if event.type is EventType.UNCERTAIN}


def about_ledger(network: Network, case: Case, patient: set[str], eager: set[str], figures: Figures) -> None:
    lines = [line for line in network.fleet.ledger() if "plan" in line]
    taken = Counter(line["variables"]["message_id"] for line in lines)
    figures.none(f"{case.name}: accepted twice", [name for name in patient | eager if taken[name] > 1])
    if not case.heard:
        figures.none(f"{case.name}: sent although a person was to decide", patient & taken.keys())


def refused(network: Network, each: int, figures: Figures) -> set[str]:
    """Nobody listens for a while, at any of the four."""
    fleet = network.fleet
    before = network.outcomes()
    for name in PROVIDERS:
        network.disconnect(name)
    ids = network.send(PROVIDERS, each, on_uncertain="hold")

    def everybody() -> bool:
        found = network.outcomes() - before
        return all(found[name, "connect_error"] >= each for name in PROVIDERS)

    fleet.until("refused: everybody was", everybody, 30)
    found = of(PROVIDERS, network.outcomes() - before)
    figures.none("connection refused: in doubt", [kind for kind in DOUBT if found[kind]])
    for name in PROVIDERS:
        network.connect(name)
    fleet.until("refused: all go when somebody listens again", lambda: fleet.seen.sent >= ids, 60)
    taken = Counter(line["variables"]["message_id"] for line in fleet.ledger() if "plan" in line)
    figures.equal("connection refused: accepted once", sum(taken[name] == 1 for name in ids), len(ids))
    return ids
