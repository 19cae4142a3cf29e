"""Which requests the demo sends, and the end that each message must reach. Pure: the same seed gives the same plan.

Rules:

1. A recipient's address names its fate (`bounce+17@…`): the sandbox obeys it at whichever provider the message lands.
2. `messages` counts planned message ids: those of the first wave, the follow-ups to addresses that became unusable, and
   requests that are refused. Repeated requests add none.
3. Some requests carry many recipients and a template, the others a single one with its content.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from streams.core.event import EventType
from streams.core.ids import message_id, recipient_key

TENANT = "demo"
TEMPLATE_ID = "demo/newsletter"
TEMPLATE: dict[str, Any] = {
    "template_id": TEMPLATE_ID,
    "version": "1",
    "subject": "{{ month }} news for {{ first_name }}",
    "text": "Hello {{ first_name }},\n\nyour code is {{ code }}. See https://shop.example.com/{{ month }}\n",
    "html": "<p>Hello {{ first_name }},</p><p>your code is <b>{{ code }}</b>.</p>"
    '<p><a href="https://shop.example.com/{{ month }}">All offers</a></p>',
    "description": "Sent by the demo to many recipients at once.",
}
_SENDER = {"email": "news@mg.example.com", "name": "Example Shop"}
_MOST_RECIPIENTS = 50

E = EventType
ENDS: dict[str, tuple[EventType, ...]] = {
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
"""What the provider reports about a message of each fate, after it took it."""

_WEIGHTS = {
    "success": 600, "open": 140, "click": 70, "defer": 50, "bounce": 40, "softbounce": 20, "blocked": 15, "ooto": 15,
    "complaint": 15, "unsubscribe": 15, "delayedbounce": 10, "reject": 10,
}  # fmt: skip
_UNUSABLE_AFTER = ("bounce", "complaint", "unsubscribe")
del E


@dataclass(frozen=True, slots=True)
class PlannedRequest:
    """A request as plain JSON, and the ids of the messages it makes."""

    body: dict[str, Any]
    message_ids: tuple[str, ...]

    @property
    def bulk(self) -> bool:
        """Which door it takes."""
        return bool(self.body["stream"] == "bulk")

    @property
    def routing_key(self) -> str:
        """The Kafka key: the first recipient."""
        return str(self.body["recipients"][0]["email"])


@dataclass(frozen=True, slots=True)
class Plan:
    """Requests in three waves around the outage, follow-ups for the end, and the end of every message.

    ``ends``: message id to the events that must be recorded about it besides `accepted` and `sent`. ``sent``: those
    that a provider must take. ``after``: follow-up message id to the message that must have ended before it is asked.
    """

    before: tuple[PlannedRequest, ...]
    during: tuple[PlannedRequest, ...]
    afterwards: tuple[PlannedRequest, ...]
    follow_ups: tuple[PlannedRequest, ...]
    ends: dict[str, tuple[EventType, ...]]
    sent: frozenset[str]
    requested: int
    """Requests that are sent, repeats included."""

    @property
    def messages(self) -> int:
        """How many messages there must be."""
        return len(self.ends)

    def address_of(self, identity: str) -> str:
        """Whom a message goes to; empty for an unknown id."""
        for request in (*self.before, *self.during, *self.afterwards, *self.follow_ups):
            for recipient, own in zip(request.body["recipients"], request.message_ids, strict=True):
                if own == identity:
                    return str(recipient["email"])
        return ""


def make_plan(messages: int, seed: int, run: str) -> Plan:
    """A plan for exactly ``messages`` messages (at least 40). ``run`` keeps the keys of two runs apart."""
    chance = random.Random(seed)
    refused = max(1, messages // 500)
    follow_ups = max(len(_UNUSABLE_AFTER), messages // 100)
    first_wave = messages - refused - follow_ups
    fates = _fates(first_wave, chance, need=follow_ups)
    requests, unusable, ends = _first_wave(fates, chance, run, most=max(2, min(_MOST_RECIPIENTS, messages // 20)))
    sent = frozenset(ends)
    for number in range(refused):
        bad = _single(f"{run}-refused-{number}", f"no-address-{number}", "refused")
        requests.append(bad)
        ends[bad.message_ids[0]] = (EventType.REJECTED,)
    chance.shuffle(requests)
    later = tuple(
        _single(f"{run}-again-{n}", address, "again", "bulk") for n, address in enumerate(unusable[:follow_ups])
    )
    ends |= {request.message_ids[0]: (EventType.SUPPRESSED,) for request in later}
    before, during, afterwards = _waves(requests)
    before = (*before, *before[: max(1, len(requests) // 100)])  # asked twice: nothing more may happen
    return Plan(
        before=before,
        during=during,
        afterwards=afterwards,
        follow_ups=later,
        ends=ends,
        sent=sent,
        requested=len(before) + len(during) + len(afterwards) + len(later),
    )


def _fates(count: int, chance: random.Random, need: int) -> list[str]:
    """A fate per message: every one of them if there is room, and enough unusable addresses for the follow-ups."""
    certain = [*(_UNUSABLE_AFTER[n % len(_UNUSABLE_AFTER)] for n in range(need)), *_WEIGHTS][:count]
    drawn = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=count - len(certain))
    fates = certain + drawn
    chance.shuffle(fates)
    return fates


def _first_wave(
    fates: list[str], chance: random.Random, run: str, most: int
) -> tuple[list[PlannedRequest], list[str], dict[str, tuple[EventType, ...]]]:
    requests: list[PlannedRequest] = []
    unusable: list[str] = []
    ends: dict[str, tuple[EventType, ...]] = {}
    addresses = [f"{fate}+{run}-{number}@mail.example.net" for number, fate in enumerate(fates)]
    fate_of = dict(zip(addresses, fates, strict=True))
    rest = addresses
    while rest:
        many = len(rest) > 1 and chance.random() < 0.05
        size = min(len(rest), most if many else 1)
        chosen, rest = rest[:size], rest[size:]
        key = f"{run}-{len(requests)}"
        request = _campaign(key, chosen) if many else _single(key, chosen[0], fate_of[chosen[0]])
        requests.append(request)
        for address, identity in zip(chosen, request.message_ids, strict=True):
            ends[identity] = ENDS[fate_of[address]]
            if fate_of[address] in _UNUSABLE_AFTER:
                unusable.append(address)
    return requests, unusable, ends


def _waves(
    requests: list[PlannedRequest],
) -> tuple[tuple[PlannedRequest, ...], tuple[PlannedRequest, ...], tuple[PlannedRequest, ...]]:
    """Two fifths before the outage, one fifth into it, two fifths after it."""
    first, second = len(requests) * 2 // 5, len(requests) * 3 // 5
    return tuple(requests[:first]), tuple(requests[first:second]), tuple(requests[second:])


def _single(key: str, address: str, label: str, stream: str = "transactional") -> PlannedRequest:
    body = {
        "idempotency_key": key,
        "tenant": TENANT,
        "stream": stream,
        "from": _SENDER,
        "recipients": [{"email": address, "name": "", "data": {}}],
        "subject": f"Your order {key}",
        "text": f"Thank you for order {key}. Track it at https://shop.example.com/orders/{key}\n",
        "html": f'<p>Thank you for order {key}. <a href="https://shop.example.com/orders/{key}">Track it</a></p>',
        "tags": ["demo", label],
        "metadata": {"order": key},
        "on_uncertain": "resend",  # a 503 proves nothing: ask the provider, then send again
    }
    return PlannedRequest(body, (_identity(key, address),))


def _campaign(key: str, addresses: list[str]) -> PlannedRequest:
    people = [
        {"email": address, "name": f"Reader {n}", "data": {"first_name": f"Reader {n}", "code": f"C{n:04d}"}}
        for n, address in enumerate(addresses)
    ]
    body = {
        "idempotency_key": key,
        "tenant": TENANT,
        "stream": "bulk",
        "from": _SENDER,
        "recipients": people,
        "template_id": TEMPLATE_ID,
        "data": {"month": "October"},
        "tags": ["demo", "newsletter"],
        "metadata": {},
        "on_uncertain": "resend",
    }
    return PlannedRequest(body, tuple(_identity(key, address) for address in addresses))


def _identity(key: str, address: str) -> str:
    return message_id(TENANT, key, recipient_key(TENANT, address))
