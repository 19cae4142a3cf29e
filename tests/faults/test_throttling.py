"""A provider says "not so fast", in every way in which providers say it.

The lane is left alone for as long as the provider asked, and for our own default (1 s) where what it said cannot be
read; the messages of other lanes do not notice. No message pays for it: nothing is deferred for good, lost or repeated.

How long others take is compared within one run: pairs of windows, one in which Mailgun throttles again and again and
one in which it does not, in one order and then in the other. The median over the pairs says how much p95 differs.
(On a machine that has no more to give, others become faster: who waits takes nothing from them.)
"""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.agents.dispatch.config import DispatchConfig
from tests.brokers import KafkaServer
from tests.faults.beside import Beside
from tests.faults.figures import Figures
from tests.fleet import Fleet, ids_of, single

PAIRS = 12
WINDOW_S = 5
GRACE_MS = 100
"""Calls that were on their way when the provider answered another: told apart from those that came later."""
RATE = 40
"""Messages per second, half of them by each lane: far below what a worker can do, also on a machine that others use."""
DEFAULT_S = DispatchConfig(partitions=1, worker="").throttle_s

Fault = Mapping[str, Any]
MAILGUN_SAYS = "Domain mg.example.com is not allowed to send: account-requests-per-sec limit exceeded, try again after"


def words(text: str) -> str:
    return json.dumps({"message": text})


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to say it. `floor_s` is what must pass; 0: as the header's date says."""

    name: str
    provider: str
    floor_s: float
    fault: Fault
    date_in_s: float = 0.0
    """A date so far ahead stands in the words, and the floor ends there."""

    def rule(self) -> dict[str, Any]:
        rule: dict[str, Any] = {"kind": "throttle", "provider": self.provider, "count": 1, **self.fault}
        if self.date_in_s:
            date = formatdate(time.time() + self.date_in_s, usegmt=True)
            rule["body"] = words(f"{MAILGUN_SAYS} {date}")
        return rule

    def ends_ms(self, call: Mapping[str, Any], rule: Mapping[str, Any]) -> float:
        """When the provider may be called again, epoch milliseconds."""
        if self.floor_s:
            return float(call["answered_ms"]) + 1000 * self.floor_s
        date = rule["body"].split("try again after ")[1].rstrip('"}') if self.date_in_s else call["retry_after"]
        return 1000 * parsedate_to_datetime(date).timestamp()


PLAIN = {"body": words("Too many requests")}
SES_PLAIN: Fault = {"status": 400, "code": "Throttling", "body": "Maximum sending rate exceeded."}
KINDS = (
    Kind("Retry-After in seconds", "mailgun", 3, {**PLAIN, "retry_after": 3}),
    Kind("Retry-After as a date", "mailgun", 0, {**PLAIN, "retry_after": 4, "retry_date": True}),
    Kind("Retry-After is garbage", "mailgun", DEFAULT_S, {**PLAIN, "retry_after": "in a while; perhaps"}),
    Kind("Mailgun's words, in seconds", "mailgun", 3, {"body": words(f"{MAILGUN_SAYS} 3 seconds")}),
    Kind("Mailgun's words, with a date", "mailgun", 0, {"status": 420}, date_in_s=4),
    Kind("words and header differ", "mailgun", 4, {"body": words(f"{MAILGUN_SAYS} 1 seconds"), "retry_after": 4}),
    Kind("SES: TooManyRequestsException", "ses", DEFAULT_S, {}),
    Kind("SES: Throttling", "ses", DEFAULT_S, SES_PLAIN),
    Kind("SES: Retry-After in seconds", "ses", 3, {**SES_PLAIN, "retry_after": 3}),
    Kind("SES: Retry-After as a date", "ses", 0, {"retry_after": 4, "retry_date": True}),
    Kind("SES: Retry-After is garbage", "ses", DEFAULT_S, {"retry_after": "-1 fortnight"}),
)


class Steady(Beside):
    """Single messages at a pace, each naming its provider in turn; remembers when each was asked for."""

    patience_s = 60.0

    def __init__(self, fleet: Fleet, per_s: float, providers: Sequence[str]) -> None:
        super().__init__()
        self.asked_s: dict[str, tuple[str, float]] = {}
        """Provider and time (epoch seconds) by message."""
        self._fleet = fleet
        self._pause_s = 1 / per_s
        self._requests = (
            single(number, provider=providers[number % len(providers)], on_uncertain="hold")
            for number in itertools.count()
        )

    def run(self) -> None:
        producer = Producer({"bootstrap.servers": self._fleet.bootstrap, "acks": "all", "linger.ms": 0})
        due_s = time.monotonic()
        for request in self._requests:
            if self.pause(max(0.0, due_s - time.monotonic())):
                break
            (identity,) = ids_of(request)
            self.asked_s[identity] = request["provider"], time.time()
            topic = f"{self._fleet.prefix}send-requests"
            producer.produce(topic, json.dumps(request).encode(), key=request["idempotency_key"].encode())
            producer.poll(0)
            due_s += self._pause_s
        assert producer.flush(30) == 0


@dataclass(slots=True)
class Told:
    """What came of one kind: calls of the lane within the floor, and how long the lane really waited."""

    early: list[float] = field(default_factory=list)
    in_the_air: int = 0
    waited_s: list[float] = field(default_factory=list)


@pytest.mark.timeout(240)
def test_a_lane_that_is_throttled_waits_as_asked_and_the_others_do_not(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    options = ["--latency-ms", "5", "--all-delivered"]
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, sandbox=options) as fleet:
        fleet.start_worker("w1")
        fleet.until("the worker is ready", lambda: fleet.is_ready("w1"), 60)
        with Steady(fleet, RATE, ("mailgun", "ses")) as steady:
            fleet.until("it is warm", lambda: len(fleet.seen.sent) > 3 * RATE, 60)
            for kind in list(interleaved(KINDS))[:: sized(1, 3)]:
                told = Told()
                for _ in range(sized(2, 1)):
                    throttle(fleet, kind, told)
                figures.note(f"{kind.name}: waited at least", min(told.waited_s), "s")
                figures.note(f"{kind.name}: calls in the air when it was said", told.in_the_air)
                figures.none(f"{kind.name}: early calls", told.early)
            orders = itertools.cycle([(False, True), (True, False)])
            pairs = [compared(fleet, steady, next(orders)) for _ in range(sized(PAIRS, 0))]
        if pairs:
            others(pairs, figures)
        ids = set(steady.asked_s)
        fleet.until("every message has ended", lambda: fleet.seen.ended >= ids, 60)
        account = fleet.account(ids)
        figures.account(account)
        figures.none("in doubt", account.uncertain)
        figures.none("sent by another provider than named", misled(fleet, steady))
        taken = taken_s(fleet)
        longest_s = max(taken[name] - at for name, (_, at) in steady.asked_s.items())
        figures.note("longest time from request to provider", longest_s, "s")


def interleaved(kinds: Sequence[Kind]) -> Iterator[Kind]:
    """Mailgun's and SES's in turns as far as they go."""
    by = [[kind for kind in kinds if kind.provider == name] for name in ("mailgun", "ses")]
    return (kind for pair in itertools.zip_longest(*by) for kind in pair if kind is not None)


def throttle(fleet: Fleet, kind: Kind, told: Told) -> None:
    """One call is told to wait; afterwards the provider would take anything, and lists what it was called."""
    began_ms = int(time.time() * 1000)
    rule = kind.rule()
    fleet.fault(**rule)

    def sends() -> list[dict[str, Any]]:
        return [call for call in fleet.calls(kind.provider, began_ms) if call["sends"]]

    fleet.until(f"{kind.name}: it is said", lambda: any(call["fault"] for call in sends()), 20)
    (said,) = [call for call in sends() if call["fault"]]
    ends_ms = kind.ends_ms(said, rule)
    fleet.until(f"{kind.name}: the lane goes on", lambda: any(c["began_ms"] >= ends_ms for c in sends()), 30)
    later = [call["began_ms"] for call in sends() if call["began_ms"] > said["answered_ms"]]
    told.in_the_air += sum(at <= said["answered_ms"] + GRACE_MS for at in later)
    late = [at for at in later if at > said["answered_ms"] + GRACE_MS]
    told.early += [(at - said["answered_ms"]) / 1000 for at in late if at < ends_ms]
    told.waited_s.append((min(late) - said["answered_ms"]) / 1000)


def compared(fleet: Fleet, steady: Steady, order: Sequence[bool]) -> tuple[float, float]:
    """p95 (ms) of the SES lane in a window without throttling, and in one in which Mailgun throttles all the time."""
    found: dict[bool, float] = {}
    for throttled in order:
        if throttled:
            fleet.fault(kind="throttle", provider="mailgun", seconds=WINDOW_S, retry_after=1, **PLAIN)
        began_s = time.time()
        time.sleep(WINDOW_S)
        ended_s = time.time()
        fleet.heal()
        asked = steady.asked_s.copy()
        until_sent(fleet, {name for name, (_, at) in asked.items() if at < ended_s})  # what had to wait is gone again
        wanted = {name: at for name, (who, at) in asked.items() if who == "ses" and began_s <= at < ended_s}
        taken = taken_s(fleet)
        found[throttled] = 1000 * p95(sorted(taken[name] - at for name, at in wanted.items()))
    return found[False], found[True]


def taken_s(fleet: Fleet) -> dict[str, float]:
    """When the providers took which message, epoch seconds."""
    return {line["variables"]["message_id"]: line["accepted_ms"] / 1000 for line in fleet.ledger() if "plan" in line}


def until_sent(fleet: Fleet, ids: set[str]) -> None:
    fleet.until("the window's messages are sent", lambda: fleet.seen.sent >= ids, 60)


def p95(values: Sequence[float]) -> float:
    return values[int(0.95 * len(values))]


def others(pairs: Sequence[tuple[float, float]], figures: Figures) -> None:
    figures.note("pairs of windows", len(pairs))
    figures.note("other lane: p95 from request to provider, without", statistics.median(p[0] for p in pairs), "ms")
    figures.note("other lane: p95 while this one is throttled", statistics.median(p[1] for p in pairs), "ms")
    changes = [100 * (during / before - 1) for before, during in pairs]
    figures.note("other lane: change of p95, least and greatest", f"{min(changes):+.0f} … {max(changes):+.0f}", "%")
    figures.at_most("other lane: change of p95, median over the pairs", statistics.median(changes), 10, "%")


def misled(fleet: Fleet, steady: Steady) -> list[str]:
    taken = [(line["variables"]["message_id"], line["provider"]) for line in fleet.ledger() if "plan" in line]
    return [name for name, provider in taken if steady.asked_s[name][0] != provider]
