"""How long an answer asks us to wait (``Retry-After``, RFC 9110 §10.2.3): a floor that every HTTP adapter respects."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from streams.core.outcome import AttemptResult, BatchOutcome, Deferred, Outcome, Split
from streams.providers.base import HttpResponse, NoResponse

MAX_WAIT_S = 86_400.0


def retry_after_s(answer: HttpResponse, now_ms: int) -> float | None:
    """Seconds between 0 and a day, from a number or a date; None without the header or where it says nothing."""
    header = answer.headers.get("retry-after", "").strip()
    if header.isascii() and header.isdigit():
        return clamped(float(header[:9]))
    return until_s(header, now_ms) if header else None


def until_s(date: str, now_ms: int) -> float | None:
    """From now to an HTTP date, in any of its three forms, which are all GMT; None if it is none."""
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return clamped(moment.timestamp() - now_ms / 1000)
    except (ValueError, OverflowError):
        return None


def clamped(seconds: float) -> float:
    """What is asked for, within reason."""
    return min(max(seconds, 0.0), MAX_WAIT_S)


def no_earlier(outcomes: BatchOutcome, answer: HttpResponse | NoResponse, now_ms: int) -> BatchOutcome:
    """The same outcomes; those that were throttled wait as long as the answer asks, or longer if they know better."""
    if isinstance(answer, NoResponse) or isinstance(outcomes, Split):
        return outcomes
    floor_s = retry_after_s(answer, now_ms)
    return outcomes if not floor_s else tuple(_floored(outcome, floor_s) for outcome in outcomes)


def _floored(outcome: Outcome, floor_s: float) -> Outcome:
    if isinstance(outcome, Deferred) and outcome.result is AttemptResult.THROTTLED:
        return replace(outcome, retry_after_s=max(floor_s, outcome.retry_after_s or 0.0))
    return outcome
