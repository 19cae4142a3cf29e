"""Doors: a topic speaks for its tenants and for nobody else, and a stranger's request harms nobody's messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streams.agents.intake import Door, IntakeConfig
from streams.core.audit import AuditRecord, AuditResult, TargetKind
from streams.core.ids import message_id, recipient_key
from streams.core.message import Stream
from streams.metrics import IntakeMetrics, Metrics, exposition
from streams.serde.public import decode_audit, encode_request
from streams.topics import Topics
from tests.agents.test_intake import PARTITIONS, Desk, request

DOOR = "p.send-requests.acme"
DOORS = {
    DOOR: Door("acme", frozenset({"acme"})),
    "p.send-requests.news": Door("news", frozenset({"acme", "shop"}), bulk=True),
    "p.send-requests": Door("usual", frozenset({"default", "shop"})),
}


def desk(**changes: Any) -> Desk:
    found = Desk(**changes)
    found.intake.config = IntakeConfig(Topics("p."), PARTITIONS, doors=DOORS)
    return found


def emitted(found: Desk) -> set[str]:
    return {one.topic for one in found.engine.emitted}


def audits(found: Desk) -> list[AuditRecord]:
    read = [decode_audit(one.value) for one in found.engine.on("p.audit-log")]
    assert all(isinstance(one, AuditRecord) for one in read)
    return read  # type: ignore[return-value]


async def test_a_request_for_the_doors_tenant_goes_its_way() -> None:
    found = desk()
    await found.take(encode_request(request(tenant="acme")), topic=DOOR)
    (message,) = found.messages("p.outbound")
    assert (message.tenant, message.stream) == ("acme", Stream.TRANSACTIONAL)
    assert emitted(found) == {"p.outbound"}


async def test_a_request_for_another_tenant_sends_nothing_and_is_told_to_the_doors_own_tenant_alone() -> None:
    found = desk()
    await found.take(encode_request(request("ann@example.com", tenant="victim")), topic=DOOR)
    (receipt,) = found.engine.on("p.receipts")
    own = message_id("acme", "order-1", recipient_key("acme", "ann@example.com"))
    assert receipt.key == own.encode()  # not the id of the victim's message
    (dead,) = found.engine.on("p.dead-letters")
    reasons = {name: value.decode() for name, value in dead.headers}
    assert reasons["dlq.reason"] == "foreign_tenant"
    assert "may not be for tenant victim" in reasons["dlq.detail"]
    assert emitted(found) == {"p.receipts", "p.dead-letters", "p.audit-log"}


async def test_who_knocked_at_which_door_for_whom_is_on_the_audit_log_and_a_repeat_has_the_same_id() -> None:
    found = desk()
    for _ in range(2):
        await found.take(encode_request(request(tenant="victim")), topic=DOOR)
    first, again = audits(found)
    assert first.audit_id == again.audit_id
    assert (first.actor, first.action, first.result) == ("intake", "request.refuse", AuditResult.REFUSED)
    assert (first.target_kind, first.target, first.tenant) == (TargetKind.TENANT, "victim", "acme")
    assert first.attributes == {"door": "acme", "record": f"{DOOR}/2/5"}


async def test_it_is_counted_by_topic() -> None:
    metrics = Metrics()
    found = desk()
    found.intake.observer = IntakeMetrics(metrics)
    requests = [encode_request(request(tenant=tenant)) for tenant in ("acme", "victim", "shop")]
    await found.take(*requests, topic=DOOR)
    page = exposition(metrics.registry)[1].decode()
    assert f'streams_requests_foreign_total{{topic="{DOOR}"}} 2.0' in page
    assert f'streams_dead_letters_total{{reason="foreign_tenant",topic="{DOOR}"}} 2.0' in page


async def test_of_a_door_with_several_tenants_nobody_is_told_for_whom_it_may_have_been_meant_is_not_known() -> None:
    found = desk()
    await found.take(encode_request(request(tenant="victim")), topic="p.send-requests.news")
    assert emitted(found) == {"p.dead-letters", "p.audit-log"}
    assert audits(found)[0].tenant == ""


@pytest.mark.parametrize("spoiled", [{"subject": "a\nb"}, {"recipients": []}, {"text": ""}])
async def test_an_invalid_request_for_another_tenant_tells_that_tenant_nothing(spoiled: dict[str, Any]) -> None:
    found = desk()
    await found.take(json.dumps(request(tenant="victim") | spoiled).encode(), topic=DOOR)
    theirs = message_id("victim", "order-1", recipient_key("victim", "ann@example.com"))
    assert theirs.encode() not in {one.key for one in found.engine.emitted}
    assert audits(found)[0].target == "victim"


@pytest.mark.parametrize("claimed", ["x" * 5000, "a/b", "Acme", "acme ", "\u202eacme", "acme.\n"])
async def test_a_name_that_is_only_like_the_doors_tenant_is_another(claimed: str) -> None:
    found = desk()
    await found.take(json.dumps(request(tenant=claimed)).encode(), topic=DOOR)
    assert not found.engine.on("p.outbound")
    assert len(audits(found)[0].target) <= 64


async def test_a_request_that_names_no_tenant_is_the_default_tenants() -> None:
    found = desk()
    unnamed = {name: value for name, value in request().items() if name != "tenant"}
    await found.take(encode_request(unnamed), topic=DOOR)
    assert not found.engine.on("p.outbound")
    await found.take(encode_request(unnamed), topic="p.send-requests")
    assert [message.tenant for message in found.messages("p.outbound")] == ["default"]


async def test_the_usual_topics_can_be_limited_too() -> None:
    found = desk()
    await found.take(
        encode_request(request(tenant="acme")), encode_request(request(tenant="shop")), topic="p.send-requests"
    )
    assert [message.tenant for message in found.messages("p.outbound")] == ["shop"]
    await found.take(encode_request(request(tenant="anybody")), topic="p.send-requests.bulk")
    assert [message.tenant for message in found.messages("p.outbound.bulk")] == ["anybody"]  # it is not


async def test_a_bulk_door_of_ones_own_leads_to_the_bulk_lane_and_another_leaves_the_choice() -> None:
    found = desk()
    await found.take(encode_request(request(tenant="shop", stream="transactional")), topic="p.send-requests.news")
    (message,) = found.messages("p.outbound.bulk")
    assert message.stream is Stream.BULK
    await found.take(encode_request(request(tenant="acme", stream="bulk")), topic=DOOR)
    assert len(found.messages("p.outbound.bulk")) == 2


async def test_what_cannot_be_read_at_all_is_a_dead_letter_as_anywhere() -> None:
    found = desk()
    await found.take(b"\x00garbage", topic=DOOR)
    assert emitted(found) == {"p.dead-letters"}
