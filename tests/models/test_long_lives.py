"""Lives that are too long and too crowded to be tried in every order: Hypothesis chooses, and shrinks what it finds.

The world is the one that the model walks through, with several messages and many faults. After some dozen moves of
any kind only fair ones are made, in an order drawn by lot, and everything has to come to its end.
"""

from __future__ import annotations

import os
import random
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.core.message import OnUncertain
from tests.models.ledger_world import LedgerWorld
from tests.models.scenario import Scenario

LIVES = int(os.environ.get("STREAMS_MODEL_LIVES", "40"))
_PATIENCE = 600


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    return Scenario(
        "a long life",
        faults=draw(st.integers(2, 5)),
        messages=draw(st.integers(1, 3)),
        ahead=draw(st.booleans()),
        can_find=draw(st.booleans()),
        on_uncertain=draw(st.sampled_from(OnUncertain)),
        reports=draw(st.sampled_from([("delivered",), ("bounced", "delivered"), ("bounced",)])),
        slow_track=draw(st.booleans()),
        cancels=draw(st.integers(0, 1)),
        retries=draw(st.integers(0, 1)),
    )


@pytest.mark.usefixtures("silence")
@pytest.mark.timeout(600)
@settings(max_examples=LIVES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    scenario=scenarios(), choices=st.lists(st.integers(0, 1_000), min_size=20, max_size=80), seed=st.integers(0, 2**16)
)
def test_whatever_happens_every_message_comes_to_its_end(scenario: Scenario, choices: list[int], seed: int) -> None:
    with closing(LedgerWorld(scenario)) as world:
        told: list[str] = []
        for choice in choices:
            moves = list(world.moves())
            if not moves:
                break
            move = moves[choice % len(moves)]
            told.append(move.label)
            move.act()
            assert not world.wrong, trace(world, told)
        chance = random.Random(seed)
        for _ in range(_PATIENCE):
            fair = [move for move in world.moves() if move.fair]
            if world.ended() or not fair:
                break
            move = chance.choice(fair)
            told.append(move.label)
            move.act()
            assert not world.wrong, trace(world, told)
        assert world.ended(), trace(world, told)


def trace(world: LedgerWorld, told: list[str]) -> str:
    return "\n".join([*world.wrong, *told])
