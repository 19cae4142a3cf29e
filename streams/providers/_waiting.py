"""How long an answer asks us to wait (``Retry-After``, RFC 9110 §10.2.3): a floor that every HTTP adapter respects."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime

from streams.core.outcome import AttemptResult, BatchOutcome, Deferred, Outcome, Split
from streams.providers.base import HttpResponse, NoResponse

MAX_WAIT_S = 86_400.0
_CLOCKS_APART_S = 3_600.0


def retry_after_s(answer: HttpResponse, now_ms: int) -> float | None:
    """Seconds between 0 and a day, from a number or a date; None without the header or where it says nothing."""
    header = answer.headers.get("retry-after", "").strip()
    if header.isascii() and header.isdigit():
        return clamped(float(header[:9]))
    return until_s(header, answer, now_ms) if header else None


def until_s(date: str, answer: HttpResponse, now_ms: int) -> float | None:
    """From the answer to an HTTP date that it names; None if that is none. The clock is theirs, where they tell it."""
    until = _epoch_s(date)
    return None if until is None else clamped(until - _answered_s(answer, now_ms))


def _answered_s(answer: HttpResponse, now_ms: int) -> float:
    """By its own date (which is rounded down, so that nobody comes too early), unless that is hours away from ours."""
    now_s = now_ms / 1000
    theirs_s = _epoch_s(answer.headers.get("date", ""))
    return now_s if theirs_s is None or abs(theirs_s - now_s) > _CLOCKS_APART_S else theirs_s


def _epoch_s(date: str) -> float | None:
    """An HTTP date in any of its three forms, which are all GMT."""
    try:
        moment = parsedate_to_datetime(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
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
