"""A whole message: readable by any parser, whatever the sender wrote, and never more headers than meant."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.content.mime import ascii_address, ascii_mailbox, build_mime, is_header_allowed, message_id_for, one_line
from streams.core.message import Attachment, Mailbox
from streams.providers.base import Batch, Entry, Slot

ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklmn"
SENDER = Mailbox("a@example.com", "Shop")


def entry(email: str = "u@example.net", name: str = "", **variables: str) -> Entry:
    return Entry(ID, 1, Mailbox(email, name), variables)


def raw(to: Entry | None = None, sender: Mailbox = SENDER, **parts: Any) -> bytes:
    to = to or entry()
    return build_mime(
        Batch(sender, (to,), **{"subject": ("Hi",), **parts}), to, f"<{ID}@example.com>", 1_767_225_600_000
    )


def parsed(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, policy=SMTP)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert not part.defects
    return message


def test_a_plain_message_has_its_headers_and_its_text() -> None:
    data = raw(
        entry("u@example.net", "Ann", n="Ann"), subject=("Hi ", Slot("n")), text=("Hello ", Slot("n"), "\n.\nbye")
    )
    assert data == (
        b"From: Shop <a@example.com>\r\n"
        b"To: Ann <u@example.net>\r\n"
        b"Subject: Hi Ann\r\n"
        b"Message-ID: <" + ID.encode() + b"@example.com>\r\n"
        b"Date: Thu, 01 Jan 2026 00:00:00 -0000\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Hello Ann\r\n=2E\r\nbye\r\n"
    )


def test_the_same_input_gives_the_same_bytes() -> None:
    parts = {"text": ("a",), "html": ("b",), "attachments": (Attachment("f", "text/plain", b"x"),)}
    assert raw(**parts) == raw(**parts)


def test_text_and_html_are_alternatives_the_richer_last() -> None:
    message = parsed(raw(text=("t ü",), html=("<p>h ü</p>",)))
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    plain, html = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert (plain.get_content(), html.get_content()) == ("t ü\r\n", "<p>h ü</p>\r\n")


def test_html_alone_needs_no_alternative() -> None:
    assert parsed(raw(html=("<p>",))).get_content_type() == "text/html"


def test_an_image_inside_and_a_file_beside_keep_their_places() -> None:
    files = (
        Attachment("r\u00e9sum\u00e9 1.pdf", "application/pdf", bytes(range(256))),
        Attachment("logo.png", "image/png", b"png", content_id="<logo>"),
    )
    message = parsed(raw(text=("t",), html=("<img src=cid:logo>",), attachments=files))
    assert message.get_content_type() == "multipart/mixed"
    content, file = message.iter_parts()
    assert content.get_content_type() == "multipart/alternative"
    _, related = content.iter_parts()
    assert related.get_content_type() == "multipart/related"
    image = list(related.iter_parts())[1]
    assert (image["content-id"], image.get_content_disposition()) == ("<logo>", "inline")
    assert (file.get_filename(), file.get_content(), file.get_content_disposition()) == (
        "r\u00e9sum\u00e9 1.pdf",
        bytes(range(256)),
        "attachment",
    )


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("text/csv; charset=utf-8", "text/csv"),
        ("TEXT/CSV", "text/csv"),
        ("nonsense", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("text/html\r\nX-Evil: 1", "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),
        ("multipart/mixed", "application/octet-stream"),
    ],
)
def test_a_media_type_is_used_only_if_it_is_one_that_base64_may_carry(given: str, used: str) -> None:
    message = parsed(raw(text=("t",), attachments=(Attachment("f", given, b"x"),)))
    assert list(message.iter_parts())[1].get_content_type() == used


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("a\\b.txt", "b.txt"),
        ('a"b.txt', 'a"b.txt'),
        ("a\r\nX: 1", "a X: 1"),
        ("", None),
    ],
)
def test_a_file_name_is_only_a_name(name: str, shown: str | None) -> None:
    message = parsed(raw(text=("t",), attachments=(Attachment(name, "text/csv", b"x"),)))
    assert list(message.iter_parts())[1].get_filename() == shown


def test_visible_recipients_stand_in_for_the_envelope_recipient() -> None:
    others = (Mailbox("b@example.net", "Bee, Inc."), Mailbox("c@example.net", "Çe"))
    message = parsed(raw(visible_to=others, visible_cc=others[:1], reply_to=(Mailbox("r@example.com"),)))
    assert [str(a) for a in message["to"].addresses] == ['"Bee, Inc." <b@example.net>', "Çe <c@example.net>"]
    assert [a.addr_spec for a in message["cc"].addresses] == ["b@example.net"]
    assert message["reply-to"] == "r@example.com"


def test_a_long_address_in_a_header_is_not_torn_apart() -> None:
    url = f"<https://example.com/{'x' * 300}>, <mailto:u@example.com>"
    assert parsed(raw(text=("t",), headers=(("List-Unsubscribe", url),)))["list-unsubscribe"] == url
    assert f"List-Unsubscribe: {url.split()[0]}\r\n {url.split()[1]}\r\n".encode() in raw(
        headers=(("List-Unsubscribe", url),)
    )


@pytest.mark.parametrize(
    "name", ["Bcc", "bcc", "FROM", "Content-Type", "X B", "X:B", "X\r\nBcc", "", "Ü", "X-Mailgun-Tag", "Date"]
)
def test_reserved_and_impossible_headers_are_left_out(name: str) -> None:
    assert not is_header_allowed(name)
    assert b"evil" not in raw(headers=((name, "evil"),), text=("t",))


def test_a_finished_message_comes_back_untouched() -> None:
    assert raw(mime=b"\xffanything") == b"\xffanything"


@pytest.mark.parametrize(
    ("mailbox", "written"),
    [
        (Mailbox("a@example.com"), "a@example.com"),
        (Mailbox("a@example.com", "Ann Lee"), "Ann Lee <a@example.com>"),
        (Mailbox("a@example.com", 'A "B" C\\D'), '"A \\"B\\" C\\\\D" <a@example.com>'),
        (Mailbox("a@example.com", "Lee, Ann"), '"Lee, Ann" <a@example.com>'),
        (Mailbox("a@example.com", "x\r\nBcc: e@example.org"), '"x Bcc: e@example.org" <a@example.com>'),
        (Mailbox("a@exämple.com", "Jörg"), "=?utf-8?b?SsO2cmc=?= <a@xn--exmple-cua.com>"),
        (Mailbox('"a b"@example.com'), '"a b"@example.com'),
        (Mailbox("a@example.com>, <e@example.org"), "a_example.com____e@example.org"),
        (Mailbox("ü@example.com"), "?@example.com"),
    ],
)
def test_a_mailbox_is_one_address_in_ascii(mailbox: Mailbox, written: str) -> None:
    assert ascii_mailbox(mailbox) == written


def test_a_message_id_is_the_same_for_every_attempt() -> None:
    assert message_id_for(SENDER, ID) == f"<{ID}@example.com>"
    assert message_id_for(Mailbox("a@exämple.com"), ID) == f"<{ID}@xn--exmple-cua.com>"
    assert message_id_for(Mailbox("nonsense"), ID).endswith("@nonsense>")


anything = st.text(max_size=80) | st.text('ab \r\n\t\0:<>@,;"\\=?ü\u2028\ud800', max_size=80)


@given(anything, anything, anything, anything, anything)
def test_no_value_can_add_a_header_or_a_part(subject: str, name: str, address: str, header: str, body: str) -> None:
    data = raw(
        entry(address, name),
        Mailbox(address, name),
        subject=(subject,),
        text=(body,),
        html=("<p>", body),
        headers=(("X-A", header), (header, header)),
        attachments=(Attachment(name, header, b"x", content_id=subject),),
    )
    assert data.isascii()
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert all(len(line) <= 998 for line in data.split(b"\r\n"))
    message = message_from_bytes(data)
    names = {name.lower() for name in message.keys()} - {header.lower()}  # noqa: SIM118
    meant = {"from", "to", "subject", "message-id", "date", "x-a", "mime-version", "content-type"}
    assert names <= meant | {"content-transfer-encoding"}
    assert len(message.get_all("from", [])) == 1
    parts = [part.get_content_type() for part in message.walk()]
    assert parts.count("text/html") == 1


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_a_body_arrives_as_it_was_written(body: str) -> None:
    message = message_from_bytes(raw(text=(body,)))
    lines = body.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")
    payload = message.get_payload(decode=True)
    assert isinstance(payload, bytes)
    assert payload.decode() == f"{lines}\r\n"


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_a_subject_arrives_as_one_line(subject: str) -> None:
    message = parsed(raw(subject=(subject,), text=("t",)))
    assert "".join(str(message["subject"] or "").split()) == "".join(one_line(subject).split())


@given(anything)
def test_an_address_never_holds_a_line_end_or_a_second_address(address: str) -> None:
    written = ascii_address(address)
    assert not set(written) & set("\r\n\0")
    if not written.startswith('"'):
        assert not set(written) & set("<>,;")


@pytest.mark.timeout(20)
def test_a_line_full_of_blanks_costs_no_time() -> None:
    blanks = "\xa0" * 1_000_000
    assert one_line(f"x{blanks}y") == f"x{blanks}y"
    assert one_line(f"x{blanks}\r\n{blanks}y") == "x y"


def test_control_characters_and_the_blanks_around_them_become_one_blank() -> None:
    assert one_line("a \r\n\tBcc: b\x00c\u2028 d\xa0e  f") == "a Bcc: b c d\xa0e  f"


@pytest.mark.parametrize(
    "word",
    [
        "=?utf-8?q?=0D=0ABcc:_evil@evil.example?=",
        "=?UTF-8?B?DQpCY2M6IGV2aWxAZXZpbC5leGFtcGxl?=",
        "=?iso-8859-1?q?a=00b?=",
        "=?utf-7?q?+AA0ACg-Bcc?=",
        "=?utf-16?b?DQAKAA==?=",
        "=?utf-8?q?=E2=80=A8?=",
        "=?utf-8*en?q?=0A?=",
        "=?nobody-knows?q?a?=",
        "=?utf-8?b?====?=",
        "=?utf-8?q?a =0A?=",
        "Ann =?utf-8?q?=0A?= =?utf-8?q?b?=",
    ],
)
def test_an_encoded_word_of_the_senders_hides_no_line_end(word: str) -> None:
    """Whoever decodes it would find a line of its own in a name or subject, and may write that on."""
    batch = Batch(
        Mailbox("a@example.com", word), (Entry("m", 1, Mailbox("b@example.com", word)),), (word,), ("x",),
        reply_to=(Mailbox("r@example.com", word),), headers=(("X-Own", word),),
    )  # fmt: skip
    message = message_from_bytes(build_mime(batch, batch.entries[0]), policy=policy.default)
    for name in ("from", "to", "reply-to", "subject", "x-own"):
        assert str(message[name]).isprintable()
    assert message["to"].addresses[0].addr_spec == "b@example.com"


@pytest.mark.parametrize(
    "word", ["=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "=?utf-8?b?R3LDvMOfZQ==?=", "1 =? 2 ?= 3", "=?", "=??="]
)
def test_an_encoded_word_that_says_plain_text_is_left_alone(word: str) -> None:
    assert one_line(word) == word


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", ["=?" * 200_000, "=?a?q?" * 100_000, "=?a?q?" + "=?" * 100_000, "=?a?q?_?=" * 50_000])
def test_no_number_of_encoded_words_costs_much_time(text: str) -> None:
    one_line(text)
