"""Tenants: whether their records can be obeyed, and their references lead to secrets from here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from streams.accounts import Accounts, faults
from streams.agents.configuration import tenants
from streams.configured import alert_fault, configured_tenants, topics_of
from streams.core.accounts import account_of, has_accounts
from streams.core.tenant import Tenant
from streams.doctor.finding import Finding, bad, good
from streams.kafka import KafkaClient, KafkaUnavailable, TopicMissing
from streams.settings import Settings, SettingsError, librdkafka_options
from streams.topics import TENANTS, events_topic_fault

_MOST = 20


class _Rows:
    """The topic as it stands."""

    def __init__(self, rows: Mapping[bytes, bytes]) -> None:
        self._rows = rows

    def get(self, key: bytes, /) -> bytes | None:
        return self._rows.get(key)

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return self._rows.items()

    async def caught_up(self) -> None:
        """It is read already."""


def check_tenants(settings: Settings, env: Mapping[str, str] | None = None) -> list[Finding]:
    """Blocking. Nothing if Kafka or the topic cannot be read: others tell of that."""
    try:
        with KafkaClient(settings.kafka.bootstrap, librdkafka_options(settings.kafka)) as kafka:
            rows = kafka.table(topics_of(settings).name(TENANTS))
            there = kafka.topics()
    except (KafkaUnavailable, TopicMissing, SettingsError):
        return []
    known = tenants(_Rows(rows), configured_tenants(settings))
    names = dict.fromkeys((*known.fallback, *(key.decode("utf-8", "replace") for key in rows)))
    if not names:
        return []
    accounts = Accounts(settings, known, env)
    found = list(islice((*_wrong(settings, accounts, names), *_topics(settings, accounts, names, there)), _MOST + 1))
    if found:
        more = [bad("tenants", "there are more of this kind", "correct these first")] if len(found) > _MOST else []
        return [*found[:_MOST], *more]
    own = sum(1 for name in names if (tenant := accounts.tenant(name)) is not None and has_accounts(tenant))
    return [good("tenants", f"{len(names)} known, {own} with accounts of their own, every reference leads to a secret")]


def _wrong(settings: Settings, accounts: Accounts, names: Iterable[str]) -> Iterator[Finding]:
    for name in names:
        tenant = accounts.tenant(name)
        if tenant is None:
            yield bad(f"tenant {name}", "its record cannot be read", f"store it anew: streams tenants put {name}")
            continue
        if fault := alert_fault(settings, tenant):
            yield bad(f"tenant {name}", fault, "set [alerts] from, or correct the address: streams tenants put")
        problems = list(faults(settings, tenant)) or list(_closed(accounts, tenant))
        for problem in problems:
            advice = "its messages are held until this is corrected: streams tenants put, or provide the secret"
            yield bad(f"tenant {name}", problem, advice)


def _topics(
    settings: Settings, accounts: Accounts, names: Iterable[str], there: Mapping[str, int]
) -> Iterator[Finding]:
    """Topics that are to get copies of a tenant's events."""
    wanted = settings.kafka.partitions
    for name in names:
        tenant = accounts.tenant(name)
        if tenant is None or not tenant.events_topic:
            continue
        topic = topics_of(settings).name(tenant.events_topic)
        advice = "name another: streams tenants put, or [tenants.NAME] events_topic"
        if fault := events_topic_fault(tenant.events_topic):
            yield bad(f"tenant {name}", f"events_topic {tenant.events_topic!r} {fault}", advice)
        elif topic not in there:
            yield bad(f"tenant {name}", f"its topic {topic} does not exist", "run `streams topics create`")
        elif there[topic] != wanted:
            yield bad(f"tenant {name}", f"its topic {topic} has {there[topic]} partitions, needs {wanted}", advice)


def _closed(accounts: Accounts, tenant: Tenant) -> Iterator[str]:
    for provider in dict.fromkeys((*tenant.accounts, *tenant.account_settings)):
        opened = accounts.open(account_of(tenant, provider), 0)
        if opened.reason is not None:
            yield opened.reason.detail
