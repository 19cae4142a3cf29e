"""Gauges that nobody sets while working: brought up to date right before they are read."""

from __future__ import annotations

from collections.abc import Mapping

from streams.agents.breaker_view import BreakerView
from streams.agents.dispatch import Dispatch
from streams.core.message import Stream
from streams.metrics import Metrics
from streams.providers.base import Provider, TellsExpiry
from streams.settings import Settings


def measure(
    metrics: Metrics, settings: Settings, view: BreakerView, dispatch: Dispatch, adapters: Mapping[str, Provider]
) -> None:
    """States of breakers, what is held, the oldest open message, credentials that end."""
    states = view.states()
    held = dispatch.resting.holds.counts()
    for provider in settings.providers:
        state = states.get(provider)
        metrics.breaker(provider, state.value if state else "closed")
        metrics.held_messages.at(provider).set(held[provider])
    for stream in Stream:
        metrics.oldest_open.at(stream.value).set(dispatch.oldest_open_ms(stream) / 1000)
    for name, adapter in adapters.items():
        if isinstance(adapter, TellsExpiry) and "/" not in name and (expires_ms := adapter.expires_ms()):
            metrics.credential_expiry.at(name).set(expires_ms / 1000)
