"""The records of the topic ``lookups``: whose a provider's id is, and who asks for it.

Both are keyed and partitioned by the provider's message id, so that they meet whichever comes first.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.core.receipt import Receipt
from streams.serde.internal import register


@dataclass(frozen=True, slots=True)
class Bind:
    """A provider took this attempt of a message under an id of its own. One id may cover many recipients."""

    provider: str
    provider_message_id: str
    message_id: str
    attempt: int
    recipient: str = ""
    bound_ms: int = 0


@dataclass(frozen=True, slots=True)
class Find:
    """A receipt that lacks our message id (its ``message_id`` is empty); it names its provider and the provider's id.

    ``recipient`` tells apart the recipients that share a provider id; it may be empty.
    """

    receipt: Receipt
    recipient: str = ""
    asked_ms: int = 0


def bind_key(record: Bind | Find) -> bytes:
    """The Kafka key."""
    theirs = record.receipt.provider_message_id if isinstance(record, Find) else record.provider_message_id
    return theirs.encode()


register(0x20, Bind)
register(0x21, Find)
