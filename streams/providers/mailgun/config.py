"""What a Mailgun account needs to be told."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from streams.providers.mailgun.hosts import REGIONS

_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
MAX_WEBHOOK_AGE_S = 90_000
"""Below the life of a remembered token (``agents.normalise``): an older one could be used again with another event."""
MAX_AHEAD_S = 3 * 86_400
"""Depending on its plan an account may schedule three or seven days ahead: three hold for all."""
EVENTS = ("delivered", "failed", "rejected", "complained", "unsubscribed", "opened", "clicked")
"""What is read to fill gaps: all that may be lost; ``accepted`` is known from the answer."""
_BASE_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")


def _doc(text: str) -> dict[str, str]:
    return {"doc": text}


@dataclass(frozen=True, slots=True)
class Config:
    """Keys of ``[providers.NAME]`` with ``type = "mailgun"``."""

    domain: str = field(metadata=_doc("Sending domain, as it is called at Mailgun."))
    api_key: str = field(repr=False, metadata=_doc("API key of the account, or a sending key of the domain."))
    region: str = field(
        default="us", metadata=_doc("Where the domain lives, `us` or `eu`: the other region knows nothing of it (404).")
    )
    base_url: str = field(
        default="", metadata=_doc("Scheme and host of the API; empty for the region's. For a stand-in or a proxy.")
    )
    events_key: str = field(
        default="",
        repr=False,
        metadata=_doc(
            "API key that may read events and lists, where `api_key` may not: for doubtful sends, gaps and lists."
        ),
    )
    signing_keys: tuple[str, ...] = field(
        default=(), repr=False, metadata=_doc("Webhook signing keys; two during a rotation, and a parent account's.")
    )
    visibility_delay_s: float = field(
        default=1800.0, metadata=_doc("How long Mailgun may take to show a message in its events.")
    )
    max_webhook_age_s: float = field(
        default=86_400.0, metadata=_doc("Oldest signature accepted; Mailgun repeats a webhook for 8 hours.")
    )
    track_opens: bool | None = field(
        default=None, metadata=_doc("Default for messages that do not say; unset: the domain's.")
    )
    track_clicks: bool | None = field(default=None, metadata=_doc("Likewise for clicks."))
    require_tls: bool = field(default=False, metadata=_doc("Deliver over TLS or not at all."))
    test_mode: bool = field(default=False, metadata=_doc("Mailgun accepts (and bills) messages without sending them."))
    schedule_ahead_s: float = field(
        default=0.0,
        metadata=_doc(
            "Hand messages with a `send_at` over so long before it, for Mailgun to keep until then; 0 keeps them here. "
            "What was handed over cannot be cancelled, paused, suppressed or sent another way."
        ),
    )
    fill_gaps: bool = field(
        default=True,
        metadata=_doc(
            "Read Mailgun's events once they are `visibility_delay_s` old, in case webhooks were lost; repeats are "
            "known by their ids. Needs a key that may read events."
        ),
    )
    gap_events: tuple[str, ...] = field(
        default=EVENTS,
        metadata=_doc("Which events are read for that; fewer are cheaper."),
    )
    gap_pages_per_s: float = field(
        default=2.0, metadata=_doc("How fast pages of up to 300 events are read for that, at most.")
    )
    resend_stored: bool = field(
        default=False,
        metadata=_doc(
            "Answer a final soft failure (5xx), where the retry policy asks for it, by sending Mailgun's stored copy "
            "again instead of a new message. Needs a key that may read events and messages."
        ),
    )
    push_unsubscribes: bool = field(
        default=False,
        metadata=_doc(
            "Put our unsubscriptions on Mailgun's list too. There they stop all mail of the domain: only for a domain "
            "without transactional mail."
        ),
    )
    gzip: bool = field(default=False, metadata=_doc("Compress requests: fewer bytes, more processor time."))

    def __post_init__(self) -> None:
        if not _DOMAIN.fullmatch(self.domain):
            raise ValueError(f"domain must be a domain name, not {self.domain!r}")
        if self.region not in REGIONS:
            raise ValueError(f"region must be {' or '.join(REGIONS)}, not {self.region!r}")
        if not self.base_url:
            object.__setattr__(self, "base_url", REGIONS[self.region])
        if not self.gap_events or not set(self.gap_events) <= {*EVENTS, "accepted"}:
            raise ValueError(f"gap_events must be some of {', '.join(EVENTS)}, accepted")
        if not 0 <= self.schedule_ahead_s <= MAX_AHEAD_S:
            raise ValueError(f"schedule_ahead_s must be between 0 and {MAX_AHEAD_S}: Mailgun keeps messages three days")
        if not 0 < self.gap_pages_per_s <= 50:
            raise ValueError("gap_pages_per_s must be above 0 and at most 50")
        if not _BASE_URL.fullmatch(self.base_url):
            raise ValueError(f"base_url must be a scheme and a host without a path, not {self.base_url!r}")
        if not 0 < self.max_webhook_age_s <= MAX_WEBHOOK_AGE_S:
            raise ValueError(
                f"max_webhook_age_s must be between 1 and {MAX_WEBHOOK_AGE_S}: replays are known no longer"
            )
