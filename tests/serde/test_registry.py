"""A schema registry: asked once per id, and told apart from one that is only away."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streams.serde.records import Undecodable
from streams.serde.registry import RegistryUnavailable, SchemaRegistry
from streams.serde.schemas import schema


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def registry(answer: Callable[[httpx.Request], httpx.Response], clock: Clock | None = None) -> SchemaRegistry:
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://registry.example")
    return SchemaRegistry(client, clock or Clock())


def with_schema(text: str, **more: Any) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(200, json={"schema": text, **more})


async def test_an_id_is_known_after_it_was_fetched() -> None:
    found = registry(with_schema(schema("SendRequest").text))
    assert found.known(7) is None
    await found.fetch(7)
    parsed: Any = found.known(7)
    assert parsed["name"] == "streams.v1.SendRequest"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda _: httpx.Response(404, json={"error_code": 40403}), "knows no schema 7"),
        (with_schema("message X {}", schemaType="PROTOBUF"), "PROTOBUF, not Avro"),
        (with_schema('{"type":"record"}'), "cannot be read"),
    ],
    ids=["unknown", "protobuf", "broken"],
)
async def test_a_definite_no_is_remembered_for_a_while(
    answer: Callable[[httpx.Request], httpx.Response], words: str
) -> None:
    clock = Clock()
    found = registry(answer, clock)
    await found.fetch(7)
    why = found.known(7)
    assert isinstance(why, Undecodable)
    assert words in why.detail
    clock.now_s += 31
    assert found.known(7) is None


def refused(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


@pytest.mark.parametrize(
    "answer", [refused, lambda _: httpx.Response(503, text="busy"), lambda _: httpx.Response(200, text="<html>")]
)
async def test_a_registry_that_is_away_is_no_verdict(answer: Callable[[httpx.Request], httpx.Response]) -> None:
    found = registry(answer)
    with pytest.raises(RegistryUnavailable):
        await found.fetch(7)
    assert found.known(7) is None


async def test_our_schema_is_registered_under_the_topics_value() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"id": 258})

    assert await registry(answer).prefix_for("delivery-events", "DeliveryEvent") == b"\x00\x00\x00\x01\x02"
    assert asked[0].url.path == "/subjects/delivery-events-value/versions"
    assert json.loads(json.loads(asked[0].content)["schema"])["name"] == "DeliveryEvent"
