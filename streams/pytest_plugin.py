"""Fixtures for pytest, there as soon as this package is installed (entry point ``streams`` of ``pytest11``).

* ``streams_deployment`` (session): broker, provider sandbox, ingress and worker as real processes, on free ports.
* ``streams_client`` (session): a :class:`streams.client.Client` of it.
* ``streams_sandbox``: the sandbox as this test sees it: its mails alone, and without faults of other tests.
* ``streams_config``, ``streams_environment`` (session), to be overridden: further sections of ``streams.toml`` (text),
  further environment variables.
* ``streams_bootstrap`` (session), to be overridden: a Kafka of yours instead of the embedded broker.

Nothing starts before a test asks for it, and everything ends with the session; with pytest-xdist each of its processes
has a deployment of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # the plugin is loaded wherever the package is installed: it must cost nothing
    from streams.client import Client
    from streams.testing import Deployment, Sandbox


@pytest.fixture(scope="session")
def streams_config() -> str:
    """Further sections of the configuration, as TOML; ``mailgun`` and ``ses`` are there already."""
    return ""


@pytest.fixture(scope="session")
def streams_environment() -> Mapping[str, str]:
    """Further environment variables: secrets that ``streams_config`` refers to, single keys as ``STREAMS_…``."""
    return {}


@pytest.fixture(scope="session")
def streams_bootstrap() -> str:
    """A Kafka to use, as ``host:port``; empty starts the embedded broker."""
    return ""


@pytest.fixture(scope="session")
def streams_deployment(
    tmp_path_factory: pytest.TempPathFactory,
    streams_config: str,
    streams_environment: Mapping[str, str],
    streams_bootstrap: str,
) -> Iterator[Deployment]:
    """A running deployment."""
    from streams.testing import Deployment

    folder = tmp_path_factory.mktemp("streams")
    with Deployment(folder, toml=streams_config, env=streams_environment, bootstrap=streams_bootstrap) as deployment:
        yield deployment


@pytest.fixture(scope="session")
def streams_client(streams_deployment: Deployment) -> Iterator[Client]:
    """A client of the deployment; requests that name no sender come from ``tests@mg.example.com``."""
    with streams_deployment.client() as client:
        yield client


@pytest.fixture
def streams_sandbox(streams_deployment: Deployment) -> Iterator[Sandbox]:
    """The providers' stand-ins: what was sent from the beginning of this test on."""
    streams_deployment.check()
    yield streams_deployment.sandbox.from_now_on()
    streams_deployment.sandbox.heal()
