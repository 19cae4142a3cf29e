"""Composing: one body for many where the content allows, one by one where it does not, reasons where it cannot."""

from __future__ import annotations

from typing import Any

from streams.agents.contents import Gone
from streams.agents.dispatch.compose import Composer
from streams.agents.dispatch.flight import Flight
from streams.content.render import Renderer
from streams.core.event import Reason, ReasonKind
from streams.core.message import Content, Mailbox, Message, RecordRef, Template
from streams.providers.base import Batch, Slot, fill
from streams.serde.internal import pack
from tests.agents.dispatch_desk import Desk, FunctionProvider

SENDER = Mailbox("a@example.com")
PLAIN = Template("welcome", "1", "Hello {{ name }}", "Dear {{ name }}", "<p>{{ name }}</p>")
BRANCHING = Template("branch", "1", "Hi", "{% if vip %}Sir{% else %}you{% endif %}")


class Contents:
    """Contents by place; the rest is gone."""

    def __init__(self, known: dict[RecordRef, bytes] | None = None) -> None:
        self.known = known or {}

    async def load(self, ref: RecordRef) -> bytes | Gone:
        return self.known.get(ref) or Gone("not there")


class OneAtATime(FunctionProvider):
    """A provider whose batches hold one."""

    def fits(self, batch: Batch) -> str:
        return "one at a time"


def composer(contents: Contents | None = None, provider: FunctionProvider | None = None) -> Composer:
    chosen = provider or FunctionProvider("mailgun")
    return Composer(contents or Contents(), Renderer(), {"mailgun": chosen})  # type: ignore[arg-type, dict-item]


def flights(content: Content | None, *people: dict[str, Any], **fields: Any) -> list[Flight]:
    desk = Desk()
    made = []
    for number, data in enumerate(people):
        message = desk.message(f"u{number}@example.net", content=content, data=data, **fields)
        made.append(Flight(message, 0, RecordRef("outbound", 0, number), None))
    return made


class NoFiles(FunctionProvider):
    """A provider that carries one message at a time, and no tags."""

    def fits(self, batch: Batch) -> str:
        return "one at a time"

    def refusal(self, batch: Batch) -> Reason | None:
        return Reason(ReasonKind.INVALID_REQUEST, detail="no tags here") if batch.tags else None


async def test_what_a_provider_cannot_carry_at_all_is_refused_with_its_reason() -> None:
    content = Content(SENDER, subject="Hi", text="Hello", tags=("news",))
    (flight,) = flights(content, {})
    composed = await composer(provider=NoFiles("mailgun")).compose("mailgun/@acme", [flight])
    assert composed.batch is None
    assert [(one, reason.detail) for one, reason in composed.refused] == [(flight, "no tags here")]
    several = flights(content, {}, {})
    assert (await composer(provider=NoFiles("mailgun")).compose("mailgun", several)).one_by_one == several
    plain = await composer(provider=NoFiles("mailgun")).compose("mailgun", flights(Content(SENDER, text="t"), {}))
    assert plain.batch is not None and plain.refused == []


async def test_a_template_that_only_interpolates_is_one_body_with_variables_per_recipient() -> None:
    content = Content(SENDER, template=PLAIN)
    composed = await composer().compose("mailgun", flights(content, {"name": "Ann"}, {"name": "<Bob>"}))
    batch = composed.batch
    assert batch is not None
    assert len(batch.entries) == 2
    assert any(isinstance(part, Slot) for part in batch.subject)
    assert fill(batch.text, batch.entries[1].variables) == "Dear <Bob>"
    assert fill(batch.html, batch.entries[1].variables) == "<p>&lt;Bob&gt;</p>"


async def test_a_template_with_branches_goes_one_by_one_and_is_rendered_for_each() -> None:
    content = Content(SENDER, template=BRANCHING)
    pair = flights(content, {"vip": True}, {"vip": False}, content_hash="branching")
    together = await composer().compose("mailgun", pair)
    assert together.batch is None
    assert together.one_by_one == pair
    alone = await composer().compose("mailgun", pair[:1])
    assert alone.batch is not None
    assert alone.batch.text == ("Sir",)


async def test_one_recipient_without_their_data_is_refused_and_the_others_are_carried() -> None:
    content = Content(SENDER, template=PLAIN)
    composed = await composer().compose("mailgun", flights(content, {"name": "Ann"}, {}, {"name": "Cy"}))
    assert [flight.message.recipient.email for flight in composed.flights] == ["u0@example.net", "u2@example.net"]
    ((refused, reason),) = composed.refused
    assert refused.message.recipient.email == "u1@example.net"
    assert reason.kind is ReasonKind.RENDERING
    assert "name" in reason.detail


async def test_a_broken_template_refuses_everybody_with_its_cause() -> None:
    broken = Content(SENDER, template=Template("t", "1", "{{ unclosed", "x"))
    composed = await composer().compose("mailgun", flights(broken, {}, {}, content_hash="broken"))
    assert composed.batch is None
    assert {reason.kind for _, reason in composed.refused} == {ReasonKind.TEMPLATE}


async def test_inline_text_is_literal_whatever_it_looks_like() -> None:
    content = Content(SENDER, "{{ name }}", "%recipient.name% {{ name }}")
    composed = await composer().compose("mailgun", flights(content, {"name": "Ann"}))
    assert composed.batch is not None
    assert composed.batch.subject == ("{{ name }}",)


async def test_what_the_adapter_cannot_carry_in_one_call_goes_one_by_one() -> None:
    pair = flights(Content(SENDER, "hi", "text"), {}, {})
    composed = await composer(provider=OneAtATime("mailgun")).compose("mailgun", pair)
    assert composed.batch is None
    assert composed.one_by_one == pair


async def test_rule_11_a_content_is_read_from_its_record_and_one_that_is_gone_refuses_with_a_reason() -> None:
    ref = RecordRef("contents", 1, 7)
    kept = Contents({ref: pack(Content(SENDER, "kept", "text"))})
    composed = await composer(kept).compose("mailgun", flights(None, {}, content_ref=ref))
    assert composed.batch is not None
    assert composed.batch.subject == ("kept",)
    lost = await composer(Contents()).compose("mailgun", flights(None, {}, content_ref=ref, content_hash="lost"))
    ((_, reason),) = lost.refused
    assert reason.kind is ReasonKind.EXPIRED


async def test_a_half_of_a_refused_batch_keeps_its_attempt_number() -> None:
    desk = Desk()
    message: Message = desk.message()
    flight = Flight(message, 0, RecordRef("outbound", 0, 1), None)
    composed = await composer().compose("mailgun", [flight])
    assert composed.batch is not None
    assert composed.batch.entries[0].attempt == 1
