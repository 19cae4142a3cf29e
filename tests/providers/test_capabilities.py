"""The readme's table of providers: every cell names a test that exists, and agrees with what the adapters are.

A cell is a link to a file, with the test's name as its title. A dash means that the adapter has no such thing: that is
decided here, by the protocols and attributes of ``streams.providers.base`` and by what the adapters' ``Config`` can say.
"""

from __future__ import annotations

import ast
import base64
import email
import email.policy
import json
import re
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from functools import cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import pytest

from streams.accounts import Accounts
from streams.adapters import build_adapters
from streams.agents.configuration import tenants
from streams.core.accounts import account_of
from streams.core.message import Attachment, Mailbox
from streams.core.tenant import Tenant
from streams.providers import registry
from streams.providers.base import (
    Batch,
    ChecksItself,
    Dialogue,
    Entry,
    ListName,
    Provider,
    Refuses,
    Resends,
    Slot,
    SyncsSuppressions,
    TellsEvents,
    TellsQuota,
    webhook_answers_of,
)
from streams.providers.directmail import DirectMail
from streams.providers.mailgun import Mailgun
from streams.providers.ses import Ses
from streams.providers.smtp import Smtp
from streams.providers.smtp.message import envelope_of
from streams.settings import Settings, load_settings
from tests.agents.fake_engine import FakeReader

ROOT = Path(__file__).parents[2]
NOW = 1_767_225_600_000
ID = "abcdefghijklmnopqrst-uvwxyzabcdefghijklma"
CONFIG = """
[kafka]
bootstrap = "localhost:1"

[dispatch]
tenant_secrets = ["env:TENANT_"]

[providers.mailgun]
type = "mailgun"
domain = "mg.example.com"
api_key = "env:SECRET"

[providers.ses]
type = "ses"
region = "eu-west-1"
access_key_id = "env:SECRET"
secret_access_key = "env:SECRET"

[providers.directmail]
type = "directmail"
region = "eu-central-1"
access_key_id = "env:SECRET"
access_key_secret = "env:SECRET"

[providers.smtp]
type = "smtp"
host = "mail.example.com"
username = "main"
password = "env:SECRET"
"""
ENV = {"SECRET": "the deployment's own", "TENANT_ACME": "the tenant's own"}
OWN_SETTINGS: Mapping[str, dict[str, str]] = {
    "mailgun": {"domain": "mail.acme.example", "api_key": "env:TENANT_ACME"},
    "ses": {"access_key_id": "env:TENANT_ACME", "secret_access_key": "env:TENANT_ACME"},
    "directmail": {"access_key_id": "env:TENANT_ACME", "access_key_secret": "env:TENANT_ACME"},
    "smtp": {"username": "acme", "password": "env:TENANT_ACME"},
}
SECRET_OF: Mapping[str, str] = {
    "mailgun": "api_key",
    "ses": "secret_access_key",
    "directmail": "access_key_secret",
    "smtp": "password",
}
COLUMNS: Mapping[str, str] = {"Mailgun": "mailgun", "Amazon SES": "ses", "DirectMail": "directmail", "SMTP": "smtp"}


def mail(**parts: Any) -> Batch:
    entry = Entry(ID, 1, Mailbox("ann@example.net"), {"name": "Ann"})
    return Batch(Mailbox("shop@mg.example.com"), (entry,), **{"subject": ("Hi",), "text": ("Hello",), **parts})


def carries(adapter: Provider, batch: Batch) -> bool:
    return not isinstance(adapter, Refuses) or adapter.refusal(batch) is None


def option(adapter: Provider, name: str) -> bool:
    return name in getattr(registry.load(adapter.type).Config, "__dataclass_fields__", {})


FILE = Attachment("a.txt", "text/plain", b"a")

CAPABILITIES: Mapping[str, Callable[[Provider], object]] = {
    "Recipients per call": lambda adapter: adapter.limits.max_recipients,
    "Files and inline images": lambda adapter: carries(adapter, mail(attachments=(FILE,))),
    "A finished mail, as it is": lambda adapter: carries(adapter, mail(mime=b"From: a@example.com\r\n\r\nx")),
    "Kept there until `send_at`": lambda adapter: option(adapter, "schedule_ahead_s"),
    "Test mode there": lambda adapter: option(adapter, "test_mode"),
    "Regions": lambda adapter: option(adapter, "region"),
    "Webhooks": lambda adapter: webhook_answers_of(adapter) is not None,
    "Events from a queue": lambda adapter: option(adapter, "sqs_queue_url") or option(adapter, "mns_queue"),
    "Return path that names the attempt": lambda adapter: option(adapter, "return_path"),
    "Lost webhooks made up for": lambda adapter: isinstance(adapter, TellsEvents),
    "Can be asked about a doubtful send": lambda adapter: adapter.can_find,
    "Its suppression lists, both ways": lambda adapter: isinstance(adapter, SyncsSuppressions),
    "Its quota and standing obeyed": lambda adapter: isinstance(adapter, TellsQuota),
    "Sends a stored message again": lambda adapter: isinstance(adapter, Resends),
}
"""What a row's cells must say: a number as it is, a dash for what is not. Rows that are not here have no dash."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    file = tmp_path_factory.mktemp("capabilities") / "streams.toml"
    file.write_text(CONFIG)
    return load_settings(file, ENV)


@pytest.fixture(scope="module")
def adapters(settings: Settings) -> Mapping[str, Provider]:
    return build_adapters(settings, ENV)


# ---------------------------------------------------------------------------------------------- the table


def table() -> dict[str, dict[str, tuple[str, str, str]]]:
    """Row, provider type: text, file and test of the cell."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    start = text.index("| | Mailgun |")
    lines = text[start:].split("\n\n")[0].splitlines()
    heads = [cell.strip() for cell in lines[0].strip("|").split("|")][1:]
    rows: dict[str, dict[str, tuple[str, str, str]]] = {}
    for line in lines[2:]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[name] = {}
        for head, cell in zip(heads, cells, strict=True):
            found = re.fullmatch(r'\[(.+?)\]\((\S+) "(\S+)"\)', cell)
            assert found, f"{name}, {head}: {cell}"
            rows[name][COLUMNS[head]] = (found[1], found[2], found[3])
    return rows


@cache
def names_in(file: str) -> frozenset[str]:
    """Functions of the file, those of classes as ``Class::function``."""
    names: set[str] = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inner = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}::{one.name}" for one in inner}
    return frozenset(names)


def test_every_provider_has_a_column() -> None:
    assert set(COLUMNS.values()) == set(registry.types())
    assert {kind for row in table().values() for kind in row} == set(registry.types())


def test_every_cell_names_a_test_that_exists() -> None:
    for row, cells in table().items():
        for kind, (_, file, test) in cells.items():
            assert file.startswith("tests/") and test.rpartition("::")[2].startswith("test_"), f"{row}, {kind}"
            assert test in names_in(file), f"{row}, {kind}: {file} has no {test}"


def test_every_capability_has_a_row_and_every_row_without_one_has_no_dash() -> None:
    rows = table()
    assert set(CAPABILITIES) <= set(rows)
    assert [row for row in rows if row not in CAPABILITIES and any(c[0] == "–" for c in rows[row].values())] == []


def test_a_dash_means_that_the_adapter_cannot(adapters: Mapping[str, Provider]) -> None:
    rows = table()
    for row, capability in CAPABILITIES.items():
        for kind, adapter in adapters.items():
            said, found = rows[row][kind][0], capability(adapter)
            if isinstance(found, bool):
                assert (said != "–") is found, f"{row}, {kind}: the table says {said}, the adapter {found}"
            else:
                assert said == str(found), f"{row}, {kind}: the table says {said}, the adapter {found}"


def test_what_the_table_does_not_tell_is_for_adapters_elsewhere(adapters: Mapping[str, Provider]) -> None:
    """A protocol that one of ours takes up wants a row."""
    assert not any(isinstance(adapter, ChecksItself) for adapter in adapters.values())
    assert [kind for kind, adapter in adapters.items() if isinstance(adapter, Dialogue)] == ["smtp"]


def test_which_lists_are_kept_alike(adapters: Mapping[str, Provider]) -> None:
    lists = {kind: set(one.reads_lists) for kind, one in adapters.items() if isinstance(one, SyncsSuppressions)}
    assert lists == {"mailgun": set(ListName), "ses": {ListName.BOUNCE, ListName.COMPLAINT}}


# ---------------------------------------------------------------------------------------------- what all of them can


@pytest.mark.parametrize("kind", sorted(OWN_SETTINGS))
def test_a_tenant_sends_with_credentials_of_its_own(
    settings: Settings, adapters: Mapping[str, Provider], kind: str
) -> None:
    tenant = Tenant("acme", account_settings={kind: OWN_SETTINGS[kind]})
    opened = Accounts(settings, tenants(FakeReader(), {}), ENV).open(account_of(tenant, kind), NOW)
    assert opened.reason is None
    assert opened.adapter is not None and opened.adapter.name == kind
    secret = SECRET_OF[kind]
    assert getattr(cast(Any, opened.adapter).config, secret) == "the tenant's own"
    assert getattr(cast(Any, adapters[kind]).config, secret) == "the deployment's own"


@pytest.mark.parametrize("kind", sorted(OWN_SETTINGS))
def test_our_own_pixel_link_and_one_click_header_are_carried(adapters: Mapping[str, Provider], kind: str) -> None:
    links = "https://t.example.com/t"
    html, headers = handed_over(
        adapters[kind],
        mail(
            html=(f'<a href="{links}/c/', Slot("name"), f'">x</a><img src="{links}/o/', Slot("name"), '">'),
            headers=(
                ("List-Unsubscribe", f"<{links}/u/Ann>"),
                ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ),
            track_opens=False,
            track_clicks=False,
        ),
    )
    assert html.strip() == f'<a href="{links}/c/Ann">x</a><img src="{links}/o/Ann">'
    assert headers["list-unsubscribe"] == f"<{links}/u/Ann>"
    assert headers["list-unsubscribe-post"] == "List-Unsubscribe=One-Click"


def handed_over(adapter: Provider, batch: Batch) -> tuple[str, dict[str, str]]:
    """HTML and headers (names in lower case) of a batch of one, as the provider gets them."""
    if isinstance(adapter, Smtp):
        envelope = envelope_of(adapter.config, batch, batch.entries[0], NOW)
        return _mime(cast(Any, envelope).content)
    body = adapter.build_request(batch, NOW).body
    if isinstance(adapter, Ses):
        return _mime(base64.b64decode(json.loads(body)["Content"]["Raw"]["Data"]))
    form = {name: values[0] for name, values in parse_qs(body.decode(), strict_parsing=True).items()}
    if isinstance(adapter, Mailgun):
        return form["html"], {name[2:].lower(): value for name, value in form.items() if name.startswith("h:")}
    assert isinstance(adapter, DirectMail)
    return form["HtmlBody"], {name.lower(): value for name, value in json.loads(form["Headers"]).items()}


def _mime(content: bytes) -> tuple[str, dict[str, str]]:
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    html = message.get_body(("html",))
    assert html is not None
    return html.get_content(), {name.lower(): str(value) for name, value in message.items()}
