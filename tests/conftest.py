"""What every test may ask for: brokers, a free port, names of its own.

* `embedded_kafka`: bootstrap address of the embedded broker (one per test process).
* `apache_kafka`: a real Apache Kafka, one per run, with faults; gives its test the marker `kafka`.
* `kafka`: bootstrap address of either; a test with it runs twice, on Apache Kafka under the marker `kafka`.
* `topic_prefix`: unique to the test, so that tests share a broker without sharing topics.
* `unused_port`: a TCP port that nobody listens on.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from streams.broker import EmbeddedBroker, free_port
from tests.brokers import KafkaServer, start_kafka

# A first run writes tables of characters for a second, and other work may share the machine: slow is no failure.
# The same code gets the same cases, so that a red run means a change; `make fuzz` looks for new ones.
settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="STREAMS_FUZZ_CASES" not in os.environ,
)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def embedded_kafka() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[KafkaServer]:
    """Whoever kills or pauses it must bring it back (`restart`, `resume`) before the test ends."""
    server = start_kafka()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(params=["embedded", pytest.param("apache", marks=pytest.mark.kafka)])
def kafka(request: pytest.FixtureRequest) -> str:
    if request.param == "embedded":
        bootstrap: str = request.getfixturevalue("embedded_kafka")
        return bootstrap
    server: KafkaServer = request.getfixturevalue("apache_kafka")
    return server.bootstrap


@pytest.fixture
def topic_prefix() -> str:
    """A prefix for topic and group names, with its separator."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest.fixture
def unused_port() -> int:
    return free_port()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that asks for `apache_kafka` is a `kafka` test; nobody has to remember the marker.

    `make test-kafka` leaves out what is `long`.
    """
    for item in items:
        if "apache_kafka" in getattr(item, "fixturenames", ()) and item.get_closest_marker("long") is None:
            item.add_marker(pytest.mark.kafka)
