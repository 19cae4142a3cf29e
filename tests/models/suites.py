"""Which worlds are walked through: a selection with every test run, all of them by ``python -m tests.models``."""

from __future__ import annotations

from streams.core.message import OnUncertain
from tests.models.breaker_scenario import FAILS, KILL, KILL_OWNER, NOT_USED, REPEAT, BreakerScenario
from tests.models.breaker_world import BreakerWorld
from tests.models.explorer import Report, explore
from tests.models.ledger_world import LedgerWorld
from tests.models.scenario import (
    AGAIN,
    CRASH,
    CUT,
    EVERY_FAULT,
    LATE_ROW,
    LOST,
    REBALANCE,
    REPORT_AGAIN,
    TIMEOUT,
    Scenario,
)

_STAYS = EVERY_FAULT - {CUT, REBALANCE, LATE_ROW}
"""Faults in which no worker outlives its ownership."""
_ANSWERS = frozenset({LOST, TIMEOUT, CRASH})
_BOUNCED = ("bounced", "delivered")
_RESEND = OnUncertain.RESEND

LEDGER = (
    Scenario("one fault of any kind but a change of owners", kinds=_STAYS),
    Scenario("the partition is given away in between", kinds=frozenset({REBALANCE})),
    Scenario("taken in ahead of its record, and killed", ahead=True, kinds=frozenset({CRASH})),
    Scenario("doubt, to be sent again", on_uncertain=_RESEND, kinds=frozenset({LOST})),
)
"""Walked through with every test run."""

LEDGER_DEEP = (
    Scenario("a final soft failure, answered by policy", reports=_BOUNCED, kinds=frozenset({CRASH})),
    Scenario("cut off from the group", kinds=frozenset({CUT})),
    Scenario("cut off, and its rows land late", faults=2, kinds=frozenset({CUT, LATE_ROW})),
    Scenario("given away, and its rows land late", faults=2, kinds=frozenset({REBALANCE, LATE_ROW})),
    Scenario("two faults of any kind but a change of owners", faults=2, kinds=_STAYS),
    Scenario("killed twice, answers lost", faults=3, kinds=_ANSWERS),
    Scenario("taken in ahead, any one fault", ahead=True, kinds=EVERY_FAULT - {CUT}),
    Scenario("a final soft failure, any one fault", reports=_BOUNCED, kinds=EVERY_FAULT - {CUT}),
    Scenario("a final soft failure while cut off", reports=_BOUNCED, kinds=frozenset({CUT})),
    Scenario("both tries fail softly", reports=("bounced",), kinds=_STAYS),
    Scenario("doubt, to be sent again, a provider that can be asked", on_uncertain=_RESEND, kinds=EVERY_FAULT - {CUT}),
    Scenario("doubt, to be sent again, nobody to ask", on_uncertain=_RESEND, can_find=False, kinds=_STAYS),
    Scenario("doubt, held, nobody to ask", can_find=False, kinds=_STAYS),
    Scenario("a person sends again what was held", can_find=False, faults=2, retries=1, kinds=_ANSWERS),
    Scenario("a person cancels, any one fault", cancels=1, kinds=_STAYS),
    Scenario("two messages, killed", messages=2, kinds=frozenset({CRASH})),
    Scenario("track lags", slow_track=True, kinds=frozenset({CRASH, LOST, REPORT_AGAIN, AGAIN})),
)
"""What takes minutes."""

_ALONE = ("w1",)
BREAKER = (BreakerScenario("one worker, no fault", faults=0, workers=_ALONE),)
BREAKER_DEEP = (
    BreakerScenario("one worker, its probe is not used", workers=_ALONE, kinds=frozenset({NOT_USED})),
    BreakerScenario("one worker, killed", workers=_ALONE, kinds=frozenset({KILL})),
    BreakerScenario("one worker, sums come again", workers=_ALONE, kinds=frozenset({REPEAT})),
    BreakerScenario("one worker, the agent's owner dies", workers=_ALONE, kinds=frozenset({KILL_OWNER})),
    BreakerScenario("one worker, the provider fails again", workers=_ALONE, kinds=frozenset({FAILS})),
    BreakerScenario("two workers, no fault", faults=0),
    BreakerScenario("two workers, a provider that stays down", faults=0, heals=False),
    BreakerScenario("two workers, any one fault"),
)


def walk(scenario: Scenario | BreakerScenario, *, seconds: float = 0.0, most: int = 1_000_000) -> Report:
    """Explore one world, to its end unless a limit is given."""
    if isinstance(scenario, Scenario):
        return explore(scenario.name, lambda: LedgerWorld(scenario), most=most, seconds=seconds)
    return explore(scenario.name, lambda: BreakerWorld(scenario), most=most, seconds=seconds)
