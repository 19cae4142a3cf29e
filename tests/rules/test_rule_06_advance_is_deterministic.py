"""Rule 6: the state machine knows nothing but its arguments; a repeat after a crash must come to the same end."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import streams.core.lifecycle

CORE = Path(streams.core.lifecycle.__file__).parent
CLOCKS_AND_CHANCE = frozenset({"time", "datetime", "random", "secrets", "uuid", "os", "socket", "threading"})


def imports_of(module: str) -> Iterator[str]:
    tree = ast.parse((CORE / f"{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"__import__", "hash", "id", "open", "input"}, f"{module} calls {node.func.id}"
        elif isinstance(node, ast.Global):
            raise AssertionError(f"{module} keeps something between two calls: {node.names}")


def test_rule_06_nothing_that_advance_reaches_reads_a_clock_or_settings_or_draws_lots() -> None:
    reached: set[str] = set()
    ahead = ["lifecycle"]
    while ahead:
        module = ahead.pop()
        if module in reached:
            continue
        reached.add(module)
        for name in imports_of(module):
            assert name.split(".")[0] not in CLOCKS_AND_CHANCE, f"{module} imports {name}"
            if name.startswith("streams."):
                assert name.startswith("streams.core."), f"{module} imports {name}"
                ahead.append(name.removeprefix("streams.core."))
    assert {"lifecycle", "attempts", "lifecycle_events", "message_state", "suppression"} <= reached
