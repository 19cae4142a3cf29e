"""Gauges that nobody sets while working: brought up to date right before they are read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress

from streams.agents.breaker_view import BreakerView
from streams.agents.dispatch import Dispatch
from streams.core.message import Stream
from streams.metrics import Metrics
from streams.providers.base import Provider, TellsExpiry
from streams.settings import Settings, Store, WorkerSettings


def measure(
    metrics: Metrics, settings: Settings, view: BreakerView, dispatch: Dispatch, adapters: Mapping[str, Provider]
) -> None:
    """States of breakers, what is held, the oldest open message, credentials that end, room on the disk."""
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
    _measure_disk(metrics, settings.worker)


def _measure_disk(metrics: Metrics, worker: WorkerSettings) -> None:
    """A worker whose disk is full ends: whoever is to prevent it must see it coming."""
    if worker.store is Store.ROCKSDB:
        with suppress(OSError):  # there is no such directory yet
            metrics.data_dir_free.at(worker.store.value).set(shutil.disk_usage(worker.data_dir).free)
