"""Lending idle shares of a rate between workers, so that one busy worker is not held to its part of an idle limit.

A lane's rate is shared by partition ownership. What a worker does not use it lends to workers that wait for tokens.
Rules:

1. Nobody takes: a worker lends of its own share and of nothing else, to a borrower that it names, until a time that it
   names. So the shares in use never add up to more than the limit, however late records are read.
2. A lender is smaller before the borrower can be larger: it reduces its own bucket first and publishes afterwards; it
   is whole again only ``MARGIN_S`` after the loan's end, which is how much the clocks of two hosts may differ.
3. A loan holds within one generation of the consumer group: with another ownership everybody begins anew.
4. Who waits for tokens lends nothing, and what is borrowed is not lent on.
5. A borrowed share brings no tokens with it: buckets only fill faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LOAN_S = 3.0
MARGIN_S = 1.0
_RESERVE = 0.1  # of its own share a lender keeps at least so much, for the first messages that come
_HEADROOM = 1.5  # and so many times what it uses


@dataclass(frozen=True, slots=True)
class Offer:
    """What one worker says, about every lane it speaks of; a record of the topic ``quotas``.

    ``wants`` are lanes that wait for tokens. ``loans``: lane to borrower to fraction of the fleet's rate.
    """

    worker: str
    generation: int
    at_ms: int
    until_ms: int
    wants: tuple[str, ...] = ()
    loans: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Use:
    """What a lane did since the last look: ``spent`` is the part of the fleet's rate that it used (0..1)."""

    spent: float
    waits: bool


@dataclass(frozen=True, slots=True)
class Lent:
    """The loans of one lender that still bind it."""

    until_ms: int = 0
    generation: int = -1
    loans: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def binds(self, now_ms: int, generation: int) -> bool:
        """Whether the lender is still smaller for it."""
        return generation == self.generation and now_ms < self.until_ms + int(MARGIN_S * 1000)

    def of(self, lane: str) -> float:
        """What is lent of a lane."""
        return sum(self.loans.get(lane, {}).values())


NOTHING = Lent()


def borrowed(offers: Mapping[str, Offer], me: str, generation: int, now_ms: int) -> dict[str, float]:
    """What others lend us now, by lane."""
    sums: dict[str, float] = {}
    for worker, offer in offers.items():
        if worker != me and offer.generation == generation and now_ms < offer.until_ms:
            for lane, loans in offer.loans.items():
                if me in loans:
                    sums[lane] = sums.get(lane, 0.0) + loans[me]
    return sums


def lend(
    own: float, uses: Mapping[str, Use], offers: Mapping[str, Offer], me: str, generation: int, now_ms: int
) -> dict[str, dict[str, float]]:
    """New loans: of each lane that others wait for, what we do not use, in equal parts. ``own`` is our share (0..1).

    A lane that is not in ``uses`` is one that we have had nothing for.
    """
    wanting: dict[str, list[str]] = {}
    for worker, offer in offers.items():
        fresh = offer.generation == generation and now_ms - offer.at_ms < LOAN_S * 1000
        if worker != me and fresh:
            for lane in offer.wants:
                wanting.setdefault(lane, []).append(worker)
    loans: dict[str, dict[str, float]] = {}
    for lane, workers in wanting.items():
        use = uses.get(lane)
        if use is not None and use.waits:
            continue
        kept = max(own * _RESERVE, _HEADROOM * (use.spent if use else 0.0))
        if kept < own:
            loans[lane] = dict.fromkeys(sorted(workers), (own - kept) / len(workers))
    return loans
