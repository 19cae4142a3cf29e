"""The broker answers nobody for a minute: it is frozen, or nothing reaches it, or every connection is reset.

Meanwhile the ingress says 503, in time, and never 200 for what is not stored; worker and ingress say that they are not
ready; neither grows. Afterwards everything goes on by itself. What the providers gave up telling meanwhile is found
out: Mailgun's events are read, SES has put its own into a queue.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import KafkaServer
from tests.faults.deployments import ON_DISK, QUEUE, QUEUED, behind_a_proxy, wait
from tests.faults.figures import Figures
from tests.faults.load import Load
from tests.faults.observed import MEGABYTE, Flow, Memory, Readiness, Supervisor
from tests.faults.proxy import CALM, Trouble
from tests.faults.reporter import NO_ANSWER, Reporter
from tests.fleet import Fleet, campaign, single
from tests.fleet.log import records

GROWS_MB = 100
RESUMES_S = 60
ANSWERS_S = 10
CUT_OFF = "cut-off."
"""Prefix of the topics; the Kafka is their own."""
FATES = ("success", "success", "bounce", "softbounce", "complaint")
NOT_READY_S = 15
"""Readiness is asked every few seconds: so soon it must have changed."""


@dataclass
class Endured:
    """One fleet, watched through one or more faults of its broker."""

    fleet: Fleet
    figures: Figures
    load: Load
    reporter: Reporter
    flow: Flow
    supervisor: Supervisor
    readiness: dict[str, Readiness]
    memory: dict[str, Memory]
    grown: Counter[str] = field(default_factory=Counter)

    def through(self, name: str, seconds: float, harm: Callable[[], Any], heal: Callable[[], Any]) -> None:
        """Do harm for so long, and measure until a while after it."""
        fleet, figures = self.fleet, self.figures
        before = {process: memory.mark() for process, memory in self.memory.items()}
        harmed_s = time.monotonic()
        harm()
        wait(fleet, seconds)
        healed_s = time.monotonic()
        heal()
        sent = len(fleet.seen.sent)
        fleet.until(f"{name}: flow resumes", lambda: len(fleet.seen.sent) > sent, RESUMES_S + 30)
        fleet.until(
            f"{name}: all are ready again", lambda: all(fleet.is_ready(process) for process in self.readiness), 60
        )
        end_s = wait(fleet, 5)
        figures.at_most(f"{name}: flow resumes after", self.flow.standstill_s(healed_s, end_s), RESUMES_S, "s")
        for process, readiness in self.readiness.items():
            not_ready_s = readiness.first_s(False, harmed_s)
            figures.at_most(f"{name}: {process} says not ready after", not_ready_s, NOT_READY_S, "s")
            figures.at_most(f"{name}: {process} says ready after", readiness.first_s(True, healed_s), RESUMES_S, "s")
        for process, memory in self.memory.items():
            grown = (memory.peak - before[process]) / MEGABYTE
            figures.at_most(f"{name}: memory of {process} grows", grown, GROWS_MB, "MB")
        self._answers(name, harmed_s, healed_s)

    def _answers(self, name: str, harmed_s: float, healed_s: float) -> None:
        during = [one for one in self.reporter.answers if harmed_s <= one.began_s < healed_s]
        figures = self.figures
        figures.at_least(f"{name}: webhooks answered 503", sum(one.status == 503 for one in during), 1)
        figures.note(f"{name}: webhooks answered 200", sum(one.status == 200 for one in during))
        figures.none(
            f"{name}: webhooks answered otherwise", [one.status for one in during if one.status not in (200, 503)]
        )
        figures.at_most(f"{name}: slowest answer", max(one.took_s for one in during), ANSWERS_S, "s")


@contextmanager
def enduring(fleet: Fleet, figures: Figures, per_s: int, reports_per_s: float, **fields: Any) -> Iterator[Endured]:
    """A fleet under load; on leaving, the load and the reports end."""
    fleet.start_worker("w1")
    fleet.start_poller()
    fleet.until("w1 is ready", lambda: fleet.is_ready("w1"), 40)
    names = ("w1", "ingress")
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(fleet, ["w1"]))
        flow = stack.enter_context(Flow(fleet))
        readiness = {name: stack.enter_context(Readiness(fleet, name)) for name in names}
        memory = {name: stack.enter_context(Memory(lambda name=name: fleet.process(name).pid)) for name in names}
        load = stack.enter_context(Load(fleet, per_s, **fields))
        reporter = stack.enter_context(Reporter(fleet, reports_per_s))
        fleet.until("messages are sent", lambda: len(fleet.seen.sent) > 3 * per_s, 60)
        yield Endured(fleet, figures, load, reporter, flow, supervisor, readiness, memory)


def settle(fleet: Fleet, endured: Endured, prefix: str) -> None:
    """Everything comes to its end, and no answer was false."""
    figures, load, reporter = endured.figures, endured.load, endured.reporter
    fleet.until("every message has ended", lambda: fleet.seen.ended >= load.ids, 240)
    stored = {
        record.headers["token"].decode()
        for record in records(fleet.bootstrap, f"{prefix}webhooks.mailgun")
        if "token" in record.headers
    }
    figures.note("webhooks posted by hand", len(reporter.answers))
    figures.none(
        "of them answered 200 and not stored", [one.token for one in reporter.of(200) if one.token not in stored]
    )
    figures.none("of them without any answer", reporter.of(NO_ANSWER))
    gave_up(fleet, figures, 0)
    figures.none("ends of the worker by itself", endured.supervisor.ends)
    figures.note("longest wait of a request for Kafka", load.slowest_s, "s")
    figures.account(fleet.account(load.ids))


@pytest.mark.timeout(200)
def test_a_frozen_broker_delays_and_loses_nothing(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    fields: dict[str, Any] = {} if sized(1, 0) else {"provider": "ses"}  # Mailgun's events are read once a minute
    with Fleet(
        tmp_path,
        apache_kafka.bootstrap,
        prefix=topic_prefix,
        sandbox=QUEUED,
        ses=QUEUE,
        environment=ON_DISK,
    ) as fleet:
        with enduring(fleet, figures, sized(200, 60), sized(50, 20), **fields) as endured:
            endured.through("frozen", sized(60, 13), apache_kafka.pause, apache_kafka.resume)
        settle(fleet, endured, topic_prefix)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_what_providers_give_up_telling_is_found_out(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    """Nobody takes webhooks from the first message on, until the providers have given up all of them."""
    half = sized(2_000, 200)
    requests = [
        *(single(n, FATES[n % len(FATES)]) for n in range(half)),
        campaign(1, half // 2),
        campaign(2, half // 2),
    ]
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, sandbox=QUEUED, ses=QUEUE) as fleet:
        fleet.process("ingress").kill()
        fleet.start_worker("w1")
        fleet.start_poller()
        ids = fleet.produce(requests)
        fleet.until("every message has ended", lambda: fleet.seen.ended >= ids, 240)
        fleet.until("the providers have given up", lambda: not fleet.stats()["pending_webhooks"], 120)
        gave_up(fleet, figures, half)
        lines = [line for line in fleet.ledger() if line.get("answer") == "delivered"]
        figures.none("webhooks that somebody took", lines)
        figures.account(fleet.account(ids))


def cut_off(folder: Path, seconds: float, figures: Figures) -> None:
    """Nothing reaches the broker, and then every connection is reset."""
    with (
        behind_a_proxy() as behind,
        Fleet(
            folder,
            behind.kafka.bootstrap,
            prefix=CUT_OFF,
            kafka_at=behind.proxy.bootstrap,
            sandbox=QUEUED,
            ses=QUEUE,
            environment=ON_DISK,
        ) as fleet,
    ):
        proxy = behind.proxy

        def heal() -> None:
            proxy.trouble = CALM

        def silence() -> None:
            proxy.trouble = Trouble(silent=True)

        def reset() -> None:
            proxy.trouble = Trouble(refuse=True)
            proxy.cut()

        with enduring(fleet, figures, 200, 50) as endured:
            endured.through("silent", seconds, silence, heal)
            endured.through("reset", seconds, reset, heal)
        settle(fleet, endured, CUT_OFF)


@pytest.fixture(scope="module", autouse=True)
def beside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sized: Callable[[int, int], int]
) -> Iterator[tuple[Figures, Future[None]] | None]:
    """The broker that is cut off, while the other tests run if its own is among them: both wait more than they work."""
    if not any(
        item.name == test_a_broker_that_is_cut_off_delays_and_loses_nothing.__name__ for item in request.session.items
    ):
        yield None
        return
    figures = Figures("")
    with ThreadPoolExecutor(1) as pool:
        yield figures, pool.submit(cut_off, tmp_path_factory.mktemp("cut_off"), sized(60, 15), figures)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_broker_that_is_cut_off_delays_and_loses_nothing(
    beside: tuple[Figures, Future[None]], figures: Figures
) -> None:
    its, end = beside
    try:
        end.result()
    finally:
        figures.lines += its.lines


def gave_up(fleet: Fleet, figures: Figures, at_least: int) -> None:
    """How many webhooks the providers will not post again."""
    lines = [line for line in fleet.ledger() if line.get("answer") == "gave_up"]
    for provider, count in sorted(Counter(line["webhook"] for line in lines).items()):
        figures.note(f"webhooks that {provider} gave up", count)
    figures.at_least("webhooks given up", len(lines), at_least)
