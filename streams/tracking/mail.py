"""What our tracking does to a content before it is handed over: once per content, and a few tokens per recipient.

Rules:

1. A request decides, then its tenant, then the settings. Where ours is on, the provider is told to keep its own off; a
   provider that is not among ``providers`` does its own.
2. A whole ``mime`` message is sent as it is. Text is left alone unless ``text`` says otherwise.
3. ``list_id`` asks for one-click unsubscription (RFC 8058): exactly one List-Unsubscribe with one https URI, unless the
   sender gave a List-Unsubscribe of their own. Templates may use ``unsubscribe_url``; their own data of that name wins.
4. What is personal are slots: batches stay batches.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from streams.core.message import Content, Message
from streams.providers.base import Batch, Pattern, Slot, fill
from streams.tracking.rewrite import UNSUBSCRIBE_URL, Links, PersonalLink, pixel_of, rewrite_html, rewrite_text
from streams.tracking.tokens import Keyring, Purpose, binder_of, packed, seal_link, seal_packed

OPEN, CLICK, UNSUBSCRIBE = "k_o", "k_c", "k_u"
"""Slots: a recipient's tokens."""
ONE_CLICK = ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")

_MAX_PLANS = 256
_MAX_CHARS = 50_000_000  # of all plans together
_in_brackets = re.compile(r"<([^<>\s]{1,2048})>")


@dataclass(frozen=True, slots=True)
class TrackingConfig:
    """``base_url`` is where recipients reach the ingress, without a slash at its end. Empty ``providers`` are all."""

    base_url: str
    opens: bool = False
    clicks: bool = False
    text: bool = False
    unsubscribe: bool = True
    providers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one content. ``text`` and ``html`` are rewritten already if the content is ``plain``."""

    tracker: Tracker
    opens: bool
    clicks: bool
    header: bool
    offers_url: bool
    links: Links | None
    binder: bytes
    list_id: str
    text: Pattern = ()
    html: Pattern = ()
    personal: tuple[PersonalLink, ...] = ()

    def tokens(self, message: Message, attempt: int, provider: str) -> dict[str, str]:
        """A recipient's tokens, by slot: those that this content needs."""
        ring = self.tracker.ring
        data = packed(message.message_id, attempt, self.tracker.clock(), provider, self.binder)
        made: dict[str, str] = {}
        if self.opens:
            made[OPEN] = seal_packed(ring, Purpose.OPEN, data)
        if self.clicks:
            made[CLICK] = seal_packed(ring, Purpose.CLICK, data)
        if self.header or self.offers_url:
            made[UNSUBSCRIBE] = seal_packed(ring, Purpose.UNSUBSCRIBE, data, self.list_id)
        return made

    def data(self, tokens: Mapping[str, str]) -> dict[str, Any]:
        """What a template may use."""
        if not self.offers_url:
            return {}
        return {UNSUBSCRIBE_URL: self.tracker.page(Purpose.UNSUBSCRIBE) + tokens[UNSUBSCRIBE]}

    def variables(self, tokens: Mapping[str, str], values: Mapping[str, str]) -> dict[str, str]:
        """All slots of a recipient: the template's values, our tokens, and links that are personal."""
        filled = {**values, **tokens}
        if self.links is not None:
            for link in self.personal:
                filled[link.name] = link.written(self.links, values, tokens[CLICK])
        return filled

    def rewritten(self, text: Pattern, html: Pattern, data: Mapping[str, Any] | None = None) -> Plan:
        """The plan with these bodies in it; ``data`` is the recipient's own, where the bodies are."""
        tracker, links = self.tracker, self.links
        personal: tuple[PersonalLink, ...] = ()
        if links is not None and data and isinstance(own := data.get(UNSUBSCRIBE_URL), str):
            links = replace(links, untouched=links.untouched | {own})
        if links is not None and tracker.config.text and text:
            changed = rewrite_text(text, links)
            text, personal = changed.pattern, changed.personal
        if html and (self.opens or self.clicks):
            pixel = pixel_of(tracker.page(Purpose.OPEN), OPEN) if self.opens else ()
            changed = rewrite_html(html, links, pixel)
            html, personal = changed.pattern, (*personal, *changed.personal)
        return replace(self, text=text, html=html, personal=personal)

    def applied(self, batch: Batch) -> Batch:
        """The batch with our bodies and headers, and the provider's own tracking off where ours is on."""
        headers, personal_headers = batch.headers, batch.personal_headers
        if self.header:
            unsubscribe = (f"<{self.tracker.page(Purpose.UNSUBSCRIBE)}", Slot(UNSUBSCRIBE), ">")
            if len(batch.entries) == 1:
                headers = (*headers, ("List-Unsubscribe", fill(unsubscribe, batch.entries[0].variables)))
            else:
                personal_headers = (*personal_headers, ("List-Unsubscribe", unsubscribe))
            if self.tracker.config.base_url.startswith("https:"):
                headers = (*headers, ONE_CLICK)
        return replace(
            batch,
            text=self.text,
            html=self.html,
            headers=headers,
            personal_headers=personal_headers,
            track_opens=False if self.opens else batch.track_opens,
            track_clicks=False if self.clicks else batch.track_clicks,
        )


class Tracker:
    """Makes plans and keeps those used lately. ``clock`` gives epoch milliseconds."""

    def __init__(self, config: TrackingConfig, ring: Keyring, clock: Callable[[], int]) -> None:
        self.config = config
        self.ring = ring
        self.clock = clock
        self._plans: OrderedDict[str, Plan | None] = OrderedDict()
        self._chars = 0

    def page(self, purpose: Purpose) -> str:
        """What the URLs of a purpose begin with."""
        return f"{self.config.base_url}/t/{purpose}/"

    def plan(
        self, provider: str, content: Content, content_hash: str, plain: tuple[Pattern, Pattern] | None
    ) -> Plan | None:
        """What to do to a content; None for nothing. ``plain`` are its text and HTML, if all recipients share them."""
        if content.mime or (self.config.providers and provider not in self.config.providers):
            return None
        if content_hash in self._plans:
            self._plans.move_to_end(content_hash)
            return self._plans[content_hash]
        plan = self._made(content, content_hash)
        if plan is not None and plain is not None:
            plan = plan.rewritten(*plain)
        self._plans[content_hash] = plan
        self._chars += _chars(plan)
        while len(self._plans) > _MAX_PLANS or self._chars > _MAX_CHARS:
            self._chars -= _chars(self._plans.popitem(last=False)[1])
        return plan

    def _made(self, content: Content, content_hash: str) -> Plan | None:
        config, binder = self.config, binder_of(content_hash)
        opens = config.opens if content.track_opens is None else content.track_opens
        clicks = config.clicks if content.track_clicks is None else content.track_clicks
        given = {name.lower(): value for name, value in content.headers}
        theirs = "list-unsubscribe" in given or "list-unsubscribe-post" in given
        header = config.unsubscribe and bool(content.list_id) and not theirs
        template = content.template
        offers_url = (
            config.unsubscribe
            and template is not None
            and any(UNSUBSCRIBE_URL in part for part in (template.text, template.html, template.subject))
        )
        if not (opens or clicks or header or offers_url):
            return None
        untouched = _in_brackets.findall(given.get("list-unsubscribe", ""))
        if isinstance(own := content.data.get(UNSUBSCRIBE_URL), str):
            untouched.append(own)
        links = Links(
            self.page(Purpose.CLICK),
            CLICK,
            partial(_sealed, self.ring, binder),
            f"{config.base_url}/t/",
            frozenset(untouched),
        )
        return Plan(self, opens, clicks, header, offers_url, links if clicks else None, binder, content.list_id)


def _chars(plan: Plan | None) -> int:
    return 0 if plan is None else sum(len(part) for part in (*plan.text, *plan.html) if isinstance(part, str))


def _sealed(ring: Keyring, binder: bytes, url: str) -> str:
    return seal_link(ring, url, binder)
