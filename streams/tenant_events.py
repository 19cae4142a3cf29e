"""Topics of their own for the events of some tenants: which ones, and that they are there before anything is written.

Rules:

1. A tenant asks for one by ``events_topic``, in the settings or in its record. The name gets the deployment's prefix;
   it may not be a topic of ours.
2. Such a topic looks like ``delivery-events``: as many partitions, as long a memory. It is created where it is missing.
3. A wrong one in the settings ends the start. A wrong one in a record harms nobody else: it is logged and left out, and
   tried again with the next change.
4. Track copies events only to topics that were found right (``ready``); while nobody asks, that is an empty mapping.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from aiokafka.errors import KafkaError

from streams.agents.configuration import Configured
from streams.configured import engine_security, topic_specs, topics_of
from streams.core.tenant import Tenant
from streams.engine import EngineFailure, TopicProblem, TopicSpec, ensure_topics
from streams.settings import Settings
from streams.topics import DELIVERY_EVENTS, events_topic_fault

log = logging.getLogger(__name__)

Ensure = Callable[[list[TopicSpec]], Awaitable[list[TopicProblem]]]


def event_topic_specs(settings: Settings, names: Iterable[str]) -> list[TopicSpec]:
    """What topics of these names (without the prefix) must look like."""
    like = next(spec for spec in topic_specs(settings) if spec.name == topics_of(settings).name(DELIVERY_EVENTS))
    full = dict.fromkeys(topics_of(settings).name(name) for name in names)
    return [TopicSpec(name, like.partitions, like.replication_factor, like.config) for name in full]


def configured_event_topics(settings: Settings) -> list[str]:
    """The names that the settings ask for."""
    return [tenant.events_topic for tenant in settings.tenants.values() if tenant.events_topic]


class EventTopics:
    """``ready`` maps a tenant to the full name of its topic. ``ensure`` creates and compares topics."""

    def __init__(self, settings: Settings, tenants: Configured[Tenant], ensure: Ensure | None = None) -> None:
        self.ready: dict[str, str] = {}
        self._settings = settings
        self._tenants = tenants
        self._ensure = ensure or self._on_kafka
        self._names: set[str] = set()
        self._changed = asyncio.Event()

    def changed(self, tenant: str) -> None:
        """The record of a tenant is new, changed or gone."""
        self._names.add(tenant)
        self._changed.set()

    async def start(self) -> None:
        """All who ask now. Raises EngineFailure for what the settings ask for and cannot have."""
        problems = await self._try(self._settings.tenants)
        for name in self._settings.tenants:
            if name in problems:
                raise EngineFailure(f"[tenants.{name}] events_topic: {problems[name]}")
        waiting, self._names = self._names, set()
        self._tell(await self._try(waiting - self._settings.tenants.keys()))

    async def run(self) -> None:
        """Follow the records, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            names, self._names = self._names, set()
            self._tell(await self._try(names))

    async def _try(self, names: Iterable[str]) -> dict[str, str]:
        """Bring ``ready`` up to date for these tenants; what is wrong, by tenant."""
        asked: dict[str, str] = {}
        problems: dict[str, str] = {}
        for name in names:
            tenant = self._tenants.get(name)
            topic = tenant.events_topic if tenant is not None else ""
            if topic and (fault := events_topic_fault(topic)):
                problems[name] = f"{topic!r} {fault}"
            elif topic:
                asked[name] = topics_of(self._settings).name(topic)
            else:
                self.ready.pop(name, None)
        problems |= await self._missing(asked)
        for name in problems:
            self.ready.pop(name, None)
        self.ready.update({name: topic for name, topic in asked.items() if name not in problems})
        return problems

    async def _missing(self, asked: Mapping[str, str]) -> dict[str, str]:
        unknown = set(asked.values()) - set(self.ready.values())
        if not unknown:
            return {}
        prefix = len(self._settings.kafka.prefix)
        specs = event_topic_specs(self._settings, [topic[prefix:] for topic in unknown])
        try:
            wrong = {problem.topic: problem.reason for problem in await self._ensure(specs)}
        except (KafkaError, TimeoutError) as exc:
            wrong = {topic: f"Kafka does not answer: {exc or type(exc).__name__}" for topic in unknown}
        return {name: f"topic {topic} {wrong[topic]}" for name, topic in asked.items() if topic in wrong}

    async def _on_kafka(self, specs: list[TopicSpec]) -> list[TopicProblem]:
        return await ensure_topics(self._settings.kafka.bootstrap, specs, engine_security(self._settings))

    def _tell(self, problems: Mapping[str, str]) -> None:
        for name, problem in problems.items():
            log.error("events of tenant %s are not copied to a topic of its own: %s", name, problem)
