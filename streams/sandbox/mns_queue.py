"""The queue stand-in of Alibaba Cloud's message service: receive with long poll, peek, delete, change visibility.

The official SDK works against it unchanged. Stricter than SQS: a receipt handle is good until the message is visible
again, and every receive and every change makes a new one. Kept in memory; what is not deleted is reported again after a
restart, because the ledger hears of an event when its message is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5
from typing import Final
from uuid import uuid4
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from aiohttp import web

NAMESPACE: Final = "http://mns.aliyuncs.com/doc/v1/"
_LOOK_S: Final = 0.05  # a receive that waits looks again at least so often: messages become visible by time
_MAX_BATCH: Final = 16
_MAX_WAIT_S: Final = 30


@dataclass(slots=True)
class _Message:
    id: str
    body: str
    enqueued_ms: int
    deleted: Callable[[], None] | None
    visible_ms: int = 0
    first_ms: int = 0
    times: int = 0
    handle: str = ""


class MnsQueue:
    """One queue. `deleted` counts."""

    def __init__(self, name: str, visibility_s: int, now_ms: Callable[[], int]) -> None:
        self.name = name
        self._visibility_s = visibility_s
        self._now_ms = now_ms
        self._messages: dict[str, _Message] = {}
        self._changed = asyncio.Event()
        self.deleted = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message_id: str, body: str, deleted: Callable[[], None] | None = None) -> None:
        """Puts a message in; `deleted` is called when somebody has deleted it."""
        self._messages[message_id] = _Message(message_id, body, self._now_ms(), deleted, self._now_ms())
        self._changed.set()

    async def handle(self, request: web.BaseRequest, body: bytes) -> web.Response:
        """Answers a request below /queues/."""
        _, _, name, *rest = request.path.split("/")
        if name != self.name:
            return error(404, "QueueNotExist", "The queue name you provided is not exist.")
        match request.method, rest:
            case "GET", ["messages"]:
                return await self._get(request)
            case "DELETE", ["messages"] if "ReceiptHandle" in request.query:
                fault = self._delete(request.query["ReceiptHandle"])
                return error(404, fault, "The receipt handle you provided is not valid.") if fault else done()
            case "DELETE", ["messages"]:
                return self._delete_batch(body)
            case "PUT", ["messages"]:
                return self._change(request)
            case "POST", ["messages"]:
                return self._send(body)
            case "GET", []:
                return self._attributes()
        return error(405, "InvalidRequestURL", "Http request URL is invalid.")

    async def _get(self, request: web.BaseRequest) -> web.Response:
        query = request.query
        try:
            most, wait_s = int(query.get("numOfMessages", "1")), int(query.get("waitseconds", "0"))
        except ValueError:
            return error(400, "InvalidArgument", "The value of a parameter should be a number.")
        if not 1 <= most <= _MAX_BATCH or not 0 <= wait_s <= _MAX_WAIT_S:
            return error(400, "InvalidArgument", "The value of numOfMessages or waitseconds is out of range.")
        if query.get("peekonly") == "true":
            taken = self._visible()[:most]
        else:
            taken = await self._receive(most, wait_s)
        if not taken:
            return error(404, "MessageNotExist", "Message not exist.")
        if "numOfMessages" in query:
            return answer("Messages", "".join(f"<Message>{_fields(message)}</Message>" for message in taken))
        return answer("Message", _fields(taken[0]))

    async def _receive(self, most: int, wait_s: int) -> list[_Message]:
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while True:
            taken = self._visible()[:most]
            if taken:
                for message in taken:
                    message.times += 1
                    message.first_ms = message.first_ms or self._now_ms()
                    self._hide(message, self._visibility_s)
                return taken
            left = until - loop.time()
            if left <= 0:
                return []
            self._changed.clear()
            try:
                async with asyncio.timeout(min(left, _LOOK_S)):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _visible(self) -> list[_Message]:
        now = self._now_ms()
        return [message for message in self._messages.values() if message.visible_ms <= now]

    def _hide(self, message: _Message, seconds: int) -> None:
        message.visible_ms = self._now_ms() + seconds * 1000
        message.handle = f"8-{uuid4().hex}-{message.visible_ms}-1=="  # the real ones end like that, too

    def _held(self, handle: str) -> _Message | None:
        now = self._now_ms()
        found = (message for message in self._messages.values() if message.handle == handle)
        return next((message for message in found if message.visible_ms > now), None)

    def _delete(self, handle: str) -> str:
        """Why not, empty if it is done."""
        message = self._held(handle)
        if message is None:
            return "MessageNotExist" if handle.count("-") == 3 else "ReceiptHandleError"
        del self._messages[message.id]
        self.deleted += 1
        if message.deleted is not None:
            message.deleted()
        return ""

    def _delete_batch(self, body: bytes) -> web.Response:
        try:
            handles = [child.text or "" for child in ET.fromstring(body)]  # noqa: S314 — of a test's own client
        except ET.ParseError:
            return error(400, "MalformedXML", "The XML you provided was not well-formed.")
        if not 1 <= len(handles) <= _MAX_BATCH:
            return error(400, "InvalidArgument", "The number of receipt handles is out of range.")
        failed = [(handle, fault) for handle in handles if (fault := self._delete(handle))]
        if not failed:
            return done()
        rows = "".join(
            f"<Error><ErrorCode>{fault}</ErrorCode><ErrorMessage>not deleted</ErrorMessage>"
            f"<ReceiptHandle>{escape(handle)}</ReceiptHandle></Error>"
            for handle, fault in failed
        )
        return answer("Errors", rows, 404)

    def _change(self, request: web.BaseRequest) -> web.Response:
        message = self._held(request.query.get("ReceiptHandle", ""))
        seconds = request.query.get("VisibilityTimeout", "")
        if not seconds.isdigit() or not 1 <= int(seconds) <= 43_200:
            return error(400, "InvalidArgument", "The value of VisibilityTimeout should between 1 and 43200 seconds.")
        if message is None:
            return error(404, "MessageNotExist", "Message not exist.")
        self._hide(message, int(seconds))
        fields = (
            f"<ReceiptHandle>{message.handle}</ReceiptHandle><NextVisibleTime>{message.visible_ms}</NextVisibleTime>"
        )
        return answer("ChangeVisibility", fields)

    def _send(self, body: bytes) -> web.Response:
        try:
            children = {child.tag.rpartition("}")[2]: child.text or "" for child in ET.fromstring(body)}  # noqa: S314
        except ET.ParseError:
            return error(400, "MalformedXML", "The XML you provided was not well-formed.")
        text, message_id = children.get("MessageBody", ""), uuid4().hex.upper()
        self.put(message_id, text)
        fields = f"<MessageId>{message_id}</MessageId><MessageBodyMD5>{_md5(text)}</MessageBodyMD5>"
        return answer("Message", fields, 201)

    def _attributes(self) -> web.Response:
        visible = len(self._visible())
        counts = {"ActiveMessages": visible, "InactiveMessages": len(self) - visible, "DelayMessages": 0}
        fields = "".join(f"<{name}>{number}</{name}>" for name, number in counts.items())
        rest = f"<VisibilityTimeout>{self._visibility_s}</VisibilityTimeout><PollingWaitSeconds>0</PollingWaitSeconds>"
        return answer("Queue", f"<QueueName>{self.name}</QueueName>{fields}{rest}")


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest().upper()


def _fields(message: _Message) -> str:
    values = {
        "MessageId": message.id,
        "ReceiptHandle": message.handle,
        "MessageBody": escape(message.body),
        "MessageBodyMD5": _md5(message.body),
        "EnqueueTime": message.enqueued_ms,
        "NextVisibleTime": message.visible_ms,
        "FirstDequeueTime": message.first_ms,
        "DequeueCount": message.times,
        "Priority": 8,
    }
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items() if value != "")


def answer(root: str, inner: str, status: int = 200) -> web.Response:
    """An XML answer of the service."""
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{NAMESPACE}">{inner}</{root}>'
    return web.Response(status=status, text=text, content_type="text/xml", headers=_request_id())


def done() -> web.Response:
    """204."""
    return web.Response(status=204, headers=_request_id())


def error(status: int, code: str, message: str) -> web.Response:
    """An error of the service."""
    inner = f"<Code>{code}</Code><Message>{escape(message)}</Message><RequestId>{uuid4().hex.upper()}</RequestId>"
    return answer("Error", f"{inner}<HostId>http://sandbox</HostId>", status)


def _request_id() -> dict[str, str]:
    return {"x-mns-request-id": uuid4().hex.upper(), "x-mns-version": "2015-06-06"}
