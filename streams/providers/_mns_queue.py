"""The queue side of Alibaba Cloud's message service (MNS): signed requests, and what its answers mean. Pure.

Rules:

1. A message taken stays hidden until its ``NextVisibleTime``; only its receipt handle, valid until then, deletes it.
2. An empty queue is 404 ``MessageNotExist``: an answer like any other. A missing queue is 404 too, and is none.
3. A batch delete may fail for some handles: their messages come again.

Source: MNS, queue operations and request signature (version 2015-06-06); official Python SDK.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from hashlib import md5
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from streams.providers._mns import local_name, parse_xml
from streams.providers._payload import detail, whole_number
from streams.providers.base import HttpRequest, HttpResponse, NoResponse

VERSION = "2015-06-06"
NAMESPACE = "http://mns.aliyuncs.com/doc/v1/"
MAX_BATCH = 16

_LATEST_MS = 253_402_300_799_000
_XML = "text/xml;charset=UTF-8"

ET.register_namespace("", NAMESPACE)


@dataclass(frozen=True, slots=True)
class Access:
    """Whose queue, and who asks."""

    endpoint: str
    queue: str
    key_id: str
    secret: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message out of the queue. ``xml`` is its element as it came, but for the receipt handle; times in epoch ms."""

    message_id: str
    handle: str
    body: str
    xml: bytes
    enqueued_ms: int
    times: int


@dataclass(frozen=True, slots=True)
class Trouble:
    """The queue did not do what it was asked. ``code`` is its own word, empty if nothing answered."""

    code: str
    detail: str


def receive(access: Access, most: int, wait_s: int, now_ms: int) -> HttpRequest:
    """Take up to ``most`` messages, waiting for the first."""
    return signed(access, "GET", f"{_messages(access)}?numOfMessages={most}&waitseconds={wait_s}", b"", now_ms)


def delete(access: Access, handles: Sequence[str], now_ms: int) -> HttpRequest:
    """Delete up to :data:`MAX_BATCH` messages."""
    listed = "".join(f"<ReceiptHandle>{escape(handle)}</ReceiptHandle>" for handle in handles)
    body = f'<?xml version="1.0" encoding="utf-8"?><ReceiptHandles xmlns="{NAMESPACE}">{listed}</ReceiptHandles>'
    return signed(access, "DELETE", _messages(access), body.encode(), now_ms)


def change_visibility(access: Access, handle: str, visible_in_s: int, now_ms: int) -> HttpRequest:
    """Hide one message for so long from now (1 s gives it back); its handle changes."""
    query = f"ReceiptHandle={quote(handle, safe='=/+')}&VisibilityTimeout={visible_in_s}"
    return signed(access, "PUT", f"{_messages(access)}?{query}", b"", now_ms)


def attributes(access: Access, now_ms: int) -> HttpRequest:
    """Ask how much lies in the queue."""
    return signed(access, "GET", f"/queues/{access.queue}", b"", now_ms)


def signed(access: Access, method: str, resource: str, body: bytes, now_ms: int) -> HttpRequest:
    """The request with its ``Authorization``; ``resource`` is path and query."""
    date = formatdate(now_ms / 1000, usegmt=True)
    digest, kind = "", ""
    headers = [("date", date), ("x-mns-version", VERSION)]
    if body:
        digest, kind = b64encode(md5(body, usedforsecurity=False).hexdigest().encode()).decode("ascii"), _XML
        headers += [("content-md5", digest), ("content-type", kind)]
    to_sign = f"{method}\n{digest}\n{kind}\n{date}\nx-mns-version:{VERSION}\n{resource}"
    signature = b64encode(hmac.digest(access.secret.encode(), to_sign.encode(), "sha1")).decode("ascii")
    headers.append(("authorization", f"MNS {access.key_id}:{signature}"))
    if access.token:
        headers.append(("security-token", access.token))
    return HttpRequest(method, f"{access.endpoint}{resource}", tuple(headers), body)


def read_received(answer: HttpResponse | NoResponse) -> list[Taken] | Trouble:
    """The messages; none if the queue is empty."""
    trouble = _trouble(answer)
    if trouble is not None:
        return [] if trouble.code == "MessageNotExist" else trouble
    root = parse_xml(_written(answer))
    if root is None or local_name(root) not in ("Messages", "Message"):
        return Trouble("", "the answer is no list of messages")
    elements = [root] if local_name(root) == "Message" else [one for one in root if local_name(one) == "Message"]
    return [_taken(element) for element in elements]


def read_deleted(answer: HttpResponse | NoResponse) -> tuple[str, ...] | Trouble:
    """The handles that were not deleted (their time was over); empty is all well."""
    trouble = _trouble(answer)
    if trouble is None:
        return ()
    root = parse_xml(_written(answer))
    if root is None or local_name(root) != "Errors":
        return trouble
    return tuple(_fields(error).get("ReceiptHandle", "") for error in root)


def read_changed(answer: HttpResponse | NoResponse) -> str | Trouble:
    """The message's new handle."""
    trouble = _trouble(answer)
    if trouble is not None:
        return trouble
    root = parse_xml(_written(answer))
    handle = _fields(root).get("ReceiptHandle", "") if root is not None else ""
    return handle or Trouble("", "the answer names no receipt handle")


def read_waiting(answer: HttpResponse | NoResponse) -> int | Trouble:
    """How many messages wait, those that are hidden or delayed included."""
    trouble = _trouble(answer)
    if trouble is not None:
        return trouble
    root = parse_xml(_written(answer))
    if root is None:
        return Trouble("", "the answer is no XML")
    fields = _fields(root)
    return sum(
        whole_number(fields.get(name), 10**15) for name in ("ActiveMessages", "InactiveMessages", "DelayMessages")
    )


def _messages(access: Access) -> str:
    return f"/queues/{access.queue}/messages"


def _taken(element: ET.Element) -> Taken:
    fields = _fields(element)
    for child in [child for child in element if local_name(child) == "ReceiptHandle"]:
        element.remove(child)
    return Taken(
        message_id=fields.get("MessageId", ""),
        handle=fields.get("ReceiptHandle", ""),
        body=fields.get("MessageBody", ""),
        xml=ET.tostring(element, encoding="utf-8"),
        enqueued_ms=whole_number(fields.get("EnqueueTime"), _LATEST_MS),
        times=whole_number(fields.get("DequeueCount"), 10**6),
    )


def _fields(element: ET.Element) -> dict[str, str]:
    return {local_name(child): child.text or "" for child in element}


def _written(answer: HttpResponse | NoResponse) -> str:
    return answer.body.decode("utf-8", "replace") if isinstance(answer, HttpResponse) else ""


def _trouble(answer: HttpResponse | NoResponse) -> Trouble | None:
    """None for an answer of success."""
    if isinstance(answer, NoResponse):
        return Trouble("", detail(answer.detail) or "no answer")
    if 200 <= answer.status < 300:
        return None
    root = parse_xml(_written(answer))
    fields = _fields(root) if root is not None else {}
    code = detail(fields.get("Code"))
    return Trouble(code or str(answer.status), detail(fields.get("Message")) or f"status {answer.status}")
