"""Every setting: its name, type, default, bounds and meaning. The reference page is generated from here.

Rules:

1. Plain frozen values; no section knows another, no section reads a file or the environment.
2. Units are part of the name: ``_s`` seconds, ``_ms`` milliseconds, ``_bytes``, ``_days``.
3. What a key means stands beside it (`doc`), and nowhere else.
"""

# ruff: noqa: RUF009  (key() makes a field, like dataclasses.field)
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from streams.settings.alerts import AlertSettings
from streams.settings.doors import DoorSettings
from streams.settings.flow import LimitSettings
from streams.settings.kafka import KafkaSettings
from streams.settings.keys import key, required
from streams.settings.mail import AttachmentSettings, StagingSettings, SuppressionSettings, TrackingSettings
from streams.settings.mailbox import MailboxSettings
from streams.settings.processes import IngressSettings, PollSettings, WorkerSettings

MAX_PROVIDERS = 16
"""Providers are metric labels and each has a circuit breaker: their number is bounded."""


class RetryKind(StrEnum):
    """The shapes a retry policy can have."""

    CUBED = "cubed"
    EXPONENTIAL = "exponential"
    BACKOFF = "backoff"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider. Keys not listed here belong to its type, see there."""

    name: str = field(metadata={"hidden": True})
    type: str = required(
        "`mailgun`, `ses`, `directmail`, `smtp`, or one of your own: a module by its dotted name, or an entry point "
        "(docs/add-a-provider.md).",
        "mailgun",
    )
    enabled: bool = key(True, "Whether messages may be routed to it; its webhooks are taken anyway.")
    rate: float = key(
        0.0, "Messages per second for the whole fleet; 0 for no limit of ours (SES: its own limit is read).", least=0
    )
    burst: float = key(0.0, "Messages that may go at once after a pause; 0 for one second's worth.", least=0)
    concurrency: int = key(8, "Calls under way at once, per worker and priority.", least=1, most=1024)
    batch_size: int = key(0, "Recipients per call; 0 for as many as the provider takes.", least=0, most=1000)
    deadline_s: float = key(30.0, "Total time of one call.", least=0.5, most=300)
    options: Mapping[str, Any] = field(default_factory=dict, metadata={"hidden": True})
    accounts: Mapping[str, Mapping[str, Any]] = key(
        {},
        "Further credentials here, as `[providers.NAME.accounts.ACCOUNT]`; only what differs is given there.",
    )
    warm_up_start: str = key(
        "", "First day (UTC) of a warm-up: from then on a daily cap that grows; empty for none.", example="2026-11-01"
    )
    warm_up_first: int = key(50, "Messages on the first day of the warm-up.", least=1)
    warm_up_growth: float = key(1.5, "Each day of the warm-up takes so many times the day before.", least=1, most=10)
    warm_up_days: int = key(30, "Days until there is no cap any more.", least=1, most=365)
    warm_up_overflow: str = key("", "Provider that takes what exceeds the cap; empty for the next one of the route.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRule:
    """Which providers a message takes. A rule applies if all it names apply; the first that applies decides."""

    tenant: str = key("", "Only this tenant.")
    stream: str = key("", "Only `transactional` or `bulk`.")
    domain: str = key("", "Only recipients at this domain, or at `*.domain` below it.")
    tag: str = key("", "Only messages with this tag.")
    providers: tuple[str, ...] = required("Providers in order of preference.", '["mailgun", "ses"]')
    weights: Mapping[str, float] = key(
        {},
        "Shares of the first choice among these providers; the others remain fallbacks.",
        example="{ mailgun = 80, ses = 20 }",
    )


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """Which provider a message takes, and which next."""

    default: tuple[str, ...] = key((), "Order where no rule applies; empty for all enabled providers as configured.")
    rules: tuple[RoutingRule, ...] = key((), "Rules, as `[[routing.rules]]`; the first that applies decides.")


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """One tenant. Tenants that are not configured are served by the defaults."""

    name: str = field(metadata={"hidden": True})
    sender: str = key("", "Sender of requests that name none.", named="from", example="Shop <news@shop.example.com>")
    accounts: Mapping[str, str] = key(
        {}, "Its account per provider, one of `[providers.NAME.accounts]`.", example='{ mailgun = "shop" }'
    )
    rate: float = key(0.0, "Messages per second over all providers; 0 for `[limits] tenant_rate`.", least=0)
    retry: str = key("", "Its retry policy; empty for `[dispatch] retry`.")
    alert: str = key("", "Who gets a mail when its messages are given up; see `[alerts]`.")
    events_topic: str = key(
        "",
        "A topic that gets a copy of each of its events, besides `delivery-events`; `[kafka] prefix` is put before it.",
        example="events.shop",
    )


@dataclass(frozen=True, slots=True)
class RetrySettings:
    """One retry policy. `cubed`, `exponential`, `backoff` and `none` exist without being configured."""

    name: str = field(metadata={"hidden": True})
    kind: RetryKind = required(
        "`cubed` (n³ minutes), `exponential` (4ⁿ minutes), `backoff` (full jitter) or `none`.", "cubed"
    )
    attempts: int = key(5, "Attempts in all, the first included.", least=1, most=100)
    unit_s: float = key(60.0, "What `cubed` and `exponential` count in.", least=0.001, most=86_400)
    factor: float = key(4.0, "Base of `exponential`.", least=1, most=100)
    base_s: float = key(5.0, "First ceiling of `backoff`, doubled each time.", least=0.001, most=86_400)
    cap_s: float = key(86_400.0, "No delay is longer.", least=0.001, most=2_592_000)
    soft_only: bool = key(False, "Answer only refusals that may pass; otherwise also a provider's final soft failure.")


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When a provider is given a rest, and how it comes back."""

    window_s: float = key(30.0, "What the failure ratio is counted over.", least=1, most=3600)
    min_requests: int = key(20, "Fewer calls than this in the window decide nothing.", least=1)
    failure_ratio: float = key(0.5, "Open at this share of failed calls.", least=0.01, most=1)
    consecutive: int = key(10, "Open after so many failures in a row.", least=1)
    open_s: float = key(5.0, "First pause before a probe; doubled after each failed probe.", least=0.1, most=3600)
    max_open_s: float = key(40.0, "Longest pause before a probe.", least=0.1, most=86_400)
    probe_lease_s: float = key(
        60.0, "A probe that has not answered by then is given to another worker.", least=1, most=3600
    )
    ramp_s: float = key(
        30.0,
        "After it has closed, its share of traffic that has another way grows over this time; 0 for all at once.",
        least=0,
        most=86_400,
    )


@dataclass(frozen=True, slots=True)
class DispatchSettings:
    """How messages are handed to providers."""

    batch_wait_ms: float = key(5.0, "How long a batch waits to fill up.", least=0, most=1000)
    inline_content_bytes: int = key(
        65_536, "Content up to this size travels inside a single message.", least=0, most=900_000
    )
    lease_margin_s: float = key(
        30.0, "A `sending` row is nobody else's for the call's deadline and this.", least=5, most=3600
    )
    heartbeat_max_age_s: float = key(10.0, "Without a heartbeat younger than this nothing is sent.", least=1, most=300)
    uncertain_grace_s: float = key(
        3600.0, "How long an uncertain message waits for proof before `on_uncertain` decides.", least=1, most=604_800
    )
    retry: str = key("cubed", "Retry policy of requests and tenants that name none.")
    lend_rates: bool = key(True, "Workers lend each other what they do not use of a provider's rate.")
    tenant_secrets: tuple[str, ...] = key(
        ("env:TENANT_", "file:/run/secrets/tenants/", "aws-secretsmanager:tenants/"),
        "What references to secrets in records of the topic `tenants` must begin with.",
    )
    tenant_hosts: tuple[str, ...] = key(
        (
            "api.mailgun.net",
            "api.eu.mailgun.net",
            "smtp.mailgun.org",
            "smtp.eu.mailgun.org",
            "email.*.amazonaws.com",
            "email-smtp.*.amazonaws.com",
            "email-smtp-fips.*.amazonaws.com",
            "dm.aliyuncs.com",
            "dm.*.aliyuncs.com",
            "smtpdm*.aliyun.com",
            "smtpdm*.aliyuncs.com",
        ),
        "Hosts that accounts of tenants may name, beside those of the provider's own section; a `*` stands for a part "
        "without dots.",
    )
    text_from_html: bool = key(True, "Give mail that has only HTML a text part made from it.")


BUILT_IN_RETRIES: Mapping[str, RetrySettings] = MappingProxyType(
    {
        "cubed": RetrySettings("cubed", RetryKind.CUBED),
        "exponential": RetrySettings("exponential", RetryKind.EXPONENTIAL),
        "backoff": RetrySettings("backoff", RetryKind.BACKOFF, attempts=8, cap_s=3600.0),
        "none": RetrySettings("none", RetryKind.NONE, attempts=1),
    }
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a process needs to know at start."""

    kafka: KafkaSettings
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    ingress: IngressSettings = field(default_factory=IngressSettings)
    poll: PollSettings = field(default_factory=PollSettings)
    providers: Mapping[str, ProviderSettings] = field(default_factory=dict)
    routing: RoutingSettings = field(default_factory=RoutingSettings)
    tenants: Mapping[str, TenantSettings] = field(default_factory=dict)
    retry: Mapping[str, RetrySettings] = field(default_factory=lambda: BUILT_IN_RETRIES)
    breaker: BreakerSettings = field(default_factory=BreakerSettings)
    suppression: SuppressionSettings = field(default_factory=SuppressionSettings)
    dispatch: DispatchSettings = field(default_factory=DispatchSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    staging: StagingSettings = field(default_factory=StagingSettings)
    attachments: AttachmentSettings = field(default_factory=AttachmentSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    mailboxes: Mapping[str, MailboxSettings] = field(default_factory=dict)
    doors: Mapping[str, DoorSettings] = field(default_factory=dict)
