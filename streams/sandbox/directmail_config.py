"""What the DirectMail stand-in is started with: frozen values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class NoticeForm(StrEnum):
    """The language of notifications: the text of today's existing customers, or EventBridge's CloudEvents."""

    CLASSIC = "classic"
    EVENTBRIDGE = "eventbridge"


class PushFormat(StrEnum):
    """What an MNS topic wraps a message into before it pushes it (`NotifyContentFormat`)."""

    XML = "XML"
    JSON = "JSON"
    SIMPLIFIED = "SIMPLIFIED"


@dataclass(frozen=True, slots=True)
class DirectMailConfig:
    """One account in one region, its topic with one HTTP endpoint, and its queue.

    With both an endpoint and a queue, `queue_share` of the messages are reported to the queue, the others to the
    endpoint; with only one of them, all are reported there.
    """

    access_key: str = "LTAIsandbox"
    secret: str = "sandbox-secret"  # noqa: S105 — of a stand-in
    check: bool = False  # key and signature of every call; else any will do
    region: str = "cn-hangzhou"
    account_id: str = "1234567890123456"
    senders: frozenset[str] = frozenset()  # addresses of the console; empty: every address exists
    form: NoticeForm = NoticeForm.CLASSIC
    keeps_message_id: bool = True  # False: a Message-ID of its own, as when `Headers` is not understood
    topic: str = "directmail-events"
    webhook_url: str | None = None
    push_format: PushFormat = PushFormat.XML
    certificates_dir: Path | None = None
    retry_scale: float = 0.01  # of 3 retries, 15 s apart (BACKOFF_RETRY)
    webhook_timeout_s: float = 5.0
    queue: str = ""  # empty: there is none
    queue_share: float = 0.5
    queue_base64: bool = True
    queue_visibility_s: int = 30
