"""What spans sections: names that must exist elsewhere, values that exclude each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from email.utils import parseaddr
from ipaddress import ip_network
from urllib.parse import urlsplit

from streams.core.address import address_fault
from streams.core.alerts import ALERTS_TENANT
from streams.core.message import Stream
from streams.core.request_fields import is_name
from streams.settings.doors import MAX_DOORS
from streams.settings.kafka import Profile
from streams.settings.mailbox import MAX_MAILBOXES, After
from streams.settings.model import Settings
from streams.settings.read import suggestion
from streams.settings.secret import SettingsError, is_reference
from streams.topics import SEND_REQUESTS, SEND_REQUESTS_BULK, door_topic_fault, events_topic_fault

_BOOTSTRAP = re.compile(r"(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_LINK_BASE = re.compile(  # plain http for a machine's own tests alone: RFC 8058 wants https
    r"(?:https://[A-Za-z0-9.\-]+|http://(?:localhost|127\.0\.0\.1))(?::\d{1,5})?(?:/[A-Za-z0-9._~\-]+)*/?"
)
_ADDRESS = re.compile(r"[^@\s<>]+@[^@\s<>]+")


def check(settings: Settings, source: str) -> None:
    """Raise SettingsError for the first thing that does not fit together."""
    for where, problem in _problems(settings):
        raise SettingsError(f"{source}: {where} {problem}")


def _problems(settings: Settings) -> Iterator[tuple[str, str]]:
    yield from _kafka(settings)
    yield from _providers(settings)
    yield from _routing(settings)
    yield from _tenants(settings)
    yield from _doors(settings)
    yield from _mailboxes(settings)
    yield from _retries(settings)
    yield from _limits(settings)
    yield from _addresses(settings)
    yield from _urls(settings)


def _kafka(settings: Settings) -> Iterator[tuple[str, str]]:
    kafka = settings.kafka
    for broker in kafka.bootstrap.split(","):
        if not _BOOTSTRAP.fullmatch(broker.strip()):
            yield "[kafka] bootstrap", f"must be host:port, separated by commas; found {broker.strip()!r}"
    if kafka.min_insync_replicas > kafka.replication_factor:
        yield "[kafka] min_insync_replicas", f"must not exceed replication_factor ({kafka.replication_factor})"
    if kafka.security_protocol.startswith("SASL"):
        if not kafka.sasl_username:
            yield "[kafka] sasl_username", f"is missing; {kafka.security_protocol} needs it"
        if kafka.sasl_password is None:
            yield "[kafka] sasl_password", f"is missing; {kafka.security_protocol} needs it"
    for name in kafka.librdkafka:
        if any(word in name for word in ("password", "secret", "token", "oauthbearer.config")):
            yield f"[kafka.librdkafka] {name}", "is a secret: use the keys of [kafka], which take references"
    if kafka.address_secret is not None and len(kafka.address_secret.reveal().encode()) > 64:
        yield "[kafka] address_secret", "must not be longer than 64 bytes"
    if kafka.profile is Profile.EMBEDDED and kafka.replication_factor != 1:
        yield "[kafka] replication_factor", "must be 1 with the embedded broker"


def _limits(settings: Settings) -> Iterator[tuple[str, str]]:
    for stream in settings.limits.recipient_streams:
        if stream not in set(Stream):
            yield "[limits] recipient_streams", f"may hold transactional and bulk; found {stream!r}"
    for provider in settings.providers.values():
        where = f"[providers.{provider.name}]"
        if provider.warm_up_start and warm_up_day(provider.warm_up_start) is None:
            yield f"{where} warm_up_start", f"must be a day such as 2026-11-01, not {provider.warm_up_start!r}"
        overflow = provider.warm_up_overflow
        if overflow and (overflow not in settings.providers or overflow == provider.name):
            close = suggestion(overflow, settings.providers)
            yield f"{where} warm_up_overflow", f"names {overflow}, which is not another provider{close}"
    for prefix in settings.dispatch.tenant_secrets:
        if not is_reference(prefix):
            yield "[dispatch] tenant_secrets", f"must hold beginnings of references; found {prefix!r}"


def warm_up_day(text: str) -> int | None:
    """The day that ``warm_up_start`` names, counted from 1970-01-01; None if it is none."""
    try:
        return (date.fromisoformat(text) - date(1970, 1, 1)).days
    except ValueError:
        return None


def _providers(settings: Settings) -> Iterator[tuple[str, str]]:
    types = {_short(provider.type): provider.type for provider in settings.providers.values()}
    for provider in settings.providers.values():
        if provider.name in types and provider.name != _short(provider.type):
            yield f"[providers.{provider.name}]", f"is of type {provider.type}: do not name it after another type"
        other = types[_short(provider.type)]
        if other != provider.type:
            yield f"[providers.{provider.name}] type", f"{provider.type} would share its topic with {other}: rename one"


def _short(type_: str) -> str:
    """What remains of a dotted name in topics and paths (see :mod:`streams.providers.registry`)."""
    return type_.rpartition(".")[2]


def _routing(settings: Settings) -> Iterator[tuple[str, str]]:
    known = settings.providers
    for name in settings.routing.default:
        if name not in known:
            yield "[routing] default", f"names the provider {name}, which is not configured{suggestion(name, known)}"
    for number, rule in enumerate(settings.routing.rules, 1):
        where = f"[[routing.rules]] number {number}:"
        if not rule.providers:
            yield where, "providers is empty"
        for name in rule.providers:
            if name not in known:
                yield where, f"providers names {name}, which is not configured{suggestion(name, known)}"
        for name, weight in rule.weights.items():
            if name not in rule.providers:
                yield where, f"weights names {name}, which is not one of its providers"
            if weight < 0:
                yield where, f"the weight of {name} must not be negative"
        if rule.weights and not sum(rule.weights.values()):
            yield where, "the weights add up to nothing"
        if rule.stream and rule.stream not in set(Stream):
            yield where, f"stream must be transactional or bulk, not {rule.stream!r}"


def _tenants(settings: Settings) -> Iterator[tuple[str, str]]:
    for tenant in settings.tenants.values():
        where = f"[tenants.{tenant.name}]"
        if tenant.retry and tenant.retry not in settings.retry:
            close = suggestion(tenant.retry, settings.retry)
            yield f"{where} retry", f"names {tenant.retry}, which does not exist{close}"
        if tenant.events_topic and (fault := events_topic_fault(tenant.events_topic)):
            yield f"{where} events_topic", f"{fault}: {tenant.events_topic!r}"
        for provider, account in tenant.accounts.items():
            if provider not in settings.providers:
                yield f"{where} accounts", f"names the provider {provider}, which is not configured"
            elif account not in settings.providers[provider].accounts:
                close = suggestion(account, settings.providers[provider].accounts)
                yield f"{where} accounts", f"names {provider}'s account {account}, which is not configured{close}"


def _doors(settings: Settings) -> Iterator[tuple[str, str]]:
    if len(settings.doors) > MAX_DOORS:
        yield "[doors]", f"has {len(settings.doors)} entries; at most {MAX_DOORS} are supported"
    taken: dict[str, str] = {}
    for door in settings.doors.values():
        where = f"[doors.{door.name}]"
        if fault := door_topic_fault(door.topic):
            yield f"{where} topic", fault
        if (other := taken.setdefault(door.topic, door.name)) != door.name:
            yield f"{where} topic", f"is that of [doors.{other}]: name all tenants there"
        if not door.tenants:
            yield f"{where} tenants", "must name at least one tenant: nobody else is let in"
        for tenant in door.tenants:
            if not is_name(tenant):
                yield f"{where} tenants", f"holds {tenant!r}, which no tenant can be called"
        if door.bulk and door.topic in (SEND_REQUESTS, SEND_REQUESTS_BULK):
            yield f"{where} bulk", f"is for topics of your own; {door.topic} is what it is"
        if door.topic == SEND_REQUESTS and settings.alerts.sender and ALERTS_TENANT not in door.tenants:
            yield f"{where} tenants", f"must hold {ALERTS_TENANT}: alerts are mails too ([alerts] from)"


def _mailboxes(settings: Settings) -> Iterator[tuple[str, str]]:
    if len(settings.mailboxes) > MAX_MAILBOXES:
        yield "[mailboxes]", f"has {len(settings.mailboxes)} entries; at most {MAX_MAILBOXES} are supported"
    for box in settings.mailboxes.values():
        where = f"[mailboxes.{box.name}]"
        if box.name in settings.providers:
            yield where, "has the name of a provider: give it another"
        if box.provider and box.provider not in settings.providers:
            close = suggestion(box.provider, settings.providers)
            yield f"{where} provider", f"names {box.provider}, which is not configured{close}"
        if box.after is After.MOVE and box.move_to.strip() in ("", box.folder):
            yield f"{where} move_to", "must be another folder than the one that is read"


def _retries(settings: Settings) -> Iterator[tuple[str, str]]:
    name = settings.dispatch.retry
    if name not in settings.retry:
        yield "[dispatch] retry", f"names {name}, which does not exist{suggestion(name, settings.retry)}"
    if settings.breaker.max_open_s < settings.breaker.open_s:
        yield "[breaker] max_open_s", f"must not be less than open_s ({settings.breaker.open_s:g})"


def _addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    staging = settings.staging
    if staging.redirect and not _ADDRESS.fullmatch(staging.redirect):
        yield "[staging] redirect", f"must be one address, not {staging.redirect!r}"
    for entry in staging.allow:
        if not _ADDRESS.fullmatch(entry) and not re.fullmatch(r"@[^@\s<>]+", entry):
            yield "[staging] allow", f"must hold addresses and @domain entries; found {entry!r}"
    for tenant in settings.tenants.values():
        if tenant.alert and not _ADDRESS.fullmatch(tenant.alert):
            yield f"[tenants.{tenant.name}] alert", f"must be one address, not {tenant.alert!r}"
    yield from _alerts(settings)


def _alerts(settings: Settings) -> Iterator[tuple[str, str]]:
    alerts = settings.alerts
    if alerts.sender and address_fault(parseaddr(alerts.sender)[1]):
        yield "[alerts] from", f"must be one address, as address or Name <address>, not {alerts.sender!r}"
    if alerts.provider and alerts.provider not in settings.providers:
        close = suggestion(alerts.provider, settings.providers)
        yield "[alerts] provider", f"names the provider {alerts.provider}, which is not configured{close}"
    for tenant in settings.tenants.values():
        if tenant.alert and not alerts.sender:
            yield "[alerts] from", f"is missing: [tenants.{tenant.name}] alert asks for mails, which need a sender"


def _urls(settings: Settings) -> Iterator[tuple[str, str]]:
    urls = {
        "[kafka] schema_registry": settings.kafka.schema_registry,
        "[ingress] public_url": settings.ingress.public_url,
        "[tracking] public_url": settings.tracking.public_url,
    }
    for where, url in urls.items():
        parts = urlsplit(url)
        if "@" in parts.netloc:
            yield where, "must not hold a user or password; give schema_registry_user and schema_registry_password"
        elif url and (parts.scheme not in ("http", "https") or not parts.hostname):
            yield where, f"must be an http or https URL, not {url!r}"
    yield from _tracking(settings)


def _tracking(settings: Settings) -> Iterator[tuple[str, str]]:
    tracking = settings.tracking
    if "tracking" in settings.providers:
        yield "[providers.tracking]", "is the name of our own links: name the provider otherwise"
    if tracking.public_url and not tracking.secrets:
        yield "[tracking] secrets", "is missing; links cannot be signed without a key"
    if not tracking.public_url and (tracking.opens or tracking.clicks):
        yield "[tracking] public_url", "is missing; nothing can be counted without it"
    if tracking.public_url and not _LINK_BASE.fullmatch(tracking.public_url):
        yield "[tracking] public_url", f"must be plain https, without query or fragment, not {tracking.public_url!r}"
    for secret in tracking.secrets:
        if len(secret.reveal().encode()) < 16:
            yield "[tracking] secrets", f"{secret.reference} has less than 16 bytes"
    for name in tracking.providers:
        if name not in settings.providers:
            close = suggestion(name, settings.providers)
            yield "[tracking] providers", f"names the provider {name}, which is not configured{close}"
    for key in ("proxy_networks", "scanner_networks"):
        for network in getattr(tracking, key):
            try:
                ip_network(network)
            except ValueError as exc:
                yield f"[tracking] {key}", f"must hold networks like 192.0.2.0/24: {exc}"
