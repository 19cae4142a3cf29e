"""Kafka and its topics: reachable, there, and as they must be. Nothing is written.

The embedded broker does not describe configurations: there only existence and partition counts are looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

from streams.doctor.finding import Finding, bad, good
from streams.kafka_refusals import refusal
from streams.settings import KafkaSettings, Profile, SettingsError, librdkafka_options
from streams.topics import Topics, TopicSpec

_TIMEOUT_S = 6.0
_CREATE = "run `streams topics create`"
_UNLIMITED = -1

log = logging.getLogger(__name__)

TopicConfigs = Mapping[str, Mapping[str, str]]


def check_kafka(kafka: KafkaSettings, topics: Topics | None = None) -> list[Finding]:
    """All findings about the cluster (blocking, a few seconds at most)."""
    try:
        login = librdkafka_options(kafka)
    except SettingsError as exc:
        return [bad("kafka reachable", str(exc), "correct the key, or make the file readable to this user")]
    refusals: list[str] = []

    def noticed(error: KafkaError) -> None:
        log.debug("%s", error)  # the finding says it in one sentence
        if why := refusal(error, kafka.bootstrap):
            refusals.append(why)

    options: dict[str, Any] = {**login, "log_level": 0, "error_cb": noticed}
    admin = AdminClient(options)
    try:
        cluster = admin.list_topics(timeout=_TIMEOUT_S)
    except KafkaException as exc:
        admin.poll(0)
        return [_refused(refusals[0]) if refusals else _unreachable(kafka, exc)]
    found = [good("kafka reachable", f"{len(cluster.brokers)} broker(s) at {kafka.bootstrap}")]
    specs = (topics or Topics(kafka.prefix, kafka.ledger_days)).specs()
    there = {name: topic.partitions for name, topic in cluster.topics.items() if topic.error is None}
    present = [spec for spec in specs if spec.name in there]
    found += _existence(specs, there)
    found += _partitions(present, there, kafka.partitions)
    if kafka.profile is Profile.EMBEDDED:
        return found
    found += _replication(present, there, kafka, len(cluster.brokers))
    try:
        configs = _topic_configs(admin, present)
        automatic = _broker_config(admin, next(iter(cluster.brokers)), "auto.create.topics.enable")
    except KafkaException as exc:
        advice = "allow DescribeConfigs to this user, or look at the topics' configuration by hand"
        return [*found, bad("topic configuration", f"Kafka does not describe it: {_text(exc)}", advice)]
    return [*found, *_insync(present, configs, kafka), *_policies(present, configs), _automatic(automatic)]


def _refused(why: str) -> Finding:
    return bad("kafka reachable", why, "docs/kafka-security.md shows how users and certificates are made")


def _unreachable(kafka: KafkaSettings, exc: KafkaException) -> Finding:
    advice = (
        "start Kafka (for development: `streams broker`), or correct [kafka] bootstrap (STREAMS_KAFKA_BOOTSTRAP); "
        "if it is right, look at security_protocol and at the brokers' advertised listeners"
    )
    return bad("kafka reachable", f"no answer from {kafka.bootstrap}: {_text(exc)}", advice)


def _existence(specs: tuple[TopicSpec, ...], there: Mapping[str, Any]) -> Iterator[Finding]:
    missing = [spec.name for spec in specs if spec.name not in there]
    if missing:
        advice = f"{_CREATE}; if they exist under other names, correct [kafka] prefix"
        yield bad("topics exist", f"{len(missing)} missing: {_listed(missing)}", advice)
    else:
        yield good("topics exist", f"all {len(specs)}")


def _partitions(present: list[TopicSpec], there: Mapping[str, Any], expected: int) -> Iterator[Finding]:
    wrong = [
        f"{spec.name} has {len(there[spec.name])}"
        for spec in present
        if len(there[spec.name]) != (expected if spec.keyed else 1)
    ]
    if wrong:
        advice = (
            "set [kafka] partitions to what the topics were created with; never add partitions to a topic in use: "
            "messages would no longer meet their state"
        )
        yield bad("partition counts", f"expected {expected} (1 where not keyed): {_listed(wrong)}", advice)
    elif present:
        yield good("partition counts", f"{expected} everywhere")


def _replication(
    present: list[TopicSpec], there: Mapping[str, Any], kafka: KafkaSettings, brokers: int
) -> Iterator[Finding]:
    wanted = kafka.replication_factor
    low = [spec.name for spec in present if min(len(p.replicas) for p in there[spec.name].values()) < wanted]
    if wanted > brokers:
        advice = "add brokers, or for a test set [kafka] replication_factor and min_insync_replicas to 1"
        yield bad("replication", f"replication_factor is {wanted}, but there are {brokers} broker(s)", advice)
    elif low:
        advice = "reassign their partitions (kafka-reassign-partitions) or create them again while they are empty"
        yield bad("replication", f"fewer than {wanted} replicas: {_listed(low)}", advice)
    elif present:
        yield good("replication", f"{wanted} replicas")


def _insync(present: list[TopicSpec], configs: TopicConfigs, kafka: KafkaSettings) -> Iterator[Finding]:
    wanted = kafka.min_insync_replicas
    low = _where(present, configs, lambda _, found: int(found.get("min.insync.replicas", "1")) < wanted)
    if low:
        advice = (
            f"set min.insync.replicas={wanted} on them (kafka-configs --alter), or lower [kafka] min_insync_replicas"
        )
        yield bad("in-sync replicas", f"acknowledged with fewer than {wanted}: {_listed(low)}", advice)
    elif present:
        yield good("in-sync replicas", f"at least {wanted} before a record counts as stored")


def _policies(present: list[TopicSpec], configs: TopicConfigs) -> Iterator[Finding]:
    compacted = _where(present, configs, lambda spec, found: _policy(found) != _policy(spec.config))
    if compacted:
        advice = "set cleanup.policy on them (kafka-configs --alter): a table on a topic that deletes forgets its state"
        yield bad("cleanup policy", f"not as it must be: {_listed(compacted)}", advice)
    elif present:
        yield good("cleanup policy", "as it must be")
    short = _where(present, configs, lambda spec, found: _shorter(spec, found, "retention.ms"))
    if short:
        advice = "raise retention.ms on them (kafka-configs --alter), or lower [kafka] ledger_days"
        yield bad("retention", f"records would be gone too soon: {_listed(short)}", advice)
    elif present:
        yield good("retention", "long enough")
    small = _where(present, configs, lambda spec, found: _shorter(spec, found, "max.message.bytes"))
    if small:
        advice = "raise max.message.bytes on them (kafka-configs --alter): mail with attachments would not fit"
        yield bad("record size", f"too small: {_listed(small)}", advice)
    elif present:
        yield good("record size", "large enough")


def _automatic(value: str) -> Finding:
    if value == "true":
        advice = (
            "set auto.create.topics.enable=false on the brokers: a misspelt topic would appear with wrong partitions"
        )
        return bad("automatic topics", "the brokers create topics by themselves", advice)
    return good("automatic topics", "off")


def _where(
    present: list[TopicSpec], configs: TopicConfigs, wrong: Callable[[TopicSpec, Mapping[str, str]], bool]
) -> list[str]:
    return [spec.name for spec in present if spec.name in configs and wrong(spec, configs[spec.name])]


def _policy(config: Mapping[str, str]) -> frozenset[str]:
    return frozenset(config.get("cleanup.policy", "delete").split(","))


def _shorter(spec: TopicSpec, found: Mapping[str, str], key: str) -> bool:
    if key not in spec.config or key not in found:
        return False
    actual = int(found[key])
    return actual != _UNLIMITED and actual < int(spec.config[key])


def _topic_configs(admin: AdminClient, present: list[TopicSpec]) -> TopicConfigs:
    if not present:
        return {}
    resources = [ConfigResource(ResourceType.TOPIC, spec.name) for spec in present]
    answers = admin.describe_configs(resources, request_timeout=_TIMEOUT_S)
    return {resource.name: _values(future.result(_TIMEOUT_S)) for resource, future in answers.items()}


def _broker_config(admin: AdminClient, broker: int, key: str) -> str:
    resource = ConfigResource(ResourceType.BROKER, str(broker))
    (future,) = admin.describe_configs([resource], request_timeout=_TIMEOUT_S).values()
    return _values(future.result(_TIMEOUT_S)).get(key, "")


def _values(entries: Mapping[str, Any]) -> dict[str, str]:
    return {name: entry.value for name, entry in entries.items() if entry.value is not None}


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return f"{shown} and {len(names) - 4} more" if len(names) > 4 else shown


def _text(exc: KafkaException) -> str:
    error = exc.args[0] if exc.args else exc
    return str(error.str() if hasattr(error, "str") else error)
