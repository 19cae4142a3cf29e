"""Amazon SQS as a source: what SNS or EventBridge put into a queue, fetched with boto3 in threads of its own.

Rules:

1. IAM says who may write to a queue, so its messages are vouched for (``verified`` is ``sqs``); but an SNS envelope
   counts only if its topic is one that the provider allows, else it is stored as unverified.
2. An answer with status 200 may still name entries that failed: they are an error.
3. A receive under way cannot be called back: a stop waits for it, and what it brings is finished.

Sources: Amazon SQS API reference (ReceiveMessage, DeleteMessageBatch, ChangeMessageVisibilityBatch).
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from streams.pollers.source import Item, SourceUnavailable, Waiting
from streams.providers._payload import json_object, text
from streams.providers.base import Provider
from streams.providers.ses import Config, Ses
from streams.settings import Settings
from streams.topics import Topics

MOST_AT_ONCE = 10
"""Messages per receive and entries per batch."""

OFTEN_ENOUGH = 5
"""A redrive policy should let a message be received so often at least."""

_CONNECT_S = 5
_SPARE_S = 10
_ASKED = ("ApproximateReceiveCount", "SentTimestamp")
_FACTS = ("ApproximateNumberOfMessages", "RedrivePolicy")

T = TypeVar("T")

log = logging.getLogger(__name__)


def sources(
    settings: Settings, adapters: Mapping[str, Provider], env: Mapping[str, str] | None = None
) -> Iterator[SqsSource]:
    """One for each SES account with a queue. Nothing is contacted."""
    topics = Topics(settings.kafka.prefix, settings.kafka.ledger_days)
    for name, adapter in adapters.items():
        if isinstance(adapter, Ses) and adapter.config.sqs_queue_url:
            yield SqsSource(name, adapter.config, topics.webhooks(adapter.type), settings.poll.concurrency)


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """What a queue says of itself. ``dead_letter_arn`` is empty without a redrive policy; ``dead`` -1 if unknown."""

    messages: int
    dead_letter_arn: str
    max_receives: int
    dead: int


class SqsSource:
    """One queue. ``full_name`` is the provider's, or ``provider/account``."""

    batch = MOST_AT_ONCE

    def __init__(self, full_name: str, config: Config, topic: str, concurrency: int) -> None:
        self.name = full_name
        self.provider, _, self.account = full_name.partition("/")
        self.topic = topic
        self.concurrency = concurrency
        self.extend_every_s = config.sqs_visibility_s / 2
        self.stop_wait_s = float(config.sqs_wait_s + _SPARE_S)
        self._config = config
        self._topics = frozenset(config.topic_arns)
        self._client: Any = None
        self._making = Lock()
        self._threads = ThreadPoolExecutor(2 * concurrency + 2, f"sqs-{full_name}")
        self._told: set[str] = set()

    async def receive(self) -> Sequence[Item]:
        """Up to ten messages, after at most ``sqs_wait_s``."""
        answer = await self._call(
            "receive_message",
            MaxNumberOfMessages=MOST_AT_ONCE,
            WaitTimeSeconds=self._config.sqs_wait_s,
            VisibilityTimeout=self._config.sqs_visibility_s,
            MessageSystemAttributeNames=list(_ASKED),
        )
        return [self._item(message) for message in answer.get("Messages", ())]

    async def done(self, items: Sequence[Item]) -> None:
        """Delete them."""
        await self._batches("delete_message_batch", items, {})

    async def extend(self, items: Sequence[Item]) -> None:
        """Ours for another ``sqs_visibility_s`` from now on."""
        await self._batches("change_message_visibility_batch", items, self._visible_in(self._config.sqs_visibility_s))

    async def release(self, items: Sequence[Item]) -> None:
        """Visible to anybody at once."""
        await self._batches("change_message_visibility_batch", items, self._visible_in(0))

    async def waiting(self) -> Waiting:
        """How many lie in the queue, and how many in its dead-letter queue. SQS does not tell how old the oldest is."""
        facts = await self.facts()
        return Waiting(facts.messages, dead=facts.dead)

    async def facts(self) -> QueueFacts:
        """What the queue says of itself; raises SourceUnavailable."""
        answer = await self._call("get_queue_attributes", AttributeNames=list(_FACTS))
        attributes = answer.get("Attributes", {})
        redrive = json_object(attributes.get("RedrivePolicy", "")) or {}
        arn = text(redrive.get("deadLetterTargetArn"))
        count = int(text(redrive.get("maxReceiveCount")) or 0)
        dead = await self._dead(arn) if arn else -1
        return QueueFacts(int(attributes.get("ApproximateNumberOfMessages", 0)), arn, count, dead)

    async def aclose(self) -> None:
        """Nothing is under way any more: close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    # -- messages

    def _item(self, message: Mapping[str, Any]) -> Item:
        attributes = message.get("Attributes", {})
        body = message.get("Body", "").encode("utf-8", "replace")
        return Item(
            payload=body,
            key=message.get("MessageId", "").encode(),
            headers=(("verified", b"sqs" if self._vouched(body) else b"0"),),
            handle=message.get("ReceiptHandle", ""),
            sent_ms=_number(attributes.get("SentTimestamp")),
            times=_number(attributes.get("ApproximateReceiveCount")),
        )

    def _vouched(self, body: bytes) -> bool:
        """Whatever a queue holds was let in by its policy; an envelope names its topic, which must be allowed too."""
        content = json_object(body)
        if content is None or not ("Message" in content and "TopicArn" in content):
            return True  # raw delivery, EventBridge, or nothing that anybody can read
        topic, kind = text(content["TopicArn"], 300), text(content.get("Type"), 64)
        if topic not in self._topics:
            self._tell(topic, f"{topic} is not in topic_arns: its messages in the queue become dead letters")
            return False
        if kind == "SubscriptionConfirmation":
            self._tell(
                kind + topic, f"the subscription of the queue to {topic} waits for the confirmation of its owner"
            )
        return True

    def _tell(self, about: str, what: str) -> None:
        """Once each."""
        if about not in self._told and len(self._told) < 1000:
            self._told.add(about)
            log.error("%s: %s", self.name, what)

    # -- calls

    async def _batches(self, method: str, items: Sequence[Item], more: Mapping[str, Any]) -> None:
        """One call per ten items; all are tried, then what failed is raised."""
        failed: list[str] = []
        for start in range(0, len(items), MOST_AT_ONCE):
            entries = [
                {"Id": str(number), "ReceiptHandle": item.handle, **more}
                for number, item in enumerate(items[start : start + MOST_AT_ONCE])
            ]
            answer = await self._call(method, Entries=entries)
            failed += [text(entry.get("Code")) or "no code" for entry in answer.get("Failed", ())]
        if failed:
            raise SourceUnavailable(
                f"{method}: {len(failed)} of {len(items)} failed ({', '.join(sorted(set(failed)))})"
            )

    async def _dead(self, arn: str) -> int:
        """Messages in the dead-letter queue; -1 if we may not ask."""
        *_, account, name = arn.split(":")
        try:
            found = await self._call("get_queue_url", queue="", QueueName=name, QueueOwnerAWSAccountId=account)
            answer = await self._call(
                "get_queue_attributes", queue=found["QueueUrl"], AttributeNames=["ApproximateNumberOfMessages"]
            )
        except SourceUnavailable:
            return -1
        return int(answer.get("Attributes", {}).get("ApproximateNumberOfMessages", -1))

    async def _call(self, method: str, queue: str | None = None, **parameters: Any) -> Mapping[str, Any]:
        """One call in a thread; foreign exceptions end here."""
        url = self._config.sqs_queue_url if queue is None else queue
        if url:
            parameters["QueueUrl"] = url
        return await self._in_thread(functools.partial(self._blocking, method, parameters))

    def _blocking(self, method: str, parameters: dict[str, Any]) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            with self._making:
                if self._client is None:
                    self._client = client(self._config, 2 * self.concurrency + 2)
            answer: Mapping[str, Any] = getattr(self._client, method)(**parameters)
        except ClientError as exc:
            error = exc.response.get("Error", {})
            raise SourceUnavailable(f"{method}: {error.get('Code', '?')}: {error.get('Message', '')}") from exc
        except BotoCoreError as exc:
            raise SourceUnavailable(f"{method}: {' '.join(str(exc).split())}") from exc
        return answer

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    @staticmethod
    def _visible_in(seconds: int) -> dict[str, Any]:
        return {"VisibilityTimeout": seconds}


def client(config: Config, connections: int) -> Any:
    """A boto3 client for the provider's queue. It tries nothing twice: the poller does, and tells it."""
    import boto3
    from botocore.config import Config as BotoConfig

    session = boto3.Session(
        aws_access_key_id=config.access_key_id or None,
        aws_secret_access_key=config.secret_access_key or None,
        aws_session_token=config.session_token or None,
        region_name=config.sqs_region,
    )
    options = BotoConfig(
        connect_timeout=_CONNECT_S,
        read_timeout=config.sqs_wait_s + _SPARE_S,
        retries={"total_max_attempts": 1},
        max_pool_connections=connections,
    )
    return session.client("sqs", endpoint_url=config.sqs_endpoint_url or None, config=options)


def _number(value: object) -> int:
    digits = str(value)
    return int(digits) if digits.isascii() and digits.isdigit() else 0
