"""A provider with a signature anyone can compute, a Kafka reader, and an exchange that is a list of answers."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.providers.base import (
    CertificateNeeded,
    Confirm,
    HttpRequest,
    HttpResponse,
    Inbound,
    NoResponse,
    Provider,
    Refused,
    Verdict,
    Verified,
    WebhookAnswers,
    webhook_answers_of,
)
from streams.providers.directmail import DirectMail
from streams.providers.mailgun import Mailgun
from streams.providers.smtp import Smtp

CERTIFICATE_URL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"


def signed(token: str, secret: str = "s3cret", **more: Any) -> bytes:
    """A webhook that a :class:`FakeProvider` with this secret accepts."""
    mac = hashlib.sha256(f"{secret}{token}".encode()).hexdigest()
    return json.dumps({"token": token, "mac": mac, **more}).encode()


@dataclass
class FakeProvider:
    """Knows one secret. ``needs_certificate`` makes it ask for one before it judges."""

    name: str = "mailgun"
    type: str = "mailgun"
    secret: str = "s3cret"
    needs_certificate: bool = False
    fails: bool = False
    learned: list[HttpResponse | NoResponse] = field(default_factory=list)

    @property
    def webhook_answers(self) -> WebhookAnswers | None:
        adapters = {"mailgun": Mailgun, "directmail": DirectMail, "smtp": Smtp}
        return webhook_answers_of(adapters.get(self.type))

    def verify(self, inbound: Inbound, now_ms: int) -> Verdict:
        if self.fails:
            raise RuntimeError("a bug")
        if self.needs_certificate and not any(isinstance(a, HttpResponse) and a.status == 200 for a in self.learned):
            return CertificateNeeded(CERTIFICATE_URL)
        try:
            envelope = json.loads(inbound.body)
            token, mac = envelope["token"], envelope["mac"]
        except (ValueError, KeyError, TypeError):
            return Refused("malformed", "no token")
        if mac != hashlib.sha256(f"{self.secret}{token}".encode()).hexdigest():
            return Refused("bad_signature", "the signature does not match")
        if envelope.get("stale"):
            return Refused("stale", "older than the window")
        if envelope.get("subscribe"):
            request = HttpRequest("POST", "https://sns.us-east-1.amazonaws.com/", (), b"Action=ConfirmSubscription")
            return Confirm(envelope["subscribe"], "token", "us-east-1", request)
        return Verified(token=token, key=token)

    def learn_certificate(self, url: str, answer: HttpResponse | NoResponse, now_ms: int) -> None:
        assert url == CERTIFICATE_URL
        self.learned.append(answer)


def provider(**options: Any) -> Provider:
    """A fake for the ingress, which needs no more of a provider than this."""
    return cast(Provider, FakeProvider(**options))


@dataclass
class ScriptedExchange:
    """Gives the next answer, and remembers what was asked."""

    answers: list[HttpResponse | NoResponse]
    asked: list[HttpRequest] = field(default_factory=list)

    async def __call__(self, request: HttpRequest, deadline_s: float) -> HttpResponse | NoResponse:
        self.asked.append(request)
        return self.answers.pop(0)


def create_topics(bootstrap: str, *names: str, partitions: int = 2) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    for created in admin.create_topics([NewTopic(name, partitions, 1) for name in names]).values():
        created.result(15)


def records(bootstrap: str, topic: str, count: int, partitions: int = 2, timeout_s: float = 20) -> list[Any]:
    """The first ``count`` records of a topic; fewer if there are no more in time."""
    options = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer(options)
    found: list[Any] = []
    try:
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        deadline = time.monotonic() + timeout_s
        while len(found) < count and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                found.append(message)
    finally:
        consumer.close()
    return found
