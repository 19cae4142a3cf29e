"""What a mail in the bounce mailbox turned out to be: the vocabulary, and the record that a user's hook may change."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from streams.core.event import BounceType, Reason


class Form(StrEnum):
    """What kind of mail it is. Only the first three say anything about a message of ours."""

    STATUS = "status"  # a delivery status notification with its machine-readable part (RFC 3464)
    FEEDBACK = "feedback"  # a feedback report (RFC 5965)
    NOTICE = "notice"  # a bounce in words only
    DISPOSITION = "disposition"  # a read receipt (RFC 8098)
    AUTO_REPLY = "auto_reply"  # out of office, ticket systems (RFC 3834)
    CHALLENGE = "challenge"  # "confirm that you are a person"
    MODERATION = "moderation"  # a list holds the mail for its moderator
    OTHER = "other"  # an ordinary mail, or a bounce that nobody here can read


class Kind(StrEnum):
    """What is said about one recipient."""

    FAILED = "failed"
    DELAYED = "delayed"  # not a bounce: somebody still tries
    DELIVERED = "delivered"
    RELAYED = "relayed"  # handed on to where no notices come from
    EXPANDED = "expanded"  # the address is a list
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    NOT_SPAM = "not_spam"  # a complaint is taken back
    REPORT = "report"  # fraud, virus, failed authentication: nothing about the recipient's wish
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """About one recipient. ``suppress``: mail to this address must stop. ``occurred_ms`` 0 is not told."""

    kind: Kind
    recipient: str = ""
    reason: Reason | None = None
    bounce_type: BounceType | None = None
    suppress: bool = False
    occurred_ms: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """One mail, read. ``message_id`` is ours, empty if the mail carries none; ``attempt`` 0 is not told.

    ``signed``: a key of ours vouches for the id. ``provider_message_id`` is the returned mail's Message-ID where it is
    not ours, without brackets. ``reported_id`` tells one report from another. ``unknown_words`` are counted.
    """

    form: Form
    verdicts: tuple[Verdict, ...] = ()
    message_id: str = ""
    attempt: int = 0
    signed: bool = False
    provider_message_id: str = ""
    reported_id: str = ""
    unknown_words: tuple[str, ...] = ()
