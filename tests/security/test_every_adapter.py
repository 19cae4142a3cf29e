"""Text of strangers in every field of a message, at every adapter that comes along: nothing of it becomes an order.

What intake refuses is given to the adapters all the same: each of them is the last door before a provider.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from email.utils import getaddresses
from typing import Any
from urllib.parse import parse_qsl

import pytest

from streams.core.message import Attachment, Mailbox
from streams.core.outcome import Rejected
from streams.providers import directmail, mailgun, registry, ses, smtp
from streams.providers._smtp.envelope import commands, is_path, refusal, stuffed
from streams.providers.base import Batch, Entry, Provider, Refuses, Slot
from streams.providers.smtp.message import envelope_of
from tests.security.test_requests import ENDS, ID

NOW_MS = 1_767_225_600_000
EVIL = "evil@evil.example"
OFFERS = {"size": "0", "8bitmime": "", "smtputf8": "", "dsn": "", "pipelining": ""}
OURS = frozenset(
    {"from", "to", "cc", "reply-to", "subject", "message-id", "date", "mime-version", "content-type", "x-own"}
    | {"content-transfer-encoding", "content-disposition", "content-id", "list-unsubscribe", "x-user-a"}
)
ORDERS = {
    smtp.config.Service.PLAIN: frozenset[str](),
    smtp.config.Service.MAILGUN: frozenset({"x-mailgun-tag", "x-mailgun-variables", "x-mailgun-track-opens"}),
    smtp.config.Service.SES: frozenset({"x-ses-configuration-set", "x-ses-message-tags"}),
    smtp.config.Service.DIRECTMAIL: frozenset({"x-notify-message-id"}),
}


def relay(host: str, **options: Any) -> smtp.Smtp:
    return smtp.create("smtp", smtp.Config(host=host, **options))


ADAPTERS: dict[str, Provider] = {
    "mailgun": mailgun.create("mg", mailgun.Config(domain="mg.example.com", api_key="k")),
    "ses": ses.create("ses", ses.Config("us-east-1", access_key_id="AK", secret_access_key="s")),
    "directmail": directmail.create("dm", directmail.Config(access_key_id="AK", access_key_secret="s")),
    "directmail, acs3": directmail.create(
        "dm", directmail.Config(access_key_id="AK", access_key_secret="s", signature="acs3")
    ),
    "smtp": relay("relay.example.com", return_path="bounces.example.com", return_path_key="k" * 32),
    "smtp of Mailgun": relay("smtp.mailgun.org"),
    "smtp of SES": relay("email-smtp.us-east-1.amazonaws.com", configuration_set="events"),
    "smtp of DirectMail": relay("smtpdm.aliyun.com"),
}  # type: ignore[assignment]


def test_no_adapter_is_forgotten() -> None:
    assert {adapter.type for adapter in ADAPTERS.values()} == set(registry.types())


ENTRY = Entry(f"{ID[:-1]}a", 1, Mailbox("ann@example.net", "Ann"), {"name": "Ann"})
PLAIN = Batch(
    Mailbox("shop@mg.example.com", "Shop"), (ENTRY,), ("Hi ", Slot("name")), ("Hello ", Slot("name")), track_opens=True
)
FILE = Attachment("a.txt", "text/plain", b"hi")

FIELDS: dict[str, Callable[[str], Batch]] = {
    "sender's name": lambda e: replace(PLAIN, sender=Mailbox("shop@mg.example.com", f"Shop{e}")),
    "sender's name, quoted": lambda e: replace(PLAIN, sender=Mailbox("shop@mg.example.com", f'Shop" <{EVIL}>{e}')),
    "sender's local part": lambda e: replace(PLAIN, sender=Mailbox(f"shop{e}@mg.example.com")),
    "sender's domain": lambda e: replace(PLAIN, sender=Mailbox(f"shop@mg.example.com{e}")),
    "recipient's name": lambda e: to(Mailbox("ann@example.net", f"Ann{e}")),
    "recipient's name, quoted": lambda e: to(Mailbox("ann@example.net", f'Ann\\" <{EVIL}>,{e}')),
    "recipient's name, encoded": lambda e: to(Mailbox("ann@example.net", f"=?utf-8?q?=0D=0ABcc:{EVIL}?={e}")),
    "recipient's local part": lambda e: to(Mailbox(f"ann{e}@example.net")),
    "recipient's quoted local part": lambda e: to(Mailbox(f'"ann{e}"@example.net')),
    "recipient's domain": lambda e: to(Mailbox(f"ann@example.net{e}")),
    "recipient beyond ASCII": lambda e: to(Mailbox(f"änn{e}@bücher.example", f"Änn{e}")),
    "reply address": lambda e: replace(PLAIN, reply_to=(Mailbox(f"r@example.com{e}"),)),
    "reply name": lambda e: replace(PLAIN, reply_to=(Mailbox("r@example.com", f"R{e}"),)),
    "visible name": lambda e: replace(PLAIN, visible_to=(Mailbox("bob@example.net", f"Bob{e}"),)),
    "visible address": lambda e: replace(PLAIN, visible_to=(Mailbox(f"bob{e}@example.net"),)),
    "copy's name": lambda e: replace(PLAIN, visible_cc=(Mailbox("bob@example.net", f"Bob{e}"),)),
    "copy's address": lambda e: replace(PLAIN, visible_cc=(Mailbox(f"bob@example.net{e}"),)),
    "subject": lambda e: replace(PLAIN, subject=(f"Hi{e}",)),
    "text": lambda e: replace(PLAIN, text=(f"Hi{e}\r\n.\r\nMAIL FROM:<{EVIL}>\r\n",)),
    "html": lambda e: replace(PLAIN, html=(f"<p>Hi{e}</p>\n.\n",)),
    "value of a slot": lambda e: replace(PLAIN, entries=(replace(ENTRY, variables={"name": f"Ann{e}"}),)),
    "header's value": lambda e: replace(PLAIN, headers=(("X-Own", f"a{e}"),)),
    "header's value, long": lambda e: replace(PLAIN, headers=(("X-Own", f"{'a ' * 600}{e}"),)),
    "header's name": lambda e: replace(PLAIN, headers=((f"X-Own{e}", "a"),)),
    "headers of ours": lambda e: replace(PLAIN, headers=(("Bcc", EVIL), ("bCC", EVIL), ("Sender", EVIL), ("To", EVIL))),
    "orders to a provider": lambda e: replace(
        PLAIN,
        headers=(("X-Mailgun-Variables", "{}"), ("x-mailgun-drop-message", "no"), ("X-SES-MESSAGE-TAGS", f"a=b{e}")),
    ),
    "a header of the sender's at DirectMail": lambda e: replace(PLAIN, headers=(("X-User-A", f"a{e}"),)),
    "list-unsubscribe": lambda e: replace(PLAIN, headers=(("List-Unsubscribe", f"<https://x.example/{e}>"),)),
    "tag": lambda e: replace(PLAIN, tags=(f"t{e}", "ok")),
    "file name": lambda e: replace(PLAIN, attachments=(replace(FILE, filename=f'a"{e}.txt'),)),
    "file's type": lambda e: replace(PLAIN, attachments=(replace(FILE, content_type=f"text/plain{e}"),)),
    "file's id": lambda e: replace(
        PLAIN, html=("<p>",), attachments=(replace(FILE, content_id=f"a{e}>\r\nBcc: {EVIL}"),)
    ),
}  # fmt: skip


def to(mailbox: Mailbox) -> Batch:
    return replace(PLAIN, entries=(replace(ENTRY, recipient=mailbox),))


def alone_and_together(batch: Batch) -> Iterator[Batch]:
    """For one recipient, and for two whose values differ; with the header that only such a batch has."""
    yield batch
    other = replace(
        ENTRY,
        message_id=f"{ID[:-1]}b",
        recipient=Mailbox("second@example.net"),
        variables={"name": f"Bea\r\nBcc: {EVIL}"},
    )
    personal = (("List-Unsubscribe", ("<https://x.example/", Slot("name"), ">")),)
    own = any(name == "List-Unsubscribe" for name, _ in batch.headers)
    yield replace(batch, entries=(*batch.entries, other), personal_headers=() if own else personal)


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_message_becomes_an_order_to_a_provider(field: str, adapter: Provider) -> None:
    for end in ENDS.values():
        for batch in alone_and_together(FIELDS[field](f"{end}Bcc: {EVIL}{end}{end}x")):
            check(adapter, batch)


CODES = (*range(33), 127, 0x85, 0xA0, 0xAD, 0x200B, 0x2028, 0x2029, 0x202E, 0xFEFF, 0xFFFD, 0xD800, 0xDFFF, 0x1F600)
WRITTEN = (
    "recipient's name",
    "recipient's local part",
    "sender's domain",
    "subject",
    "header's value",
    "tag",
    "file name",
)


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=ADAPTERS)
@pytest.mark.parametrize("field", WRITTEN)
def test_no_character_is_an_order_to_a_provider(field: str, adapter: Provider) -> None:
    for code in CODES:
        check(adapter, FIELDS[field](f"{chr(code)}Bcc: {EVIL}"))


def check(adapter: Provider, batch: Batch) -> None:
    """What the adapter would send, if it can send it."""
    if len(batch.entries) > 1 and adapter.fits(batch):
        return
    if isinstance(adapter, smtp.Smtp):
        for entry in batch.entries:
            check_transaction(adapter, batch, entry)
        return
    if isinstance(adapter, Refuses) and adapter.refusal(batch) is not None:
        return
    call = adapter.build_request(batch, NOW_MS)
    assert call.url.isprintable() and EVIL not in call.url
    assert all(name.isprintable() and value.isprintable() for name, value in call.headers)
    kind = dict(call.headers)["content-type"]
    if isinstance(adapter, directmail.DirectMail):
        check_parameters(dict(parse_qsl(call.body.decode(), keep_blank_values=True, strict_parsing=True)))
    elif isinstance(adapter, ses.Ses):
        check_call_of_ses(json.loads(call.body), len(batch.entries))
    else:
        check_form(parts_of(kind, call.body), len(batch.entries))


def check_recipients(written: list[str], count: int) -> None:
    """So many addresses, and the stranger's is none of them."""
    assert len(written) == count
    for one in written:
        assert not _LINE_ENDS.search(one), one
        found = [address for _, address in getaddresses([one])]
        assert len(found) == 1 and EVIL not in found, one


FORM = frozenset(
    {"from", "to", "subject", "text", "html", "recipient-variables", "message", "attachment", "inline", "o:tag"}
    | {"o:tracking-opens", "o:tracking-clicks", "o:tracking", "v:message_id", "v:attempt"}
    | {"h:message-id", "h:reply-to", "h:x-own", "h:list-unsubscribe", "h:x-user-a"}
)


def parts_of(kind: str, body: bytes) -> list[tuple[str, bytes]]:
    """Names and values of a form, urlencoded or in parts."""
    if not kind.startswith("multipart/"):
        return [(name, value.encode()) for name, value in parse_qsl(body.decode(), keep_blank_values=True)]
    found = []
    form = message_from_bytes(b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body)
    for part in form.get_payload():
        assert {name.lower() for name in part} <= {"content-disposition", "content-type"}  # type: ignore[union-attr]
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
        found.append((str(name), bytes(part.get_payload(decode=True))))  # type: ignore[union-attr, arg-type]
    return found


def check_form(fields: list[tuple[str, bytes]], count: int) -> None:
    assert {name.lower() for name, _ in fields} <= FORM, {name for name, _ in fields}
    check_recipients([value.decode() for name, value in fields if name == "to"], count)
    for name, value in fields:
        if name == "message":
            check_message(value, OURS)
        elif name not in ("text", "html", "attachment", "inline"):
            assert not _LINE_ENDS.search(value.decode()), name
        assert name.lower() != "from" or EVIL not in {one for _, one in getaddresses([value.decode()])}


def check_call_of_ses(body: dict[str, Any], count: int) -> None:
    entries = body.get("BulkEmailEntries", [body])
    assert all(set(entry["Destination"]) == {"ToAddresses"} for entry in entries)
    check_recipients([one for entry in entries for one in entry["Destination"]["ToAddresses"]], count)
    assert EVIL not in {one for _, one in getaddresses([body["FromEmailAddress"]])}
    tags = [tag for entry in entries for tag in entry.get("EmailTags", entry.get("ReplacementTags", []))]
    assert all(re.fullmatch(r"[A-Za-z0-9_.@-]{1,256}", part) for tag in tags for part in tag.values())
    if "Content" in body:
        check_message(b64decode(body["Content"]["Raw"]["Data"]), OURS)
        return
    template = body["DefaultContent"]["Template"]
    headers = [*template.get("Headers", []), *(one for entry in entries for one in entry.get("ReplacementHeaders", []))]
    assert {header["Name"].lower() for header in headers} <= OURS
    assert not any(_LINE_ENDS.search(part) for header in headers for part in header.values())
    assert not _LINE_ENDS.search(template["TemplateContent"]["Subject"])


def check_message(mime: bytes, allowed: frozenset[str]) -> None:
    """The headers of every part are ours, each once, and for every reader the stranger's address is nobody's."""
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)|\0", mime)
    for parser in (policy.default, policy.compat32):
        message = message_from_bytes(mime, policy=parser)  # type: ignore[arg-type]
        for part in message.walk():
            assert {name.lower() for name in part} <= allowed, part.keys()
        for name in allowed - {"x-mailgun-tag"}:
            assert len(message.get_all(name, [])) <= 1, name
        for name in ("to", "cc", "from", "reply-to"):
            shown = str(message[name] or "")
            assert EVIL not in {address for _, address in getaddresses([shown])}, shown
            assert not _LINE_ENDS.search(shown.replace("\r\n ", " ")), shown


@pytest.mark.parametrize(
    "adapter", [one for one in ADAPTERS.values() if isinstance(one, smtp.Smtp)], ids=lambda a: a.config.host
)
@pytest.mark.parametrize("end", ENDS)
def test_a_message_sent_as_it_is_ends_where_it_ends_and_nowhere_before(end: str, adapter: smtp.Smtp) -> None:
    """SMTP smuggling: an end of data in any spelling, and orders behind it."""
    for lines in ("\r\n", "\n", "\r", ENDS[end]):
        text = f"From: shop@mg.example.com\r\n\r\nHi{lines}.{lines}MAIL FROM:<{EVIL}>{lines}.\r\n{lines}.{lines}"
        envelope = envelope_of(adapter.config, replace(PLAIN, mime=text.encode()), ENTRY, NOW_MS)
        assert not isinstance(envelope, Rejected)
        sent = b"\r\n" + stuffed(envelope.content)
        assert not re.search(rb"[\r\n]\.(?:[\r\n]|$)", sent), sent
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", sent)


PARAMETERS = frozenset(
    {"AccountName", "AddressType", "ReplyToAddress", "ToAddress", "Subject", "HtmlBody", "TextBody", "FromAlias"}
    | {"Headers", "ReplyAddress", "ReplyAddressAlias", "TagName", "ClickTrace", "Action", "Format", "Version"}
    | {"AccessKeyId", "SignatureMethod", "SignatureVersion", "SignatureNonce", "Timestamp", "Signature"}
)


def check_parameters(form: dict[str, str]) -> None:
    assert set(form) <= PARAMETERS, set(form) - PARAMETERS
    for name in set(form) - {"HtmlBody", "TextBody"}:
        assert not _LINE_ENDS.search(form[name]), name
    check_recipients([form["ToAddress"]], 1)
    assert "," not in form["ToAddress"]
    headers = json.loads(form["Headers"])
    assert {name for name in headers if not name.lower().startswith("x-user-")} <= {"Message-ID", "List-Unsubscribe"}
    assert not any(_LINE_ENDS.search(part) for pair in headers.items() for part in pair)


def check_transaction(adapter: smtp.Smtp, batch: Batch, entry: Entry) -> None:
    envelope = envelope_of(adapter.config, batch, entry, NOW_MS)
    if isinstance(envelope, Rejected) or refusal(envelope, OFFERS) is not None:
        return
    assert is_path(envelope.sender) and is_path(envelope.recipient)
    assert EVIL not in (envelope.sender, envelope.recipient)
    for command in commands(envelope, OFFERS, len(envelope.content)):
        assert command.endswith(b"\r\n")
        assert not re.search(rb"[\r\n\0]", command[:-2]), command
    sent = stuffed(envelope.content)
    assert b"\r\n.\r\n" not in b"\r\n" + sent, "the message would end here"
    check_message(sent, OURS | ORDERS[adapter.config.known_service])


_LINE_ENDS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
