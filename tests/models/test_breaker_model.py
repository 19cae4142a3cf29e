"""No order of calls, reports, decisions and deaths gives a breaker two probes, a lost sum, or a door shut for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.models import mutations
from tests.models.breaker_scenario import KILL_OWNER, BreakerScenario
from tests.models.suites import BREAKER, BREAKER_DEEP
from tests.models.verdicts import deep, holds, holds_so_far, is_seen

pytestmark = pytest.mark.usefixtures("silence")
ALONE = ("w1",)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scenario", BREAKER, ids=lambda one: one.name)
def test_a_breaker_probes_once_counts_once_and_always_finds_back(scenario: BreakerScenario) -> None:
    holds(scenario)


@deep
@pytest.mark.timeout(0)
@pytest.mark.parametrize("scenario", BREAKER_DEEP, ids=lambda one: one.name)
def test_also_with_faults_and_with_two_workers(scenario: BreakerScenario) -> None:
    holds_so_far(scenario)


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
    is_seen(scenario, seen)
