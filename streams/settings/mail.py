"""Settings of what is sent and to whom: attachments, tracking, staging, suppression.

See :mod:`streams.settings.model` for the rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from streams.settings.keys import key
from streams.settings.secret import Secret


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
