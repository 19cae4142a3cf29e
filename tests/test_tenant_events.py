"""Topics of their own for the events of some tenants: found right before anything is copied to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from streams.agents.configuration import tenants
from streams.configured import configured_tenants
from streams.core.tenant import Tenant
from streams.engine import EngineFailure, TopicProblem, TopicSpec
from streams.serde.configuration import encode_tenant
from streams.settings import Settings, SettingsError, load_settings
from streams.tenant_events import EventTopics, event_topic_specs
from streams.topics import Topics, events_topic_fault

ENV = {"STREAMS_KAFKA_BOOTSTRAP": "127.0.0.1:1", "STREAMS_KAFKA_PREFIX": "t.", "STREAMS_KAFKA_PARTITIONS": "3"}


class Rows:
    """The topic ``tenants`` in memory."""

    def __init__(self, rows: Mapping[str, Tenant] | None = None) -> None:
        self.rows = {name.encode(): encode_tenant(tenant) for name, tenant in (rows or {}).items()}

    def get(self, key: bytes, /) -> bytes | None:
        return self.rows.get(key)

    def put(self, tenant: Tenant) -> None:
        self.rows[tenant.tenant.encode()] = encode_tenant(tenant)

    async def caught_up(self) -> None:
        """It is."""


class Broker:
    """Creates what it is asked for, except what it is told to refuse."""

    def __init__(self, **refuses: str) -> None:
        self.made: list[TopicSpec] = []
        self.refuses = {f"t.{name}": reason for name, reason in refuses.items()}
        self.asked = asyncio.Condition()

    async def __call__(self, specs: list[TopicSpec]) -> list[TopicProblem]:
        self.made += [spec for spec in specs if spec.name not in self.refuses]
        async with self.asked:
            self.asked.notify_all()
        return [TopicProblem(spec.name, self.refuses[spec.name]) for spec in specs if spec.name in self.refuses]


def settings(**env: str) -> Settings:
    return load_settings(None, {**ENV, **env})


def topics(rows: Rows, broker: Broker, chosen: Settings | None = None) -> EventTopics:
    chosen = chosen or settings()
    return EventTopics(chosen, tenants(rows, configured_tenants(chosen)), broker)


async def test_nobody_asks_and_nothing_is_contacted() -> None:
    broker = Broker()
    found = topics(Rows(), broker)
    await found.start()
    assert (found.ready, broker.made) == ({}, [])


async def test_a_topic_of_the_settings_is_made_like_delivery_events() -> None:
    broker = Broker()
    found = topics(Rows(), broker, settings(STREAMS_TENANTS__SHOP__EVENTS_TOPIC="events.shop"))
    await found.start()
    assert found.ready == {"shop": "t.events.shop"}
    (made,) = broker.made
    assert (made.name, made.partitions) == ("t.events.shop", 3)
    assert (
        made.config["retention.ms"]
        == next(s for s in Topics().specs() if s.name == "delivery-events").config["retention.ms"]
    )


async def test_what_the_settings_cannot_have_ends_the_start() -> None:
    found = topics(Rows(), Broker(shop="has 1 partitions, needs 3"), settings(STREAMS_TENANTS__A__EVENTS_TOPIC="shop"))
    with pytest.raises(EngineFailure, match=r"\[tenants.a\] events_topic: topic t.shop has 1 partitions, needs 3"):
        await found.start()


async def test_a_wrong_record_harms_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows({"a": Tenant("a", events_topic="wrong"), "b": Tenant("b", events_topic="outbound")})
    rows.put(Tenant("c", events_topic="right"))
    found = topics(rows, Broker(wrong="has 1 partitions, needs 3"))
    for name in "abc":
        found.changed(name)
    await found.start()
    assert found.ready == {"c": "t.right"}
    assert "tenant a are not copied to a topic of its own: topic t.wrong has 1 partitions" in caplog.text
    assert "'outbound' is a topic of the system itself" in caplog.text


async def test_records_are_followed_and_a_topic_is_compared_once() -> None:
    rows, broker = Rows(), Broker()
    found = topics(rows, broker)
    await found.start()
    running = asyncio.create_task(found.run())

    async def until(ready: dict[str, str]) -> None:
        async with asyncio.timeout(5):
            while found.ready != ready:
                await asyncio.sleep(0)

    rows.put(Tenant("a", events_topic="one"))
    found.changed("a")
    await until({"a": "t.one"})
    rows.put(Tenant("b", events_topic="one"))  # two tenants of one house
    found.changed("b")
    await until({"a": "t.one", "b": "t.one"})
    assert [spec.name for spec in broker.made] == ["t.one"]
    rows.put(Tenant("a"))
    del rows.rows[b"b"]
    found.changed("a")
    found.changed("b")
    await until({})
    running.cancel()


@pytest.mark.parametrize(
    "name", ["outbound", "delivery-events", "webhooks.acme", "streams-attempts-changelog", "a b", ""]
)
def test_a_topic_of_ours_or_no_topic_name_is_refused(name: str) -> None:
    assert events_topic_fault(name)
    if name:
        with pytest.raises(SettingsError, match=r"\[tenants.shop\] events_topic"):
            settings(STREAMS_TENANTS__SHOP__EVENTS_TOPIC=name)


def test_a_topic_that_two_share_is_wanted_once() -> None:
    assert [spec.name for spec in event_topic_specs(settings(), ["a", "b", "a"])] == ["t.a", "t.b"]
