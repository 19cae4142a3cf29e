"""Tracking as the settings want it: everything there, or nothing at all."""

from __future__ import annotations

from streams.core.event import Automated
from streams.settings import KafkaSettings, Secret, Settings, TrackingSettings
from streams.tracking.automation import Visit, label_open
from streams.tracking.setup import keyring_of, reader_of, tracker_of
from streams.tracking.tokens import Purpose, open_origin, seal_origin
from tests.tracking.origins import NEW, NOW_MS, OLD, origin, ring

KAFKA = KafkaSettings(bootstrap="x:1", ledger_days=7.0)


def test_without_a_place_there_is_nothing() -> None:
    settings = Settings(kafka=KAFKA, tracking=TrackingSettings(secrets=(Secret("a key that nobody uses"),)))
    assert (keyring_of(settings), tracker_of(settings, lambda: 0), reader_of(settings)) == (None, None, None)


def test_settings_reach_their_places() -> None:
    secrets = (Secret(NEW.decode()), Secret(OLD.decode()))
    tracking = TrackingSettings(
        public_url="https://t.example.com/x/", secrets=secrets, opens=True, text=True, unsubscribe=False,
        providers=("ses",), proxy_networks=("192.0.2.0/24",), scanner_networks=("198.51.100.0/24",),
    )  # fmt: skip
    settings = Settings(kafka=KAFKA, tracking=tracking)
    tracker, reader = tracker_of(settings, lambda: NOW_MS), reader_of(settings)
    assert tracker is not None
    assert reader is not None
    config = tracker.config
    assert (config.opens, config.clicks, config.text, config.unsubscribe) == (True, False, True, False)
    assert config.providers == {"ses"}
    assert tracker.page(Purpose.OPEN) == "https://t.example.com/x/t/o/"
    assert reader.counted_ms == 7 * 86_400_000
    assert label_open(Visit("192.0.2.1", "Firefox"), reader.networks) is Automated.PROXY
    assert label_open(Visit("198.51.100.1", "Firefox"), reader.networks) is Automated.SCANNER
    sealed = seal_origin(tracker.ring, Purpose.OPEN, origin())
    assert open_origin(ring(NEW), Purpose.OPEN, sealed) == origin()
    assert open_origin(reader.ring, Purpose.OPEN, seal_origin(ring(OLD), Purpose.OPEN, origin())) == origin()
