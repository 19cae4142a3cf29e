"""What the deployment of these tests has besides the usual."""

from __future__ import annotations

import pytest

from streams.testing import Deployment


@pytest.fixture(scope="session")
def streams_config() -> str:
    """Further sections of streams.toml: events of the tenant `shop` also go to a topic of its own."""
    return '[tenants.shop]\nfrom = "Shop <hello@mg.example.com>"\nevents_topic = "events.shop"\n'


@pytest.fixture(scope="session", autouse=True)
def templates(streams_deployment: Deployment) -> None:
    """The templates that the shop sends."""
    streams_deployment.run(
        *("templates", "put", "order-confirmed", "--subject", "Your order {{ order }}"),
        *("--text", "Thank you, {{ name }}.", "--html", "<p>Thank you, <b>{{ name }}</b>.</p>"),
    )
