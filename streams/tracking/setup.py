"""Tracking as the settings want it. None where it is off: whoever has nothing asks nothing."""

from __future__ import annotations

from collections.abc import Callable

from streams.settings import Settings
from streams.tracking.automation import Networks
from streams.tracking.facts import TrackingReader
from streams.tracking.mail import Tracker, TrackingConfig
from streams.tracking.tokens import Keyring

_DAY_MS = 86_400_000


def keyring_of(settings: Settings) -> Keyring | None:
    """The keys of our links; None where there are none of ours."""
    tracking = settings.tracking
    if not tracking.public_url:
        return None
    return Keyring([secret.reveal().encode() for secret in tracking.secrets])


def tracker_of(settings: Settings, clock: Callable[[], int]) -> Tracker | None:
    """What puts our links into mail; ``clock`` gives epoch milliseconds."""
    ring, tracking = keyring_of(settings), settings.tracking
    if ring is None:
        return None
    config = TrackingConfig(
        tracking.public_url.rstrip("/"),
        tracking.opens,
        tracking.clicks,
        tracking.text,
        tracking.unsubscribe,
        frozenset(tracking.providers),
    )
    return Tracker(config, ring, clock)


def reader_of(settings: Settings) -> TrackingReader | None:
    """What reads the visits; opens and clicks of messages that the ledger has forgotten are not told."""
    ring, tracking = keyring_of(settings), settings.tracking
    if ring is None:
        return None
    networks = Networks.of(tracking.proxy_networks, tracking.scanner_networks)
    return TrackingReader(ring, networks, int(settings.kafka.ledger_days * _DAY_MS))
