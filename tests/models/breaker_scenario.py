"""What a breaker world is made of: how much may go wrong in it, and among whom."""

from __future__ import annotations

from dataclasses import dataclass

from streams.core.breaker import BreakerPolicy

NOW = 1_700_000_000_000
NAME = "mailgun"
KILL, KILL_OWNER, REPEAT, NOT_USED, FAILS = "kill", "kill owner", "repeat", "not used", "fails"
POLICY = BreakerPolicy(window_s=30, min_requests=1_000, consecutive=2, open_s=1, max_open_s=2, probe_lease_s=2)


@dataclass(frozen=True, slots=True)
class BreakerScenario:
    """How many faults there may be, of which kinds, among which workers, under which policy."""

    name: str
    faults: int = 1
    kinds: frozenset[str] = frozenset({KILL, KILL_OWNER, REPEAT, NOT_USED, FAILS})
    workers: tuple[str, ...] = ("w1", "w2")
    heals: bool = True
    """Else the provider stays down, and the end is a breaker that is not closed."""
    policy: BreakerPolicy = POLICY
