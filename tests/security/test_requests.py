"""What a sender can write into a request: nothing of it may become a header, a recipient, or somebody else's message."""

from __future__ import annotations

import json
import time
import tracemalloc
from base64 import b64decode
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.headerregistry import AddressHeader
from email.utils import getaddresses
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from streams.agents.dispatch.compose import _frame
from streams.agents.dispatch.flight import Flight
from streams.content.render import RenderFailure, compile_content, render_one
from streams.core import ids
from streams.core.fanout import content_of
from streams.core.message import Attachment, Content, Mailbox, Message, RecordRef, Stream, Template
from streams.core.receipt import ReceiptKind
from streams.core.request import Invalid, SendRequest, read_request
from streams.providers.base import Batch, Entry, HttpRequest
from streams.providers.mailgun import Config as MailgunConfig
from streams.providers.mailgun import create as mailgun
from streams.providers.ses import Config as SesConfig
from streams.providers.ses import create as ses
from streams.serde.public import Undecodable, decode_request, encode_request
from tests.agents.test_intake import Desk, request
from tests.providers.test_against_sandbox import mailgun_at, sandbox, send, ses_at

ENDS = {
    "CR LF": "\r\n",
    "LF": "\n",
    "CR": "\r",
    "LF CR": "\n\r",
    "NUL": "\0",
    "vertical tab": "\x0b",
    "form feed": "\x0c",
    "separators": "\x1c\x1d\x1e",
    "NEL": "\x85",
    "LINE SEPARATOR": "\u2028",
    "PARAGRAPH SEPARATOR": "\u2029",
    "folded": "\r\n ",
    "encoded": "=?utf-8?q?=0D=0A?=",
    "in percent": "%0d%0a",
    "DEL": "\x7f",
}
EVIL = "Bcc: evil@example.com"
ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklmn"
FLIGHT = Flight(
    Message(ID, "acme", Stream.TRANSACTIONAL, "k", Mailbox("ann@example.net"), "h", "f", 0, 0),
    0,
    RecordRef("outbound", 0, 0),
    None,
)
KNOWN = frozenset(
    {"from", "to", "cc", "reply-to", "subject", "message-id", "date", "mime-version", "content-type", "x-own"}
    | {"content-transfer-encoding", "content-disposition", "content-id"}
)


def decoded(record: dict[str, Any]) -> SendRequest | Invalid | Undecodable:
    found = decode_request(json.dumps(record).encode())
    assert not isinstance(found, (int,))
    return read_request(found) if isinstance(found, dict) else found  # type: ignore[return-value]


def places(evil: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A request with ``evil`` in each place where a sender can write."""
    file = {"filename": "a.txt", "content_type": "text/plain", "data": "aGk="}
    yield "from.email", request(**{"from": {"email": f"a@example.com{evil}"}})
    yield "from.email, local part", request(**{"from": {"email": f"a{evil}@example.com"}})
    yield "from.email, quoted", request(**{"from": {"email": f'"a{evil}"@example.com'}})
    yield "from.name", request(**{"from": {"email": "a@example.com", "name": f"Shop{evil}"}})
    yield (
        "from.name, quoted",
        request(**{"from": {"email": "a@example.com", "name": f'Shop" <evil@example.com>{evil}'}}),
    )
    yield "recipients.email", request(f"ann@example.com{evil}")
    yield "recipients.email, before", request(f"{evil}ann@example.com")
    yield "recipients.name", request(recipients=[{"email": "ann@example.com", "name": f"Ann{evil}"}])
    yield "cc.name", request(cc=[{"email": "boss@example.com", "name": f"Boss{evil}"}])
    yield "cc.email", request(cc=[{"email": f"boss@example.com{evil}"}])
    yield "bcc.name", request(bcc=[{"email": "boss@example.com", "name": f"Boss{evil}"}])
    yield "reply_to.name", request(reply_to=[{"email": "r@example.com", "name": f"R{evil}"}])
    yield "reply_to.email", request(reply_to=[{"email": f"r@example.com{evil}"}])
    yield "subject", request(subject=f"Hi{evil}")
    yield "headers, value", request(headers={"X-Own": f"a{evil}"})
    yield "headers, name", request(headers={f"X-Own{evil}": "a"})
    yield "tags", request(tags=[f"t{evil}"])
    yield "metadata", request(metadata={f"k{evil}": f"v{evil}"})
    yield "filename", request(attachments=[file | {"filename": f"a{evil}.txt"}])
    yield "content_type", request(attachments=[file | {"content_type": f"text/plain{evil}"}])
    yield "content_type, parameter", request(attachments=[file | {"content_type": f"text/plain; name=x{evil}"}])
    yield "content_id", request(html="<p>", attachments=[file | {"content_id": f"a{evil}"}])
    yield "list_id", request(list_id=f"l{evil}")
    yield "text", request(text=f"Hello{evil}")


def calls(content: Content, *recipients: Mailbox) -> Iterator[HttpRequest]:
    """What both adapters make of it, for one recipient and for two."""
    adapters = (
        mailgun("mg", MailgunConfig(domain="mg.example.com", api_key="k")),
        ses("ses", SesConfig(region="us-east-1", access_key_id="AK", secret_access_key="s")),
    )
    compiled = compile_content(content)
    assert not isinstance(compiled, RenderFailure)
    for mailboxes in (recipients[:1], (*recipients[:1], Mailbox("second@example.net"))):
        entries = tuple(Entry(ID[:-1] + "ab"[i], 1, box) for i, box in enumerate(mailboxes))
        frame = _frame(content, FLIGHT, entries)
        batch = Batch(
            **{n: getattr(frame, n) for n in frame.__slots__}
            | {  # type: ignore[attr-defined]
                "subject": compiled.subject,
                "text": compiled.text,
                "html": compiled.html,
            }
        )
        for adapter in adapters:
            if not adapter.fits(batch):
                yield adapter.build_request(batch, 1)


def check_call(call: HttpRequest, allowed: frozenset[str]) -> None:
    """No header, field or recipient that nobody asked for."""
    kind = dict(call.headers)["content-type"]
    assert all("\r" not in value and "\n" not in value for _, value in call.headers)
    if kind.startswith("application/json"):
        check_json(json.loads(call.body), allowed)
    elif kind.startswith("multipart/"):
        form = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + call.body)
        for part in form.get_payload():
            assert isinstance(part, type(form))
            assert {name.lower() for name in part} <= {"content-disposition", "content-type"}
            name = part.get_param("name", header="content-disposition")
            check_field(str(name), part.get_payload(decode=True), allowed)  # type: ignore[arg-type]
    else:
        for name, value in parse_qsl(call.body.decode(), keep_blank_values=True):
            check_field(name, value.encode(), allowed)


FIELDS = {"from", "to", "subject", "text", "html", "recipient-variables", "message", "attachment", "inline", "o:tag"}
FIELDS |= {"v:message_id", "v:attempt", "h:message-id", "h:reply-to", "h:x-own"}


def check_field(name: str, value: bytes, allowed: frozenset[str]) -> None:
    assert name.lower() in FIELDS, name
    if name == "to":
        check_addresses([value.decode()], allowed)
    elif name == "message":
        check_mime(value, allowed)
    elif name not in ("text", "html", "attachment", "inline", "recipient-variables"):
        assert value.decode().isprintable(), (name, value)


def check_json(body: dict[str, Any], allowed: frozenset[str]) -> None:
    entries = body.get("BulkEmailEntries", [body])
    check_addresses([a for entry in entries for a in entry["Destination"]["ToAddresses"]], allowed)
    assert all(set(entry["Destination"]) == {"ToAddresses"} for entry in entries)
    if "Content" in body:
        check_mime(b64decode(body["Content"]["Raw"]["Data"]), allowed)
    else:
        template = body["DefaultContent"]["Template"]
        for header in template.get("Headers", []):
            assert header["Name"].lower() == "x-own"
            assert header["Value"].isprintable()
        assert template["TemplateContent"]["Subject"].isprintable()


def check_mime(mime: bytes, allowed: frozenset[str]) -> None:
    assert mime.isascii()
    assert b"\0" not in mime
    for parser in (policy.default, policy.compat32):
        for part in message_from_bytes(mime, policy=parser).walk():  # type: ignore[arg-type]
            assert {name.lower() for name in part} <= KNOWN
    message = message_from_bytes(mime, policy=policy.default)  # type: ignore[arg-type]
    for name in ("to", "cc", "from", "reply-to"):
        header = message[name]
        if isinstance(header, AddressHeader):
            assert {a.addr_spec for a in header.addresses} <= allowed | {
                "a@example.com",
                "shop@example.com",
                "r@example.com",
                "",
            }


def check_addresses(written: list[str], allowed: frozenset[str]) -> None:
    found = {address for _, address in getaddresses(written)}
    assert found <= allowed, found


@pytest.mark.parametrize("end", ENDS)
def test_no_text_of_a_request_becomes_a_header_or_a_recipient(end: str) -> None:
    """Refused, or sent as plain text: by both adapters, alone and in a batch."""
    taken = 0
    for place, record in places(f"{ENDS[end]}{EVIL}"):
        found = decoded(record)
        if isinstance(found, (Invalid, Undecodable)):
            continue
        recipients = [r.mailbox for r in found.recipients]
        content = content_of(found)
        if not recipients or content is None:
            continue
        taken += 1
        allowed = frozenset({box.email for box in recipients} | {"second@example.net", "boss@example.com"})
        assert "evil@example.com" not in allowed, place
        allowed |= {content.sender.email}
        for call in calls(content, *recipients):
            check_call(call, allowed)
    assert taken > 0


@pytest.mark.parametrize("end", ENDS)
def test_an_adapter_alone_stops_what_intake_would_have_refused(end: str) -> None:
    evil = f"{ENDS[end]}{EVIL}"
    content = Content(
        Mailbox("a@example.com", f"Shop{evil}"),
        subject=f"Hi{evil}",
        text=f"Hello{evil}",
        html=f"<p>{evil}",
        reply_to=(Mailbox("r@example.com", f"R{evil}"),),
        headers=((f"X-Own{evil}", "a"), ("X-Own", f"a{evil}"), ("Bcc", "evil@example.com"), ("X-SES-A", "b")),
        tags=(f"t{evil}",),
        attachments=(Attachment(f"a{evil}.txt", f"text/plain{evil}", b"hi", content_id=f"c{evil}"),),
    )
    for shape in (content, _without_files(content)):
        for call in calls(shape, Mailbox("ann@example.com", f"Ann{evil}")):
            check_call(call, frozenset({"ann@example.com", "second@example.net"}))


def _without_files(content: Content) -> Content:
    return Content(content.sender, content.subject, content.text, content.html, headers=content.headers)


@pytest.mark.parametrize("end", ENDS)
def test_template_data_ends_no_subject_and_opens_no_tag(end: str) -> None:
    evil = f"{ENDS[end]}{EVIL}<script>alert(1)</script>"
    template = Template("t", "1", "Hi {{ name }}", "Hi {{ name }}", '<p title="{{ name }}">{{ name }}</p>')
    for source in (
        template,
        Template("t", "1", "{% if 1 %}{{ name }}{% endif %}", "", "{% if 1 %}{{ name }}{% endif %}"),
    ):
        content = Content(Mailbox("a@example.com"), template=source)
        message = Message(
            ID, "t", Stream.BULK, "k", Mailbox("ann@example.com"), "h", "f", 1, 1, content, data={"name": evil}
        )
        compiled = compile_content(content)
        assert not isinstance(compiled, RenderFailure)
        rendered = render_one(compiled, message)
        assert not isinstance(rendered, RenderFailure)
        finished = Content(content.sender, str(rendered.subject[0]), "x", str(rendered.html[0]))
        assert "<script" not in finished.html
        for call in calls(finished, Mailbox("ann@example.com")):
            check_call(call, frozenset({"ann@example.com", "second@example.net"}))


ADDRESSES = [
    pytest.param("ann@example.com,evil@example.com", id="two"),
    pytest.param("ann@example.com evil@example.com", id="two with a space"),
    pytest.param("<ann@example.com>", id="brackets"),
    pytest.param("Ann <ann@example.com>", id="a name"),
    pytest.param("ann@example.com\u00a0", id="a space that does not break"),
    pytest.param("ann\u200b @example.com", id="a space of no width, and one"),
    pytest.param("ann\uff20example.com", id="a wide at sign"),
    pytest.param("ann@exam\u2100ple.com", id="a letter that becomes a slash"),
    pytest.param("ann@example.com\uff0cevil@example.com", id="a wide comma"),
    pytest.param("ann@[127.0.0.1]", id="an address literal"),
    pytest.param("ann@localhost", id="no domain"),
    pytest.param("ann@example.com.", id="a dot at the end"),
    pytest.param("ann@ex..ample.com", id="two dots"),
    pytest.param('"ann\\"@example.com', id="an open quote"),
    pytest.param('"ann"evil@example.com', id="text after quotes"),
    pytest.param("ann(evil@example.com)@example.com", id="a comment"),
    pytest.param("ann%evil@example.com@example.com", id="two at signs"),
    pytest.param("ann@example.com?bcc=evil@example.com", id="a mailto"),
    pytest.param("@example.com", id="nobody"),
    pytest.param("ann@xn--a.com\r\n", id="a line end"),
    pytest.param("a" * 65 + "@example.com", id="a long local part"),
    pytest.param("ann@" + "a." * 130 + "com", id="a long domain"),
    pytest.param("ann@ex\u00adample\u3002com\r", id="soft hyphen and a line end"),
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_no_single_mailbox_is_refused(address: str) -> None:
    found = decoded(request(address))
    assert isinstance(found, SendRequest)
    assert found.recipients == ()
    assert len(found.refused) == 1


ORDERS = [
    b'X-Mailgun-Variables: {"message_id": "' + ID.encode() + b'"}',
    b"x-mailgun-recipient-variables: {}",
    b"X-SES-MESSAGE-TAGS: message_id=" + ID.encode(),
    b"X-Ses-Configuration-Set : other",
    b"X-SES-SOURCE-ARN: arn:aws:ses:us-east-1:1:identity/x",
]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"], ids=["CR LF", "LF", "CR"])
@pytest.mark.parametrize("place", ["first", "later", "after a long header"])
def test_mail_as_it_is_cannot_name_somebody_elses_message(order: bytes, end: bytes, place: str) -> None:
    before = {"first": b"", "later": b"A: b" + end, "after a long header": b"A: " + b"b" * 100_000 + end}[place]
    mime = before + order + end + b"Subject: x\r\n\r\nbody"
    record = {k: v for k, v in request().items() if k not in ("subject", "text")} | {"mime": mime}
    found = decode_request(encode_request(record))
    assert isinstance(found, dict)
    refused = read_request(found)
    assert isinstance(refused, Invalid)
    assert refused.field == "mime"


def test_mail_as_it_is_may_speak_of_such_headers_in_its_body() -> None:
    mime = b"Subject: a\r\n X-SES-folded: no field\r\n\r\nX-Mailgun-Variables: {}\r\n"
    record = {k: v for k, v in request().items() if k not in ("subject", "text")} | {"mime": mime}
    found = decode_request(encode_request(record))
    assert isinstance(found, dict)
    assert isinstance(read_request(found), SendRequest)


def bomb_avro(count: int) -> bytes:
    """A request with so many empty recipients, three bytes each."""
    plain = encode_request(request("b@example.com"))
    at = plain.index(b"\x02\x1ab@example.com")
    number, head = count << 1, b""
    while number > 0x7F:
        head, number = head + bytes([number & 0x7F | 0x80]), number >> 7
    return plain[:at] + head + bytes([number]) + b"\0\0\0" * count + plain[at + 2 + 13 + 2 :]


def bomb_json(item: bytes, field: str, count: int) -> bytes:
    return json.dumps(request() | {field: []}).encode()[:-2] + b",".join([item] * count) + b"]}"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(bomb_avro(8_000_000), id="Avro recipients"),
        pytest.param(bomb_json(b'{"email":""}', "recipients", 1_900_000), id="JSON recipients"),
        pytest.param(bomb_json(b'""', "tags", 8_000_000), id="JSON tags"),
        pytest.param(
            json.dumps(request() | {"data": {"a": 0}}).encode()[:-3] + b"[" + b",".join([b"{}"] * 8_000_000) + b"]}}",
            id="JSON data",
        ),
        pytest.param(b'{"data":{"a":' + b"[" * 20_000_000, id="JSON nest"),
    ],
)
def test_a_value_that_would_become_a_hundred_times_its_size_is_refused_first(value: bytes) -> None:
    assert len(value) > 15_000_000
    tracemalloc.start()
    began = time.thread_time()
    try:
        found = decode_request(value)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(found, Undecodable)
    assert found.reason == "too_large"
    assert time.thread_time() - began < 1.0
    assert peak < 30_000_000


def test_large_requests_that_people_send_are_read() -> None:
    recipients = [{"email": f"u{i}@example.com", "data": {f"k{j}": "v" * 10 for j in range(40)}} for i in range(1000)]
    record = request(recipients=recipients, attachments=[{"filename": "a", "data": b"\0,{[" * 500_000}])
    found = decode_request(encode_request(record))
    assert isinstance(found, dict)
    assert len(found["recipients"]) == 1000
    as_json = json.dumps(request(recipients=recipients, text="Hello, world. " * 20_000)).encode()
    assert isinstance(decode_request(as_json), dict)


def test_quotes_that_are_not_needed_are_no_way_around_a_suppression() -> None:
    one = ids.recipient_key("acme", "ann.b@example.com")
    for spelling in ('"ann.b"@example.com', '"a\\nn.b"@Example.COM', '"ANN.B"@example.com', "Ann.B@example.com"):
        assert ids.recipient_key("acme", spelling) == one
    assert ids.recipient_key("acme", '"ann b"@example.com') != one
    assert ids.recipient_key("acme", '"ann b"@example.com') == ids.recipient_key("acme", '"ann\\ b"@example.com')


@pytest.mark.parametrize("tenant", ["acme\x1fx", "acme x", "", "acme/x", "ácme", "a" * 65, "-", "acme\n"])
def test_no_tenant_name_can_be_read_as_another_tenant_and_key(tenant: str) -> None:
    """Ids hash tenant, separator and key: neither part may contain the separator."""
    found = decoded(request(tenant=tenant))
    assert isinstance(found, Invalid) or (tenant == "" and isinstance(found, SendRequest) and found.tenant == "default")
    assert isinstance(decoded(request(idempotency_key="k\x1fk")), Invalid)


async def test_a_refused_spelling_of_a_recipient_says_nothing_about_the_one_that_is_sent() -> None:
    desk = Desk()
    await desk.take(json.dumps(request("ann@example.com", " Ann@example.com ", "no address")).encode())
    (message,) = desk.messages()
    told = desk.receipts()
    assert message.message_id not in {receipt.message_id for receipt in told}
    assert [receipt.kind for receipt in told] == [ReceiptKind.REJECTED]


async def test_internal_records_on_the_public_topic_are_dead_letters() -> None:
    """Kind bytes of ours, commands and receipts among them, are no encoding that users can write."""
    from streams.core.command import Cancel, Settle
    from streams.core.receipt import Receipt
    from streams.serde.internal import pack

    desk = Desk()
    records = [pack(Cancel(ID, "me")), pack(Settle(ID, 1, "x", 1)), pack(Receipt(ID, ReceiptKind.DELIVERED, "r", 1))]
    await desk.take(*records, b"\x80\x04\x95pickle", b"\xc3\x01", b"\x00", b"\x00\x00", b"[]", b"null", b'"x"')
    assert len(desk.dead()) == 10
    assert desk.messages() == desk.receipts() == []


@pytest.mark.parametrize("end", ["CR LF", "NEL", "LINE SEPARATOR"])
async def test_the_sandbox_receives_exactly_what_was_asked_for(tmp_path: Path, end: str) -> None:
    evil = f"{ENDS[end]}{EVIL}"
    content = Content(
        Mailbox("a@mg.example.com", f"Shop{evil}"), subject=f"Hi{evil}", text="x", headers=(("X-Own", evil),)
    )
    async with sandbox(tmp_path) as running:
        for adapter in (mailgun_at(running), ses_at(running)):
            entry = Entry(ID, 1, Mailbox("success@example.net", f"Ann{evil}"))
            frame = _frame(content, FLIGHT, (entry,))
            batch = Batch(frame.sender, frame.entries, (content.subject,), (content.text,), headers=frame.headers)
            await send(adapter, batch)
        lines = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    accepted = [line for line in lines if "recipient" in json.dumps(line)]
    assert len(accepted) >= 2
    assert "evil@example.com" not in {line.get("recipient") for line in lines}
