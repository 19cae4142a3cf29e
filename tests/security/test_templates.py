"""A template may not take the worker's memory or time, nor reach anything but its data."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.security.template_attacks import ATTACKS, ESCAPES

_MOST_MB = 200
_MOST_S = 4.0  # of processor time, on a busy machine; the limit itself is half a second


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, Any]]:
    """Every attack, rendered in a process of its own that may not grow."""
    command = [sys.executable, "-m", "tests.security.template_attacks"]
    done = subprocess.run(command, capture_output=True, timeout=55, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"died after {lines[-1] if lines else 'nothing'}: {done.stderr[-2000:].decode()}"
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_template_is_refused_before_it_costs_anything(told: dict[str, dict[str, Any]], name: str) -> None:
    line = told[name]
    assert not line["said"].startswith("rendered"), line
    assert "MemoryError" not in line["said"]
    assert line["seconds"] < _MOST_S, line
    assert line["peak_mb"] < _MOST_MB, line


@pytest.mark.parametrize("name", ESCAPES)
def test_what_a_refusal_says_reveals_nothing(told: dict[str, dict[str, Any]], name: str) -> None:
    assert " at 0x" not in told[name]["said"]
    assert "root:" not in told[name]["said"]
