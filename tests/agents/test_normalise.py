from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from streams.agents.bindings import Find
from streams.agents.normalise import TOKEN_LIFE_MS, Normalise, NormaliseConfig, NormaliseCounts
from streams.core.ids import partition_of, partition_of_text
from streams.core.receipt import Receipt, ReceiptKind
from streams.providers.base import Reading, Sighting, Unreadable
from streams.serde.configuration import decode_audit
from streams.serde.internal import unpack
from streams.topics import Topics
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record
from tests.core.receipts import MESSAGE_ID, NOW_MS

K = ReceiptKind
PARTITION = 5


@dataclass
class JsonReader:
    """A provider whose payload is a list of sightings."""

    name: str = "mg"
    type: str = "mailgun"

    def read_events(self, payload: bytes, received_ms: int) -> Reading | Unreadable:
        try:
            told: dict[str, Any] = json.loads(payload)
        except ValueError as exc:
            return Unreadable(str(exc))
        sightings = tuple(Sighting(**{**one, "kind": K(one["kind"])}) for one in told.get("sightings", ()))
        return Reading(sightings, tuple(told.get("unknown", ())))


def payload(**fields: Any) -> bytes:
    sighting = {
        "kind": "delivered",
        "sighting_id": "abc.19000",
        "occurred_ms": NOW_MS - 2_000,
        "message_id": MESSAGE_ID,
        "attempt": 1,
        "provider_message_id": "theirs-1",
        "recipient": "ann@example.com",
    }
    return json.dumps({"sightings": [sighting | fields]}).encode()


def headers(**values: str) -> list[tuple[str, bytes]]:
    given = {"provider": "mg", "account": "", "received_at": str(NOW_MS), "verified": "1"} | values
    return [(name, value.encode()) for name, value in given.items()]


class Desk:
    def __init__(self, *, automatic: bool = True, trusted: frozenset[str] = frozenset()) -> None:
        self.engine = FakeEngine(automatic=automatic)
        self.tokens = self.engine.table("tokens")
        self.heard: list[NormaliseCounts] = []
        self.now_ms = NOW_MS
        readers = {r.name: r for r in (JsonReader(), JsonReader("ses", "ses"))}
        config = NormaliseConfig(Topics("t."), 12, readers, trusted)
        self.normalise = Normalise(self.engine, self.tokens, FakeUnit, config, lambda: self.now_ms, self)

    def batch(self, counts: NormaliseCounts) -> None:
        self.heard.append(counts)

    async def take(self, value: bytes | None, *, topic: str = "t.webhooks.mailgun", **values: str) -> FakeBatch:
        batch = FakeBatch(topic, PARTITION, [record(value, b"key", 7, NOW_MS - 5, headers(**values))])
        await self.normalise.handle(batch)
        return batch

    @property
    def counts(self) -> NormaliseCounts:
        return self.heard[-1]

    def receipts(self) -> list[Receipt]:
        return [unpack(e.value or b"") for e in self.engine.on("t.receipts")]  # type: ignore[misc]

    def letters(self) -> list[str]:
        return [dict(e.headers)["dlq.reason"].decode() for e in self.engine.on("t.dead-letters")]


async def test_a_report_by_somebody_else_names_the_provider_that_had_sent_it() -> None:
    desk = Desk()
    await desk.take(payload(provider="ses-2"))
    assert desk.receipts()[0].provider == "ses-2"
    await desk.take(payload(sighting_id="other"))
    assert desk.receipts()[1].provider == "mg"


async def test_a_verified_payload_becomes_a_receipt_in_the_partition_of_our_message_id() -> None:
    desk = Desk()
    batch = await desk.take(payload(suppress=True))
    (emitted,) = desk.engine.on("t.receipts")
    assert (emitted.partition, emitted.key) == (partition_of(MESSAGE_ID, 12), MESSAGE_ID.encode())
    (receipt,) = desk.receipts()
    assert receipt == Receipt(
        MESSAGE_ID, K.DELIVERED, "mailgun/abc.19000", NOW_MS - 2_000, 1, "mg", "theirs-1", suppress=True
    )
    assert desk.counts.age_s == [("mg", 2.0)]
    assert batch.done


async def test_the_same_fact_from_two_accounts_of_a_type_has_one_receipt_id() -> None:
    desk = Desk()
    await desk.take(payload())
    await desk.take(payload(), provider="")
    assert len({r.receipt_id for r in desk.receipts()}) == 1


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        pytest.param({"verified": ""}, "unverified", id="not verified"),
        pytest.param({"verified": "true"}, "unverified", id="verified in other words"),
        pytest.param({"provider": "nobody", "verified": "1"}, None, id="an unknown name falls back to the type"),
        pytest.param({"provider": "ses"}, "unknown_provider", id="a provider of another type"),
        pytest.param({"topic": "t.webhooks.bounces", "provider": ""}, "unknown_provider", id="a type nobody reads"),
    ],
)
async def test_only_vouched_payloads_of_known_providers_are_read(values: dict[str, str], reason: str | None) -> None:
    desk = Desk()
    batch = await desk.take(payload(), **values)
    assert desk.letters() == ([reason] if reason else [])
    assert len(desk.receipts()) == (0 if reason else 1)
    assert batch.done


async def test_a_trusted_bridge_needs_no_verification() -> None:
    desk = Desk(trusted=frozenset({"mg"}))
    await desk.take(payload(), verified="")
    assert len(desk.receipts()) == 1


@pytest.mark.parametrize("value", [b"", None, b"\x00\xff", b"not json"])
async def test_an_unreadable_payload_is_a_dead_letter_with_its_bytes(value: bytes | None) -> None:
    desk = Desk()
    await desk.take(value)
    (letter,) = desk.engine.on("t.dead-letters")
    assert letter.value == value
    assert desk.letters() == ["unreadable"]
    assert desk.counts.dead_letters == {("t.webhooks.mailgun", "unreadable"): 1}


async def test_a_dead_letter_is_cut_to_size_and_says_so() -> None:
    desk = Desk()
    await desk.take(b"x" * 600_000)
    (letter,) = desk.engine.on("t.dead-letters")
    assert len(letter.value or b"") == 512 * 1024
    assert dict(letter.headers)["dlq.truncated_from"] == b"600000"


async def test_unknown_words_are_counted() -> None:
    desk = Desk()
    await desk.take(json.dumps({"unknown": ["teleported", "frozen"]}).encode())
    assert desk.counts.unknown_words == {"mg": 2}


@pytest.mark.parametrize("foreign", ["", "somebody-elses-id", "A" * 20 + "-" + "B" * 20])
async def test_without_an_id_of_ours_lookups_is_asked_in_the_partition_of_the_providers_id(foreign: str) -> None:
    desk = Desk()
    await desk.take(payload(message_id=foreign))
    (emitted,) = desk.engine.on("t.lookups")
    assert (emitted.partition, emitted.key) == (partition_of_text("theirs-1", 12), b"theirs-1")
    find = unpack(emitted.value or b"")
    assert isinstance(find, Find)
    assert (find.receipt.message_id, find.recipient, find.asked_ms) == ("", "ann@example.com", NOW_MS)
    assert not desk.receipts()


async def test_an_event_with_neither_id_is_a_counted_orphan() -> None:
    desk = Desk()
    await desk.take(payload(message_id="", provider_message_id=""))
    assert desk.counts.orphans == {"mg": 1}
    assert not desk.engine.emitted


async def test_a_time_that_cannot_be_becomes_the_time_of_receipt() -> None:
    desk = Desk()
    for occurred_ms in (0, -5, NOW_MS * 1000):
        await desk.take(payload(occurred_ms=occurred_ms))
    assert {r.occurred_ms for r in desk.receipts()} == {NOW_MS}


@pytest.mark.parametrize("received_at", ["", "yesterday", "-1", "9" * 40])
async def test_an_odd_received_at_falls_back_to_the_records_time(received_at: str) -> None:
    desk = Desk()
    await desk.take(payload(occurred_ms=0), received_at=received_at)
    assert [r.occurred_ms for r in desk.receipts()] == [NOW_MS - 5]


async def test_foreign_texts_are_bounded() -> None:
    desk = Desk()
    await desk.take(
        payload(url="u" * 100_000, user_agent="a" * 100_000, provider_message_id="p" * 100_000, attempt=10**9)
    )
    (emitted,) = desk.engine.on("t.receipts")
    assert len(emitted.value or b"") < 10_000
    assert desk.receipts()[0].attempt == 0


# ----------------------------------------------------------------------------------------------- tokens


async def test_rule_18_a_token_with_another_payload_is_dropped_counted_and_noted() -> None:
    desk = Desk()
    await desk.take(payload(), token="t1")
    await desk.take(payload(kind="bounced", sighting_id="forged"), token="t1")
    assert [r.kind for r in desk.receipts()] == [K.DELIVERED]
    assert desk.counts.replays == {"mg": 1}
    (audit,) = [decode_audit(e.value) for e in desk.engine.on("t.audit-log")]
    assert (audit.action, audit.result.value, audit.target) == ("webhook.replay", "refused", "mg")  # type: ignore[union-attr]


async def test_rule_18_the_same_payload_under_its_token_passes_again() -> None:
    desk = Desk()
    for _ in range(2):
        await desk.take(payload(), token="t1")
    assert len(desk.receipts()) == 2
    assert len({r.receipt_id for r in desk.receipts()}) == 1
    assert desk.counts.repeats == {"mg": 1}


async def test_rule_18_a_replay_within_one_batch_is_dropped_too() -> None:
    desk = Desk()
    one, two = payload(), payload(kind="bounced")
    records = [record(value, b"k", n, NOW_MS, headers(token="t1")) for n, value in enumerate((one, two))]
    await desk.normalise.handle(FakeBatch("t.webhooks.mailgun", PARTITION, records))
    assert [r.kind for r in desk.receipts()] == [K.DELIVERED]


async def test_tokens_of_different_provider_types_do_not_meet() -> None:
    desk = Desk()
    await desk.take(payload(), token="t1")
    await desk.take(payload(kind="bounced"), token="t1", provider="ses", topic="t.webhooks.ses")
    assert len(desk.receipts()) == 2


async def test_rule_18_receipts_are_acknowledged_before_their_token_is_remembered() -> None:
    desk = Desk(automatic=False)
    batch = await desk.take(payload(), token="t1")
    assert desk.engine.writes == []
    desk.engine.acknowledge("t.receipts")
    assert [w.topic for w in desk.engine.writes] == ["tokens"]
    assert not batch.done
    desk.engine.acknowledge("tokens")
    assert batch.done


async def test_a_token_is_forgotten_after_26_hours() -> None:
    desk = Desk()
    await desk.take(payload(), token="t1")
    await desk.normalise.sweep(PARTITION, NOW_MS + TOKEN_LIFE_MS)
    assert len(desk.tokens.rows[PARTITION]) == 1
    await desk.normalise.sweep(PARTITION, NOW_MS + TOKEN_LIFE_MS + 1)
    assert not desk.tokens.rows[PARTITION]


async def test_a_mailgun_webhook_comes_home_through_its_own_adapter() -> None:
    from streams.providers.mailgun import Config, create

    reader = create("mg", Config(domain="mg.example.com", api_key="key"))
    desk = Desk()
    desk.normalise.config = replace(desk.normalise.config, readers={"mg": reader})
    event = {
        "id": "ncV2XwymRUKbPek_MIM-Gw",
        "event": "delivered",
        "timestamp": NOW_MS / 1000,
        "recipient": "ann@example.com",
        "message": {"headers": {"message-id": "x@mg.example.com"}},
        "user-variables": {"message_id": MESSAGE_ID, "attempt": "2"},
    }
    await desk.take(json.dumps({"signature": {}, "event-data": event}).encode())
    (receipt,) = desk.receipts()
    assert (receipt.message_id, receipt.kind, receipt.attempt) == (MESSAGE_ID, K.DELIVERED, 2)
    assert receipt.provider_message_id == "x@mg.example.com"


class Proven(JsonReader):
    """Knows whose webhooks its key proves: its own, and those of names with the same first letter."""

    def proves_alike(self, other: object) -> bool:
        return isinstance(other, Proven) and other.name[0] == self.name[0]


@pytest.mark.parametrize(
    ("provider", "topic", "vouches"),
    [
        pytest.param("one", "mailgun", (), id="its own"),
        pytest.param("two", "mailgun", ("three", "two"), id="the same key"),
        pytest.param("", "mailgun", ("one", "three", "two"), id="a bridge that names none"),
        pytest.param("ses", "ses", ("ses", "ses-eu"), id="an adapter that cannot tell"),
        pytest.param("returns", "bounces", ("*",), id="our own mailbox"),
        pytest.param("links", "tracking", ("*",), id="our own tracking"),
    ],
)
async def test_a_receipt_says_whose_attempts_its_proof_is_good_for(
    provider: str, topic: str, vouches: tuple[str, ...]
) -> None:
    desk = Desk()
    readers = [Proven("one"), Proven("two"), Proven("three"), JsonReader("ses", "ses"), JsonReader("ses-eu", "ses")]
    readers += [JsonReader("returns", "bounces"), JsonReader("links", "tracking")]
    desk.normalise.config = replace(desk.normalise.config, readers={r.name: r for r in readers})
    await desk.take(payload(), topic=f"t.webhooks.{topic}", provider=provider)
    (receipt,) = desk.receipts()
    assert (receipt.vouches, receipt.filled) == (vouches, False)


async def test_the_keys_of_an_account_that_a_tenant_has_brought_speak_for_that_account_alone() -> None:
    desk = Desk()
    readers = {name: Proven(name) for name in ("two", "three")}
    desk.normalise.config = replace(desk.normalise.config, readers=readers)
    for account, token in (("@acme", "t1"), ("", "t1"), ("shop", "t2")):
        await desk.take(payload(sighting_id=f"id{account}"), provider="two", account=account, token=token)
    of_tenant, ours, configured = desk.receipts()
    assert of_tenant.provider == "two"
    assert of_tenant.vouches == ("three/@acme", "two/@acme")
    assert ours.vouches == configured.vouches == ("three", "two")
    assert desk.counts.replays == {}, "a tenant cannot use up our tokens"


async def test_a_tenants_account_cannot_take_the_place_of_what_others_are_about_to_report() -> None:
    desk = Desk()
    await desk.take(payload(), account="@acme")
    await desk.take(payload())
    assert len({receipt.receipt_id for receipt in desk.receipts()}) == 2
