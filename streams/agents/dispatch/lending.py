"""Lends and borrows idle shares of rates with the other workers, over the topic ``quotas`` (rules: ``core.shares``).

A look every second: what did each lane with a rate spend, does anybody of ours wait for tokens, does anybody elsewhere?
Nothing is written while nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from streams.agents.dispatch.gate import Gate
from streams.agents.dispatch.lanes import Lanes
from streams.core.shares import LOAN_S, NOTHING, Lent, Offer, Use, borrowed, lend

EVERY_S = 1.0
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
_REMEMBERED = 1024
_AHEAD_MS = 1_500
"""A loan that ends before we look again is not used any more."""


class Lending:
    """One per process. ``publish`` is given the record to write; it goes out after our own buckets are smaller."""

    def __init__(self, worker: str, lanes: Lanes, clock: Callable[[], int], publish: Callable[[bytes], None]) -> None:
        self._worker = worker
        self._lanes = lanes
        self._clock = clock
        self._publish = publish
        self._offers: dict[str, Offer] = {}
        self._lent: Lent = NOTHING
        self._more: Mapping[str, float] = {}
        self._looked_ms = clock()
        self._spoke = False
        lanes.net = self._net

    def read(self, value: bytes | None) -> None:
        """A record of the topic; one that cannot be read lends nothing."""
        try:
            offer = msgspec.json.decode(value or b"", type=Offer)
        except _UNREADABLE:
            return
        if offer.worker == self._worker:
            return
        if len(self._offers) >= _REMEMBERED:
            self._offers.clear()
        self._offers[offer.worker] = offer

    def look(self, share: float, generation: int) -> None:
        """``share`` of the partitions is ours in this generation of the group."""
        now_ms = self._clock()
        uses = self._uses(now_ms)
        if not self._lent.binds(now_ms, generation):
            self._lent = NOTHING
        if self._lent is NOTHING:
            self._lend(share, uses, generation, now_ms)
        elif now_ms < self._lent.until_ms and self._still_idle(uses):
            self._prolong(now_ms)
        self._apply(generation, now_ms)
        wants = tuple(lane for lane, use in uses.items() if use.waits)
        loans = self._lent.loans if now_ms < self._lent.until_ms else {}
        if wants or loans or self._spoke:
            self._spoke = bool(wants or loans)
            until_ms = self._lent.until_ms if loans else now_ms
            self._publish(msgspec.json.encode(Offer(self._worker, generation, now_ms, until_ms, wants, loans)))

    def _lend(self, share: float, uses: Mapping[str, Use], generation: int, now_ms: int) -> None:
        loans = lend(share, uses, self._offers, self._worker, generation, now_ms)
        if loans:
            self._lent = Lent(now_ms + int(LOAN_S * 1000), generation, loans)

    def _still_idle(self, uses: Mapping[str, Use]) -> bool:
        wanted = {lane for offer in self._offers.values() for lane in offer.wants}
        return all(lane in wanted and not (lane in uses and uses[lane].waits) for lane in self._lent.loans)

    def _prolong(self, now_ms: int) -> None:
        """The same loans to the same borrowers for longer: nobody has to be smaller for that."""
        self._lent = Lent(now_ms + int(LOAN_S * 1000), self._lent.generation, self._lent.loans)

    def regroup(self, generation: int) -> None:
        """Ownership has changed: loans of an older generation are void at once."""
        self._apply(generation, self._clock())

    def _apply(self, generation: int, now_ms: int) -> None:
        if not self._lent.binds(now_ms, generation):
            self._lent = NOTHING
        self._more = borrowed(self._offers, self._worker, generation, now_ms + _AHEAD_MS)
        for gate in self._lanes.shares():
            gate.lend(self._net(gate.lane))

    def _net(self, lane: str) -> float:
        return self._more.get(lane, 0.0) - self._lent.of(lane)

    def _uses(self, now_ms: int) -> dict[str, Use]:
        passed_s = max(0.001, (now_ms - self._looked_ms) / 1000)
        self._looked_ms = now_ms
        uses: dict[str, Use] = {}
        for gate in self._lanes.shares():
            uses[gate.lane] = Use(gate.spent / passed_s / gate.rate, _waits(gate))
            gate.spent, gate.starved = 0, False
        return uses


def _waits(gate: Gate) -> bool:
    return gate.starved and next(gate.waiting(), None) is not None
