"""Deployments that several rows use: replicated topics, Kafka behind a proxy, SES events in a queue; and time that passes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from streams.broker import free_port
from tests.brokers import ApacheKafka
from tests.brokers.apache import Seat
from tests.faults.proxy import ChaosProxy
from tests.fleet import Fleet

QUEUE = 'sqs_queue_url = "{sandbox}/111122223333/ses-events"\nsqs_endpoint_url = "{sandbox}"\nsqs_wait_s = 1\n'
"""SES tells by SNS and by a queue, as is usual; what Mailgun does not tell is asked for."""
QUEUED = ("--queue", "raw")
"""The sandbox's part of that."""
REPLICATED = {"STREAMS_KAFKA__REPLICATION_FACTOR": "3", "STREAMS_KAFKA__MIN_INSYNC_REPLICAS": "2"}
ON_DISK = {"STREAMS_WORKER__STORE": "rocksdb"}
"""The tables grow with what is remembered; where memory is measured, they are not in it."""


def wait(fleet: Fleet, seconds: float) -> float:
    """The fault's own time; answers the time then."""
    due_s = time.monotonic() + seconds
    fleet.until("it is time", lambda: time.monotonic() >= due_s, seconds + 5)
    return time.monotonic()


@dataclass(frozen=True)
class Behind:
    """A Kafka with two ways to it: `kafka.bootstrap` is the test's own, the processes know the proxy's address alone."""

    kafka: ApacheKafka
    proxy: ChaosProxy


@contextmanager
def behind_a_proxy() -> Iterator[Behind]:
    """A Kafka of its own, started."""
    seat, port = Seat.alone(), free_port()
    with ChaosProxy(("127.0.0.1", port)) as proxy:
        own, others = f"PLAINTEXT://127.0.0.1:{seat.port}", f"PROXIED://127.0.0.1:{port}"
        properties = {
            "listeners": f"{own},{others},CONTROLLER://127.0.0.1:{seat.controller_port}",
            "advertised.listeners": f"{own},PROXIED://{proxy.bootstrap}",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }
        with ApacheKafka(properties, seat=seat) as kafka:
            yield Behind(kafka, proxy)
