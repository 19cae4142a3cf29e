"""Waiting for events on the embedded broker; the events are written as track writes them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from streams.client import Client, ClientError, EndedOtherwise, InvalidRequest, NotSeen
from streams.core.event import DeliveryEvent, EventType, Reason, ReasonKind, Status
from streams.core.ids import event_id, message_id, partition_of, recipient_key
from streams.engine import TopicSpec, ensure_topics
from streams.kafka import KafkaClient, NewRecord
from streams.serde.events import encode_event, event_headers

PARTITIONS = 2


@pytest.fixture
def topics(embedded_kafka: str, topic_prefix: str) -> str:
    spec = TopicSpec(f"{topic_prefix}delivery-events", PARTITIONS)
    assert asyncio.run(ensure_topics(embedded_kafka, [spec])) == []
    return topic_prefix


@pytest.fixture
def client(embedded_kafka: str, topics: str) -> Iterator[Client]:
    with Client(embedded_kafka, prefix=topics) as client:
        yield client


def identity_of(name: str) -> str:
    return message_id("default", name, recipient_key("default", f"{name}@example.net"))


def event(identity: str, kind: EventType, recorded_ms: int = 1_800_000_000_000, prefix: str = "r") -> DeliveryEvent:
    return DeliveryEvent(
        event_id(identity, kind.value, prefix),
        kind,
        recorded_ms,
        recorded_ms,
        identity,
        "k",
        "default",
        "transactional",
        "ann@example.net",
        Status.SENT,
        reason=Reason(ReasonKind.BAD_MAILBOX, "550", detail="no such user") if kind is EventType.BOUNCED else None,
    )


def write(bootstrap: str, prefix: str, *events: DeliveryEvent, schema: bytes = b"") -> None:
    with KafkaClient(bootstrap) as kafka:
        for one in events:
            key = one.message_id
            partition = partition_of(key, PARTITIONS)
            value, headers = encode_event(one, schema), tuple(event_headers(one))
            kafka.send(NewRecord(f"{prefix}delivery-events", key.encode(), value, partition, headers))


def test_what_was_recorded_before_counts(client: Client, embedded_kafka: str, topics: str) -> None:
    identity = identity_of("a")
    write(embedded_kafka, topics, event(identity, EventType.SENT), event(identity, EventType.DELIVERED))
    assert client.wait_for(identity, "message.delivered").type is EventType.DELIVERED
    assert client.wait_for(identity, "sent", EventType.OPENED).type is EventType.SENT
    assert [one.type for one in client.events(identity)] == [EventType.SENT, EventType.DELIVERED]


def test_what_is_recorded_while_somebody_waits_is_seen(client: Client, embedded_kafka: str, topics: str) -> None:
    first, second = identity_of("a"), identity_of("b")
    write(embedded_kafka, topics, event(first, EventType.DELIVERED))
    client.wait_for(first, "delivered")  # the reader is there
    found: list[DeliveryEvent] = []
    waiter = threading.Thread(target=lambda: found.append(client.wait_for(second, "delivered")))
    waiter.start()
    write(embedded_kafka, topics, event(first, EventType.OPENED), event(second, EventType.DELIVERED))
    waiter.join(20)
    assert [one.message_id for one in found] == [second]


def test_a_partition_that_was_left_is_found_again(client: Client, embedded_kafka: str, topics: str) -> None:
    identities = [identity_of(f"m{number}") for number in range(6)]
    for identity in (*identities, *identities):
        write(embedded_kafka, topics, event(identity, EventType.SENT), event(identity, EventType.DELIVERED))
        assert client.wait_for(identity, "delivered", timeout_s=10).message_id == identity


def test_another_end_is_told_at_once(client: Client, embedded_kafka: str, topics: str) -> None:
    identity = identity_of("a")
    write(embedded_kafka, topics, event(identity, EventType.BOUNCED))
    with pytest.raises(EndedOtherwise, match=r"ended as bounced \(bad_mailbox 550 no such user\)") as caught:
        client.wait_for(identity, "delivered")
    assert caught.value.event.type is EventType.BOUNCED
    assert client.wait_for(identity, "bounced").type is EventType.BOUNCED


def test_what_is_older_than_asked_for_does_not_count(client: Client, embedded_kafka: str, topics: str) -> None:
    identity = identity_of("a")
    write(
        embedded_kafka,
        topics,
        event(identity, EventType.FAILED, 1_000),
        event(identity, EventType.DELIVERED, 5_000),  # somebody said: retry
    )
    assert client.wait_for(identity, "delivered", since_ms=2_000).type is EventType.DELIVERED


def test_patience_ends_with_what_is_known(client: Client, embedded_kafka: str, topics: str) -> None:
    identity = identity_of("a")
    write(embedded_kafka, topics, event(identity, EventType.SENT))
    client.wait_for(identity, "sent")
    with pytest.raises(NotSeen, match=r"the last event is message\.sent") as caught:
        client.wait_for(identity, "delivered", timeout_s=0.5)
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(NotSeen, match="no event of it at all"):
        client.wait_for(identity_of("b"), "delivered", timeout_s=0.1)


def test_a_mistyped_event_or_id_is_said(client: Client) -> None:
    with pytest.raises(InvalidRequest, match=r"no event type message\.deliverd"):
        client.wait_for(identity_of("a"), "deliverd")
    with pytest.raises(InvalidRequest, match="not a message id"):
        client.wait_for("order-1", "delivered")


async def test_a_thousand_wait_with_one_reader(embedded_kafka: str, topics: str) -> None:
    identities = [identity_of(f"m{number}") for number in range(1000)]
    async with Client(embedded_kafka, prefix=topics) as client:
        waits = [asyncio.ensure_future(client.wait_for_async(i, "delivered", timeout_s=30)) for i in identities]
        threads = threading.active_count()
        await asyncio.to_thread(
            write, embedded_kafka, topics, *(event(identity, EventType.DELIVERED) for identity in identities)
        )
        found = await asyncio.gather(*waits)
        assert threading.active_count() <= threads + 5
    assert [one.message_id for one in found] == identities


async def test_those_who_come_one_after_another_are_all_answered(embedded_kafka: str, topics: str) -> None:
    """Each of them wants the partition read back, which must not keep the others from its end."""
    identities = [identity_of(f"m{number}") for number in range(3000)]
    await asyncio.to_thread(write, embedded_kafka, topics, *(event(i, EventType.DELIVERED) for i in identities))

    async def one_after_another(client: Client, chosen: list[str]) -> int:
        return len([await client.wait_for_async(identity, "delivered", timeout_s=30) for identity in chosen])

    async with Client(embedded_kafka, prefix=topics) as client:
        counts = await asyncio.gather(*(one_after_another(client, identities[n::300][-2:]) for n in range(20)))
    assert counts == [2] * 20


def test_a_closed_client_keeps_nobody_waiting(client: Client) -> None:
    said: list[str] = []

    def wait() -> None:
        try:
            client.wait_for(identity_of("a"), "delivered", timeout_s=30)
        except ClientError as exc:
            said.append(str(exc))

    waiter = threading.Thread(target=wait)
    waiter.start()
    client.close()
    waiter.join(20)
    assert said in (["the client was closed"], ["the client is closed"])


def test_without_the_topic_the_reason_is_said(embedded_kafka: str) -> None:
    with (
        Client(embedded_kafka, prefix="mistyped.") as client,
        pytest.raises(ClientError, match=r"topic mistyped\.delivery-events does not exist"),
    ):
        client.wait_for(identity_of("a"), "delivered", timeout_s=20)


def test_events_in_confluents_format_need_the_registry(client: Client, embedded_kafka: str, topics: str) -> None:
    identity = identity_of("a")
    write(embedded_kafka, topics, event(identity, EventType.DELIVERED), schema=b"\x00\x00\x00\x00\x07")
    with pytest.raises(ClientError, match="give the client a schema_registry"):
        client.wait_for(identity, "delivered", timeout_s=20)
