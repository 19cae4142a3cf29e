"""Spreads, ratios and targets, and how they are shown."""

from __future__ import annotations

import json

import pytest

from streams.bench import report
from streams.bench.figures import Comparison, Reading, Spread, Target, percentile


def comparison(ours: list[float], theirs: list[float], target: Target) -> Comparison:
    return Comparison(
        "track",
        "receipts",
        "bare loop",
        "receipts/CPU-s",
        tuple(Reading(value, 10, 1.0, 2.0, {"broker": 0.2}) for value in ours),
        tuple(Reading(value, 10, 1.0, 2.0, {"broker": 0.8}) for value in theirs),
        target,
        "embedded",
    )


def test_a_ratio_is_taken_inside_its_round() -> None:
    assert comparison([10, 40], [5, 10], Target(1)).ratios == (2, 4)


@pytest.mark.parametrize(
    ("target", "ratio", "met"),
    [
        (Target(8), 8.0, True),
        (Target(8), 7.9, False),
        (Target(3, at_least=False), 3.0, True),
        (Target(3, at_least=False), 3.1, False),
    ],
    ids=["reached", "missed", "within", "above"],
)
def test_a_target_is_a_floor_or_a_ceiling(target: Target, ratio: float, met: bool) -> None:
    assert target.met(ratio) is met


def test_the_median_decides_and_the_spread_is_kept() -> None:
    each = comparison([8, 9, 2], [1, 1, 1], Target(8))
    assert each.met
    assert Spread.of(each.ratios) == Spread(2, 8, 9)


def test_a_percentile_is_a_value_that_was_seen() -> None:
    assert percentile(range(100), 0.99) == 99
    assert percentile([5.0], 0.5) == 5.0


def test_json_says_ratio_target_and_whether_others_were_at_rest() -> None:
    shown = json.loads(json.dumps(report.as_json([comparison([10], [5], Target(1))])))
    (row,) = shown["comparisons"]
    assert shown["met"] is True
    assert (row["ratio"]["median"], row["target"], row["others_at_rest"]) == (2, "≥ 1", False)


def test_the_table_marks_a_missed_target_and_a_busy_broker(capsys: pytest.CaptureFixture[str]) -> None:
    report.table([comparison([10], [5], Target(3))])
    shown = capsys.readouterr().out
    assert "missed" in shown
    assert "broker 80% (!)" in shown
