"""Validation: what is refused, by which field, in words a person understands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.content.mime import RESERVED_HEADERS as MIME_RESERVED
from streams.core.address import address_fault, header_fault, line_fault
from streams.core.event import ReasonKind
from streams.core.message import Attachment, Mailbox, OnUncertain, Stream
from streams.core.request import Invalid, Retention, SendRequest, read_request, times_fault

DAY = 86_400_000
MAIL = {"email": "a@example.com"}


def request(**fields: Any) -> dict[str, Any]:
    base = {
        "idempotency_key": "order-1",
        "from": {"email": "shop@example.com"},
        "recipients": [{"email": "ann@example.com"}],
        "subject": "Hi",
        "text": "Hello",
    } | fields
    return {k: v for k, v in base.items() if v != "absent"}


def valid(**fields: Any) -> SendRequest:
    found = read_request(request(**fields))
    assert isinstance(found, SendRequest), found
    return found


def test_a_complete_request_is_read_completely() -> None:
    found = valid(
        tenant="acme",
        stream="bulk",
        recipients=[{"email": "zoë@bücher.example", "name": "Zoë", "data": {}}],
        cc=[{"email": "c@example.com", "name": "C"}],
        reply_to=[MAIL],
        headers={"X-B": "2", "X-A": "1"},
        tags=["b", "a", "b"],
        metadata={"k": "v"},
        attachments=[{"filename": "a.pdf", "content_type": "application/pdf", "data": b"x"}],
        tracking={"opens": True, "clicks": None},
        list_id="news.example.com",
        provider="ses-eu",
        send_at=5,
        expires_at=6,
        retry_policy="cubed",
        on_uncertain="resend",
    )
    assert found.stream is Stream.BULK
    assert found.on_uncertain is OnUncertain.RESEND
    assert found.recipients[0].mailbox == Mailbox("zoë@bücher.example", "Zoë")
    assert found.headers == (("X-A", "1"), ("X-B", "2"))
    assert found.tags == ("b", "a")
    assert (found.track_opens, found.track_clicks) == (True, None)
    assert found.attachments == (Attachment("a.pdf", "application/pdf", b"x"),)
    assert (found.send_at_ms, found.expires_at_ms) == (5, 6)


def test_what_is_not_said_has_its_default() -> None:
    found = valid()
    assert (found.tenant, found.stream, found.on_uncertain) == ("default", Stream.TRANSACTIONAL, OnUncertain.HOLD)
    assert (found.track_opens, found.send_at_ms, found.provider) == (None, 0, "")


DEEP: Any = 1
for _ in range(20):
    DEEP = [DEEP]
PDF = {"filename": "a.pdf", "content_type": "application/pdf"}

REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"idempotency_key": ""}, "idempotency_key", "is missing"),
    ({"idempotency_key": "x" * 256}, "idempotency_key", "255 characters"),
    ({"idempotency_key": "a\nb"}, "idempotency_key", "control"),
    ({"tenant": "a b"}, "tenant", "is no name"),
    ({"stream": "fast"}, "stream", "one of transactional, bulk"),
    ({"on_uncertain": "maybe"}, "on_uncertain", "one of hold, resend"),
    ({"from": {"email": "shop"}}, "from.email", "not an address"),
    ({"from": {"email": "a@example.com", "name": "Shop\r\nBcc: x@example.com"}}, "from.name", "line break"),
    ({"recipients": []}, "recipients", "at least one"),
    ({"recipients": [MAIL] * 1001}, "recipients", "at most 1000"),
    ({"recipients": [MAIL, MAIL], "cc": [MAIL]}, "recipients", "single recipient"),
    ({"recipients": [MAIL, MAIL], "bcc": [MAIL]}, "recipients", "single recipient"),
    ({"recipients": [{"email": "x"}], "cc": [MAIL]}, "recipients[0].email", "not an address"),
    ({"cc": [MAIL, {"email": "x@"}]}, "cc[1].email", "not an address"),
    ({"bcc": [MAIL] * 51}, "bcc", "at most 50"),
    ({"reply_to": [{"email": "a@localhost"}]}, "reply_to[0].email", "no domain name"),
    ({"subject": "absent", "text": "absent"}, "", "has no content"),
    ({"text": "absent"}, "text", "is missing"),
    ({"subject": "absent"}, "subject", "is missing"),
    ({"subject": "Hi\nBcc: x@example.com"}, "subject", "line break"),
    ({"subject": "x" * 999}, "subject", "998"),
    ({"template_id": "welcome"}, "", "more than one form of content"),
    ({"mime": b"A: b\n\nx"}, "", "more than one form of content"),
    ({"text": "absent", "template_id": "w"}, "", "template_id, subject"),
    ({"subject": "absent", "text": "absent", "template_id": "w w"}, "template_id", "is no template id"),
    ({"data": {"a": "b"}}, "data", "only possible with template_id"),
    ({"subject": "absent", "text": "absent", "mime": b"nonsense"}, "mime", "header field"),
    ({"subject": "absent", "text": "absent", "mime": b"A: b\nC: d"}, "mime", "no empty line"),
    ({"subject": "absent", "text": "absent", "mime": b"A: b\n\n", "headers": {"X": "1"}}, "headers", "as it is"),
    ({"text": "x" * (26 * 1024 * 1024)}, "", "at most"),
    ({"headers": {"Bcc": "x@example.com"}}, "headers['Bcc']", "written for you"),
    ({"headers": {"X-Mailgun-Tag": "x"}}, "headers['X-Mailgun-Tag']", "written for you"),
    ({"headers": {"X A": "x"}}, "headers['X A']", "no header name"),
    ({"headers": {"X-A": "x\r\nBcc: y"}}, "headers['X-A']", "line break"),
    ({"headers": {"X-A": "1", "x-a": "2"}}, "headers['x-a']", "twice"),
    ({"headers": {f"X-{n}": "1" for n in range(51)}}, "headers", "at most 50"),
    ({"tags": [str(n) for n in range(11)]}, "tags", "at most 10"),
    ({"tags": ["a", ""]}, "tags[1]", "1 to 128"),
    ({"metadata": {"a" * 65: "x"}}, f"metadata[{'a' * 65!r}]", "64 characters"),
    ({"metadata": {str(n): "x" for n in range(33)}}, "metadata", "at most 32"),
    ({"attachments": [PDF]}, "attachments[0]", "exactly one of data and url"),
    ({"attachments": [PDF | {"data": b"x", "url": "https://x.example/a"}]}, "attachments[0]", "exactly one"),
    ({"attachments": [PDF | {"url": "http://x.example/a"}]}, "attachments[0].url", "https nor an s3"),
    ({"attachments": [PDF | {"filename": "../a", "data": b""}]}, "attachments[0].filename", "plain file name"),
    ({"attachments": [PDF | {"content_type": "pdf", "data": b""}]}, "attachments[0].content_type", "media type"),
    ({"attachments": [PDF | {"content_id": "<a b>", "data": b""}]}, "attachments[0].content_id", "content id"),
    ({"list_id": "<a b>"}, "list_id", "is no list id"),
    ({"provider": "a/b"}, "provider", "is no name"),
    ({"retry_policy": "a b"}, "retry_policy", "is no name"),
    ({"send_at": 9, "expires_at": 8}, "expires_at", "before send_at"),
    ({"send_at": -1}, "send_at", "before 1970"),
]


@pytest.mark.parametrize(("fields", "field", "words"), REFUSED, ids=[f"{f[1] or 'content'}: {f[2]}" for f in REFUSED])
def test_a_fault_names_its_field_and_says_what_is_wrong(fields: dict[str, Any], field: str, words: str) -> None:
    found = read_request(request(**fields))
    assert isinstance(found, Invalid)
    assert found.field == field == found.reason.code
    assert words in found.reason.detail
    assert len(found.reason.detail) < 300


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"n": 1 << 63}, "64 bits"),
        ({"n": DEEP}, "levels"),
        ({"n": b"x"}, "bytes"),
        ({"l": [{"x": 1 << 64}]}, "64 bits"),
    ],
)
def test_template_data_has_limits(data: dict[str, Any], words: str) -> None:
    template = {"subject": "absent", "text": "absent", "template_id": "w"}
    shared = read_request(request(data=data, **template))
    assert isinstance(shared, Invalid)
    assert words in shared.reason.detail
    own = read_request(request(recipients=[MAIL | {"data": data}], **template))
    assert isinstance(own, SendRequest)
    assert words in own.refused[0].reason.detail


def test_a_bad_recipient_is_refused_and_the_others_are_kept() -> None:
    found = valid(recipients=[MAIL, {"email": "x"}, {"email": "b@example.com", "name": "B\n"}])
    assert [r.mailbox.email for r in found.recipients] == ["a@example.com"]
    assert [(r.email, r.reason.kind) for r in found.refused] == [
        ("x", ReasonKind.INVALID_ADDRESS),
        ("b@example.com", ReasonKind.INVALID_REQUEST),
    ]
    assert found.refused[0].reason.detail.startswith("recipients[1].email is not an address")


GOOD = [
    "a@b.co",
    "first.last+tag@sub.example.com",
    "o'brien!#$%&*/=?^_`{|}~-@example.com",
    '"quoted string"@example.com',
    '"a@b\\"c"@example.com',
    "zoë@example.com",
    "ann@bücher.example",
    "用户@例子.公司",
    "a@xn--bcher-kva.example",
    "x" * 64 + "@example.com",
]
BAD = [
    "",
    "a",
    "@",
    "a@",
    "@b.co",
    "a@b",
    "a@b..co",
    "a@-b.co",
    "a@b-.co",
    ".a@b.co",
    "a.@b.co",
    "a..b@b.co",
    "a b@c.co",
    "a@b.co ",
    " a@b.co",
    "a@b.co\n",
    "a@b.co\r\nBcc: c@d.co",
    "a\x00@b.co",
    "<a@b.co>",
    "Ann <a@b.co>",
    "a@b.co, c@d.co",
    "a,b@c.co",
    "a;b@c.co",
    "a@[127.0.0.1]",
    "a@127.0.0.1",
    '"a\r\nb"@c.co',
    '"a@c.co',
    "a\u2028@b.co",
    "a@b\u3002c.co\u0000",
    "x" * 65 + "@example.com",
    "ë" * 33 + "@example.com",
    "a@" + "b." * 130 + "co",
    "a@" + "ü" * 70 + ".co",
    "a@b@c.co",
]


@pytest.mark.parametrize("address", GOOD)
def test_an_address_that_mail_can_be_sent_to_is_taken(address: str) -> None:
    assert address_fault(address) == ""


@pytest.mark.parametrize("address", BAD)
def test_anything_else_is_refused(address: str) -> None:
    assert address_fault(address)


@given(st.text(max_size=40) | st.from_regex(r"[ -~]{0,10}@[ -~]{0,10}\.[a-z]{2}", fullmatch=True))
def test_no_address_that_is_taken_can_end_a_header_line_or_begin_another_address(address: str) -> None:
    if not address_fault(address):
        assert not set(address) & set("\r\n\x00\x0b\x0c\x85\u2028\u2029")
        assert len(address.splitlines()) == 1
        assert address[0] == '"' or not set(address) & set(" <>,;:()")


@given(st.text(max_size=30))
def test_no_text_that_is_taken_for_a_header_has_a_second_line(text: str) -> None:
    if text and not line_fault(text):
        assert text.splitlines() == [text]


def test_every_header_that_the_mime_builder_writes_is_refused() -> None:
    assert all(header_fault(name) for name in MIME_RESERVED)
    assert header_fault("List-Unsubscribe") == ""


RETENTION = Retention(ledger_ms=30 * DAY, margin_ms=DAY)


def test_rule_12_an_old_request_is_told_from_a_recent_one() -> None:
    now = 100 * DAY
    late = times_fault(valid(), now - 29 * DAY - 1, now, RETENTION)
    assert late is not None
    assert late.reason.kind is ReasonKind.EXPIRED
    assert times_fault(valid(), now - 29 * DAY, now, RETENTION) is None


def test_rule_11_times_beyond_what_is_kept_are_refused_by_name() -> None:
    found = times_fault(valid(send_at=129 * DAY + 1), 100 * DAY, 100 * DAY, RETENTION)
    assert found is not None
    assert found.field == "send_at"


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


@given(
    st.text(max_size=10),
    st.lists(
        st.fixed_dictionaries({"email": st.text(max_size=9), "data": st.dictionaries(st.text(max_size=3), any_json)})
    ),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    st.binary(max_size=20) | st.none(),
    st.integers(-(2**63), 2**63 - 1),
)
def test_nothing_that_fits_the_schema_makes_validation_raise(
    key: str, recipients: list[Any], texts: dict[str, str], mime: bytes | None, when: int
) -> None:
    record = request(
        idempotency_key=key,
        recipients=recipients,
        headers=texts,
        metadata=texts,
        tags=list(texts),
        mime=mime,
        send_at=when,
    )
    assert isinstance(read_request(record), (SendRequest, Invalid))
