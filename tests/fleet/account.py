"""The oracle: what was asked, what the providers' ledger says, and what the events say, compared as sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streams.core.event import DeliveryEvent, EventType

TERMINAL = frozenset(
    {
        EventType.DELIVERED,
        EventType.BOUNCED,
        EventType.REJECTED,
        EventType.FAILED,
        EventType.SUPPRESSED,
        EventType.EXPIRED,
        EventType.CANCELLED,
    }
)
NEVER_SENT = TERMINAL - {EventType.DELIVERED, EventType.BOUNCED}
"""Ends that need no acceptance by a provider."""


@dataclass(frozen=True, slots=True)
class Account:
    """The comparison of ledger and events. ``twice`` maps a message to the attempts that providers accepted."""

    requested: int
    accepted: int
    lost: frozenset[str]
    twice: dict[str, tuple[str, ...]]
    unrecorded: frozenset[str]
    uncertain: frozenset[str]
    held: frozenset[str]
    repeated_events: int
    settled: dict[str, int]
    """How each uncertain attempt came to rest, by provider and way."""

    def table(self, title: str) -> str:
        """For a person."""
        rows = {
            "messages requested": self.requested,
            "accepted by providers": self.accepted,
            "lost (no acceptance or no end)": len(self.lost),
            "accepted twice": len(self.twice),
            "accepted, but not in the events": len(self.unrecorded),
            "uncertain on the way": len(self.uncertain),
            "left for a person": len(self.held),
            "events repeated with the same id": self.repeated_events,
        }
        rows |= {f"  uncertain, {how}": count for how, count in sorted(self.settled.items())}
        return "\n".join([title, *(f"  {name:<58}{count:>8}" for name, count in rows.items())])


def account_of(
    identities: Collection[str], ledger: Iterable[Mapping[str, Any]], events: Collection[DeliveryEvent]
) -> Account:
    """`ledger` are the sandbox's lines; `identities` the messages that were asked for."""
    wanted = set(identities)
    acceptances: dict[str, list[str]] = {}
    for line in ledger:
        if "plan" in line:
            identity = line["variables"].get("message_id", "")
            acceptances.setdefault(identity, []).append(f"{line['provider']}#{line['variables'].get('attempt')}")
    kinds: dict[str, set[EventType]] = {}
    for event in events:
        kinds.setdefault(event.message_id, set()).add(event.type)
    said_sent = {identity for identity, types in kinds.items() if EventType.SENT in types}
    ended = {identity for identity, types in kinds.items() if types & TERMINAL}
    unsent = {identity for identity, types in kinds.items() if types & NEVER_SENT}
    uncertain = {identity for identity, types in kinds.items() if EventType.UNCERTAIN in types}
    held = uncertain - said_sent - ended
    return Account(
        requested=len(wanted),
        accepted=sum(map(len, acceptances.values())),
        lost=frozenset(wanted - set(acceptances) - held - unsent) | frozenset(wanted - ended - held),
        twice={identity: tuple(sorted(by)) for identity, by in acceptances.items() if len(by) > 1},
        unrecorded=frozenset(set(acceptances) - said_sent),
        uncertain=frozenset(uncertain),
        held=frozenset(held),
        repeated_events=len(events) - len({event.event_id for event in events}),
        settled=_settled(events, acceptances, held),
    )


def together(accounts: Sequence[Account]) -> Account:
    """The accounts of fleets that have no message in common, as one."""
    return Account(
        requested=sum(one.requested for one in accounts),
        accepted=sum(one.accepted for one in accounts),
        lost=frozenset().union(*(one.lost for one in accounts)),
        twice={identity: by for one in accounts for identity, by in one.twice.items()},
        unrecorded=frozenset().union(*(one.unrecorded for one in accounts)),
        uncertain=frozenset().union(*(one.uncertain for one in accounts)),
        held=frozenset().union(*(one.held for one in accounts)),
        repeated_events=sum(one.repeated_events for one in accounts),
        settled=dict(sum((Counter(one.settled) for one in accounts), Counter[str]())),
    )


_PROOF = {"mailgun": "found by the events API", "ses": "found by the Send event"}


def _settled(
    events: Iterable[DeliveryEvent], acceptances: Mapping[str, list[str]], held: Collection[str]
) -> dict[str, int]:
    """An uncertain attempt that the ledger knows was found; one it does not know was sent again or is held."""
    attempts = {(e.message_id, e.provider, e.attempt) for e in events if e.type is EventType.UNCERTAIN}
    ways: Counter[str] = Counter()
    for identity, provider, attempt in attempts:
        if f"{provider}#{attempt}" in acceptances.get(identity, ()):
            ways[f"{provider}: accepted, {_PROOF.get(provider, 'found by its events')}, not sent again"] += 1
        elif identity in held:
            ways[f"{provider}: held for a person"] += 1
        else:
            ways[f"{provider}: never accepted, sent again as a new attempt"] += 1
    return dict(ways)
