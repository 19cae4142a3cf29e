"""No order of calls, reports, decisions and deaths gives a breaker two probes, a lost sum, or a door shut for ever."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest

from tests.models import mutations
from tests.models.breaker_world import KILL_OWNER, BreakerScenario
from tests.models.suites import BREAKER, BREAKER_DEEP, walk

DEEP_S = float(os.environ.get("STREAMS_MODEL_SECONDS", "0"))
ALONE = ("w1",)


@pytest.fixture(autouse=True)
def _silence() -> Iterator[None]:
    """The agent says aloud what it decides, some ten thousand times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", BREAKER, ids=lambda one: one.name)
def test_a_breaker_probes_once_counts_once_and_always_finds_back(scenario: BreakerScenario) -> None:
    report = walk(scenario)
    print(report)
    assert report.violation is None, str(report)
    assert report.complete


@pytest.mark.skipif(not DEEP_S, reason="set STREAMS_MODEL_SECONDS, e.g. to 120")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("scenario", BREAKER_DEEP, ids=lambda one: one.name)
def test_also_with_faults_and_with_two_workers(scenario: BreakerScenario) -> None:
    report = walk(scenario, seconds=DEEP_S)
    print(report)
    assert report.violation is None, str(report)


@pytest.mark.parametrize(
    ("mutation", "scenario", "seen"),
    [
        (mutations.repeats_count, BreakerScenario("", kinds=frozenset({KILL_OWNER}), workers=ALONE), "exactly once"),
        (mutations.two_probes, BreakerScenario("", faults=0, workers=ALONE), "a second probe of one lease"),
        (mutations.a_probe_without_its_lease, BreakerScenario("", faults=0, workers=ALONE), "without a lease"),
        (mutations.any_success_closes, BreakerScenario("", faults=0), ""),
        (
            mutations.nobody_asks_again,
            BreakerScenario("", faults=0, workers=ALONE),
            "nothing leads to an end",
        ),
        (mutations.the_run_is_not_counted, BreakerScenario("", faults=0, workers=ALONE), "do not open it"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_breaker_that_is_broken_is_seen_to_be(
    mutation: Callable[[pytest.MonkeyPatch], None],
    scenario: BreakerScenario,
    seen: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutation(monkeypatch)
    report = walk(scenario, seconds=20)
    print(report)
    assert report.violation is not None, str(report)
    assert seen in report.violation.what
    assert report.violation.trace
