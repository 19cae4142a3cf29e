"""What every row may ask for: `figures` to speak through, `sized` for its numbers.

Every test here has the marker `faults`. What is short enough for every run asks for `apache_kafka` (and so is a `kafka`
test too) or is marked; what is only for the full size is marked `long`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.figures import Figures

FULL = os.environ.get("STREAMS_FAULTS") == "full"
_HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def sized() -> Callable[[int, int], int]:
    """`sized(full, short)`: the number of this run."""
    return lambda full, short: full if FULL else short


@pytest.fixture
def figures(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Figures]:
    """Printed at the end, also of a test that failed; kept where the fault bench collects them."""
    title = request.node.name.removeprefix("test_").replace("_", " ")
    kept = Figures(title)
    yield kept
    with capsys.disabled():
        print("\n" + kept.table())
    if folder := os.environ.get("STREAMS_FAULTS_RESULTS"):
        kept.save(Path(folder) / f"{request.node.name}.json")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker("faults")
            if FULL:
                item.add_marker(pytest.mark.timeout(0), append=False)  # the bench bounds the row as a whole
