"""docs/rules.md names a test for every rule, and every test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"\[`(\w+)`\]\(\.\./([\w/]+\.py)\)")
ROWS = {int(number): _TEST.findall(shown) for number, _, shown in _ROW.findall((ROOT / "docs/rules.md").read_text())}


def defined(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_rule_is_there_once() -> None:
    assert list(ROWS) == list(range(1, 24))


@pytest.mark.parametrize("rule", ROWS)
def test_a_rule_is_shown_by_tests_that_exist_and_bear_its_number(rule: int) -> None:
    for name, path in ROWS[rule]:
        assert name in defined(ROOT / path), f"{path} has no {name}"
    assert any(f"rule_{rule:02}_" in name for name, _ in ROWS[rule])


def test_every_file_of_this_directory_is_named() -> None:
    files = {f"tests/rules/{path.name}" for path in Path(__file__).parent.glob("test_rule_*.py")}
    assert files <= {path for tests in ROWS.values() for _, path in tests}
