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
from streams.settings.flow import LimitSettings
from streams.settings.keys import key, required
from streams.settings.mailbox import MailboxSettings
from streams.settings.secret import Secret

MAX_PROVIDERS = 16
"""Providers are metric labels and each has a circuit breaker: their number is bounded."""


class Profile(StrEnum):
    """What kind of broker we talk to."""

    KAFKA = "kafka"
    EMBEDDED = "embedded"


class Protocol(StrEnum):
    """Kafka's security protocols."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class Mechanism(StrEnum):
    """SASL mechanisms that need a name and a password."""

    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class Store(StrEnum):
    """Where a worker keeps its tables."""

    MEMORY = "memory"
    ROCKSDB = "rocksdb"


class RetryKind(StrEnum):
    """The shapes a retry policy can have."""

    CUBED = "cubed"
    EXPONENTIAL = "exponential"
    BACKOFF = "backoff"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """The broker, the topics' names and sizes, and how long things are remembered."""

    bootstrap: str = required("Brokers as `host:port`, separated by commas.", "localhost:9092")
    profile: Profile = key(
        Profile.KAFKA,
        "`kafka`, or `embedded` for the broker that comes along for development (no idempotent producer, short "
        "sessions; then partitions default to 4 and replication to 1).",
    )
    partitions: int = key(
        12, "Partitions of every keyed topic and table. Frozen for the life of a deployment.", least=1, most=4096
    )
    prefix: str = key("", "Put before every topic name, with its own separator.", example="prod.")
    group: str = key("streams", "Consumer group of the workers.")
    client_id: str = key("streams", "How our clients name themselves to the broker.")
    replication_factor: int = key(3, "Replicas of the topics we create.", least=1, most=16)
    min_insync_replicas: int = key(
        2, "How many replicas must hold a record before it counts as stored.", least=1, most=16
    )
    ledger_days: float = key(
        30.0, "How long a message can be told from its duplicate, asked about and retried.", least=1, most=3650
    )
    schema_registry: str = key(
        "", "URL of a Confluent-compatible schema registry; empty writes Avro single-object encoding."
    )
    schema_registry_user: str = key("", "User of the schema registry.")
    schema_registry_password: Secret | None = key(None, "Password of the schema registry.")
    security_protocol: Protocol = key(Protocol.PLAINTEXT, "How to talk to the brokers.")
    sasl_mechanism: Mechanism = key(Mechanism.SCRAM_SHA_512, "How to log in, where the protocol is SASL.")
    sasl_username: str = key("", "Name to log in with.")
    sasl_password: Secret | None = key(None, "Password to log in with.")
    ssl_ca_file: str = key("", "PEM file of the authorities to trust; empty trusts the system's.")
    ssl_cert_file: str = key("", "PEM file of our certificate, where brokers ask for one.")
    ssl_key_file: str = key("", "PEM file of our private key.")
    ssl_key_password: Secret | None = key(None, "Password of the private key.")
    librdkafka: Mapping[str, str] = key({}, "Any further librdkafka property of the ingress and of the commands.")
    address_secret: Secret | None = key(
        None,
        "Keys the hash of addresses in Kafka keys, so that an address cannot be confirmed by guessing. "
        "Frozen for the life of a deployment.",
    )


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """The process that runs the agents."""

    host: str = key("127.0.0.1", "Address of the worker's `/metrics` and `/health`.")
    port: int = key(8090, "Port of the worker's `/metrics` and `/health`; 0 takes a free one.", least=0, most=65535)
    data_dir: str = key("data", "Directory of the tables on disk; each worker of a machine needs its own.")
    store: Store = key(Store.MEMORY, "`memory`, or `rocksdb` for tables that do not fit (needs the extra `rocksdb`).")
    chunk: int = key(512, "Records an agent gets at once, at most.", least=1, most=100_000)
    max_in_flight: int = key(8, "Batches of one partition under way at once, at most.", least=1, most=1024)
    linger_ms: float = key(
        2.0, "How long a record waits for company before it is sent to the broker.", least=0, most=1000
    )
    commit_interval_s: float = key(1.0, "How often offsets are committed.", least=0.05, most=60)
    session_timeout_s: float = key(
        30.0, "After this silence the group gives a worker's partitions away.", least=6, most=300
    )
    stall_timeout_s: float = key(
        120.0, "A worker with lag and no commit for so long ends, to be restarted.", least=10, most=3600
    )
    shutdown_timeout_s: float = key(20.0, "How long sends in flight may take at shutdown.", least=1, most=600)
    outcome_interval_ms: float = key(
        250.0, "How often outcomes are summed up for the circuit breakers.", least=50, most=10_000
    )


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """The process that takes webhooks. It speaks plain HTTP: put TLS in front of it."""

    host: str = key("127.0.0.1", "Address to listen on.")
    port: int = key(8080, "Port to listen on; 0 takes a free one.", least=0, most=65535)
    workers: int = key(1, "Processes that share the port.", least=1, most=64)
    metrics_port: int = key(
        0,
        "With several processes: the first one's own port for `/metrics`, the next ones count up; 0 for none.",
        least=0,
        most=65535,
    )
    public_url: str = key("", "Where providers reach us, for `streams doctor`.", example="https://hooks.example.com")
    max_body_bytes: int = key(1_048_576, "Largest webhook, after decompression.", least=1024, most=67_108_864)
    read_timeout_s: float = key(10.0, "How long a body may take to arrive.", least=0.1, most=120)
    produce_timeout_s: float = key(
        8.0, "How long Kafka may take before the answer is 503 (SNS waits 15 s).", least=0.1, most=14
    )
    max_pending: int = key(
        10_000, "Webhooks waiting for Kafka at once; beyond that the answer is 503.", least=1, most=1_000_000
    )
    retry_after_s: int = key(30, "`Retry-After` of a 503.", least=1, most=3600)
    drain_timeout_s: float = key(20.0, "How long requests under way may take at shutdown.", least=0, most=600)
    confirm_subscriptions: bool = key(True, "Confirm SNS subscriptions to allowed topics by ourselves.")


@dataclass(frozen=True, slots=True)
class PollSettings:
    """The process that fetches events from queues and mailboxes. What it fetches from is said at each provider."""

    host: str = key("127.0.0.1", "Address of its `/metrics` and `/health`.")
    port: int = key(8091, "Port of its `/metrics` and `/health`; 0 takes a free one.", least=0, most=65535)
    concurrency: int = key(4, "Receives under way at once, per queue (a mailbox has one).", least=1, most=64)
    max_pause_s: float = key(30.0, "Longest pause after errors of a source.", least=0.1, most=3600)
    produce_timeout_s: float = key(10.0, "How long Kafka may take before it is asked again.", least=0.1, most=60)
    max_pending: int = key(10_000, "Items waiting for Kafka at once.", least=1, most=1_000_000)
    max_body_bytes: int = key(
        1_000_000, "Larger items are stored cut to this size (the topics take 1 MiB).", least=1024, most=25_000_000
    )
    drain_timeout_s: float = key(10.0, "How long Kafka may take at shutdown.", least=0, most=600)


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
class SuppressionSettings:
    """Which facts make an address unusable for its tenant, and whose lists ours are compared with."""

    hard_bounces: bool = key(True, "Suppress after a hard bounce.")
    complaints: bool = key(True, "Suppress after a complaint.")
    unsubscribes: bool = key(True, "Suppress after an unsubscription.")
    expire_days: float = key(
        0.0,
        "A suppression after a bounce or a complaint ends after so many days; 0 for never. What people ask for "
        "(an unsubscription, a command) does not end by itself.",
        least=0,
        most=3650,
    )
    sync: tuple[str, ...] = key(
        (),
        "Providers, or `PROVIDER/ACCOUNT`, whose own lists are compared with ours, both ways; empty for none.",
        example='["mailgun"]',
    )
    sync_every_h: float = key(6.0, "How often they are compared.", least=0.05, most=168)
    sync_tenant: str = key(
        "default",
        "Whose the entries on a provider's list are, where the account is no tenant's own; `*` for everybody's.",
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
    text_from_html: bool = key(True, "Give mail that has only HTML a text part made from it.")


@dataclass(frozen=True, slots=True)
class StagingSettings:
    """Keeps a test environment from mailing customers. Off while both are empty."""

    allow: tuple[str, ...] = key(
        (), "Addresses, and `@domain` entries, that may be mailed; mail to others is rejected (or redirected)."
    )
    redirect: str = key("", "Mail to every other recipient goes to this address instead.")


@dataclass(frozen=True, slots=True)
class AttachmentSettings:
    """How attachments that requests name by URL are fetched."""

    max_bytes: int = key(10_485_760, "Largest attachment that is fetched.", least=1, most=26_214_400)
    deadline_s: float = key(
        15.0, "Total time of all attachments of one request, redirects included.", least=0.1, most=120
    )
    concurrency: int = key(16, "Requests of one worker whose attachments are fetched at once.", least=1, most=256)
    allow_hosts: tuple[str, ...] = key(
        (),
        "Hosts, as `name` or `name:port`, that may be fetched from although their addresses are not public.",
        example='["files.internal"]',
    )
    s3_buckets: tuple[str, ...] = key(
        (),
        "What may be read by `s3://`, as `bucket` or `bucket/prefix`; empty for nothing, since the worker's own "
        "credentials are used.",
        example='["invoices/2026"]',
    )
    s3_region: str = key("", "Region of the buckets; empty for boto3's own choice.")
    s3_endpoint: str = key("", "URL of an S3 look-alike; empty for AWS.")


@dataclass(frozen=True, slots=True)
class TrackingSettings:
    """Our own links for opens, clicks and unsubscription; on where `public_url` is set. See docs/tracking.md."""

    public_url: str = key(
        "", "Where recipients reach the ingress; empty for no links of ours.", example="https://t.example.com"
    )
    secrets: tuple[Secret, ...] = key(
        (),
        "Keys that seal the links, at least 16 bytes each: the first seals, all open. A key that is taken out ends its "
        "links, those to unsubscribe too.",
        example='["env:TRACKING_KEY_2027", "env:TRACKING_KEY_2026"]',
    )
    opens: bool = key(False, "Count opens where neither request nor tenant says.")
    clicks: bool = key(False, "Count clicks where neither request nor tenant says.")
    text: bool = key(False, "Where clicks are counted: also lead the URLs of plain text through us.")
    unsubscribe: bool = key(
        True, "Answer a request's `list_id` by one-click headers (RFC 8058), and offer templates `unsubscribe_url`."
    )
    providers: tuple[str, ...] = key(
        (), "Providers whose mail gets our links, their own tracking being switched off for it; empty for all."
    )
    ip_header: str = key(
        "",
        "Header in which your proxy names the visitor; its last entry counts. Empty takes the connection's address.",
        example="X-Forwarded-For",
    )
    proxy_networks: tuple[str, ...] = key(
        (), "Networks of mail readers' image proxies (CIDR): opens from there are labelled `proxy`."
    )
    scanner_networks: tuple[str, ...] = key(
        (), "Networks of security gateways (CIDR): what comes from there is labelled `scanner`."
    )


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
