"""Whatever arrives is read: no exception, bounded time, bounded memory, nothing suppressed by chance.

``STREAMS_FUZZ_CASES=20000 pytest tests/bounces/test_hostile.py`` (``make fuzz``) is the long run; by default it is a
short one.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.bounces import Kind, Mailbox, Report, read_mail
from streams.bounces.mail import MAX_PARTS, read, walk
from streams.core.event import BounceType
from streams.providers.base import Reading
from tests.bounces.compose import KEY

PAYLOADS = tuple(
    path.read_bytes() for path in sorted((Path(__file__).parent.parent / "payloads" / "bounces").glob("*.eml"))
)
CASES = int(os.environ.get("STREAMS_FUZZ_CASES", "600"))
SLOWEST_S = 2.0
MOST_BYTES = 64 * 1024 * 1024

thorough = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
long_enough = pytest.mark.timeout(60 + CASES // 20)

MAILBOX = Mailbox("returns", "smtp", (KEY,))


def judged(raw: bytes) -> Report:
    """Read within the time that is allowed, as a reader of normalise would; what comes out can be stored."""
    began_s = time.process_time()
    report = read_mail(raw, [KEY])
    reading = MAILBOX.read_events(raw, 1_700_000_000_000)
    assert time.process_time() - began_s < SLOWEST_S
    assert isinstance(reading, Reading)
    for verdict in report.verdicts:
        if verdict.suppress:
            assert verdict.bounce_type is BounceType.HARD or verdict.kind in (Kind.COMPLAINT, Kind.UNSUBSCRIBE)
    for sighting in reading.sightings:
        told = (sighting.recipient, sighting.message_id, sighting.provider_message_id, sighting.sighting_id)
        detail = sighting.reason.detail if sighting.reason else ""
        assert "".join((*told, detail)).encode()
        assert len(detail) <= 300
    return report


WORDS = st.sampled_from(
    [
        b"\n", b"\r\n", b"\n\n", b"--", b"--=_part_0001", b"--=_part_0001--", b"Content-Type: multipart/mixed; boundary=",
        b"Content-Type: message/rfc822\n\n", b"Content-Transfer-Encoding: base64\n", b"charset=punycode", b"=?utf-8?b?",
        b"Final-Recipient: ", b"Status: 5.1.1\n", b"Action: failed\n", b";", b'"', b"<", b">", b"\x00", b"\xff\xfe", b"@",
        b"550 5.1.1", b"X-Failed-Recipients: ", b"\xf0\x9f\x92\xa9", b"Date: 99 Foo 99999\n", b"Feedback-Type: abuse\n",
    ]
)  # fmt: skip
MUTATION = st.one_of(
    st.tuples(st.just("insert"), st.floats(0, 1), st.one_of(WORDS, st.binary(max_size=30))),
    st.tuples(st.just("replace"), st.floats(0, 1), st.one_of(WORDS, st.binary(max_size=30))),
    st.tuples(st.just("delete"), st.floats(0, 1), st.integers(1, 400)),
    st.tuples(st.just("repeat"), st.floats(0, 1), st.integers(1, 400)),
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(0)),
    st.tuples(st.just("splice"), st.floats(0, 1), st.integers(0, len(PAYLOADS) - 1)),
    st.tuples(st.just("case"), st.floats(0, 1), st.integers(1, 200)),
)


def mutated(raw: bytes, mutations: list[tuple[str, float, object]]) -> bytes:
    for what, where, how in mutations:
        at = int(where * len(raw))
        if isinstance(how, bytes):
            raw = raw[:at] + how + raw[at + (len(how) if what == "replace" else 0) :]
        elif isinstance(how, int):
            piece = raw[at : at + how]
            match what:
                case "delete":
                    raw = raw[:at] + raw[at + how :]
                case "repeat":
                    raw = raw[:at] + piece * 5 + raw[at:]
                case "cut":
                    raw = raw[:at]
                case "splice":
                    other = PAYLOADS[how]
                    raw = raw[:at] + other[int(where * len(other)) :]
                case _:
                    raw = raw[:at] + piece.swapcase() + raw[at + how :]
    return raw


@long_enough
@thorough
@given(st.binary(max_size=3_000))
def test_any_bytes_are_read(raw: bytes) -> None:
    judged(raw)


@long_enough
@thorough
@given(st.sampled_from(PAYLOADS), st.lists(MUTATION, min_size=1, max_size=6))
def test_mails_that_were_damaged_on_the_way_are_read(raw: bytes, mutations: list[tuple[str, float, object]]) -> None:
    judged(mutated(raw, mutations))


@long_enough
@settings(parent=thorough, max_examples=max(50, CASES // 10))
@given(st.lists(st.one_of(WORDS, st.binary(max_size=40)), max_size=200))
def test_the_words_of_mails_in_any_order_are_read(pieces: list[bytes]) -> None:
    judged(b"".join(pieces))


def nested(levels: int) -> bytes:
    head = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(levels))
    return head + b"Content-Type: message/delivery-status\n\nAction: failed\n"


def wrapped(levels: int) -> bytes:
    return b"Content-Type: message/rfc822\n\n" * levels + b"Subject: deep\n\n"


REPORT_HEAD = b'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\n'
HTML = b"Subject: Undeliverable\nFrom: postmaster@x.example\nContent-Type: text/html\n\n"
NOTICE = b"X-Failed-Recipients: a@b.example\n\n"
MEGA = 1_000_000
BOMBS: dict[str, bytes] = {
    "nested multiparts": nested(20_000),
    "nested mails": wrapped(30_000),
    "nested base64": b"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n" * 10_000,
    "many parts": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 120_000,
    "many headers": b"X-A: b\n" * 140_000,
    "many folded lines": b"X-A: b\n" + b" c\n" * 300_000,
    "one long header": b"Subject: " + b"x" * MEGA,
    "semicolons": b"Content-Type: multipart/mixed" + b";" * MEGA,
    "open quotes": b'Content-Type: multipart/mixed; boundary="' + b'";' * 500_000,
    "encoded words": b"Subject: " + b"=?utf-8?q?" * 100_000,
    "many groups": REPORT_HEAD + b"Final-Recipient: rfc822; a@b.example\nAction: failed\n\n" * 18_000,
    "one long group": REPORT_HEAD + b"Final-Recipient: rfc822; a@b.example\n" * 28_000,
    "long address": REPORT_HEAD + b"Final-Recipient: rfc822; " + b"a" * MEGA + b"@b.example\nAction: failed\n",
    "long number": REPORT_HEAD + b"Final-Recipient: rfc822; a@b.example\nStatus: 5." + b"1" * 4_000 + b".1\n",
    "white space": NOTICE + b" " * MEGA,
    "empty lines": NOTICE + b"\n" * MEGA,
    "carriage returns": NOTICE + b"\r" * MEGA,
    "less-than signs": HTML + b"<" * MEGA,
    "open tags": HTML + b"<style" * 160_000,
    "long tag": HTML + b"<a " + b"b" * MEGA,
    "at signs": NOTICE + b"a@" * 500_000,
    "dots": NOTICE + b"a@" + b"b." * 500_000,
    "one long word": NOTICE + b"a" * MEGA,
    "many addresses": NOTICE + b"a@b.example " * 80_000,
    "many failed addresses": b"X-Failed-Recipients: " + b"a@b.example, " * 70_000 + b"\n\nno",
    "many different addresses": NOTICE + b"".join(b"<a%d@b.example>:\n550 no\n" % n for n in range(30_000)),
    "failed and spaces": NOTICE + (b"failed " * 11 + b" " * 700) * 1_200,
    "replies": NOTICE + b": 550 5" * 140_000,
    "digits": NOTICE + b"550-" * 250_000,
    "quotes of quotes": NOTICE + b">" * MEGA,
    "return paths": NOTICE + b"b+abcdefghijklmnopqrst-abcdefghijklmnopqrst.1.abcdefghij@x " * 16_000,
    "dashes": b'Content-Type: multipart/mixed; boundary="-"\n\n' + b"-" * MEGA,
    "failed and dashes": NOTICE + b"failed\n" + b"-" * 60_000 + b"\n",
    "lines of dashes": NOTICE + (b"failed:\n" + b"-*' " * 30 + b"\n") * 500,
    "boundary of spaces": b'Content-Type: multipart/mixed; boundary=" "\n\n' + b"-- \n" * 200_000,
    "base64": b"Content-Transfer-Encoding: base64\n\n" + b"=" * MEGA,
    "quoted-printable": b"Content-Transfer-Encoding: quoted-printable\n\n" + b"=\n" * 500_000,
    "punycode": b"Content-Type: text/plain; charset=punycode\n\n" + b"a" * MEGA,
    "utf-7": b"Content-Type: text/plain; charset=utf-7\n\n" + b"+" * MEGA,
    "ten megabytes": NOTICE + b"x@y.example failed\n" * 550_000,
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS.keys())
def test_a_mail_made_to_cost_much_costs_little(raw: bytes) -> None:
    judged(raw)


@pytest.mark.parametrize("name", ["nested multiparts", "many parts", "many groups", "many headers", "ten megabytes"])
def test_memory_is_bounded_too(name: str) -> None:
    raw = BOMBS[name]
    tracemalloc.start()
    try:
        read_mail(raw, [KEY])
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_parts_beyond_the_bound_are_not_there() -> None:
    assert len(list(walk(read(BOMBS["many parts"])))) <= MAX_PARTS + 1
