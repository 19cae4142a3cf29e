"""What one invocation of a command works with: settings, Kafka, who is asking, and where answers go."""

from __future__ import annotations

import getpass
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from unicodedata import category

import click

if TYPE_CHECKING:
    import asyncio

    from streams.kafka import KafkaClient
    from streams.serde.registry import SchemaRegistry
    from streams.settings import Settings
    from streams.topics import Topics

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # Unicode categories of control, direction and line end
_in_json = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]").sub  # JSON itself escapes the others

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@dataclass
class Invocation:
    """The global options, and what follows from them (each made when first asked for)."""

    config: str | None = None
    bootstrap: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @cached_property
    def environment(self) -> dict[str, str]:
        """The environment, with the options laid over it; child processes get it too."""
        env = dict(self.env)
        if self.config:
            env["STREAMS_CONFIG"] = self.config
        if self.bootstrap:
            env["STREAMS_KAFKA_BOOTSTRAP"] = self.bootstrap
        return env

    @cached_property
    def settings(self) -> Settings:
        """Raises SettingsError, which becomes exit code 2."""
        from streams.settings import load_settings

        return load_settings(self.config, self.environment)

    @cached_property
    def kafka(self) -> KafkaClient:
        """Raises KafkaUnavailable at the first use."""
        from streams.kafka import KafkaClient
        from streams.settings import librdkafka_options

        return KafkaClient(self.settings.kafka.bootstrap, librdkafka_options(self.settings.kafka))

    def enter(self, process: str) -> None:
        """A clear sentence before a process starts: raises KafkaUnavailable, or NotAllowed where it lacks a right."""
        from streams.permissions import require

        require(self.settings, process, self.kafka)

    @cached_property
    def topics(self) -> Topics:
        """Names under the configured prefix."""
        from streams.topics import Topics

        return Topics(self.settings.kafka.prefix, self.settings.kafka.ledger_days)

    @cached_property
    def registry(self) -> SchemaRegistry | None:
        """The schema registry, where one is configured."""
        kafka = self.settings.kafka
        if not kafka.schema_registry:
            return None
        import httpx

        from streams.serde.registry import SchemaRegistry

        secret = kafka.schema_registry_password
        auth = (kafka.schema_registry_user, secret.reveal() if secret else "") if kafka.schema_registry_user else None
        return SchemaRegistry(httpx.AsyncClient(base_url=kafka.schema_registry, auth=auth, timeout=10.0))

    def fetch_schema(self, schema_id: int) -> None:
        """Ask the registry for a schema; raises RegistryUnavailable. Without a registry nothing happens."""
        if self.registry is not None:
            self._loop.run_until_complete(self.registry.fetch(schema_id))

    @cached_property
    def _loop(self) -> asyncio.AbstractEventLoop:
        import asyncio

        return asyncio.new_event_loop()

    @property
    def address_secret(self) -> bytes:
        """What keys the hash of addresses; empty without one."""
        secret = self.settings.kafka.address_secret
        return secret.reveal().encode() if secret else b""

    @cached_property
    def actor(self) -> str:
        """Who is asking, for the audit log."""
        try:
            return f"cli:{getpass.getuser()}"
        except (OSError, KeyError):
            return "cli"


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def printable(text: str, *, lines: bool = True) -> str:
    """A text for a terminal: what it would obey rather than show becomes ``�`` (bounce texts are written by strangers).

    ``lines`` keeps line ends and tabs.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if category(c) not in _OBEYED or c in kept else "\ufffd" for c in text)


def say(text: str) -> None:
    """A remark for a person."""
    click.echo(printable(text), err=True)


def print_json(value: Any) -> None:
    """One JSON value, one line; bytes as base64."""
    sys.stdout.write(as_json(value) + "\n")


def as_json(value: Any) -> str:
    """One line of JSON."""
    import msgspec

    text = msgspec.json.encode(value).decode()
    return text if text.isascii() else _in_json(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """A table for a person; `empty` says what no row means."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(Text(printable(cell, lines=False)) for cell in row))
        count += 1
    if not count:
        say(empty)
        return
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    console = Console(highlight=False, width=200)
    with console.capture() as lines:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in lines.get().splitlines()))


def clock_text(at_ms: int) -> str:
    """A time for a person, in the local zone; empty for none."""
    if not at_ms:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000)) + f".{at_ms % 1000:03d}"
