"""What providers tell us: payloads as they arrive, judgements of them, and what they say in our words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streams.core.event import Automated, BounceType, Reason
from streams.core.receipt import ReceiptKind
from streams.core.value import value
from streams.providers.base.outbound import HttpRequest


@dataclass(frozen=True, slots=True)
class Inbound:
    """A webhook as it arrived; header names in lower case, body undecoded. ``path`` has its query (MNS signs it)."""

    headers: Mapping[str, str]
    body: bytes
    content_type: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Verified:
    """Authentic. ``token`` is what must not be seen with another body (empty if the signature covers the body)."""

    token: str = ""
    key: str = ""
    """What to key the stored payload by (a token or a provider's event id)."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not to be stored. ``result`` is a label of ``streams_ingress_requests_total``: bad_signature, stale,
    malformed.
    """

    result: str
    detail: str


@dataclass(frozen=True, slots=True)
class CertificateNeeded:
    """Not judged yet: the certificate at ``url`` (which passed every rule) is not at hand.

    :func:`judge` fetches it. While a recent failure is remembered ``retry_at_ms`` lies ahead and nothing is fetched:
    the sender gets "not now".
    """

    url: str
    retry_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class Confirm:
    """An authentic offer to subscribe an allowed topic. ``request`` accepts it; a 2xx answer makes it final."""

    topic_arn: str
    token: str
    region: str
    request: HttpRequest


Verdict = Verified | Refused | CertificateNeeded | Confirm
"""What may be said of an inbound webhook."""


@value
class Sighting:
    """One thing a provider reported about one recipient of one message, in our words.

    ``message_id`` is ours if the provider echoed it, else empty (then ``provider_message_id`` and ``recipient`` must
    find it). ``sighting_id`` is the content-derived identity (rule: two deliveries of one fact have the same id).
    """

    kind: ReceiptKind
    sighting_id: str
    occurred_ms: int
    message_id: str = ""
    attempt: int = 0
    provider_message_id: str = ""
    recipient: str = ""
    reason: Reason | None = None
    bounce_type: BounceType | None = None
    suppress: bool = False
    url: str = ""
    ip: str = ""
    user_agent: str = ""
    automated: Automated = Automated.NONE
    provider: str = ""
    """Which provider had sent it, where somebody else reports (our own tracking); empty if the provider itself does."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A payload that is authentic or not, but that nobody can read: a dead letter with this reason."""

    detail: str


@dataclass(frozen=True, slots=True)
class Reading:
    """All sightings of one payload, and the vendor words we did not know (counted, never dropped silently)."""

    sightings: tuple[Sighting, ...] = ()
    unknown_words: tuple[str, ...] = ()
