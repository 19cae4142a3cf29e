"""What a DirectMail account needs to be told: to send, to take notifications, to read its queue."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from streams.providers._payload import is_key

HOSTS = {
    "cn-hangzhou": "dm.aliyuncs.com",
    "ap-southeast-1": "dm.ap-southeast-1.aliyuncs.com",
    "eu-central-1": "dm.eu-central-1.aliyuncs.com",
    "us-east-1": "dm.us-east-1.aliyuncs.com",
}
"""API hosts by region. Only Hangzhou's is beyond doubt: `endpoint_url` overrules any."""

SIGNATURES = ("1.0", "acs3")
UNSUBSCRIBE_LINKS = ("", "disabled", "default", "zh-cn", "en-us")
UNSUBSCRIBE_FILTERS = ("", "disabled", "default", "mailfrom", "mailfrom_domain", "edm_id")

_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_TAG = re.compile(r"[A-Za-z0-9_-]{0,128}")
_QUEUE = re.compile(r"[A-Za-z0-9-]{0,256}")
_TOPIC = re.compile(r"\d{1,32}/[A-Za-z0-9-]{1,256}")
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+(?:-\d)?")


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@dataclass(frozen=True, slots=True)
class Config:
    """Keys of ``[providers.NAME]`` with ``type = "directmail"``."""

    region: str = field(
        default="cn-hangzhou",
        metadata=_doc("`cn-hangzhou`, `ap-southeast-1`, `eu-central-1`, `us-east-1`, others need `endpoint_url`."),
    )
    access_key_id: str = field(
        default="", repr=False, metadata=_doc("Alibaba Cloud access key, for the API and the queue.")
    )
    access_key_secret: str = field(default="", repr=False, metadata=_doc("Its secret."))
    security_token: str = field(default="", repr=False, metadata=_doc("Its STS token, where there is one."))
    signature: str = field(
        default="1.0", metadata=_doc("How API calls are signed: `1.0` (HMAC-SHA1, RPC) or `acs3` (ACS3-HMAC-SHA256).")
    )
    endpoint_url: str = field(default="", metadata=_doc("Another API endpoint, for tests and private links."))
    reply_to_address: bool = field(
        default=False, metadata=_doc("Let replies go to the address set in the console, where a message names none.")
    )
    tag: str = field(
        default="",
        metadata=_doc("`TagName` of every message; it must exist in the console. Needed for `click_trace`."),
    )
    message_tags: bool = field(
        default=False,
        metadata=_doc("Use a message's own first tag as `TagName` instead; it must exist in the console."),
    )
    click_trace: bool = field(
        default=False, metadata=_doc("Let DirectMail track opens and clicks where a message does not say; needs a tag.")
    )
    unsubscribe_link: str = field(
        default="",
        metadata=_doc("`UnSubscribeLinkType`: `disabled`, `default`, `zh-cn` or `en-us`; empty does not say."),
    )
    unsubscribe_filter: str = field(
        default="",
        metadata=_doc(
            "`UnSubscribeFilterLevel`: `disabled`, `default`, `mailfrom`, `mailfrom_domain`, `edm_id`; empty: unsaid."
        ),
    )
    topics: tuple[str, ...] = field(
        default=(),
        metadata=_doc("MNS topics whose pushes are taken, as `ACCOUNT-ID/TOPIC-NAME`; none means none."),
    )
    push_secret: str = field(
        default="",
        repr=False,
        metadata=_doc(
            "Pushes must come to `…?secret=THIS` (the query is signed). Needed for pushes of format SIMPLIFIED, "
            "which name no topic."
        ),
    )
    push_path: str = field(
        default="",
        metadata=_doc("Path and query of the subscription's endpoint, where a proxy in front of us changes them."),
    )
    pinned_certificates: str = field(
        default="", metadata=_doc("Directory of MNS signing certificates not to be fetched, named as in their URL.")
    )
    max_webhook_age_s: float = field(default=900.0, metadata=_doc("Oldest push accepted, by its signed `Date`."))
    mns_queue: str = field(default="", metadata=_doc("MNS queue that `streams poll` reads; empty for none."))
    mns_account_id: str = field(default="", metadata=_doc("Id of the Alibaba Cloud account that owns the queue."))
    mns_endpoint_url: str = field(
        default="", metadata=_doc("Another MNS endpoint; empty for `https://ACCOUNT-ID.mns.REGION.aliyuncs.com`.")
    )
    mns_wait_s: int = field(default=20, metadata=_doc("How long one poll of the queue waits for messages, 0 to 30."))
    mns_batch: int = field(default=16, metadata=_doc("Messages of one poll, 1 to 16."))
    mns_visibility_s: int = field(
        default=30, metadata=_doc("For how long a message is kept from others while Kafka takes its time.")
    )
    visibility_delay_s: float = field(
        default=900.0, metadata=_doc("How long to wait for the notification that settles a doubtful send.")
    )

    def __post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise ValueError(f"region must be an Alibaba Cloud region, not {self.region!r}")
        if not self.endpoint_url and self.region not in HOSTS:
            raise ValueError(
                f"region {self.region} has no known API host: set endpoint_url, or take one of {', '.join(HOSTS)}"
            )
        if bool(self.access_key_id) != bool(self.access_key_secret):
            raise ValueError("access_key_id and access_key_secret belong together")
        for name in ("access_key_id", "access_key_secret", "security_token"):
            if not is_key(getattr(self, name)):
                raise ValueError(f"{name} holds what no key has: a line end, or a letter beyond ASCII")
        self._check_words()
        self._check_queue()
        for topic in self.topics:
            if not _TOPIC.fullmatch(topic):
                raise ValueError(f"topics holds {topic!r}, which is not ACCOUNT-ID/TOPIC-NAME")

    def _check_words(self) -> None:
        if self.signature not in SIGNATURES:
            raise ValueError(f"signature must be one of {', '.join(SIGNATURES)}")
        if not _TAG.fullmatch(self.tag):
            raise ValueError("tag may hold letters, digits, - and _, at most 128")
        if self.unsubscribe_link not in UNSUBSCRIBE_LINKS:
            raise ValueError(f"unsubscribe_link must be one of {', '.join(UNSUBSCRIBE_LINKS[1:])}")
        if self.unsubscribe_filter not in UNSUBSCRIBE_FILTERS:
            raise ValueError(f"unsubscribe_filter must be one of {', '.join(UNSUBSCRIBE_FILTERS[1:])}")
        if self.click_trace and not (self.tag or self.message_tags):
            raise ValueError("click_trace needs tag or message_tags: DirectMail tracks nothing without a tag")
        for name in ("endpoint_url", "mns_endpoint_url"):
            url = getattr(self, name)
            if url and not _URL.fullmatch(url):
                raise ValueError(f"{name} must be a scheme and a host without a path, not {url!r}")
        if self.push_path and not self.push_path.startswith("/"):
            raise ValueError("push_path must begin with /")

    def _check_queue(self) -> None:
        if not _QUEUE.fullmatch(self.mns_queue):
            raise ValueError("mns_queue may hold letters, digits and -, at most 256")
        if self.mns_queue and not (self.mns_account_id or self.mns_endpoint_url):
            raise ValueError("mns_queue needs mns_account_id (or mns_endpoint_url)")
        if self.mns_queue and not self.access_key_id:
            raise ValueError("mns_queue needs access_key_id and access_key_secret")
        if not 0 <= self.mns_wait_s <= 30:
            raise ValueError("mns_wait_s must be between 0 and 30")
        if not 1 <= self.mns_batch <= 16:
            raise ValueError("mns_batch must be between 1 and 16")
        if not 1 <= self.mns_visibility_s <= 43_200:
            raise ValueError("mns_visibility_s must be between 1 and 43200")

    @property
    def endpoint(self) -> str:
        """Base URL of the API."""
        return self.endpoint_url or f"https://{HOSTS[self.region]}"

    @property
    def mns_endpoint(self) -> str:
        """Base URL of the queue service."""
        return self.mns_endpoint_url or f"https://{self.mns_account_id}.mns.{self.region}.aliyuncs.com"
