"""A fleet on a Kafka that lets nobody do more than its ACLs say: every process is a principal of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from streams.acls import Right, rights
from streams.processes import BoundProcess
from streams.settings import load_settings
from tests.brokers.secured import SecuredKafka, bindings
from tests.fleet import SECRETS, Fleet

QUEUE = """\
sqs_queue_url = "{sandbox}/111122223333/ses-events"
sqs_endpoint_url = "{sandbox}"
sqs_wait_s = 1
"""


class SecuredFleet(Fleet):
    """Processes log in with passwords, those in `by_certificate` with certificates whose keys are encrypted.

    `more` are lines of configuration at the end of the file.
    """

    def __init__(
        self, folder: Path, kafka: SecuredKafka, *, prefix: str, by_certificate: Sequence[str] = (), more: str = ""
    ) -> None:
        super().__init__(
            folder, kafka.bootstrap, prefix=prefix, sandbox=["--queue", "envelope"], ses=QUEUE, kafka_at=kafka.scram
        )
        with self.config.open("a") as file:
            file.write(more)
        self.kafka = kafka
        self._by_certificate = by_certificate
        self.passwords: dict[str, str] = {}
        self._numbers = count(1)
        self.rights = rights(load_settings(self.config, {**SECRETS}))
        for process in self.rights:
            self._let_in(process)

    def name(self, process: str) -> str:
        """The principal of a process, unique to this fleet."""
        return f"{self.prefix}{process}".replace(".", "-")

    def principal(self, process: str) -> str:
        return f"User:{self.name(process)}"

    def login(self, process: str) -> dict[str, str]:
        """What a process is told about Kafka, as environment variables."""
        common = {"STREAMS_KAFKA__SSL_CA_FILE": str(self.kafka.ca), "KAFKA_PASSWORD": self.passwords[process]}
        if process in self._by_certificate:
            certificate, key = self.kafka.certificate(self.name(process), password=self.passwords[process])
            return common | {
                "STREAMS_KAFKA__BOOTSTRAP": self.kafka.mutual,
                "STREAMS_KAFKA__SECURITY_PROTOCOL": "SSL",
                "STREAMS_KAFKA__SSL_CERT_FILE": str(certificate),
                "STREAMS_KAFKA__SSL_KEY_FILE": str(key),
                "STREAMS_KAFKA__SSL_KEY_PASSWORD": "env:KAFKA_PASSWORD",
            }
        return common | {
            "STREAMS_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
            "STREAMS_KAFKA__SASL_MECHANISM": self.mechanism(process),
            "STREAMS_KAFKA__SASL_USERNAME": self.name(process),
            "STREAMS_KAFKA__SASL_PASSWORD": "env:KAFKA_PASSWORD",
        }

    def mechanism(self, process: str) -> str:
        """Both are in use."""
        return "SCRAM-SHA-256" if process in ("ingress", "topics") else "SCRAM-SHA-512"

    def command(self, process: str, *arguments: str, timeout_s: float = 60, **environment: str) -> tuple[int, str]:
        """Run a command logged in as that process (or as `environment` says); its exit code and all that it said."""
        name = f"command-{next(self._numbers)}"
        code = super()._spawn(name, arguments, {**self.login(process), **environment}).wait(timeout_s)
        self._processes.pop(name)
        return code, self.whole_log(name)

    def whole_log(self, name: str) -> str:
        """From its beginning."""
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def send_as(
        self, process: str, topic: str, requests: Sequence[Mapping[str, Any]], *, idempotent: bool = True
    ) -> list[str]:
        """Write requests to a topic (without prefix) as that principal; answers what Kafka said of those it refused."""
        options = self.kafka.login(self.name(process), self.passwords[process], self.mechanism(process))
        producer = Producer({**options, "enable.idempotence": idempotent})
        refused: list[str] = []

        def told(error: Any, _: object) -> None:
            if error is not None:
                refused.append(error.name())

        for request in requests:
            producer.produce(self.prefix + topic, json.dumps(request).encode(), on_delivery=told)
        assert producer.flush(30) == 0
        return refused

    def lacks(self, process: str, *without: Right) -> None:
        """Take rights from a process."""
        self.kafka.forbid(bindings(self.principal(process), without))

    def has(self, process: str, *given: Right) -> None:
        """Give rights to a process."""
        self.kafka.allow(bindings(self.principal(process), given))

    def _let_in(self, process: str) -> None:
        self.passwords[process] = f"secret-of-{self.name(process)}"
        self.kafka.add_user(self.name(process), self.passwords[process], self.mechanism(process))
        self.has(process, *self.rights[process])

    def _spawn(
        self, name: str, arguments: Sequence[str], extra: dict[str, str] | None = None, module: str = "streams"
    ) -> BoundProcess:
        process = arguments[0] if arguments and arguments[0] in self.rights else ""
        return super()._spawn(name, arguments, {**(self.login(process) if process else {}), **(extra or {})}, module)
