"""Sending a stored message again after a soft failure, instead of handing over a new one (`resend_stored`).

Rules:

1. Where the message lies is asked of the events API, with our key: the URL in a webhook is not covered by its
   signature, and would be a wish of whoever wrote it.
2. Only a permanent failure with a reply code of 5xx that is a *soft* bounce by our tables is answered so. "No such
   user" is a 5xx too: sending again would only cost reputation.
3. The URL is held against the rule of :mod:`.hosts` before the key goes there.
4. What is no longer stored, or cannot be asked about, is no failure: the caller hands the message over anew, for until
   the POST nothing was sent.
5. The copy still names the attempt it was made for; its events are told from that one's by the new message id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from streams.core.event import BounceType
from streams.core.outcome import BatchOutcome
from streams.core.receipt import ReceiptKind
from streams.providers._payload import json_object, mapping, no_brackets, sequence, text, whole_number
from streams.providers.base import Batch, Earlier, Exchange, HttpRequest, HttpResponse, NoResponse
from streams.providers.mailgun.config import Config
from streams.providers.mailgun.events import read_event
from streams.providers.mailgun.hosts import storage_url
from streams.providers.mailgun.response import read_response

_SEARCH_S: Final = 8.0
_MARGIN_S: Final = 300
_LEAST_S: Final = 1.0


async def resend(
    config: Config,
    authorization: str,
    batch: Batch,
    earlier: Earlier,
    exchange: Exchange,
    deadline_s: float,
    now_ms: int,
    clock_s: Callable[[], float] = time.monotonic,
) -> BatchOutcome | None:
    """The outcome of sending the stored message of an earlier attempt again, None if nothing was sent."""
    began_s = clock_s()
    query = {
        "begin": str(earlier.sent_ms // 1000 - _MARGIN_S),
        "end": str(now_ms // 1000 + _MARGIN_S),
        "ascending": "yes",
        "limit": "300",
        "event": "failed",
        "severity": "permanent",
        "recipient": batch.entries[0].recipient.email,
    }
    url = f"{config.base_url}/v3/{config.domain}/events?{urlencode(query)}"
    headers = (("authorization", authorization), ("accept", "application/json"))
    told = await exchange(HttpRequest("GET", url, headers), min(_SEARCH_S, deadline_s / 3))
    where = stored_at(config, batch, earlier, told)
    left_s = deadline_s - (clock_s() - began_s)
    if not where or left_s < _LEAST_S:
        return None
    body = urlencode({"to": batch.entries[0].recipient.email}).encode()
    form = ("content-type", "application/x-www-form-urlencoded")
    answer = await exchange(HttpRequest("POST", where, (*headers, form), body), left_s)
    if _is_gone(answer):
        return None
    return read_response(batch, answer, now_ms)


def stored_at(config: Config, batch: Batch, earlier: Earlier, told: HttpResponse | NoResponse) -> str:
    """Where the message of the earlier attempt is stored, empty if there is no failure to be answered so."""
    page = json_object(told.body) if isinstance(told, HttpResponse) and told.status == 200 else None
    for item in reversed(sequence(page.get("items")) if page else ()):
        event = mapping(item)
        if _is_of(event, batch.entries[0].message_id, earlier) and _is_soft(event):
            return storage_url(text(mapping(event.get("storage")).get("url")), config.base_url, config.domain)
    return ""


def _is_of(event: Mapping[str, Any], message_id: str, earlier: Earlier) -> bool:
    headers = mapping(mapping(event.get("message")).get("headers"))
    return (
        text(mapping(event.get("user-variables")).get("message_id")) == message_id
        and no_brackets(headers.get("message-id")) == earlier.provider_message_id
    )


def _is_soft(event: Mapping[str, Any]) -> bool:
    code = whole_number(mapping(event.get("delivery-status")).get("code"), 999)
    return 500 <= code < 600 and any(
        sighting.kind is ReceiptKind.BOUNCED and sighting.bounce_type is BounceType.SOFT and not sighting.suppress
        for sighting in read_event(event, 0).sightings
    )


def _is_gone(answer: HttpResponse | NoResponse) -> bool:
    """Mailgun keeps messages for days only; or the request never left us."""
    if isinstance(answer, NoResponse):
        return not answer.sent
    return answer.status in (404, 410)
