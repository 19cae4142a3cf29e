"""For programs that send: build a request, produce it, wait for what happens to it.

    from streams.client import Client

    with Client("localhost:9092") as client:
        sent = client.send("order-4711", to="Ann <ann@example.net>", sender="shop@example.com",
                           subject="Your order", text="Thank you.")
        event = sent.wait_for("message.delivered", timeout_s=60)

``request``     what is asked for: built and checked as intake checks it, nothing contacted (`request`, `send_request`)
``sending``     the producer (`Client`, `Sent`), for threads and for asyncio
``watch``       reading ``delivery-events`` for those who wait, without a consumer group
``errors``      every exception: what is wrong with the request, what Kafka refused, what did not happen

Light on purpose: none of the worker's parts (Faust, aiokafka) is imported.
"""

from __future__ import annotations

from streams.client.errors import ClientError, EndedOtherwise, InvalidRequest, NotProduced, NotSeen
from streams.client.request import (
    Address,
    Fields,
    Request,
    attachment,
    attachment_url,
    idempotency_key,
    request,
    send_request,
)
from streams.client.sending import Client
from streams.client.sent import Sent
from streams.core.event import DeliveryEvent, EventType
from streams.core.message import Attachment

__all__ = [
    "Address",
    "Attachment",
    "Client",
    "ClientError",
    "DeliveryEvent",
    "EndedOtherwise",
    "EventType",
    "Fields",
    "InvalidRequest",
    "NotProduced",
    "NotSeen",
    "Request",
    "Sent",
    "attachment",
    "attachment_url",
    "idempotency_key",
    "request",
    "send_request",
]
