"""What every provider adapter speaks, and nothing that only one of them needs.

An adapter is pure where the provider has an HTTP API: it builds a request from a batch, reads the response into one
outcome per entry, verifies an inbound webhook and parses it into sightings. Rules:

1. An adapter never performs I/O; the exchange is injected, so a fake is a function.
2. One outcome per entry, in the order of the batch, or :class:`~streams.core.outcome.Split`.
3. An entry's ``message_id`` and ``attempt`` are given to the provider in whatever it echoes, so that its events find
   home.
4. Text of the sender that the provider would interpret (``%recipient.``, ``{{``) is neutralised or refused by ``fits``.
5. A vendor's vocabulary lives in module-level tables; what is not in the table becomes ``UNKNOWN`` and is counted.
"""

from __future__ import annotations

from streams.providers.base.account import Checked, ChecksItself, Quota, TellsExpiry, TellsQuota
from streams.providers.base.asking import (
    CannotTell,
    Earlier,
    EventsPage,
    Finding,
    Found,
    NotFound,
    Question,
    Resends,
    TellsEvents,
    ToldEvent,
    resender_of,
)
from streams.providers.base.inbound import (
    CertificateNeeded,
    Confirm,
    Inbound,
    Reading,
    Refused,
    Sighting,
    Unreadable,
    Verdict,
    Verified,
)
from streams.providers.base.lists import Listed, ListFailed, ListName, ListPage, SyncsSuppressions
from streams.providers.base.outbound import (
    Batch,
    Entry,
    Exchange,
    HttpRequest,
    HttpResponse,
    Limits,
    NoResponse,
    Pattern,
    Slot,
    fill,
    unanswered,
)
from streams.providers.base.provider import (
    CERTIFICATE_DEADLINE_S,
    Dialogue,
    Provider,
    Refuses,
    ReportedByOthers,
    SharesProof,
    WebhookAnswers,
    dialogue_of,
    judge,
    may_forget_our_id,
    webhook_answers_of,
)

__all__ = [
    "CERTIFICATE_DEADLINE_S",
    "Batch",
    "CannotTell",
    "CertificateNeeded",
    "Checked",
    "ChecksItself",
    "Confirm",
    "Dialogue",
    "Earlier",
    "Entry",
    "EventsPage",
    "Exchange",
    "Finding",
    "Found",
    "HttpRequest",
    "HttpResponse",
    "Inbound",
    "Limits",
    "ListFailed",
    "ListName",
    "ListPage",
    "Listed",
    "NoResponse",
    "NotFound",
    "Pattern",
    "Provider",
    "Question",
    "Quota",
    "Reading",
    "Refused",
    "Refuses",
    "ReportedByOthers",
    "Resends",
    "SharesProof",
    "Sighting",
    "Slot",
    "SyncsSuppressions",
    "TellsEvents",
    "TellsExpiry",
    "TellsQuota",
    "ToldEvent",
    "Unreadable",
    "Verdict",
    "Verified",
    "WebhookAnswers",
    "dialogue_of",
    "fill",
    "judge",
    "may_forget_our_id",
    "resender_of",
    "unanswered",
    "webhook_answers_of",
]
