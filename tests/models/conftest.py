"""What the tests of all models share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def silence() -> Iterator[None]:
    """Agents say aloud what they do; millions of crashes and decisions are nothing to write home about."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
