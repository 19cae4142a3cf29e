"""The fault bench's own bookkeeping: every row has its tests, figures bite, and what failed is in the summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.figures import Figures
from tests.faults.report import page, summary
from tests.faults.rows import HERE, ROWS, find


def test_every_row_has_its_module_and_every_module_its_row() -> None:
    assert {row.module.name for row in ROWS} == {path.name for path in HERE.glob("test_*.py")}
    with pytest.raises(KeyError, match="there are: kills"):
        find("kill")


def test_a_figure_beyond_its_limit_fails_and_is_kept_all_the_same(tmp_path: Path) -> None:
    figures = Figures("a title")
    figures.at_most("delay", 9.5, 10, "s")
    figures.note("for information", 3)
    with pytest.raises(AssertionError, match="lost: 2 , must be == 0, for example a, b"):
        figures.none("lost", {"b", "a"})
    figures.save(tmp_path / "one.json")
    test = json.loads((tmp_path / "one.json").read_text())
    assert [line["holds"] for line in test["figures"]] == [True, True, False]
    assert "DOES NOT HOLD" in figures.table()
    result = {
        "row": "kills",
        "fault": "f",
        "holds": False,
        "ended": "did not hold",
        "seconds": 1.0,
        "at": "2026-01-01 00:00:00",
    }
    told = {**result, "tests": [test]}
    assert "1 of 2" in summary([told])
    assert "0 of 1 rows hold" in summary([told])
    assert "| lost | 2 **does not hold** | exactly 0 |" in page([told], "abc")
