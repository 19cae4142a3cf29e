"""Whether Kafka lets us do what a process needs, asked before the process starts: brokers tell whoever logs in what
they may do (KIP-430), so that a right that is missing is one line at the start and not an outage at the first use.

What cannot be asked counts as allowed: topics and groups that do not exist yet, names that are only beginnings, the
cluster, and brokers that keep their rules to themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streams.acls import Kind, Operation, Right, rights
from streams.kafka import KafkaClient, KafkaUnavailable
from streams.settings import Profile, Protocol, Settings

_TIMEOUT_S = 10.0
_AGAIN_S = 0.1
_FORBIDDEN = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
_NOT_THERE = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.GROUP_ID_NOT_FOUND,
    KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 (its public name)
)
_NOT_YET = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)


_Allowed = frozenset[str] | None
"""Operations in lower case, without underscores; None where that cannot be known."""


class NotAllowed(RuntimeError):
    """Kafka lets us in, but not do all that is needed. The message says what, and what to do."""


def require(settings: Settings, process: str, kafka: KafkaClient) -> None:
    """Raise NotAllowed unless ``process`` has its rights. Where nobody logs in, all may do all. KafkaUnavailable."""
    admin, chosen = kafka.admin, settings.kafka
    if chosen.profile is Profile.EMBEDDED or chosen.security_protocol is Protocol.PLAINTEXT:
        return
    lacking = missing(admin, rights(settings)[process])
    if not lacking:
        return
    who = f"the user {chosen.sasl_username}" if chosen.sasl_username else "whom our certificate names"
    more = f" (and {len(lacking) - 1} rights more)" if len(lacking) > 1 else ""
    advice = f"what {process} needs: streams topics acls --only {process}"
    raise NotAllowed(f"Kafka does not let {who} {sentence(lacking[0])}{more}; {advice}")


def sentence(right: Right) -> str:
    """A right in words."""
    return f"{right.operation} on the {right.kind} {right.name}"


def missing(admin: AdminClient, needed: Iterable[Right]) -> list[Right]:
    """Those that whoever logged in does not have. Raises KafkaUnavailable."""
    wanted = [right for right in needed if not right.prefixed]
    topics = sorted({right.name for right in wanted if right.kind is Kind.TOPIC})
    groups = sorted({right.name for right in wanted if right.kind is Kind.GROUP})
    has: dict[tuple[Kind, str], _Allowed] = {}
    try:
        if topics:
            has |= {(Kind.TOPIC, name): found for name, found in _settled(lambda: _of_topics(admin, topics)).items()}
        for group in groups:
            has[Kind.GROUP, group] = _settled(lambda name=group: _of_group(admin, name))[group]  # type: ignore[misc]
    except KafkaException as exc:
        raise KafkaUnavailable(f"Kafka does not tell what we may do: {exc.args[0].str()}") from exc
    return [right for right in wanted if _lacks(has.get((right.kind, right.name)), right.operation)]


def _lacks(allowed: _Allowed, operation: Operation) -> bool:
    return allowed is not None and operation.value.lower() not in allowed


def _settled(ask: Callable[[], Mapping[str, Future[Any]]]) -> dict[str, _Allowed]:
    """The answers; asked again while a broker that has just become responsible is not ready."""
    deadline_s = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return {name: _allowed(future) for name, future in ask().items()}
        except KafkaException as exc:
            if exc.args[0].code() not in _NOT_YET or time.monotonic() > deadline_s:
                raise
            time.sleep(_AGAIN_S)


def _allowed(asked: Future[Any]) -> _Allowed:
    try:
        operations = asked.result(_TIMEOUT_S).authorized_operations
    except KafkaException as exc:
        code = exc.args[0].code()
        if code in _FORBIDDEN:
            return frozenset()
        if code in _NOT_THERE:
            return None
        raise
    if operations is None:
        return None
    return frozenset(operation.name.replace("_", "").lower() for operation in operations)


def _of_topics(admin: AdminClient, names: list[str]) -> Mapping[str, Future[Any]]:
    wanted = TopicCollection(names)
    return dict(admin.describe_topics(wanted, include_authorized_operations=True, request_timeout=_TIMEOUT_S))


def _of_group(admin: AdminClient, name: str) -> Mapping[str, Future[Any]]:
    return dict(admin.describe_consumer_groups([name], include_authorized_operations=True, request_timeout=_TIMEOUT_S))
