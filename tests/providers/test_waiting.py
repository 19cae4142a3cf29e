"""What an answer asks us to wait: the same floor for every HTTP provider."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from streams.core.event import ReasonKind
from streams.core.outcome import Deferred
from streams.providers import directmail, mailgun, ses
from streams.providers._waiting import retry_after_s
from streams.providers.base import HttpResponse, Provider
from tests.rules.mail import mail

NOW = 1_700_000_100_000
"""Tue, 14 Nov 2023 22:15:00 GMT"""
HTTP: dict[str, Provider] = {
    "mailgun": mailgun.create("mg", mailgun.Config("mg.example.com", api_key="key")),
    "ses": ses.create("ses", ses.Config("eu-west-1", access_key_id="A", secret_access_key="s")),
    "directmail": directmail.create("dm", directmail.Config(access_key_id="A", access_key_secret="s")),
}


@pytest.fixture
def far_east() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Asia/Tokyo"
    time.tzset()
    yield
    os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
    time.tzset()


@pytest.mark.usefixtures("far_east")
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("99999999999999999999", 86_400.0),
        ("Tue, 14 Nov 2023 22:16:00 GMT", 60.0),
        ("Tuesday, 14-Nov-23 22:16:00 GMT", 60.0),
        ("Tue Nov 14 22:16:00 2023", 60.0),
        ("Tue, 14 Nov 2023 22:14:00 GMT", 0.0),
        ("Tue, 14 Nov 9999 22:14:00 GMT", 86_400.0),
        ("soon", None),
        ("-7", None),
        ("7.5", None),
        ("Tue, 99 Nov 2023 99:99:99 GMT", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_all_its_forms_wherever_the_worker_stands(header: str, seconds: float | None) -> None:
    assert retry_after_s(HttpResponse(429, {"retry-after": header}, b""), NOW) == seconds


@pytest.mark.parametrize(
    ("answered", "seconds"),
    [
        ("Tue, 14 Nov 2023 22:14:58 GMT", 62.0),
        ("Tue, 14 Nov 2023 22:25:00 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:05:00 GMT", 660.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 60.0),
        ("noon", 60.0),
    ],
    ids=["a little behind", "ten minutes ahead", "ten minutes behind", "no clock", "no date"],
)
def test_a_date_is_read_by_the_clock_of_whoever_names_it(answered: str, seconds: float) -> None:
    date = "Tue, 14 Nov 2023 22:16:00 GMT"
    assert retry_after_s(HttpResponse(429, {"retry-after": date, "date": answered}, b""), NOW) == seconds
    said = b'{"message": "requests-per-sec limit exceeded, try again after %s"}' % date.encode()
    outcomes = HTTP["mailgun"].read_response(mail(), HttpResponse(420, {"date": answered}, said), NOW)
    assert isinstance(outcomes, tuple)
    assert isinstance(outcomes[0], Deferred)
    assert outcomes[0].retry_after_s == seconds


@pytest.mark.parametrize(
    ("name", "status", "body"),
    [
        ("mailgun", 429, b'{"message": "too many requests"}'),
        ("mailgun", 429, b'{"message": "requests-per-sec limit exceeded, try again after 3 seconds"}'),
        ("ses", 429, b'{"__type": "TooManyRequestsException", "message": "Too many requests"}'),
        ("ses", 400, b'{"__type": "Throttling", "message": "Maximum sending rate exceeded."}'),
        ("directmail", 400, b'{"Code": "Throttling.User", "Message": "Request was denied due to user flow control."}'),
    ],
)
def test_whoever_is_throttled_waits_as_long_as_the_header_asks(name: str, status: int, body: bytes) -> None:
    answer = HttpResponse(status, {"retry-after": "Tue, 14 Nov 2023 22:17:00 GMT"}, body)
    outcomes = HTTP[name].read_response(mail(), answer, NOW)
    assert isinstance(outcomes, tuple)
    assert isinstance(outcomes[0], Deferred)
    assert (outcomes[0].reason.kind, outcomes[0].retry_after_s) == (ReasonKind.THROTTLED, 120.0)


def test_a_daily_quota_is_not_asked_again_sooner_because_of_a_short_header() -> None:
    body = b'{"__type": "ThrottlingException", "message": "Daily message quota exceeded."}'
    outcomes = HTTP["ses"].read_response(mail(), HttpResponse(400, {"retry-after": "1"}, body), NOW)
    assert isinstance(outcomes, tuple)
    assert isinstance(outcomes[0], Deferred)
    assert outcomes[0].retry_after_s == 900.0
