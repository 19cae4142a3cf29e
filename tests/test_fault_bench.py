"""The fault bench's own bookkeeping: every row has its tests, figures bite, and what failed is in the summary."""

from __future__ import annotations

import json
import math
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from streams.core.event import EventType
from streams.core.ids import partition_of
from tests.faults.beside import Beside
from tests.faults.figures import Figures
from tests.faults.observed import Flow
from tests.faults.report import page, summary
from tests.faults.rows import HERE, ROWS, Row, find
from tests.faults.running import Runner
from tests.fleet import ids_of, single


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


@dataclass(frozen=True, slots=True)
class Elsewhere(Row):
    """A row whose module lies in some folder."""

    folder: Path = Path()

    @property
    def module(self) -> Path:
        return self.folder / f"test_{self.name}.py"


def row(folder: Path, name: str, body: str, *, limit_s: int = 60, alone: bool = False) -> Row:
    made = Elsewhere(name, "a fault", limit_s, alone=alone, folder=folder)
    lines = ["import pytest, threading", "pytestmark = pytest.mark.faults", "def test_it():", f"    {body}"]
    made.module.write_text("\n".join(lines))
    return made


def test_rows_are_run_each_with_its_limit_and_what_held_is_not_run_again(tmp_path: Path) -> None:
    rows = [
        row(tmp_path, "by_itself", "assert 2 > 1", alone=True),
        row(tmp_path, "wrong", "assert 1 > 2"),
        row(tmp_path, "endless", "threading.Event().wait()", limit_s=3),
        row(tmp_path, "right", "assert 2 > 1"),
    ]
    runner = Runner(tmp_path / "kept", short=True, fresh=False, jobs=2)
    results = runner.run(rows)
    ends = ["held", "did not hold", "not within 3 s", "held"]
    assert [(result["row"], result["ended"]) for result in results] == [
        (row.name, end) for row, end in zip(rows, ends, strict=True)
    ]
    (tmp_path / "test_right.py").unlink()
    (again,) = runner.run(rows[3:])
    assert again == results[3]


def test_a_row_that_takes_too_long_puts_away_what_it_has_set_up(tmp_path: Path) -> None:
    done = tmp_path / "put_away"
    body = f"try: threading.Event().wait()\n    finally: open({str(done)!r}, 'w').close()"
    (result,) = Runner(tmp_path / "kept", short=True, fresh=True, jobs=1).run([row(tmp_path, "slow", body, limit_s=8)])
    assert result["ended"] == "not within 8 s"
    assert done.exists()


class Broken(Beside):
    """Fails: at once, or when it is let go, later than its block has patience for."""

    def __init__(self, *, stays: bool = False) -> None:
        super().__init__()
        self.patience_s = 0.0 if stays else 30.0
        self.go = threading.Event()
        if not stays:
            self.go.set()

    def run(self) -> None:
        self.go.wait()
        raise OSError("no such topic")


def test_what_fails_beside_a_test_fails_the_test() -> None:
    with pytest.raises(OSError, match="no such topic"), Broken():
        pass


def test_what_does_not_end_beside_a_test_fails_the_test() -> None:
    broken = Broken(stays=True)
    with pytest.raises(TimeoutError, match="Broken did not end within 0 s"), broken:
        assert not broken.ending
    broken.go.set()


def test_a_test_that_fails_by_itself_tells_its_own_failure() -> None:
    with pytest.raises(ValueError, match="by itself"), Broken():
        raise ValueError("by itself")


def test_flow_has_resumed_when_every_partition_sends_again() -> None:
    seen: Any = SimpleNamespace(events=[])
    homes: dict[int, str] = {}
    for n in range(40):
        (identity,) = ids_of(single(n))
        homes[partition_of(identity, 4)] = identity
    flow = Flow(SimpleNamespace(seen=seen))  # type: ignore[arg-type]
    begin_s = time.monotonic()
    seen.events += [SimpleNamespace(type=EventType.SENT, message_id=homes[partition]) for partition in range(3)]
    flow.look()
    assert flow.resumed_s(begin_s) == math.inf, "one partition waits"
    seen.events.append(SimpleNamespace(type=EventType.SENT, message_id=homes[3]))
    flow.look()
    assert 0 <= flow.resumed_s(begin_s) < 5
    assert flow.resumed_s(time.monotonic()) == math.inf, "what was sent before is no proof"
