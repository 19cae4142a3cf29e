"""What the ingress stores of a visit on ``webhooks.tracking``, and how it becomes a sighting.

Rules:

1. A fact is JSON with the token as it came: whoever can write the topic but has no key can tell nothing.
2. One visitor's fetches of the same thing within half a minute are one sighting; an unsubscription is one for ever.
3. After ``counted_ms`` opens and clicks are no longer told: the message is forgotten by then. Unsubscriptions are.
4. An unsubscription makes the address unusable for the list that the token names, or for the tenant's bulk mail.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from streams.core.event import Automated, Reason, ReasonKind
from streams.core.receipt import ReceiptKind
from streams.core.suppression import LIST_CODE
from streams.providers.base import Reading, Sighting, Unreadable
from streams.tracking.automation import Networks, Visit, label_click, label_open
from streams.tracking.tokens import Keyring, Origin, Purpose, open_click, open_origin

TYPE = "tracking"
"""The name under which normalise knows us; no provider may have it."""

_REPEAT_MS = 30_000
_MAX_AGENT = 512
_KINDS = {purpose.value: purpose for purpose in Purpose}


@dataclass(frozen=True, slots=True)
class Fact:
    """Somebody fetched something of ours at ``at_ms``; ``one_click`` if a mail provider's button asked for it."""

    purpose: Purpose
    token: str
    at_ms: int
    ip: str = ""
    user_agent: str = ""
    head: bool = False
    prefetch: bool = False
    links: int = 1
    one_click: bool = False

    def encoded(self) -> bytes:
        """The record's value."""
        fields: dict[str, Any] = {"kind": self.purpose.value, "token": self.token, "at": self.at_ms}
        if self.ip:
            fields["ip"] = self.ip
        if self.user_agent:
            fields["ua"] = self.user_agent[:_MAX_AGENT]
        fields |= {name: True for name in ("head", "prefetch", "one_click") if getattr(self, name)}
        if self.links > 1:
            fields["links"] = self.links
        return json.dumps(fields, separators=(",", ":")).encode("ascii")


def decode_fact(payload: bytes) -> Fact | str:
    """The fact in a record's value, or why there is none."""
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        return f"no JSON: {exc}"
    if not isinstance(told, dict):
        return "no JSON object"
    purpose = _KINDS.get(str(told.get("kind")))
    token, at_ms = told.get("token"), told.get("at")
    links = told.get("links", 1)
    if purpose is None or not isinstance(token, str) or type(at_ms) is not int or type(links) is not int:
        return "kind, token or at is missing or of the wrong type"
    ip, agent = (value if isinstance(value := told.get(name), str) else "" for name in ("ip", "ua"))
    flags = {name: told.get(name) is True for name in ("head", "prefetch", "one_click")}
    return Fact(purpose, token, at_ms, ip, agent, links=links, **flags)


@dataclass(frozen=True, slots=True)
class TrackingReader:
    """Reads facts for normalise. ``ring`` must hold the keys of the ingress."""

    ring: Keyring
    networks: Networks
    counted_ms: int
    name: str = TYPE
    type: str = TYPE

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        """One sighting, or none if the visit came too late to count."""
        fact = decode_fact(payload)
        if isinstance(fact, str):
            return Unreadable(fact)
        if fact.purpose is Purpose.CLICK:
            opened = open_click(self.ring, fact.token)
            origin, url = opened or (None, "")
        else:
            origin, url = open_origin(self.ring, fact.purpose, fact.token), ""
        if origin is None:
            return Unreadable("the token was sealed with none of our keys")
        if fact.purpose is Purpose.UNSUBSCRIBE:
            return Reading((_unsubscribed(fact, origin),))
        if fact.at_ms - origin.made_ms > self.counted_ms:
            return Reading()
        return Reading((self._visited(fact, origin, url),))

    def _visited(self, fact: Fact, origin: Origin, url: str) -> Sighting:
        age_ms = max(0, fact.at_ms - origin.made_ms)
        visit = Visit(fact.ip, fact.user_agent, fact.head, fact.prefetch, age_ms, fact.links)
        click = fact.purpose is Purpose.CLICK
        automated = label_click(visit, self.networks) if click else label_open(visit, self.networks)
        kind = ReceiptKind.CLICKED if click else ReceiptKind.OPENED
        return _sighting(fact, origin, kind, _visit_id(fact, url), automated, url=url)


def _unsubscribed(fact: Fact, origin: Origin) -> Sighting:
    code = f"{LIST_CODE}{origin.list_id}" if origin.list_id else ""
    how = "by the mail provider's one-click button" if fact.one_click else "on our page"
    reason = Reason(ReasonKind.UNSUBSCRIBE, code=code, detail=f"unsubscribed {how}")
    identity = f"u/{_digest(origin.message_id, origin.list_id)}"
    return _sighting(fact, origin, ReceiptKind.UNSUBSCRIBED, identity, Automated.NONE, reason=reason, suppress=True)


def _sighting(
    fact: Fact, origin: Origin, kind: ReceiptKind, identity: str, automated: Automated, **more: Any
) -> Sighting:
    return Sighting(
        kind,
        identity,
        fact.at_ms,
        origin.message_id,
        origin.attempt,
        ip=fact.ip,
        user_agent=fact.user_agent,
        automated=automated,
        provider=origin.provider,
        **more,
    )


def _visit_id(fact: Fact, url: str) -> str:
    moment = str(fact.at_ms // _REPEAT_MS)
    return f"{fact.purpose}/{_digest(fact.token, url, fact.ip, fact.user_agent, str(fact.head), moment)}"


def _digest(*parts: str) -> str:
    return blake2b("\x1f".join(parts).encode("utf-8", "replace"), digest_size=12).hexdigest()
