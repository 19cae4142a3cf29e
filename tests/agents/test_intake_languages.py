"""One request, recipients of several languages: each gets the nearest variant of the template."""

from __future__ import annotations

from typing import Any

import pytest

from streams.core.locale import base_id, locale_of, locale_tag, variant_ids
from streams.core.message import Content, Message, Template
from streams.serde.internal import unpack
from streams.serde.public import encode_request, encode_template
from tests.agents.test_intake import Desk, templated

VARIANTS = {"welcome#de": "Hallo {{ name }}", "welcome#pt": "Olá {{ name }}", "welcome#pt-br": "Oi {{ name }}"}


def desk() -> Desk:
    one = Desk()
    for template_id, subject in VARIANTS.items():
        one.templates.rows[template_id.encode()] = encode_template(
            Template(template_id, "1", subject, "text {{ name }}")
        )
    return one


def subjects(one: Desk) -> dict[str, str]:
    """What each recipient is told, by reading the content that their message names."""
    contents = {(e.partition, e.offset): unpack(e.value or b"") for e in one.engine.on("contents")}
    told = {}
    for message in one.messages():
        content: Any = message.content
        if content is None:
            assert message.content_ref is not None
            content = contents[message.content_ref.partition, message.content_ref.offset]
        assert isinstance(content, Content)
        assert content.template is not None
        told[message.recipient.email.partition("@")[0]] = content.template.subject.partition(" ")[0]
    return told


def people(**locales: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"email": f"{name}@example.com", "data": {"name": name, **data}} for name, data in locales.items()]


async def test_each_recipient_of_a_campaign_gets_the_nearest_variant() -> None:
    one = desk()
    recipients = people(
        ann={"locale": "de"},
        bob={"locale": "de_AT"},
        cyd={"language": "pt-BR"},
        dan={"locale": "PT-pt"},
        eve={"locale": "fr"},
        fay={},
        gus={"language": "Python 3"},
        hal={"locale": 7},
    )
    await one.take(encode_request(templated() | {"recipients": recipients}))
    assert subjects(one) == {
        "ann": "Hallo", "bob": "Hallo", "cyd": "Oi", "dan": "Olá", "eve": "Hello", "fay": "Hello", "gus": "Hello", "hal": "Hello",
    }  # fmt: skip
    assert len({m.message_id for m in one.messages()}) == 8
    assert one.notes.counts.messages["transactional"] == 8
    assert one.notes.counts.duplicates["transactional"] == 0


async def test_the_requests_own_language_holds_for_whoever_has_none() -> None:
    one = desk()
    request = templated() | {
        "recipients": people(ann={}, bob={"locale": "en"}, cyd={"locale": "pt"}),
        "data": {"locale": "de"},
    }
    await one.take(encode_request(request))
    assert subjects(one) == {"ann": "Hallo", "bob": "Hello", "cyd": "Olá"}


async def test_a_single_recipients_word_goes_over_the_requests() -> None:
    one = desk()
    request = templated() | {"recipients": people(ann={"language": "pt"}), "data": {"locale": "de"}}
    await one.take(encode_request(request))
    assert subjects(one) == {"ann": "Olá"}


async def test_copies_read_the_recipients_language() -> None:
    one = desk()
    request = templated() | {"recipients": people(ann={"locale": "de"}), "cc": [{"email": "boss@example.com"}]}
    await one.take(encode_request(request))
    assert subjects(one) == {"ann": "Hallo", "boss": "Hallo"}


async def test_a_mailbox_named_in_two_languages_is_one_message_and_counted() -> None:
    one = desk()
    recipients = [*people(ann={"locale": "de"}), {"email": "ANN@example.com", "data": {"name": "x", "locale": "pt"}}]
    await one.take(encode_request(templated() | {"recipients": recipients}))
    assert subjects(one) == {"ann": "Hallo"}
    assert one.notes.counts.duplicates["transactional"] == 1


async def test_a_refused_recipient_hears_of_it_once() -> None:
    one = desk()
    recipients = [*people(ann={"locale": "de"}, bob={"locale": "pt"}), {"email": "nobody", "data": {"locale": "de"}}]
    await one.take(encode_request(templated() | {"recipients": recipients}))
    assert len(one.receipts()) == 1
    assert set(subjects(one)) == {"ann", "bob"}


async def test_the_same_request_after_a_new_variant_is_a_repeat_and_no_conflict() -> None:
    one = desk()
    request = encode_request(templated() | {"recipients": people(ann={"locale": "fr"}, bob={"locale": "de"})})
    await one.take(request)
    before = {m.message_id: m.fingerprint for m in one.messages()}
    one.templates.rows[b"welcome#fr"] = encode_template(Template("welcome#fr", "1", "Salut {{ name }}", "t"))
    await one.take(request)
    again: list[Message] = one.messages()[2:]
    assert {m.message_id: m.fingerprint for m in again} == before
    assert subjects(one)["ann"] == "Salut"


async def test_messages_of_one_variant_share_a_content_so_that_they_can_share_a_call() -> None:
    one = desk()
    recipients = people(ann={"locale": "de"}, bob={"locale": "pt"}, cyd={"locale": "de"}, dan={"locale": "pt"})
    await one.take(encode_request(templated() | {"recipients": recipients}))
    hashes = {m.recipient.email[:3]: m.content_hash for m in one.messages()}
    assert hashes["ann"] == hashes["cyd"] != hashes["bob"] == hashes["dan"]
    assert len(one.engine.on("contents")) == 2


@pytest.mark.parametrize(
    ("text", "tag"),
    [("de", "de"), ("DE_at", "de-at"), ("zh-Hant-TW", "zh-hant-tw"), ("", ""), ("d", ""), ("de#x", ""), ("de/../x", ""), ("x" * 40, ""), ("de\r\nBcc: x", "")],
)  # fmt: skip
def test_a_language_tag_has_one_form_and_everything_else_means_none(text: str, tag: str) -> None:
    assert locale_tag(text) == tag
    assert locale_of({"language": text}) == tag


def test_the_nearest_variant_is_looked_for_first() -> None:
    assert list(variant_ids("a/b", "zh-hant-tw")) == ["a/b#zh-hant-tw", "a/b#zh-hant", "a/b#zh"]
    assert base_id("a/b#zh") == base_id("a/b") == "a/b"
