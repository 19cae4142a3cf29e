"""What is logged again and again is told once in a while, with its number."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from streams.cli.logs import Repeats


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


class Lines(logging.Handler):
    """What passes the filter."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(clock: Clock) -> Lines:
    handler = Lines()
    handler.addFilter(Repeats(clock))
    return handler


@pytest.fixture
def log(lines: Lines) -> Callable[..., None]:
    logger = logging.Logger("aiokafka")
    logger.addHandler(lines)
    return logger.log


def test_the_same_warning_is_told_once_in_ten_seconds_and_then_with_its_number(
    log: Callable[..., None], lines: Lines, clock: Clock
) -> None:
    for _ in range(300):
        log(logging.ERROR, "no connection to node %d", 3)
    clock.now_s += 10
    log(logging.ERROR, "no connection to node %d", 3)
    log(logging.ERROR, "no connection to node %d", 3)
    clock.now_s += 10
    log(logging.ERROR, "no connection to node %d", 3)
    assert lines.told == [
        "no connection to node 3",
        "no connection to node 3 (299 more of this meanwhile)",
        "no connection to node 3 (1 more of this meanwhile)",
    ]


def test_other_warnings_pass_meanwhile(log: Callable[..., None], lines: Lines) -> None:
    for node in (1, 2, 1, 2, 3):
        log(logging.WARNING, "no connection to node %d", node)
    assert lines.told == [f"no connection to node {node}" for node in (1, 2, 3)]


def test_what_is_no_warning_and_what_has_a_traceback_is_always_told(log: Callable[..., None], lines: Lines) -> None:
    for _ in range(2):
        log(logging.INFO, "stopped")
        log(logging.ERROR, "a crash", exc_info=ValueError("boom"))
    assert lines.told == ["stopped", "a crash"] * 2


def test_a_flood_of_different_warnings_takes_no_more_memory_than_a_thousand(
    log: Callable[..., None], lines: Lines, clock: Clock
) -> None:
    for number in range(1_001):
        log(logging.WARNING, "number %d", number)
    log(logging.WARNING, "number %d", 1_000)
    log(logging.WARNING, "number %d", 0)  # forgotten: told again
    assert lines.told[1_001:] == ["number 0"]
