"""What a test says of a walk through a world: everything held, or what is broken was seen."""

from __future__ import annotations

import os

import pytest

from tests.models.breaker_scenario import BreakerScenario
from tests.models.explorer import Report
from tests.models.scenario import Scenario
from tests.models.suites import walk

DEEP_S = float(os.environ.get("STREAMS_MODEL_SECONDS", "0"))
"""CPU seconds for each world of the deep search; 0 leaves it out."""
deep = pytest.mark.skipif(not DEEP_S, reason="set STREAMS_MODEL_SECONDS, e.g. to 120")
_MUTATION_S = 20.0


def holds(scenario: Scenario | BreakerScenario) -> Report:
    """In every state of the world."""
    report = _walked(scenario, 0.0)
    assert report.violation is None, str(report)
    assert report.complete, str(report)
    return report


def holds_so_far(scenario: Scenario | BreakerScenario) -> None:
    """In the states that the deep search has time for."""
    report = _walked(scenario, DEEP_S)
    assert report.violation is None, str(report)


def is_seen(scenario: Scenario | BreakerScenario, what: str) -> None:
    """That something is broken, and this is what it does."""
    report = _walked(scenario, _MUTATION_S)
    assert report.violation is not None, str(report)
    assert what in report.violation.what, str(report)
    assert report.violation.trace, str(report)


def _walked(scenario: Scenario | BreakerScenario, seconds: float) -> Report:
    report = walk(scenario, seconds=seconds)
    print(report)
    return report
