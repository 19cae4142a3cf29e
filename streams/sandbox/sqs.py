"""The SQS stand-in: one queue subscribed to the topic and its dead-letter queue, over SQS's JSON protocol.

boto3 works against it unchanged. What it does: ReceiveMessage with long poll and visibility, DeleteMessage,
ChangeMessageVisibility, their batches with ``Failed`` entries, SendMessage, GetQueueUrl, GetQueueAttributes (with a
RedrivePolicy), ListQueues, PurgeQueue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from hashlib import md5
from typing import Any, Final
from uuid import uuid4

import msgspec
from aiohttp import web

from streams.sandbox.config import SesConfig
from streams.sandbox.sqs_queue import Message, Queue

TARGET: Final = "AmazonSQS."
_MAX_ENTRIES: Final = 10
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_OLD_NAMES: Final = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "EmptyBatchRequest": "AWS.SimpleQueueService.EmptyBatchRequest",
    "TooManyEntriesInBatchRequest": "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
    "BatchEntryIdsNotDistinct": "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
    "InvalidBatchEntryId": "AWS.SimpleQueueService.InvalidBatchEntryId",
}


class SqsError(Exception):
    """A refusal, by SQS's name for it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Sqs:
    """Two queues, ``NAME`` and ``NAME-dead``. ``base_url`` is asked when a queue's URL is wanted."""

    def __init__(self, config: SesConfig, now_ms: Callable[[], int], base_url: Callable[[], str]) -> None:
        self._config = config
        self._base_url = base_url
        self.dead = Queue(f"{config.queue}-dead", now_ms)
        self.queue = Queue(
            config.queue,
            now_ms,
            visibility_s=config.queue_visibility_s,
            max_receives=config.queue_max_receives,
            dead=self.dead,
        )
        self._queues = {queue.name: queue for queue in (self.queue, self.dead)}
        self._actions: dict[str, Callable[[Queue, dict[str, Any]], dict[str, Any]]] = {
            "DeleteMessage": self._delete,
            "DeleteMessageBatch": self._delete_batch,
            "ChangeMessageVisibility": self._change,
            "ChangeMessageVisibilityBatch": self._change_batch,
            "SendMessage": self._send,
            "GetQueueAttributes": self._attributes,
            "PurgeQueue": self._purge,
        }

    @property
    def url(self) -> str:
        """The queue's URL."""
        return self._url(self.queue)

    async def handle(self, target: str, body: bytes) -> web.Response:
        """Answers one call; ``target`` is the header X-Amz-Target."""
        try:
            content = msgspec.json.decode(body or b"{}")
            if not isinstance(content, dict):
                raise SqsError("InvalidParameterValue", "The body is no JSON object.")
            answer = await self._answer(target.removeprefix(TARGET), content)
        except msgspec.DecodeError:
            return _error(SqsError("InvalidParameterValue", "The body is no JSON."))
        except SqsError as error:
            return _error(error)
        return _json(200, answer, {})

    async def _answer(self, action: str, content: dict[str, Any]) -> dict[str, Any]:
        if action == "GetQueueUrl":
            return {"QueueUrl": self._url(self._named(str(content.get("QueueName", ""))))}
        if action == "ListQueues":
            prefix = str(content.get("QueueNamePrefix", ""))
            return {"QueueUrls": [self._url(queue) for name, queue in self._queues.items() if name.startswith(prefix)]}
        queue = self._named(str(content.get("QueueUrl", "")).rpartition("/")[2])
        if action == "ReceiveMessage":
            return await self._receive(queue, content)
        if action not in self._actions:
            raise SqsError("InvalidAction", f"The action {action} is not valid for this endpoint.")
        return self._actions[action](queue, content)

    async def _receive(self, queue: Queue, content: dict[str, Any]) -> dict[str, Any]:
        most = _number(content, "MaxNumberOfMessages", 1, 1, 10)
        wait_s = _number(content, "WaitTimeSeconds", 0, 0, 20)
        visibility_s = _number(content, "VisibilityTimeout", queue.visibility_s, 0, 43_200)
        names = {*content.get("MessageSystemAttributeNames", ()), *content.get("AttributeNames", ())}
        messages = await queue.receive(most, wait_s, visibility_s)
        return {"Messages": [_message(message, names) for message in messages]} if messages else {}

    def _delete(self, queue: Queue, content: dict[str, Any]) -> dict[str, Any]:
        if not queue.delete(str(content.get("ReceiptHandle", ""))):
            raise SqsError("ReceiptHandleIsInvalid", "The specified receipt handle isn't valid.")
        return {}

    def _delete_batch(self, queue: Queue, content: dict[str, Any]) -> dict[str, Any]:
        return _batch(
            content,
            lambda entry: "" if queue.delete(str(entry.get("ReceiptHandle", ""))) else "ReceiptHandleIsInvalid",
        )

    def _change(self, queue: Queue, content: dict[str, Any]) -> dict[str, Any]:
        seconds = _number(content, "VisibilityTimeout", 0, 0, 43_200)
        code = queue.change(str(content.get("ReceiptHandle", "")), seconds)
        if code:
            raise SqsError(code, "The message cannot be changed.")
        return {}

    def _change_batch(self, queue: Queue, content: dict[str, Any]) -> dict[str, Any]:
        return _batch(
            content,
            lambda entry: queue.change(
                str(entry.get("ReceiptHandle", "")), _number(entry, "VisibilityTimeout", 0, 0, 43_200)
            ),
        )

    def _send(self, queue: Queue, content: dict[str, Any]) -> dict[str, Any]:
        body = str(content.get("MessageBody", ""))
        return {"MessageId": queue.send(body).id, "MD5OfMessageBody": _md5(body)}

    def _attributes(self, queue: Queue, content: dict[str, Any]) -> dict[str, Any]:
        found = {
            "ApproximateNumberOfMessages": str(queue.visible),
            "ApproximateNumberOfMessagesNotVisible": str(len(queue) - queue.visible),
            "VisibilityTimeout": str(queue.visibility_s),
            "MessageRetentionPeriod": "345600",
            "QueueArn": self._arn(queue),
        }
        if queue.dead is not None:
            policy = {"deadLetterTargetArn": self._arn(queue.dead), "maxReceiveCount": queue.max_receives}
            found["RedrivePolicy"] = msgspec.json.encode(policy).decode()
        asked = content.get("AttributeNames", ())
        return {"Attributes": {name: value for name, value in found.items() if name in asked or "All" in asked}}

    def _purge(self, queue: Queue, content: dict[str, Any]) -> dict[str, Any]:
        queue.purge()
        return {}

    def _named(self, name: str) -> Queue:
        if name not in self._queues:
            raise SqsError("QueueDoesNotExist", "The specified queue does not exist.")
        return self._queues[name]

    def _url(self, queue: Queue) -> str:
        return f"{self._base_url()}/{self._config.account_id}/{queue.name}"

    def _arn(self, queue: Queue) -> str:
        return f"arn:aws:sqs:{self._config.region}:{self._config.account_id}:{queue.name}"


def _message(message: Message, names: set[Any]) -> dict[str, Any]:
    attributes = {
        "SentTimestamp": str(message.sent_ms),
        "ApproximateReceiveCount": str(message.receives),
        "ApproximateFirstReceiveTimestamp": str(message.first_received_ms),
    }
    shown = {name: value for name, value in attributes.items() if name in names or "All" in names}
    content = {
        "MessageId": message.id,
        "ReceiptHandle": message.handle,
        "MD5OfBody": _md5(message.body),
        "Body": message.body,
    }
    return {**content, "Attributes": shown} if shown else content


def _batch(content: dict[str, Any], act: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """Each entry alone: ``act`` gives SQS's word for why it failed, or nothing."""
    done: list[dict[str, Any]] = []
    failed: list[dict[str, Any]] = []
    for entry in _entries(content):
        code = act(entry)
        if code:
            failed.append({"Id": entry["Id"], "Code": code, "Message": code, "SenderFault": True})
        else:
            done.append({"Id": entry["Id"]})
    return {"Successful": done, "Failed": failed} if failed else {"Successful": done}


def _entries(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    entries = content.get("Entries") or []
    if not entries:
        raise SqsError("EmptyBatchRequest", "There should be at least one entry in the request.")
    if len(entries) > _MAX_ENTRIES:
        raise SqsError("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10.")
    ids = [str(entry.get("Id", "")) for entry in entries]
    if len(set(ids)) != len(ids):
        raise SqsError("BatchEntryIdsNotDistinct", "Two or more batch entries in the request have the same Id.")
    if not all(_ID.fullmatch(one) for one in ids):
        raise SqsError("InvalidBatchEntryId", "An Id is 1 to 80 letters, digits, - and _.")
    yield from entries


def _number(content: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = content.get(name, default)
    if not isinstance(value, int) or not least <= value <= most:
        raise SqsError("InvalidParameterValue", f"Value {value} for parameter {name} is invalid.")
    return value


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def _error(error: SqsError) -> web.Response:
    old = _OLD_NAMES.get(error.code, error.code)
    headers = {"x-amzn-query-error": f"{old};Sender"}
    return _json(400, {"__type": f"com.amazonaws.sqs#{error.code}", "message": str(error)}, headers)


def _json(status: int, content: dict[str, Any], headers: dict[str, str]) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(content),
        headers={"Content-Type": "application/x-amz-json-1.0", "x-amzn-RequestId": str(uuid4()), **headers},
    )
