"""A broker with the engine's settings for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streams.engine import EngineSettings
from tests.engine.support import settings_for

MakeSettings = Callable[..., EngineSettings]


@pytest.fixture
def is_embedded(kafka: str, request: pytest.FixtureRequest) -> bool:
    """Whether `kafka` is the embedded broker."""
    return bool(request.node.callspec.params["kafka"] == "embedded")


@pytest.fixture
def settings(kafka: str, topic_prefix: str, is_embedded: bool) -> MakeSettings:
    """Makes settings for the broker of the test; one consumer group per test."""

    def make(**changes: Any) -> EngineSettings:
        return settings_for(kafka, f"{topic_prefix}app", embedded=is_embedded, **changes)

    return make
