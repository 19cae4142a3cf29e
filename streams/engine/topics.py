"""Topics are created by us, never by Faust and never by the broker on first use.

Partition counts decide where a key lives, so a topic that exists with another count is a problem that people
must solve: it is reported, never changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be. `config` is given to the broker at creation only."""

    name: str
    partitions: int
    replication_factor: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """Why a topic is not as it should be, for people: `str(problem)`."""

    topic: str
    reason: str

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.reason}"


async def ensure_topics(
    bootstrap: str, specs: Iterable[TopicSpec], security: Mapping[str, Any] | None = None, timeout_s: float = 30.0
) -> list[TopicProblem]:
    """Create what is missing and wait until it can be used; returns what is wrong, an empty list when all is well.

    Raises aiokafka's KafkaConnectionError when no broker answers, and TimeoutError.
    """
    wanted = {spec.name: spec for spec in specs}
    if not wanted:
        return []
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **(security or {}))
    try:
        async with asyncio.timeout(timeout_s):
            await admin.start()
            return await _ensure(admin, wanted)
    finally:
        await admin.close()


async def partition_counts(
    bootstrap: str, names: Iterable[str], security: Mapping[str, Any] | None = None, timeout_s: float = 30.0
) -> dict[str, int]:
    """Partition count of each topic that exists."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **(security or {}))
    try:
        async with asyncio.timeout(timeout_s):
            await admin.start()
            return await _counts(admin, names)
    finally:
        await admin.close()


async def _ensure(admin: AIOKafkaAdminClient, wanted: Mapping[str, TopicSpec]) -> list[TopicProblem]:
    existing = await _counts(admin, wanted)
    problems = await _create(admin, [spec for name, spec in wanted.items() if name not in existing])
    failed = {problem.topic for problem in problems}
    counts = await _counts(admin, wanted)
    while not all(name in counts or name in failed for name in wanted):
        await asyncio.sleep(_POLL_S)  # created, but this broker has not heard of it yet
        counts = await _counts(admin, wanted)
    return problems + [
        TopicProblem(name, f"has {counts[name]} partitions, needs {spec.partitions}")
        for name, spec in wanted.items()
        if name in counts and counts[name] != spec.partitions
    ]


async def _create(admin: AIOKafkaAdminClient, specs: list[TopicSpec]) -> list[TopicProblem]:
    if not specs:
        return []
    response = await admin.create_topics(
        [
            NewTopic(
                name=spec.name,
                num_partitions=spec.partitions,
                replication_factor=spec.replication_factor,
                topic_configs=dict(spec.config),
            )
            for spec in specs
        ]
    )
    problems = []
    for name, code, message in response.topic_errors:
        error = for_code(code)
        if code != 0 and error is not TopicAlreadyExistsError:  # another worker was faster: fine
            problems.append(TopicProblem(name, f"could not be created: {message or error.__name__}"))
    return problems


async def _counts(admin: AIOKafkaAdminClient, names: Iterable[str]) -> dict[str, int]:
    """Of topics whose partitions all have a leader."""
    listed = set(await admin.list_topics())
    existing = [name for name in names if name in listed]  # asking for another would create it on some brokers
    found = {}
    for topic in await admin.describe_topics(existing) if existing else ():
        partitions = topic["partitions"]
        if topic["error_code"] == 0 and partitions and all(p["leader"] >= 0 for p in partitions):
            found[topic["topic"]] = len(partitions)
    return found
