"""Asking Mailgun whether it took an attempt.

Rules:

1. The question is put by recipient and time; the answer counts only if an event carries our own message id and attempt.
2. ``NotFound`` needs a complete answer: every page read, to the empty one. Anything else is ``CannotTell``.
3. The next page is followed only on the host that was asked, for the request carries the API key.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from streams.providers._payload import epoch_ms, json_object, mapping, no_brackets, sequence, text
from streams.providers.base import CannotTell, Exchange, Finding, Found, HttpRequest, NoResponse, NotFound, Question
from streams.providers.mailgun.config import Config
from streams.providers.mailgun.hosts import is_same_host

DEADLINE_S = 15.0
MAX_PAGES = 10
_PAGE = 300
_MARGIN_S = 300  # their clock against ours
_CLOCKS_S = 30  # likewise; attempts lie minutes apart


async def find(config: Config, authorization: str, question: Question, exchange: Exchange, now_ms: int) -> Finding:
    """Look through the recipient's events since the call began."""
    query = {
        "begin": str(question.sent_ms // 1000 - _MARGIN_S),
        "end": str(now_ms // 1000 + _MARGIN_S),
        "ascending": "yes",
        "limit": str(_PAGE),
        "recipient": question.recipient,
    }
    url = f"{config.base_url}/v3/{config.domain}/events?{urlencode(query)}"
    for _ in range(MAX_PAGES):
        request = HttpRequest("GET", url, (("authorization", authorization), ("accept", "application/json")))
        answer = await exchange(request, DEADLINE_S)
        if isinstance(answer, NoResponse):
            return CannotTell(answer.detail)
        page = json_object(answer.body) if answer.status == 200 else None
        if page is None or not isinstance(page.get("items"), list):
            return CannotTell(f"the events API answered {answer.status}")
        items = sequence(page["items"])
        if not items:
            return NotFound()
        found = next((item for item in items if _is_ours(mapping(item), question, config)), None)
        if found is not None:
            return _found(mapping(found), question)
        url = text(mapping(page.get("paging")).get("next"))
        if not is_same_host(url, config.base_url):
            return CannotTell("the next page lies elsewhere")
    return CannotTell(f"more than {MAX_PAGES} pages of events")


def _is_ours(event: Mapping[str, object], question: Question, config: Config) -> bool:
    variables = mapping(event.get("user-variables"))
    if text(variables.get("message_id")) != question.message_id:
        return False
    return text(variables.get("attempt")) == str(question.attempt) or (
        config.resend_stored and _is_resent(event, question)
    )


def _is_resent(event: Mapping[str, object], question: Question) -> bool:
    """A stored message that was sent again names an earlier attempt: that Mailgun took it just then tells it."""
    since_ms = question.sent_ms - 1000 * _CLOCKS_S
    return text(event.get("event")) == "accepted" and epoch_ms(event.get("timestamp")) >= since_ms


def _found(event: Mapping[str, object], question: Question) -> Found:
    headers = mapping(mapping(event.get("message")).get("headers"))
    return Found(no_brackets(headers.get("message-id")), epoch_ms(event.get("timestamp")) or question.sent_ms)
