"""Mail files are read without an exception whatever they contain, and refused with a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cli.mail_files import MAX_BYTES, MailFile, Refused, read_mail
from streams.core.message import Mailbox

PLAIN = b"From: Ada <ada@example.com>\r\nTo: Bob <bob@example.net>\r\nSubject: Hello\r\n\r\nHow are you?\r\n"


def read(raw: bytes, sender: str = "", recipients: tuple[str, ...] = ()) -> MailFile:
    mail = read_mail(raw, sender, recipients)
    assert isinstance(mail, MailFile), mail
    return mail


def refusal(raw: bytes, sender: str = "", recipients: tuple[str, ...] = ()) -> str:
    mail = read_mail(raw, sender, recipients)
    assert isinstance(mail, Refused), mail
    return mail.reason


def test_the_bytes_of_a_mail_are_kept_as_they_are() -> None:
    assert read(PLAIN).mime == PLAIN


def test_sender_and_recipients_come_from_the_headers() -> None:
    mail = read(PLAIN)
    assert mail.sender == Mailbox("ada@example.com", "Ada")
    assert mail.recipients == (Mailbox("bob@example.net", "Bob"),)
    assert mail.subject == "Hello"


def test_copy_recipients_are_recipients_and_an_address_counts_once() -> None:
    mail = read(b"From: a@x.org\nTo: b@x.org, B <B@X.ORG>\nCc: c@x.org\n\nhello\n")
    assert [box.email for box in mail.recipients] == ["b@x.org", "c@x.org"]


def test_named_sender_and_recipients_replace_those_of_the_headers() -> None:
    mail = read(PLAIN, "Eve <eve@example.org>", ("one@example.org", "two@example.org"))
    assert mail.sender == Mailbox("eve@example.org", "Eve")
    assert [box.email for box in mail.recipients] == ["one@example.org", "two@example.org"]
    assert mail.mime == PLAIN


def test_encoded_names_are_decoded() -> None:
    mail = read(b"From: =?utf-8?q?J=C3=BCrgen?= <j@x.org>\nTo: b@x.org\nSubject: =?utf-8?b?w5xiZXI=?=\n\nhello\n")
    assert (mail.sender.name, mail.subject) == ("Jürgen", "Über")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b" \r\n\r\n", "empty", id="only white space"),
        pytest.param(b"\x00\x01\x02", "NUL", id="binary"),
        pytest.param(b"hello world\n\nbody", "no headers", id="no header at all"),
        pytest.param(b"To: b@x.org\n\nhello", "no sender", id="no From"),
        pytest.param(b"From: MAILER <>\nTo: b@x.org\n\nhello", "no sender", id="null sender"),
        pytest.param(b"From: a@x.org\n\nhello", "no recipient", id="no To"),
        pytest.param(b"From: a@x.org\nTo: undisclosed-recipients:;\n\nhello", "no recipient", id="empty group"),
        pytest.param(
            b"From: foo\nTo: b@x.org\n\nhello",
            "'foo' is not an address: it needs one part before and one after the @",
            id="bad sender",
        ),
        pytest.param(
            b"From: a@x.org\nTo: baz\n\nhello",
            "'baz' is not an address: it needs one part before and one after the @",
            id="bad recipient",
        ),
        pytest.param(b"From: a@x.org\nFrom: b@x.org\nTo: b@x.org\n\nhello", "more than one From", id="two senders"),
        pytest.param(b"From: a@x.org\nTo: b@x.org\nBcc: c@x.org\n\nhello", "Bcc", id="visible blind copy"),
        pytest.param(b"From: a@x.org\nno header\nTo: b@x.org\n\nhello", "is none", id="broken headers"),
        pytest.param(
            b"From: a@x.org\nTo: b@x.org\nContent-Type: multipart/mixed\n\nhello", "names no boundary", id="no boundary"
        ),
        pytest.param(
            b"From: a@x.org\nTo: b@x.org\nContent-Type: multipart/mixed; boundary=B\n\nhello",
            "never appears",
            id="boundary missing",
        ),
        pytest.param(
            b"From: a@x.org\nTo: b@x.org\nContent-Type: multipart/mixed; boundary=B\n\n--B\n\nhello\n",
            "cut off",
            id="cut off",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_reason(raw: bytes, reason: str) -> None:
    assert reason in refusal(raw)


def test_a_mail_larger_than_any_provider_takes_is_refused() -> None:
    assert "too large" in refusal(PLAIN + b"x" * MAX_BYTES)


@given(st.binary(max_size=400))
def test_no_bytes_raise(raw: bytes) -> None:
    assert isinstance(read_mail(raw), MailFile | Refused)


@given(st.lists(st.tuples(st.sampled_from(["From", "To", "Cc", "Subject", "Content-Type"]), st.text(max_size=60))))
def test_no_headers_raise(headers: list[tuple[str, str]]) -> None:
    raw = "".join(f"{name}: {value}\n" for name, value in headers).encode("utf-8", "surrogatepass") + b"\nbody\n"
    assert isinstance(read_mail(raw), MailFile | Refused)


def test_parts_nested_very_deep_are_a_value_too() -> None:
    head = b"From: a@x.org\nTo: b@x.org\n"
    deep = b"".join(b"Content-Type: multipart/mixed; boundary=B%d\n\n--B%d\n" % (n, n) for n in range(3000))
    assert isinstance(read_mail(head + deep), MailFile | Refused)
