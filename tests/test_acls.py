"""The table of rights: complete, no more than needed, and the same in the document and in what the command prints."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest

from streams.acls import CLUSTER, PROCESSES, Kind, Operation, Right, rights
from streams.app import create_app
from streams.configured import changelog_specs, topic_specs, topics_of
from streams.settings import Settings, load_settings
from streams.topics import AUDIT_LOG, CLOCK
from tests.cli.conftest import Streams, run_streams

__all__ = ["run_streams"]

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "kafka-security.md"
FULL = """
[kafka]
bootstrap = "localhost:9092"
[providers.mailgun]
type = "mailgun"
domain = "mg.example.com"
api_key = "env:KEY"
[providers.ses]
type = "ses"
region = "eu-west-1"
[providers.directmail]
type = "directmail"
region = "cn-hangzhou"
access_key_id = "env:KEY"
access_key_secret = "env:KEY"
[alerts]
from = "alerts@example.com"
[tracking]
public_url = "https://t.example.com"
secrets = ["env:KEY"]
[suppression]
sync = ["mailgun"]
[mailboxes.bounces]
host = "imap.example.com"
user = "bounces"
password = "env:KEY"
[tenants.shop]
events_topic = "events.shop"
[doors.shop]
topic = "send-requests.shop"
tenants = ["shop"]
"""
ENV = {"KEY": "k" * 16}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """With everything that leads to a topic."""
    return settings_of(tmp_path_factory.mktemp("acls"))


def settings_of(folder: Path, more: str = "", prefix: str = "") -> Settings:
    path = folder / "streams.toml"
    path.write_text(FULL.replace("[kafka]", f'[kafka]\nprefix = "{prefix}"') + more)
    return load_settings(path, ENV)


def who(found: Mapping[str, tuple[Right, ...]], operation: Operation) -> dict[str, set[str]]:
    """By topic, who may do that with it."""
    by: dict[str, set[str]] = {}
    for process, needed in found.items():
        for right in needed:
            if right.kind is Kind.TOPIC and right.operation is operation:
                by.setdefault(right.name, set()).add(process)
    return by


def test_every_topic_is_written_and_read_by_somebody_and_looked_for_by_who_creates_it(settings: Settings) -> None:
    found = rights(settings)
    everything = {spec.name for spec in (*topic_specs(settings), *changelog_specs(settings))}
    assert everything <= who(found, Operation.WRITE).keys()
    read_by_others = {AUDIT_LOG, CLOCK}  # by people with tools of their own; by nobody
    assert everything - read_by_others <= who(found, Operation.READ).keys()
    assert {name for name, by in who(found, Operation.CREATE).items() if by == {"topics"}} >= everything


def test_nobody_but_the_worker_writes_what_is_its_own_and_nobody_but_the_operator_gives_orders(
    settings: Settings,
) -> None:
    writes = who(rights(settings), Operation.WRITE)
    alone = ["delivery-events", "dead-letters", "contents", "lookups", "provider-outcomes", "breakers", "events.shop"]
    assert {name: writes[name] for name in alone} == {name: {"worker"} for name in alone}
    assert {by for spec in changelog_specs(settings) for by in writes[spec.name]} == {"worker"}
    assert writes["controls"] == writes["receipts"] == writes["outbound"] == {"worker", "operator"}
    assert writes["tenants"] == writes["templates"] == {"operator"}
    assert writes["send-requests.shop"] == {"sender.shop"}
    assert writes["send-requests"] == {"sender", "worker"}  # the worker asks for alerts
    assert writes["webhooks.bounces"] == {"poll"}
    assert writes["webhooks.tracking"] == {"ingress"}


def test_what_is_not_configured_needs_no_right(tmp_path: Path) -> None:
    path = tmp_path / "streams.toml"
    path.write_text('[kafka]\nbootstrap = "localhost:9092"\n[providers.smtp]\ntype = "smtp"\nhost = "mx.example.com"\n')
    found = rights(load_settings(path, ENV))
    writes = who(found, Operation.WRITE)
    assert "send-requests" in writes and writes["send-requests"] == {"sender"}
    assert not [name for name in writes if name.startswith("webhooks.")]
    assert "alerts" not in writes
    assert found["poll"] == ()
    assert writes["suppression-rules"] == {"operator"}


def test_only_the_doctor_looks_at_the_cluster_and_only_readers_choose_their_groups(settings: Settings) -> None:
    found = rights(settings)
    cluster = {name for name, needed in found.items() for right in needed if right.kind is Kind.CLUSTER}
    assert cluster == {"doctor"}
    assert {name for name, needed in found.items() for right in needed if right.prefixed} == {"reader"}
    assert Right(Kind.CLUSTER, CLUSTER, Operation.DESCRIBE_CONFIGS) in found["doctor"]


def test_every_name_carries_the_prefix_but_the_groups_that_are_named_otherwise(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, prefix="prod.")
    names = {right.name for needed in rights(settings).values() for right in needed if right.kind is Kind.TOPIC}
    assert all(name.startswith("prod.") for name in names)


def test_describe_stands_alone(settings: Settings) -> None:
    for needed in rights(settings).values():
        more = {(r.kind, r.name) for r in needed if r.operation in (Operation.READ, Operation.WRITE)}
        assert not [r for r in needed if r.operation is Operation.DESCRIBE and (r.kind, r.name) in more]


def test_what_topics_create_makes_is_what_the_engine_would_make(settings: Settings) -> None:
    app = create_app(settings, ENV)
    ours = {
        spec.name: (spec.partitions, spec.replication_factor, dict(spec.config)) for spec in changelog_specs(settings)
    }
    engine = {
        spec.name: (spec.partitions, spec.replication_factor, dict(spec.config)) for spec in app.changelog_specs()
    }
    assert ours == engine
    assert topics_of(settings).doors == ("send-requests.shop",)


def table(settings: Settings) -> str:
    """As it stands in the document: who may do what with which names."""
    lines = ["| process | operation | on |", "|---|---|---|"]
    for process, needed in rights(settings).items():
        by: dict[tuple[Kind, str], list[str]] = {}
        for right in needed:
            by.setdefault((right.kind, right.name + ("*" if right.prefixed else "")), []).append(right.operation)
        alike: dict[tuple[Kind, tuple[str, ...]], list[str]] = {}
        for (kind, name), operations in by.items():
            alike.setdefault((kind, tuple(operations)), []).append(name)
        for (kind, operations), names in alike.items():
            listed = ", ".join(f"`{name}`" for name in names)
            what = {Kind.CLUSTER: "the cluster", Kind.GROUP: f"group {listed}"}.get(kind, listed)
            lines.append(f"| {process} | {', '.join(operations)} | {what} |")
    return "\n".join(lines)


def test_the_document_has_this_very_table(settings: Settings) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert table(settings) in text, f"put this into {PAGE.name}:\n{table(settings)}"
    for process, meaning in PROCESSES.items():
        assert f"| `{process}` | {meaning} |" in text


# ------------------------------------------------------------------------------------------------ the command


def test_the_command_prints_what_kafkas_own_tool_takes(
    run_streams: Streams, tmp_path: Path, settings: Settings
) -> None:
    settings_of(tmp_path)
    ran = run_streams(
        "topics", "acls", "--commands", "--only", "reader", "--only", "sender.shop",
        "--principal", "reader=User:CN=it's ours", env=ENV,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    parsed = [shlex.split(line) for line in ran.out.splitlines()]
    assert {tuple(one[:6]) for one in parsed} == {
        ("kafka-acls.sh", "--bootstrap-server", "localhost:9092", "--command-config", "admin.properties", "--add")
    }
    assert [one[6:] for one in parsed] == [
        ["--allow-principal", "User:CN=it's ours", "--resource-pattern-type", "prefixed", "--operation", "Read",
         "--group", "readers."],
        ["--allow-principal", "User:CN=it's ours", "--operation", "Describe", "--group", "streams-cli"],
        ["--allow-principal", "User:CN=it's ours", "--operation", "Read", "--topic", "delivery-events"],
        ["--allow-principal", "User:sender.shop", "--operation", "Write", "--topic", "send-requests.shop"],
    ]  # fmt: skip


def test_the_command_gives_the_same_as_json_and_as_a_table(run_streams: Streams, tmp_path: Path) -> None:
    settings_of(tmp_path)
    rows = run_streams("topics", "acls", "--json", env=ENV).json
    assert {row["process"] for row in rows} == {*PROCESSES, "sender.shop"}
    assert {"process": "reader", "principal": "User:reader", "kind": "group", "name": "readers.", "pattern": "prefixed",
            "operation": "Read"} in rows  # fmt: skip
    shown = run_streams("topics", "acls", env=ENV).out
    assert len(shown.splitlines()) == len(rows) + 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["--only", "werker"], "there is no process werker; known are worker,", id="unknown process"),
        pytest.param(["--principal", "werker=User:a"], "there is no process werker", id="unknown in a principal"),
        pytest.param(["--principal", "worker=a"], "must be PROCESS=TYPE:NAME", id="no principal"),
        pytest.param(["--check"], "--check needs one --only PROCESS", id="check whom"),
    ],
)
def test_wrong_usage_is_one_line(run_streams: Streams, tmp_path: Path, arguments: list[str], complaint: str) -> None:
    settings_of(tmp_path)
    ran = run_streams("topics", "acls", *arguments, env=ENV)
    assert ran.code == 2
    assert complaint in ran.complaint
