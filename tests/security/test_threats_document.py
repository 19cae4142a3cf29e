"""docs/threats.md names tests for each of its first two tables' lines, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/threats.md").read_text(encoding="utf-8").partition("## Not defended")[0]
_LINK = re.compile(r"\[`(\w+)`\]\(\.\./([\w/]+\.py)\)")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| they try |")]


@cache
def defined(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, kinds))


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:60] for row in ROWS])
def test_each_line_names_what_is_tried_what_stops_it_and_tests_that_exist(row: str) -> None:
    cells = row.strip("| ").split(" | ")
    assert len(cells) == 3 and all(cells), row
    named = _LINK.findall(cells[2])
    assert "<br>".join(f"[`{name}`](../{path})" for name, path in named) == cells[2]
    for name, path in named:
        assert name in defined(path), f"{path} has no {name}"


def test_every_test_that_is_named_anywhere_exists() -> None:
    found = _LINK.findall(TEXT)
    assert len(found) > len(ROWS)
    assert [(name, path) for name, path in found if name not in defined(path)] == []


def test_every_file_of_this_directory_is_named() -> None:
    """But for this one, and those about rights on Kafka."""
    files = {f"tests/security/{path.name}" for path in Path(__file__).parent.glob("test_*.py")}
    ours = {path for path in files if not Path(path).name.startswith("test_kafka_")} - {
        f"tests/security/{Path(__file__).name}"
    }
    assert ours <= {path for _, path in _LINK.findall(TEXT)}
