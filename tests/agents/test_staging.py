"""Staging: whatever a request says, a provider only ever gets the addresses that a test environment may mail."""

from __future__ import annotations

import email.policy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.agents.dispatch.staging import StagedComposer, redirected
from streams.core import ids
from streams.core.event import EventType, ReasonKind
from streams.core.ledger import LedgerState
from streams.core.lifecycle import advance
from streams.core.message import Content, Mailbox, Message, Role
from streams.core.message_state import MessageState
from streams.core.outcome import Deferred, Scope
from streams.core.receipt import ReceiptKind
from streams.core.staging import ORIGINAL_HEADER, Staging, staging_of
from streams.providers.base import Batch
from tests.agents.dispatch_desk import NOW, Desk, Literal, reason
from tests.rules.mail import entry, mail, sandbox
from tests.rules.test_rule_07_attempts_are_told_apart import ADAPTERS, adapter, taken

MIME = b"From: a@example.com\r\nTo: customer@shop.example\r\nSubject: whole\r\n\r\nbody\r\n"


def stage(*allow: str, redirect: str = "") -> Staging:
    made = staging_of(allow, redirect)
    assert made is not None
    return made


async def desk(staging: Staging) -> Desk:
    made = await Desk().open()
    made.dispatch._calls.composer = StagedComposer(Literal(), staging)
    return made


def batches(one: Desk) -> list[Batch]:
    return one.providers["mailgun"].batches


def reached(one: Desk) -> list[str]:
    return [entry.recipient.email for batch in batches(one) for entry in batch.entries]


# ---------------------------------------------------------------------------------------------- who is allowed


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("dev@ours.example", True),
        ("DEV@Ours.Example", True),
        ("qa@test.example", True),
        ("qa@sub.test.example", False),
        ("dev@ours.example.evil.example", False),
        ("other@ours.example", False),
        ('"dev"@ours.example', True),
        ("@test.example", True),
        ("inbox@ours.example", True),
    ],
)
def test_addresses_and_whole_domains_are_allowed_however_they_are_spelled(address: str, allowed: bool) -> None:
    staging = stage("dev@ours.example", "@test.example", redirect="inbox@ours.example")
    assert staging.allows(address) is allowed
    assert staging.redirects(address) is not allowed


def test_without_a_word_about_staging_there_is_none() -> None:
    assert staging_of((), "") is None


# ---------------------------------------------------------------------------------------------- the allow-list


async def test_only_the_allowed_of_a_batch_are_sent_to_and_the_others_are_told_why() -> None:
    one = await desk(stage("@ours.example"))
    people = [f"u{number}@{domain}" for number in range(3) for domain in ("ours.example", "customer.example")]
    await one.give(*(one.message(email, key=email) for email in people), partition=1)
    assert sorted(reached(one)) == [f"u{number}@ours.example" for number in range(3)]
    refused = one.receipts(ReceiptKind.REJECTED)
    assert len(refused) == 3
    assert {r.reason.kind for r in refused if r.reason} == {ReasonKind.STAGING}


async def test_a_single_message_that_is_not_allowed_calls_nobody() -> None:
    one = await desk(stage("@ours.example"))
    message = one.message("ann@customer.example")
    await one.give(message)
    assert one.requests == []
    row = one.row(message)
    assert row is not None
    assert (row.state, row.reason and row.reason.kind) == (LedgerState.REJECTED, ReasonKind.STAGING)


@pytest.mark.parametrize("role", list(Role))
async def test_copies_and_blind_copies_have_no_other_way(role: Role) -> None:
    one = await desk(stage("@ours.example"))
    content = Content(
        Mailbox("a@example.com"),
        "hi",
        "text",
        visible_to=(Mailbox("dev@ours.example"),),
        visible_cc=(Mailbox("x@y.example"),),
    )
    await one.give(one.message("ann@customer.example", role=role, content=content))
    assert one.requests == []


# ---------------------------------------------------------------------------------------------- the redirect


async def test_everybodys_mail_goes_to_the_one_address_alone_and_says_for_whom_it_was() -> None:
    one = await desk(stage("@ours.example", redirect="inbox@ours.example"))
    people = ["ann@customer.example", "bob@customer.example", "dev@ours.example"]
    await one.give(*(one.message(email, key=email) for email in people), partition=1)
    assert sorted(reached(one)) == ["dev@ours.example", "inbox@ours.example", "inbox@ours.example"]
    told = [dict(batch.headers).get(ORIGINAL_HEADER) for batch in batches(one)]
    assert sorted(filter(None, told)) == ["ann@customer.example", "bob@customer.example"]
    assert all(len(batch.entries) == 1 for batch in batches(one) if ORIGINAL_HEADER in dict(batch.headers))


async def test_the_event_says_that_the_message_went_elsewhere() -> None:
    one = await desk(stage(redirect="inbox@ours.example"))
    await one.give(one.message("ann@customer.example"))
    state: MessageState | None = None
    events = []
    for receipt in one.receipts():
        step = advance(state, receipt, NOW)
        state = step.state
        events += step.events
    sent = next(event for event in events if event.type is EventType.SENT)
    assert sent.recipient == "ann@customer.example"
    assert sent.reason is not None
    assert (sent.reason.kind, sent.reason.detail) == (ReasonKind.STAGING, "staging: sent to inbox@ours.example instead")


async def test_a_retry_is_redirected_too() -> None:
    one = await desk(stage(redirect="inbox@ours.example"))
    one.providers["mailgun"].answer = lambda batch: Deferred(reason(), Scope.MESSAGE)
    await one.give(one.message("ann@customer.example"))
    await one.wake(3600)
    assert len(one.requests) > 1
    assert set(reached(one)) == {"inbox@ours.example"}


async def test_a_whole_mail_keeps_its_headers_and_every_byte_below_ours(tmp_path: Path) -> None:
    batch = redirected(mail(entry("ann@customer.example"), mime=MIME), "inbox@ours.example")
    assert batch.mime == b"X-Streams-Original-To: ann@customer.example\r\n" + MIME
    assert [e.recipient.email for e in batch.entries] == ["inbox@ours.example"]
    parsed = email.message_from_bytes(batch.mime, policy=email.policy.default)
    assert parsed["To"] == "customer@shop.example"


def test_a_mail_with_bare_line_ends_gets_one_of_its_own_kind() -> None:
    batch = redirected(mail(mime=MIME.replace(b"\r\n", b"\n")), "inbox@ours.example")
    assert b"\r" not in batch.mime


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"mime": MIME},
        {"visible_to": (Mailbox("boss@customer.example"),), "visible_cc": (Mailbox("ann@customer.example"),)},
    ],
    ids=["alone", "whole", "a copy"],
)
async def test_a_real_adapter_gives_its_provider_the_redirected_address_alone(
    tmp_path: Path, name: str, parts: dict[str, Any]
) -> None:
    original = mail(entry("ann@customer.example"), **parts)
    batch = redirected(original, "inbox@ours.example")
    extra = {"headers": batch.headers} if not batch.mime else {}
    async with sandbox(tmp_path) as running:
        lines = await taken(adapter(name, running), tmp_path, *batch.entries, **{**parts, **extra, "mime": batch.mime})
    assert [line["recipient"] for line in lines] == ["inbox@ours.example"]


_locals = st.text(st.characters(exclude_characters="@", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(_locals, st.booleans())
def test_no_address_can_start_a_header_of_its_own(local: str, whole: bool) -> None:
    address = f"{local}@customer.example"
    batch = redirected(mail(entry(address), mime=MIME if whole else b""), "inbox@ours.example")
    if whole:
        head, _, rest = batch.mime.partition(b"\r\n")
        assert rest == MIME
        assert head.isascii()
        assert b"\r" not in head and b"\n" not in head
    else:
        from streams.content.mime import build_mime

        parsed = email.message_from_bytes(build_mime(batch, batch.entries[0]), policy=email.policy.default)
        assert set(parsed.keys()) <= {
            "From", "To", "Subject", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", ORIGINAL_HEADER,
        }  # fmt: skip
        assert parsed["To"] == "inbox@ours.example"


# ---------------------------------------------------------------------------------------------- nothing gets around

_domains = st.sampled_from(["ours.example", "customer.example", "OURS.example", "ours.example.customer.example"])


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob", "Dev"]), _domains), min_size=1, max_size=6), st.booleans())
async def test_no_batch_of_any_mixture_reaches_anybody_else(people: list[tuple[str, str]], redirect: bool) -> None:
    staging = stage("@ours.example", redirect="inbox@ours.example" if redirect else "")
    one = await desk(staging)
    for number, (local, domain) in enumerate(people):
        await one.give(one.message(f"{local}@{domain}", key=str(number)))
    assert all(staging.allows(address) for address in reached(one))
    expected = sum(redirect or staging.allows(f"{local}@{domain}") for local, domain in people)
    assert len(reached(one)) == expected


async def test_a_bounce_of_a_redirected_mail_does_not_suppress_the_customer() -> None:
    from streams.agents.track import Track, TrackConfig
    from streams.core.receipt import Receipt
    from streams.serde.internal import pack
    from streams.topics import Topics
    from tests.agents.fake_engine import FakeBatch, FakeUnit, record

    staging = stage("@ours.example", redirect="inbox@ours.example")
    one = await desk(staging)
    for address, kept in (("ann@customer.example", 0), ("dev@ours.example", 1)):
        message: Message = one.message(address)
        await one.give(message)
        sent = one.receipts(ReceiptKind.SENT)[-1]
        bounced = Receipt(message.message_id, ReceiptKind.BOUNCED, "b", NOW + 1, 1, "mailgun", suppress=True)
        table = one.engine.table("suppressions")
        track = Track(
            one.engine,
            one.engine.table("messages"),
            table,
            FakeUnit,
            TrackConfig(Topics(), 4, spares=staging.redirects),
            one.clock,
        )
        home = ids.partition_of(message.message_id, 4)
        await track.handle(
            FakeBatch("receipts", home, [record(pack(r), b"k", n) for n, r in enumerate((sent, bounced))])
        )
        key = ids.recipient_key_of(message.message_id).encode()
        assert (table.get(home, key) is not None) is bool(kept)
