"""Rule 1: a deferral that a provider reports starts nothing of ours; it tries again by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.agents.track import Track, TrackConfig
from streams.core.event import BounceType
from streams.core.ids import message_id, partition_of, recipient_key
from streams.core.message import Stream
from streams.core.outcome import Accepted
from streams.core.receipt import Receipt, ReceiptKind
from streams.providers.base import Reading, Sighting
from streams.providers.mailgun.events import read_events as read_mailgun
from streams.providers.ses.events import read_events as read_ses
from streams.serde.internal import pack, unpack
from streams.topics import Topics
from tests.agents.dispatch_desk import NOW, PARTITIONS, Desk
from tests.agents.fake_engine import FakeBatch, FakeEngine, FakeUnit, record

PAYLOADS = Path(__file__).parents[1] / "payloads"
WORDS = {
    "mailgun": (read_mailgun, PAYLOADS / "mailgun" / "failed_temporary.json"),
    "ses": (read_ses, PAYLOADS / "ses" / "delivery_delay.json"),
}


def sighting(provider: str) -> Sighting:
    read, path = WORDS[provider]
    reading = read(path.read_bytes(), NOW)
    assert isinstance(reading, Reading)
    return reading.sightings[0]


@pytest.mark.parametrize("provider", WORDS)
@pytest.mark.parametrize("order", ["after the result", "before the result"])
async def test_rule_01_a_webhook_that_says_deferred_sends_nothing_a_second_time(provider: str, order: str) -> None:
    """The policy would answer a final failure; the provider itself is still at it."""
    desk = await Desk().open()
    desk.providers["mailgun"].answer = lambda batch: Accepted("theirs")
    message = desk.message(retry_policy="cubed")
    await desk.give(message)
    seen = sighting(provider)
    assert seen.kind is ReceiptKind.DEFERRED
    (sent,) = desk.receipts()
    deferred = Receipt(
        message.message_id, seen.kind, "theirs/1", NOW + 1, 1, "mailgun", "theirs", seen.reason, seen.bounce_type
    )
    told = [sent, deferred] if order == "after the result" else [deferred, sent]
    assert sent.facts is not None and sent.facts.retry_final, "else the test shows nothing"
    commands = await _track(message.message_id, told)
    assert commands == []
    await desk.wake(86_400)
    assert len(desk.requests) == 1


async def test_rule_01_the_providers_final_failure_of_that_attempt_does_ask_for_another() -> None:
    mid = message_id("acme", "k1", recipient_key("acme", "u@example.net"))
    desk = await Desk().open()
    await desk.give(desk.message(retry_policy="cubed", stream=Stream.TRANSACTIONAL))
    (sent,) = desk.receipts()
    bounced = Receipt(mid, ReceiptKind.BOUNCED, "theirs/2", NOW + 1, 1, "mailgun", bounce_type=BounceType.SOFT)
    commands = await _track(mid, [sent, bounced])
    await desk.give(*commands)
    assert len(desk.requests) == 1, "not at once"
    await desk.wake(8 * 60 + 1)
    assert len(desk.requests) == 2


async def _track(mid: str, receipts: list[Receipt]) -> list[object]:
    """The commands that track answers with."""
    engine = FakeEngine()
    track = Track(
        engine,
        engine.table("messages"),
        engine.table("suppressions"),
        FakeUnit,
        TrackConfig(Topics(), PARTITIONS),
        lambda: NOW,
    )
    records = [record(pack(one), mid.encode(), n) for n, one in enumerate(receipts)]
    await track.handle(FakeBatch("receipts", partition_of(mid, PARTITIONS), records))
    return [unpack(emitted.value or b"") for emitted in engine.on("outbound")]
