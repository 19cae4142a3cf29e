"""What a client raises.

ClientError
├── InvalidRequest    (also ValueError)    the request is wrong; nothing was produced
├── NotProduced                            Kafka did not acknowledge it: producing it again is safe
├── EndedOtherwise                         what was waited for can no longer be expected
└── NotSeen           (also TimeoutError)  it did not happen in time, and still may
"""

from __future__ import annotations

from streams.core.event import DeliveryEvent


class ClientError(Exception):
    """Anything a client raises."""


class InvalidRequest(ClientError, ValueError):
    """``field`` names what is wrong with the request, empty where it is no single field."""

    def __init__(self, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.field = field


class NotProduced(ClientError):
    """The request is not (certainly) on Kafka. The same idempotency key sends once, so it may be produced again."""


class EndedOtherwise(ClientError):
    """The message came to another end: ``event`` says which, and why."""

    def __init__(self, event: DeliveryEvent) -> None:
        reason = event.reason
        words = (reason.kind.value, reason.code, reason.detail) if reason else ()
        why = f" ({' '.join(filter(None, words))})" if words else ""
        what = event.type.value.removeprefix("message.")
        super().__init__(f"the message {event.message_id} to {event.recipient} ended as {what}{why}")
        self.event = event


class NotSeen(ClientError, TimeoutError):
    """What was waited for has not been recorded in time. ``last`` is the latest event of the message, if any."""

    def __init__(self, detail: str, last: DeliveryEvent | None = None) -> None:
        super().__init__(detail)
        self.last = last
