"""Ways out and fates: what each provider reports about a message of each fate. Pure.

A recipient's address names its fate (`bounce+17@…`): the sandbox obeys it at whichever provider the message lands.
Providers tell different things about the same fate: SMTP reports no deliveries, and what a reader does with its mail
comes by links of our own; DirectMail reports no deferrals.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from streams.core.event import EventType

E = EventType
Ends = tuple[EventType, ...]


class Route(StrEnum):
    """The ways out, by the routing rules of the demo's configuration."""

    BOTH = "mailgun or ses"
    SMTP = "smtp"
    DIRECTMAIL = "directmail"


_BOTH: Mapping[str, Ends] = {
    "success": (E.DELIVERED,),
    "ooto": (E.DELIVERED,),
    "open": (E.DELIVERED, E.OPENED),
    "click": (E.DELIVERED, E.OPENED, E.CLICKED),
    "defer": (E.DEFERRED, E.DELIVERED),
    "bounce": (E.BOUNCED,),
    "softbounce": (E.BOUNCED,),
    "blocked": (E.BOUNCED,),
    "delayedbounce": (E.DELIVERED, E.BOUNCED),
    "complaint": (E.DELIVERED, E.COMPLAINED),
    "unsubscribe": (E.DELIVERED, E.UNSUBSCRIBED),
    "reject": (E.REJECTED,),
}
_SMTP: Mapping[str, Ends] = {
    "success": (),
    "ooto": (),  # an automatic reply is no event
    "open": (E.OPENED,),
    "click": (E.OPENED, E.CLICKED),
    "defer": (E.DEFERRED,),
    "bounce": (E.BOUNCED,),
    "softbounce": (E.BOUNCED,),
    "blocked": (E.BOUNCED,),
    "delayedbounce": (E.BOUNCED,),
    "complaint": (E.COMPLAINED,),
    "unsubscribe": (E.UNSUBSCRIBED,),
}
_DIRECTMAIL: Mapping[str, Ends] = {
    "success": (E.DELIVERED,),
    "ooto": (E.DELIVERED,),
    "open": (E.DELIVERED, E.OPENED),
    "click": (E.DELIVERED, E.OPENED, E.CLICKED),
    "bounce": (E.BOUNCED,),
    "softbounce": (E.BOUNCED,),
    "blocked": (E.BOUNCED,),
    "delayedbounce": (E.DELIVERED, E.BOUNCED),
    "complaint": (E.DELIVERED, E.COMPLAINED),
    "reject": (E.BOUNCED,),  # refused as spam after it was taken
}
del E

ENDS: Final[Mapping[Route, Mapping[str, Ends]]] = {
    Route.BOTH: _BOTH,
    Route.SMTP: _SMTP,
    Route.DIRECTMAIL: _DIRECTMAIL,
}
"""What must be recorded about a message of each fate, after it was sent."""

UNUSABLE_AFTER: Final = (
    (Route.BOTH, "bounce"),
    (Route.SMTP, "unsubscribe"),
    (Route.DIRECTMAIL, "complaint"),
    (Route.BOTH, "complaint"),
    (Route.SMTP, "bounce"),
    (Route.DIRECTMAIL, "bounce"),
    (Route.BOTH, "unsubscribe"),
    (Route.SMTP, "complaint"),
)
"""What makes an address one that is not written to again."""

_SHARES: Final = {Route.BOTH: 60, Route.SMTP: 20, Route.DIRECTMAIL: 20}
_WEIGHTS: Final = {
    "success": 600, "open": 140, "click": 70, "defer": 50, "bounce": 40, "softbounce": 20, "blocked": 15, "ooto": 15,
    "complaint": 15, "unsubscribe": 15, "delayedbounce": 10, "reject": 10,
}  # fmt: skip


def drawn(chance: random.Random, route: Route) -> str:
    """A fate for a message that goes this way."""
    known = {fate: weight for fate, weight in _WEIGHTS.items() if fate in ENDS[route]}
    return chance.choices(list(known), list(known.values()))[0]


def mixture(count: int, chance: random.Random, unusable: int) -> list[tuple[Route, str]]:
    """Ways and fates of ``count`` messages: every pair of them if there is room, and enough unusable addresses."""
    certain = [UNUSABLE_AFTER[number % len(UNUSABLE_AFTER)] for number in range(unusable)]
    certain += [(route, fate) for route, fates in ENDS.items() for fate in fates]
    pairs = certain[:count]
    routes = chance.choices(list(_SHARES), list(_SHARES.values()), k=count - len(pairs))
    pairs += [(route, drawn(chance, route)) for route in routes]
    chance.shuffle(pairs)
    return pairs
