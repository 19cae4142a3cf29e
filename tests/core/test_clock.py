"""The fleet's time: the broker's, carried on by what passes here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import STEP_MS, FleetClock

TRUE_MS = 1_790_000_000_000


class World:
    """A machine whose wall clock is wrong, and a broker whose clock is right."""

    def __init__(self, wall_off_ms: int = 0) -> None:
        self.passed_s = 5_000.0
        self.wall_off_ms = wall_off_ms
        self.clock = FleetClock(lambda: self.true_ms + self.wall_off_ms, lambda: self.passed_s)

    @property
    def true_ms(self) -> int:
        return TRUE_MS + round((self.passed_s - 5_000.0) * 1000)

    def hear(self, took_s: float = 0.01, off_ms: int = 0) -> float:
        asked_s = self.passed_s
        self.passed_s += took_s / 2
        told_ms = self.true_ms + off_ms
        self.passed_s += took_s / 2
        return self.clock.heard(told_ms, asked_s, self.passed_s)


def test_before_the_broker_is_heard_the_wall_clock_is_all_there_is() -> None:
    world = World(wall_off_ms=7_000)
    assert world.clock.now_ms() == TRUE_MS + 7_000
    assert not world.clock.is_known


@pytest.mark.parametrize("off_ms", [600_000, -600_000])
def test_the_brokers_clock_goes_over_a_wall_clock_that_is_wrong(off_ms: int) -> None:
    world = World(off_ms)
    world.hear()
    assert abs(world.clock.now_ms() - world.true_ms) <= 10
    assert world.clock.wall_ahead_s == pytest.approx(off_ms / 1000, abs=0.02)


def test_a_wall_clock_that_jumps_back_moves_nothing() -> None:
    world = World()
    world.hear()
    world.passed_s += 3
    before = world.clock.now_ms()
    world.wall_off_ms = -3_600_000
    assert world.clock.now_ms() == before


def test_small_differences_move_nothing_and_large_ones_step() -> None:
    world = World()
    world.hear()
    assert world.hear(off_ms=STEP_MS - 20) == 0
    assert world.hear(off_ms=5_000) == pytest.approx(5_000, abs=20)
    assert world.hear(off_ms=5_000) == 0
    assert world.hear(off_ms=-5_000) == pytest.approx(-10_000, abs=20)


def test_a_slow_answer_moves_nothing_that_its_slowness_explains() -> None:
    world = World()
    world.hear()
    assert world.clock.heard(world.true_ms - 1_900, world.passed_s - 4.0, world.passed_s) == 0.0


@given(
    wall=st.integers(-(10**9), 10**9),
    answers=st.lists(st.tuples(st.floats(0, 900), st.floats(0, 5)), min_size=1, max_size=20),
)
def test_after_any_answers_the_time_is_right_within_what_they_could_tell(
    wall: int, answers: list[tuple[float, float]]
) -> None:
    world = World(wall)
    for pause_s, took_s in answers:
        world.passed_s += pause_s
        world.hear(took_s)
        most = max(took for _, took in answers)
        assert abs(world.clock.now_ms() - world.true_ms) <= 2 * (STEP_MS + 500 * most) + 2
