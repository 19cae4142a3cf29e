"""Which requests the demo sends, and the end that each message must reach. Pure: the same seed gives the same plan.

Rules:

1. `messages` counts planned message ids: those of every wave, the follow-ups to addresses that became unusable, and
   requests that are refused. Repeated requests add none.
2. Transactional mail is sent at a pace twice: alone, and beside a campaign. All other waves go as fast as they can.
3. What is sent during the outage of a provider may take a way out that has another one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from streams.core.event import EventType
from streams.demo.fates import ENDS, UNUSABLE_AFTER, Ends, Route, drawn, mixture
from streams.demo.mail import PlannedRequest, address_for, language_of, newsletter, single, subject

LEAST: Final = 100
_CAMPAIGN: Final = 1000
_ALONE: Final = 300
_BESIDE: Final = 400
"""At the pace of the demo nearly as long as the campaign takes: its p99 speaks of all of it."""
_SMALL: Final = 50


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests in waves, in the order in which they are sent, and the end of every message.

    ``ends``: message id to the events that must be recorded about it besides `accepted` and `sent`. ``sent``: those
    that a provider must take. ``subjects``: what stands above those that a template made. ``requested``: requests that
    are sent, repeats included.
    """

    before: tuple[PlannedRequest, ...] = ()
    alone: tuple[PlannedRequest, ...] = ()
    beside: tuple[PlannedRequest, ...] = ()
    campaign: tuple[PlannedRequest, ...] = ()
    during: tuple[PlannedRequest, ...] = ()
    afterwards: tuple[PlannedRequest, ...] = ()
    follow_ups: tuple[PlannedRequest, ...] = ()
    ends: dict[str, Ends] = field(default_factory=dict)
    sent: frozenset[str] = frozenset()
    subjects: dict[str, str] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        """How many messages there must be."""
        return len(self.ends)

    @property
    def requested(self) -> int:
        """How many requests are sent."""
        return sum(1 for _ in self.requests())

    def requests(self) -> Iterator[PlannedRequest]:
        """All of them."""
        for wave in (
            self.before, self.alone, self.beside, self.campaign, self.during, self.afterwards, self.follow_ups
        ):  # fmt: skip
            yield from wave

    def address_of(self, identity: str) -> str:
        """Whom a message goes to; empty for an unknown id."""
        for request in self.requests():
            for recipient, own in zip(request.body["recipients"], request.message_ids, strict=True):
                if own == identity:
                    return str(recipient["email"])
        return ""


@dataclass(frozen=True, slots=True)
class _Recipient:
    route: Route
    fate: str
    address: str


def make_plan(messages: int, seed: int, run: str) -> Plan:
    """A plan for exactly ``messages`` messages (at least `LEAST`). ``run`` keeps the keys of two runs apart."""
    chance = random.Random(seed)
    campaign = min(_CAMPAIGN, messages * 2 // 5)
    paced, more = min(_ALONE, messages * 3 // 25), min(_BESIDE, messages * 4 // 25)
    refused, again = max(1, messages // 500), max(len(UNUSABLE_AFTER), messages // 100)
    count = messages - campaign - refused - again
    people = [
        _Recipient(route, fate, address_for(route, fate, f"{run}-{number}"))
        for number, (route, fate) in enumerate(mixture(count, chance, unusable=again))
    ]
    readers = [
        _Recipient(Route.BOTH, fate, address_for(Route.BOTH, fate, f"{run}-c{number}"))
        for number, fate in enumerate(drawn(chance, Route.BOTH) for _ in range(campaign))
    ]
    alone, beside, rest = people[:paced], people[paced : paced + more], people[paced + more :]
    during, rest = _taken(rest, len(rest) // 5)
    half = len(rest) // 2
    before = _mixed(f"{run}-b", rest[:half], chance)
    wrong = [single(f"{run}-refused-{number}", f"no-address-{number}", "refused") for number in range(refused)]
    first = [*before, *wrong]
    chance.shuffle(first)
    waves = {
        "before": (*first, *first[: max(1, len(first) // 50)]),  # some are asked twice: nothing more may happen
        "alone": _singles(f"{run}-p", alone),
        "beside": _singles(f"{run}-q", beside),
        "campaign": (newsletter(f"{run}-campaign", [reader.address for reader in readers]),),
        "during": _mixed(f"{run}-d", during, chance),
        "afterwards": _mixed(f"{run}-a", rest[half:], chance),
    }
    later = _follow_ups(f"{run}-again", people, again)
    fate_of = {person.address: person for person in (*people, *readers)}
    ends, subjects = _ends(waves.values(), fate_of)
    sent = frozenset(ends)
    ends |= {request.message_ids[0]: (EventType.REJECTED,) for request in wrong}
    ends |= {request.message_ids[0]: (EventType.SUPPRESSED,) for request in later}
    return Plan(**waves, follow_ups=later, ends=ends, sent=sent, subjects=subjects)


def _taken(people: Sequence[_Recipient], count: int) -> tuple[list[_Recipient], list[_Recipient]]:
    """So many of those that have two ways out, and the others."""
    chosen = [person for person in people if person.route is Route.BOTH][:count]
    kept = {person.address for person in chosen}
    return chosen, [person for person in people if person.address not in kept]


def _singles(key: str, people: Sequence[_Recipient]) -> tuple[PlannedRequest, ...]:
    return tuple(
        single(f"{key}{number}", person.address, person.fate, person.route) for number, person in enumerate(people)
    )


def _mixed(key: str, people: Sequence[_Recipient], chance: random.Random) -> tuple[PlannedRequest, ...]:
    """Single requests, and now and then a small newsletter to those with two ways out."""
    most = max(2, min(_SMALL, len(people) // 20))
    both = [person for person in people if person.route is Route.BOTH]
    requests = list(_singles(f"{key}s", [person for person in people if person.route is not Route.BOTH]))
    while both:
        many = len(both) > most and chance.random() < 0.05
        chosen, both = both[: most if many else 1], both[most if many else 1 :]
        name = f"{key}{len(requests)}"
        if many:
            requests.append(newsletter(name, [person.address for person in chosen]))
        else:
            requests.append(single(name, chosen[0].address, chosen[0].fate))
    chance.shuffle(requests)
    return tuple(requests)


def _follow_ups(key: str, people: Iterable[_Recipient], count: int) -> tuple[PlannedRequest, ...]:
    """Bulk mail to addresses that nobody may write to any more, one of each kind in turn."""
    kinds: dict[tuple[Route, str], list[_Recipient]] = {kind: [] for kind in UNUSABLE_AFTER}
    for person in people:
        kinds.get((person.route, person.fate), []).append(person)
    unusable: list[_Recipient] = []
    while len(unusable) < count:
        unusable += [people.pop() for people in kinds.values() if people]
    return tuple(
        single(f"{key}-{number}", person.address, "again", person.route, "bulk")
        for number, person in enumerate(unusable[:count])
    )


def _ends(
    waves: Iterable[Sequence[PlannedRequest]], people: dict[str, _Recipient]
) -> tuple[dict[str, Ends], dict[str, str]]:
    ends: dict[str, Ends] = {}
    subjects: dict[str, str] = {}
    for request in (request for wave in waves for request in wave):
        for number, (recipient, identity) in enumerate(
            zip(request.body["recipients"], request.message_ids, strict=True)
        ):
            person = people.get(recipient["email"])
            if person is None:  # a refused one
                continue
            ends[identity] = ENDS[person.route][person.fate]
            if "template_id" in request.body:
                subjects[identity] = subject(language_of(number), number)
    return ends, subjects
