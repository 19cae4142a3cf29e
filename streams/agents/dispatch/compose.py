"""From messages that share a content to what one provider call carries.

Rules:

1. A content whose template only interpolates personal data becomes one body with variables per recipient.
2. What must be rendered per recipient, or what the adapter says does not fit one call, goes one by one.
3. A message that cannot be rendered is refused with the reason; its neighbours are not. So is one that the adapter
   says it cannot carry.
4. Our own links come in last, into what is rendered; without a tracker nothing of that costs anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from streams.agents.contents import ContentStore, Gone
from streams.agents.dispatch.composed import Composed
from streams.agents.dispatch.flight import Flight
from streams.content.render import Compiled, Renderer, RenderFailure, render_one, variables_for
from streams.core.accounts import provider_of
from streams.core.event import Reason, ReasonKind
from streams.core.message import Content
from streams.providers.base import Batch, Entry, Provider, Refuses
from streams.serde.internal import unpack
from streams.tracking.mail import Plan, Tracker


class Composer:
    """Fetches contents, renders, and asks the adapter whether the result fits one call."""

    def __init__(
        self,
        contents: ContentStore,
        renderer: Renderer,
        providers: Mapping[str, Provider],
        tracker: Tracker | None = None,
    ) -> None:
        self._contents = contents
        self._renderer = renderer
        self._providers = providers
        self._tracker = tracker
        self._choosy = {name: adapter for name, adapter in providers.items() if isinstance(adapter, Refuses)}

    async def compose(self, lane: str, flights: Sequence[Flight]) -> Composed:
        """One batch for ``flights``, which share a content hash."""
        composed = await self._composed(lane, flights)
        choosy = self._choosy.get(provider_of(lane)) if self._choosy else None  # all accounts alike
        if choosy is None or composed.batch is None or len(composed.flights) > 1:
            return composed
        reason = choosy.refusal(composed.batch)
        if reason is None:
            return composed
        return Composed(refused=[*composed.refused, (composed.flights[0], reason)])

    async def _composed(self, lane: str, flights: Sequence[Flight]) -> Composed:
        if not flights:
            return Composed()
        content = await self._content(flights[0])
        if isinstance(content, Reason):
            return Composed(refused=[(flight, content) for flight in flights])
        compiled = self._renderer.compiled(content, flights[0].message.content_hash)
        if isinstance(compiled, RenderFailure):
            return Composed(refused=[(flight, compiled.reason) for flight in flights])
        if len(flights) > 1 and not compiled.plain:
            return Composed(one_by_one=list(flights))
        own = None
        if self._tracker is not None:
            bodies = (compiled.text, compiled.html) if compiled.plain else None
            provider = provider_of(lane)
            plan = self._tracker.plan(provider, content, flights[0].message.content_hash, bodies)
            own = None if plan is None else _Own(plan, provider)
        if not compiled.plain:
            return _rendered(content, compiled, flights[0], own)
        composed = _shared(content, compiled, flights, own)
        if composed.batch is None or len(composed.flights) == 1:
            return composed
        if self._providers[lane].fits(composed.batch):
            return Composed(refused=composed.refused, one_by_one=composed.flights)
        return composed

    async def _content(self, flight: Flight) -> Content | Reason:
        message = flight.message
        if message.content is not None:
            return message.content
        if message.content_ref is None:
            return Reason(ReasonKind.INVALID_REQUEST, detail="the message names no content")
        found = await self._contents.load(message.content_ref)
        content = None if isinstance(found, Gone) else unpack(found)
        if isinstance(content, Content):
            return content
        return Reason(ReasonKind.EXPIRED, detail="the content of the message is no longer kept")


@dataclass(frozen=True, slots=True)
class _Own:
    """Our links, for the provider that will carry them."""

    plan: Plan
    provider: str

    def tokens(self, flight: Flight) -> dict[str, str]:
        return self.plan.tokens(flight.message, flight.next_attempt, self.provider)


def _shared(content: Content, compiled: Compiled, flights: Sequence[Flight], own: _Own | None) -> Composed:
    """One body, and an entry with its own variables per recipient."""
    composed = Composed()
    entries: list[Entry] = []
    for flight in flights:
        variables = variables_for(compiled, flight.message) if own is None else _with_links(compiled, flight, own)
        if isinstance(variables, RenderFailure):
            composed.refused.append((flight, variables.reason))
        else:
            composed.flights.append(flight)
            entries.append(_entry(flight, variables))
    if entries:
        batch = replace(
            _frame(content, flights[0], tuple(entries)),
            subject=compiled.subject,
            text=compiled.text,
            html=compiled.html,
        )
        composed.batch = batch if own is None else own.plan.applied(batch)
    return composed


def _with_links(compiled: Compiled, flight: Flight, own: _Own) -> dict[str, str] | RenderFailure:
    tokens = own.tokens(flight)
    values = variables_for(compiled, flight.message, own.plan.data(tokens))
    return values if isinstance(values, RenderFailure) else own.plan.variables(tokens, values)


def _rendered(content: Content, compiled: Compiled, flight: Flight, own: _Own | None) -> Composed:
    """A text of its own for one recipient."""
    tokens = {} if own is None else own.tokens(flight)
    rendered = render_one(compiled, flight.message, {} if own is None else own.plan.data(tokens))
    if isinstance(rendered, RenderFailure):
        return Composed(refused=[(flight, rendered.reason)])
    frame = _frame(content, flight, (_entry(flight, tokens),))
    batch = replace(frame, subject=rendered.subject, text=rendered.text, html=rendered.html)
    if own is not None:
        batch = own.plan.rewritten(rendered.text, rendered.html, flight.message.data).applied(batch)
    return Composed(batch=batch, flights=[flight])


def _entry(flight: Flight, variables: Mapping[str, str]) -> Entry:
    message = flight.message
    return Entry(message.message_id, flight.next_attempt, message.recipient, variables)


def _frame(content: Content, flight: Flight, entries: tuple[Entry, ...]) -> Batch:
    return Batch(
        sender=content.sender,
        entries=entries,
        mime=content.mime,
        reply_to=content.reply_to,
        visible_to=content.visible_to,
        visible_cc=content.visible_cc,
        headers=content.headers,
        tags=content.tags,
        attachments=content.attachments,
        track_opens=content.track_opens,
        track_clicks=content.track_clicks,
        deliver_at_ms=flight.message.send_at_ms,
        stream=flight.message.stream.value,
    )
