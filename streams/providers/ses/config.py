"""What an Amazon SES account needs to be told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from streams.core.message import Stream
from streams.providers._payload import is_key

_STREAMS = tuple(stream.value for stream in Stream)
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_QUEUE_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+/\d{12}/[A-Za-z0-9_-]{1,80}(?:\.fifo)?")
_SQS_HOST = re.compile(r"https?://(?:sqs\.)?([a-z]{2}(?:-[a-z]+)+-\d)\..*")
_CONFIGURATION_SET = re.compile(r"[A-Za-z0-9_-]{0,64}")


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@dataclass(frozen=True, slots=True)
class Config:
    """Keys of ``[providers.NAME]`` with ``type = "ses"``."""

    region: str = field(metadata=_doc("AWS region that sends, such as `eu-west-1`."))
    configuration_set: str = field(
        default="", metadata=_doc("Configuration set; without one (and no default one) SES publishes no events.")
    )
    configuration_sets: Mapping[str, str] = field(
        default_factory=dict,
        metadata=_doc(
            "Configuration sets by stream, instead of `configuration_set`; for instance "
            '`{ transactional = "tx", bulk = "news" }`.'
        ),
    )
    tenant_name: str = field(
        default="", metadata=_doc("SES tenant to send as (`TenantName`), with its own suppression list.")
    )
    access_key_id: str = field(
        default="", repr=False, metadata=_doc("AWS access key; empty uses AWS's default credential chain.")
    )
    secret_access_key: str = field(default="", repr=False, metadata=_doc("Its secret."))
    session_token: str = field(default="", repr=False, metadata=_doc("Its session token, where there is one."))
    topic_arns: tuple[str, ...] = field(
        default=(), metadata=_doc("SNS topics whose messages are taken, by exact ARN; none means none.")
    )
    allow_signature_v1: bool = field(
        default=True, metadata=_doc("Take SNS signatures of version 1 (SHA-1), which is what topics use by default.")
    )
    pinned_certificates: str = field(
        default="", metadata=_doc("Directory of SNS signing certificates not to be fetched, named as in their URL.")
    )
    max_webhook_age_s: float = field(
        default=86_400.0, metadata=_doc("Oldest SNS message accepted; it covers SNS's own retries and redrives.")
    )
    visibility_delay_s: float = field(
        default=900.0, metadata=_doc("How long to wait for the Send event that settles a doubtful send.")
    )
    endpoint_url: str = field(default="", metadata=_doc("Another SES endpoint, for tests and private links."))
    sns_endpoint_url: str = field(default="", metadata=_doc("Another SNS endpoint to confirm subscriptions at."))
    suppress_invalid: bool = field(
        default=False, metadata=_doc("Suppress addresses that SES's own address validation calls invalid.")
    )

    sqs_queue_url: str = field(
        default="",
        metadata=_doc(
            "SQS queue with its events, fetched by `streams poll`: filled by SNS (envelopes of the topics in "
            "`topic_arns`, or raw delivery) or by EventBridge."
        ),
    )
    sqs_endpoint_url: str = field(default="", metadata=_doc("Another SQS endpoint, for tests and private links."))
    sqs_wait_s: int = field(
        default=20,
        metadata=_doc("How long one receive waits for events (long poll), which a stop may take.")
        | {"least": 0, "most": 20},
    )
    sqs_visibility_s: int = field(
        default=120,
        metadata=_doc("How long SQS keeps what was received for us; it is extended while Kafka takes longer.")
        | {"least": 10, "most": 43_200},
    )

    def __post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise ValueError(f"region must be an AWS region, not {self.region!r}")
        if not all(map(_CONFIGURATION_SET.fullmatch, (self.configuration_set, *self.configuration_sets.values()))):
            raise ValueError("configuration_set may hold letters, digits, - and _, at most 64")
        for stream in self.configuration_sets:
            if stream not in _STREAMS:
                raise ValueError(f"configuration_sets names streams, which are {' and '.join(_STREAMS)}, not {stream}")
        if len(self.tenant_name) > 64 or not self.tenant_name.isprintable():
            raise ValueError("tenant_name is at most 64 printable characters")
        if bool(self.access_key_id) != bool(self.secret_access_key):
            raise ValueError("access_key_id and secret_access_key belong together")
        for name in ("access_key_id", "secret_access_key", "session_token"):
            if not is_key(getattr(self, name)):
                raise ValueError(f"{name} holds what no key has: a line end, or a letter beyond ASCII")
        if self.sqs_queue_url and not _QUEUE_URL.fullmatch(self.sqs_queue_url):
            raise ValueError(f"sqs_queue_url must be https://HOST/ACCOUNT/QUEUE, not {self.sqs_queue_url!r}")
        for name in ("endpoint_url", "sns_endpoint_url", "sqs_endpoint_url"):
            url = getattr(self, name)
            if url and not _URL.fullmatch(url):
                raise ValueError(f"{name} must be a scheme and a host without a path, not {url!r}")

    @property
    def endpoint(self) -> str:
        """Base URL of SES."""
        return self.endpoint_url or f"https://email.{self.region}.{_suffix(self.region)}"

    def sns_endpoint(self, region: str) -> str:
        """Base URL of SNS in a topic's region."""
        return self.sns_endpoint_url or f"https://sns.{region}.{_suffix(region)}"

    @property
    def sqs_region(self) -> str:
        """Region of the queue: what its URL says, else the one that sends."""
        named = _SQS_HOST.fullmatch(self.sqs_queue_url)
        return named[1] if named else self.region


def _suffix(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
