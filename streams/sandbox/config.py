"""What a sandbox is started with: frozen values, checked once, no I/O.

Units are in the names. Every default is good for tests: no latency, events after a fifth of a second, webhook retries a
thousand times faster than the real ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from pathlib import Path
from typing import Final

from streams.sandbox.directmail_config import DirectMailConfig

MAILGUN_EVENTS: Final = frozenset(
    {
        "accepted", "delivered", "temporary_fail", "permanent_fail", "opened", "clicked", "unsubscribed",
        "complained", "rejected",
    }
)  # fmt: skip
SES_EVENTS: Final = frozenset(
    {
        "Send", "Delivery", "Bounce", "Complaint", "Reject", "Open", "Click", "Rendering Failure", "DeliveryDelay",
        "Subscription",
    }
)  # fmt: skip


class AccessCheck(StrEnum):
    """How much of an AWS request's authorisation is looked at."""

    NONE = "none"
    ACCESS_KEY = "access_key"
    SIGNATURE = "signature"


class WebhookFormat(StrEnum):
    """Mailgun's webhook bodies: signed JSON of today, or the form fields of before 2018."""

    JSON = "json"
    LEGACY = "legacy"


class QueueForm(StrEnum):
    """How SES events lie in the SQS queue: as SNS envelopes, by SNS's raw delivery, or put there by EventBridge."""

    ENVELOPE = "envelope"
    RAW = "raw"
    EVENTBRIDGE = "eventbridge"


@dataclass(frozen=True, slots=True)
class MailgunConfig:
    """One Mailgun account with one sending domain (and more domains under the same key, if wanted)."""

    api_key: str = "key-sandbox"
    signing_key: str = "signing-key-sandbox"
    domain: str = "mg.example.com"
    more_domains: tuple[str, ...] = ()
    accounts: Mapping[str, str] = field(default_factory=dict)
    """Domains of other accounts, each with its own API key."""
    webhook_url: str | None = None
    webhook_events: frozenset[str] = MAILGUN_EVENTS
    webhook_format: WebhookFormat = WebhookFormat.JSON
    retry_scale: float = 0.001  # of 5, 10, 15 minutes, 1, 2, 4 hours
    retry_delivered: bool = False  # the documentation says that delivery notifications are not retried
    webhook_timeout_s: float = 10.0
    events_delay_s: float = 0.0  # how late the events API sees an event
    auto_suppress: bool = True  # hard bounces, complaints and unsubscribes enter the suppression lists
    max_schedule_days: int = 7
    keep_days: float = 3.0  # how long stored messages can be shown and sent again


@dataclass(frozen=True, slots=True)
class SesConfig:
    """One SES account in one region, its topic, the topic's one HTTP subscription and its one queue."""

    region: str = "us-east-1"
    access_key: str = "AKIASANDBOX000000000"
    secret: str = "sandbox-secret"  # noqa: S105 — of a stand-in
    check: AccessCheck = AccessCheck.NONE
    account_id: str = "111122223333"
    topic_arn: str = "arn:aws:sns:us-east-1:111122223333:ses-events"
    webhook_url: str | None = None
    event_types: frozenset[str] = SES_EVENTS
    configuration_sets: frozenset[str] = frozenset()  # empty: every name exists
    default_configuration_set: str | None = None  # of the identity
    certificates_dir: Path | None = None
    signature_version: str = "2"
    confirm_first: bool = False  # True: events flow only after ConfirmSubscription
    retry_scale: float = 0.01  # of 3 retries, 20 s apart
    webhook_timeout_s: float = 15.0
    queue: str = "ses-events"  # the name of the SQS queue
    queue_form: QueueForm | None = None  # None: nothing subscribes the queue; it exists all the same
    queue_share: float = 1.0  # of messages whose events go there too while HTTP is confirmed; else all do
    queue_visibility_s: int = 30
    queue_max_receives: int = 5  # then a message goes to the queue's dead-letter queue
    identity_notifications: bool = False  # True: the queue gets bounces, complaints and deliveries in both formats
    max_send_rate: float = 0.0  # recipients/s; 0 = not limited
    max_24h: float = -1.0  # recipients; -1 = not limited
    auto_suppress: bool = True


@dataclass(frozen=True, slots=True)
class SmtpConfig:
    """One SMTP server with TLS (needs aiosmtpd). Its certificate is made beside the ledger; clients trust that file."""

    port: int = 0  # TLS from the start; 0 takes a free one
    starttls_port: int = 0
    users: Mapping[str, str] = field(default_factory=lambda: {"sandbox": "password-sandbox"})  # empty: no login
    host_name: str = "localhost"
    max_size: int = 25_000_000
    pipelining: bool = True
    maildir: Path | None = None  # bounces, complaints and automatic replies; default: `maildir` beside the ledger
    imap_port: int | None = None  # shows the Maildir to the same users, with TLS; 0 takes a free one; None: no IMAP


@dataclass(frozen=True, slots=True)
class OutcomeMix:
    """Probabilities of the fate of an address that does not name its fate; what is left over is `success`."""

    bounce: float = 0.02
    softbounce: float = 0.01
    blocked: float = 0.005
    complaint: float = 0.002
    defer: float = 0.03
    open: float = 0.15
    click: float = 0.05
    unsubscribe: float = 0.002
    reject: float = 0.001
    delayedbounce: float = 0.001
    silent: float = 0.0

    def __post_init__(self) -> None:
        shares = [getattr(self, item.name) for item in fields(self)]
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ValueError("OutcomeMix: probabilities must be >= 0 and sum to at most 1")

    @classmethod
    def only_success(cls) -> OutcomeMix:
        """Every address that does not name its fate is delivered."""
        return cls(**{item.name: 0.0 for item in fields(cls)})


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Everything a sandbox needs. `latency_ms`, added to each provider answer: (base, median of a lognormal jitter)."""

    ledger_path: Path
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    latency_ms: tuple[float, float] = (0.0, 0.0)
    mailgun: MailgunConfig = field(default_factory=MailgunConfig)
    ses: SesConfig = field(default_factory=SesConfig)
    directmail: DirectMailConfig = field(default_factory=DirectMailConfig)
    smtp: SmtpConfig | None = None  # None: no SMTP server
    webhook_delay_s: float = 0.2  # mean time between two events of one message
    webhook_concurrency: int = 16  # connections to the receivers
    webhook_duplicate_rate: float = 0.0  # share of events posted twice, as at-least-once delivery may
    mix: OutcomeMix = field(default_factory=OutcomeMix)
    identity_variable: str = "message_id"  # counts as duplicates: two accepts with the same value of this variable
    index_limit: int = 2_000_000  # accepts per provider that the events API can still find (32 bytes each)

    def __post_init__(self) -> None:
        if min(self.latency_ms) < 0 or self.webhook_delay_s < 0:
            raise ValueError("SandboxConfig: latency_ms and webhook_delay_s must not be negative")
        if self.webhook_concurrency < 1 or self.index_limit < 1:
            raise ValueError("SandboxConfig: webhook_concurrency and index_limit must be at least 1")
        if not self.mailgun.webhook_events <= MAILGUN_EVENTS:
            raise ValueError(f"MailgunConfig: unknown events {sorted(self.mailgun.webhook_events - MAILGUN_EVENTS)}")
        if not self.ses.event_types <= SES_EVENTS:
            raise ValueError(f"SesConfig: unknown event types {sorted(self.ses.event_types - SES_EVENTS)}")
        if self.ses.signature_version not in ("1", "2"):
            raise ValueError("SesConfig: signature_version is '1' or '2'")
