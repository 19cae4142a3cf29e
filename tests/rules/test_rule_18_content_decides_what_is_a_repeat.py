"""Rule 18: what a provider says twice, in whatever way, is one fact."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from streams.agents.lookups import Lookups, LookupsConfig
from streams.agents.normalise import Normalise, NormaliseConfig
from streams.agents.track import Track, TrackConfig
from streams.core.event import EventType
from streams.core.ids import partition_of, partition_of_text
from streams.core.receipt import Receipt, ReceiptKind
from streams.providers import mailgun, ses
from streams.serde.events import decode_event
from streams.serde.internal import pack
from streams.topics import Topics
from tests.agents.fake_engine import Emitted, FakeBatch, FakeEngine, FakeUnit, record
from tests.core.receipts import facts

PAYLOADS = Path(__file__).parents[1] / "payloads"
OURS = "abcdefghijklmnopqrst-uvwxyzabcdefghijklmn"
THEIRS = "0100018c-bbbb-000000"  # the id that the payloads name
NOW = 1_767_225_700_000
HEADERS = [("provider", b"ses"), ("verified", b"1"), ("received_at", str(NOW).encode())]
READERS = {
    "ses": ses.create("ses", ses.Config("us-east-1", access_key_id="A", secret_access_key="s")),
    "mailgun": mailgun.create("mailgun", mailgun.Config("mg.example.com", api_key="key")),
}


FACTS = replace(facts(), recipient="u@example.net")


class Agents:
    """Normalise, lookups and track on one engine; what one emits is carried to the next."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        table, clock, topics = self.engine.table, (lambda: NOW), Topics()
        self.normalise = Normalise(self.engine, table("tokens"), FakeUnit, NormaliseConfig(topics, 12, READERS), clock)
        self.lookups = Lookups(self.engine, table("provider_ids"), FakeUnit, LookupsConfig(topics, 12), clock)
        config = TrackConfig(topics, 12, bind_provider_ids=frozenset({"ses"}))
        self.track = Track(self.engine, table("messages"), table("suppressions"), FakeUnit, config, clock)
        self._carried = 0

    async def webhook(self, topic: str, payload: bytes, provider: str = "ses") -> None:
        headers = [("provider", provider.encode()), *HEADERS[1:]]
        await self.normalise.handle(FakeBatch(topic, 0, [record(payload, b"k", 0, NOW, headers)]))
        await self.carry()

    async def receipt(self, receipt: Receipt) -> None:
        home = partition_of(receipt.message_id, 12)
        await self.track.handle(FakeBatch("receipts", home, [record(pack(receipt), receipt.message_id.encode())]))
        await self.carry()

    async def carry(self) -> None:
        while self._carried < len(self.engine.emitted):
            emitted: Emitted = self.engine.emitted[self._carried]
            self._carried += 1
            batch = FakeBatch(emitted.topic, emitted.partition, [record(emitted.value, emitted.key)])
            if emitted.topic == "lookups":
                await self.lookups.handle(batch)
            elif emitted.topic == "receipts":
                await self.track.handle(batch)

    def events(self, type_: EventType) -> list[str]:
        found = [decode_event(e.value, e.headers) for e in self.engine.on("delivery-events")]
        return [event.event_id for event in found if event.type is type_]  # type: ignore[union-attr]


BOUNCES = ("bounce.json", "bounce_notification.json", "sns_bounce.json", "eventbridge.json")


@pytest.mark.parametrize("order", list(permutations(BOUNCES, 3))[::5], ids=lambda names: "-".join(n[:9] for n in names))
@pytest.mark.parametrize("sent", [0, 2, 3], ids=["sent first", "sent in between", "sent last"])
async def test_rule_18_ses_feedback_in_several_formats_counts_once(order: tuple[str, ...], sent: int) -> None:
    """Event publishing and identity notifications are both switched on; the latter know our message by SES's id only."""
    agents = Agents()
    accepted = Receipt(OURS, ReceiptKind.SENT, "sent:2", NOW - 9_000, 2, "ses", THEIRS, facts=FACTS)
    for at, name in enumerate(order):
        if at == sent:
            await agents.receipt(accepted)
        await agents.webhook("webhooks.ses", (PAYLOADS / "ses" / name).read_bytes())
    if sent == 3:
        await agents.receipt(accepted)
    assert len(agents.events(EventType.BOUNCED)) == 1
    assert len(agents.events(EventType.SENT)) == 1


async def test_rule_18_one_notification_alone_finds_its_message_by_the_providers_id() -> None:
    agents = Agents()
    await agents.webhook("webhooks.ses", (PAYLOADS / "ses" / "bounce_notification.json").read_bytes())
    assert agents.events(EventType.BOUNCED) == []
    await agents.receipt(Receipt(OURS, ReceiptKind.SENT, "sent:2", NOW, 2, "ses", THEIRS, facts=FACTS))
    assert len(agents.events(EventType.BOUNCED)) == 1
    assert agents.engine.on("lookups")[0].partition == partition_of_text(THEIRS, 12)


async def test_rule_18_mailguns_repeats_under_new_tokens_are_one_event() -> None:
    """A repeat is signed anew: neither token nor bytes are equal, only what it says."""
    agents = Agents()
    payload = (PAYLOADS / "mailgun" / "delivered.json").read_bytes()
    for repeat in (payload, payload + b"\n"):
        await agents.webhook("webhooks.mailgun", repeat, "mailgun")
    receipts = [e.value for e in agents.engine.on("receipts")]
    assert len(receipts) == 2 and receipts[0] == receipts[1]
