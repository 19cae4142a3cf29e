"""Every secret that can be configured, through processes that fail in every way: nothing of it is said anywhere.

Wrong passwords, servers that are away, silent, or speak no TLS; at DEBUG; in logs, topics, pages, and what commands say.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.broker import free_port
from streams.core.event import EventType
from streams.core.tenant import Tenant
from streams.kafka import KafkaClient, NewRecord
from streams.providers import registry
from streams.serde.configuration import encode_tenant
from streams.settings import Secret, Settings
from streams.settings.read import is_secret
from tests.fleet import SECRETS, Fleet
from tests.fleet.config import ROOT
from tests.security.cage import (
    ALONE,
    CANARIES,
    CONFIG,
    IS_NO_SECRET,
    KAFKA,
    NAMES,
    PREFIX,
    forms,
    plain_server,
    silent_server,
)
from tests.security.test_canaries import everything

pytestmark = pytest.mark.timeout(180)

# ---------------------------------------------------------------------------------------------- all of them


def secrets_of(kind: type[Any], section: str) -> Iterator[tuple[str, str]]:
    """(section, key) of every secret in a dataclass of settings, and of those within it."""
    hints = get_type_hints(kind)
    for item in fields(kind):
        hint = hints[item.name]
        inner = [hint, *get_args(hint), *(one for arg in get_args(hint) for one in get_args(arg))]
        if Secret in inner or (is_secret(item) and item.init):
            yield section, item.name
        for one in inner:
            if isinstance(one, type) and is_dataclass(one) and one is not Secret:
                yield from secrets_of(one, section or item.name)


def test_no_secret_of_any_section_is_forgotten() -> None:
    """What is configured above is all there is: a new secret has to be put into this cage first."""
    found = set(secrets_of(Settings, "")) | {
        (kind, name) for kind in registry.types() for _, name in secrets_of(registry.load(kind).Config, kind)
    }
    caged = {name.removeprefix("CANARY_") for name in NAMES}
    assert {f"{section}_{name}".upper() for section, name in found} <= caged
    assert len(found) >= 19


# ---------------------------------------------------------------------------------------------- a system in trouble


def request(number: int, provider: str, **changes: Any) -> dict[str, Any]:
    return {
        "idempotency_key": f"bird-{number}",
        "tenant": "acme",
        "stream": "transactional",
        "from": {"email": "shop@mg.example.com"},
        "recipients": [{"email": f"success+{number}@example.net"}],
        "subject": "Hi",
        "html": '<a href="https://shop.example/">Hello</a>',
        "provider": provider,
        **changes,
    }


def run(folder: Path, *arguments: str, timeout_s: float = 40, **environment: str) -> bytes:
    """What a command says, on both of its outputs; one that would stay is ended."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMS_")}
    env = {**clean, "PYTHONPATH": str(ROOT), "STREAMS_LOG": "DEBUG", **CANARIES, **environment}
    command = [sys.executable, "-m", "streams", *arguments]
    try:
        done = subprocess.run(
            command, env=env, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"") + (late.stderr or b"")
    return done.stdout + done.stderr


COMMANDS = (
    ("doctor",), ("poll", "--once"), ("events", "--json"), ("failures",), ("message", "success+1@example.net"),
    ("tenants", "list", "--json"), ("suppressions", "sync", "--dry-run"), ("topics", "check"),
    ("retry", "--all", "--yes"), ("worker", "--no-such-option"),
)  # fmt: skip


def say_all(folder: Path, commands: Sequence[tuple[str, ...]], **options: Any) -> dict[str, bytes]:
    """Two at a time: each takes seconds to begin with."""
    with ThreadPoolExecutor(2) as pool:
        said = pool.map(lambda command: run(folder, *command, **options), commands)
        return {f"command {' '.join(command)}": one for command, one in zip(commands, said, strict=True)}


@pytest.fixture(scope="module")
def traces(embedded_kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, bytes]]:
    folder: Path = tmp_path_factory.mktemp("cage")
    ports = {"smtps": free_port(), "starttls": free_port(), "imaps": free_port(), "closed": free_port()}
    options = ["--smtp-port", str(ports["smtps"]), "--starttls-port", str(ports["starttls"])]
    options += ["--imap-port", str(ports["imaps"])]
    with silent_server() as silent, plain_server() as plain:
        places = {**ports, "silent": silent, "plain": plain, "folder": folder}
        text = CONFIG.replace("{sandbox}", "SANDBOX").format(**places).replace("SANDBOX", "{sandbox}")
        environment = {**CANARIES, **ALONE, "STREAMS_LOG": "DEBUG"}
        with Fleet(
            folder, embedded_kafka, prefix=PREFIX, profile="embedded", sandbox=options, ses=text,
            environment=environment,
        ) as fleet:  # fmt: skip
            yield in_trouble(fleet, folder)


SENT = frozenset({EventType.SENT, EventType.DELIVERED})
RESULTS = {
    "refused": "auth", "silent": "timeout", "untrusted": "connect_error", "relay": "auth", "clear": "auth",
    "amazon": "accepted", "aliyun": "accepted", "mailgun": "accepted",
}  # fmt: skip
PROVIDERS = tuple(RESULTS)


def in_trouble(fleet: Fleet, folder: Path) -> dict[str, bytes]:
    own = {
        "relay": {"username": "acme", "password": "env:TENANT_CANARY_PASSWORD"},
        "mailgun": {"domain": "mg.acme.example", "api_key": "env:TENANT_CANARY_PASSWORD",
                    "signing_keys": "env:TENANT_CANARY_SIGNING"},
    }  # fmt: skip
    with KafkaClient(fleet.bootstrap) as kafka:
        tenant = encode_tenant(Tenant("bird", account_settings=own))
        kafka.send(NewRecord(f"{PREFIX}tenants", b"bird", tenant))
    fleet.start_worker("worker")
    fleet.until("the worker is ready", lambda: fleet.is_ready("worker"), 60)
    once: dict[str, Any] = {"retry_policy": "none"}
    fleet.produce([request(n, provider, **once) for n, provider in enumerate(PROVIDERS)])
    fleet.produce([request(n, "relay", tenant="bird", **once) for n in (50, 51)])
    fleet.produce([request(60, "mailgun", tenant="bird", **once), request(61, "mailgun")])
    for path in ("mailgun", "refused", "aliyun?secret=x", "mailgun/bird", "amazon", "nobody"):
        httpx.post(f"{fleet.ingress_url}/webhooks/{path}", content=b'{"signature": {}}')
    for kind in "ocu":
        httpx.get(f"{fleet.ingress_url}/t/{kind}/forged.token")

    def everybody_was_asked() -> bool:
        asked = [fleet.metric("worker", "streams_provider_attempts_total", provider=name) for name in PROVIDERS]
        return all(asked) and {"amazon", "aliyun"} <= {e.provider for e in fleet.seen.events if e.type in SENT}

    fleet.until("every provider was asked, and some took it", everybody_was_asked, 60)
    config = {"STREAMS_CONFIG": str(folder / "streams.toml"), **ALONE, **SECRETS}
    found = say_all(folder, COMMANDS, **config)
    for name in ("worker", "ingress"):
        found[f"page of {name}"] = b"".join(
            httpx.get(f"{fleet.url(name)}{path}").content for path in ("/metrics", "/health/ready", "/health/live", "/")
        )
    found |= {f"topic {name}": held for name, held in everything(fleet.bootstrap).items()}
    found |= {f"log {name}": (folder / f"{name}.log").read_bytes() for name in ("worker", "ingress")}
    return found


def test_the_system_was_in_the_trouble_that_it_was_to_be_in(traces: dict[str, bytes]) -> None:
    """Else nothing would be proven: each provider was asked, each command had something to say."""
    poll = traces["command poll --once"]
    for word in (b"amazon", b"aliyun", b"bounces"):
        assert word in poll, poll
    page = traces["page of worker"].decode().partition("\nok")[0]
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    counted = [one for one in samples if one.name == "streams_provider_attempts_total" and one.value]
    assert set(RESULTS.items()) <= {(one.labels["provider"], one.labels["outcome"]) for one in counted}, counted
    assert b" DEBUG " in traces["log worker"]
    for provider in PROVIDERS:
        assert provider.encode() in traces["command doctor"], traces["command doctor"]
    assert all(traces[place] for place in traces if place.startswith("command ")), traces


@pytest.mark.parametrize("name", [name for name in CANARIES if name not in IS_NO_SECRET])
def test_no_secret_is_said_anywhere_while_everything_fails(traces: dict[str, bytes], name: str) -> None:
    for form in forms(CANARIES[name]):
        found = {place: held.find(form) for place, held in traces.items() if form in held}
        assert {place: traces[place][max(0, at - 200) : at + 80] for place, at in found.items()} == {}


# ---------------------------------------------------------------------------------------------- Kafka


@pytest.mark.parametrize(
    ("trouble", "protocol", "mechanism"),
    [
        ("closed", "SASL_PLAINTEXT", "PLAIN"),
        ("silent", "SASL_PLAINTEXT", "SCRAM-SHA-512"),
        ("plain", "SASL_SSL", "PLAIN"),
    ],
)
def test_no_secret_of_kafka_is_said_while_it_cannot_be_reached(
    tmp_path: Path, trouble: str, protocol: str, mechanism: str
) -> None:
    with silent_server() as silent, plain_server() as plain:
        port = {"closed": free_port(), "silent": silent, "plain": plain}[trouble]
        environment = {
            **KAFKA, **ALONE,
            "STREAMS_KAFKA__BOOTSTRAP": f"127.0.0.1:{port}",
            "STREAMS_KAFKA__SECURITY_PROTOCOL": protocol,
            "STREAMS_KAFKA__SASL_MECHANISM": mechanism,
            "STREAMS_KAFKA__SCHEMA_REGISTRY": f"http://127.0.0.1:{port}",
            "STREAMS_WORKER__PORT": "0",
        }  # fmt: skip
        said = say_all(tmp_path, (("worker",), ("doctor",)), timeout_s=25, **environment)
    assert all(said.values()), said
    for name in NAMES:
        assert not any(form in one for form in forms(CANARIES[name]) for one in said.values()), name


@pytest.mark.parametrize(
    "set_up",
    [
        "from streams.cli.logs import log_to_stderr; log_to_stderr({'STREAMS_LOG': 'DEBUG'})",
        "logging.basicConfig(level='DEBUG')",
        "from mode.utils.logging import setup_logging; setup_logging(loglevel='debug')",
    ],
    ids=["our command", "a program of one's own", "faust worker -l debug"],
)
def test_at_debug_a_library_that_would_tell_the_password_is_quiet(set_up: str) -> None:
    """aiokafka's own words for a request to log in, through the log as it is set up; the one beside it is heard."""
    program = (
        "import logging\n"
        "from aiokafka.protocol.admin import SaslAuthenticateRequest_v0\n"
        f"{set_up}\n"
        "import streams.settings\n"
        "for name in ('aiokafka.conn', 'aiokafka.client'):\n"
        "    logging.getLogger(name).debug('Request: %s', SaslAuthenticateRequest_v0(b'us' + name.encode() + b'pw'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=30, check=True)
    assert b"usaiokafka.clientpw" in done.stderr
    assert b"usaiokafka.connpw" not in done.stderr
