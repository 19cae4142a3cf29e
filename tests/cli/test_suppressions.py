"""``streams suppressions`` on a broker: what it reads, what it orders, what it says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from streams.agents.suppression_view import read_rule
from streams.core.ids import partition_of, recipient_key
from streams.core.suppression import Suppression, SuppressionChange, SuppressionKind, fold
from streams.core.suppression_rules import SuppressionRule
from streams.kafka import KafkaClient, NewRecord
from streams.providers import mailgun
from streams.providers._http import HttpExchange
from streams.providers.base import Listed, ListName
from streams.serde.internal import packer, unpack
from streams.suppression_sync import changelog_topic
from tests.cli.conftest import Streams
from tests.rules.mail import sandbox

PARTITIONS = 4
K = SuppressionKind


class Broker:
    """The topics of one test, as a worker would read and write them."""

    def __init__(self, settings: dict[str, str]) -> None:
        from streams.settings import load_settings

        self.kafka = KafkaClient(settings["STREAMS_KAFKA_BOOTSTRAP"])
        self.prefix = settings["STREAMS_KAFKA_PREFIX"]
        self.changelog = changelog_topic(load_settings(None, settings).kafka)

    def changes(self) -> list[SuppressionChange]:
        found = []
        for record in self.kafka.read(f"{self.prefix}receipts"):
            change = unpack(record.value or b"")
            assert isinstance(change, SuppressionChange)
            assert record.partition == partition_of(change.recipient_key, PARTITIONS)
            assert (record.key or b"").decode() == change.recipient_key
            found.append(change)
        return found

    def rules(self) -> dict[bytes, SuppressionRule | None]:
        return {key: read_rule(value) for key, value in self.kafka.table(f"{self.prefix}suppression-rules").items()}

    def fold(self) -> None:
        """What track does."""
        from confluent_kafka.admin import NewTopic

        if self.changelog not in self.kafka.topics():
            future = self.kafka.admin.create_topics([NewTopic(self.changelog, PARTITIONS, 1)])
            future[self.changelog].result(10)
        rows: dict[str, Suppression] = {}
        for change in self.changes():
            rows[change.recipient_key] = fold(rows.get(change.recipient_key), change)
        for key, row in rows.items():
            value = packer(Suppression)(row)
            self.kafka.send(NewRecord(self.changelog, key.encode(), value, partition_of(key, PARTITIONS)))
        self.kafka.flush()


@pytest.fixture
def broker(on_kafka: Streams, kafka_settings: dict[str, str]) -> Broker:
    return Broker(kafka_settings)


def listed(on_kafka: Streams, *arguments: str) -> list[dict[str, Any]]:
    ran = on_kafka("suppressions", "list", "--json", *arguments)
    assert ran.code == 0, ran.err
    return sorted(ran.json, key=lambda entry: entry["address"])


def test_nothing_is_suppressed_where_no_worker_has_ever_run(on_kafka: Streams) -> None:
    assert listed(on_kafka) == []
    assert "no suppression fits" in on_kafka("suppressions", "list").err


def test_an_added_address_is_an_order_to_track_and_is_listed_when_track_has_folded_it(
    on_kafka: Streams, broker: Broker
) -> None:
    ran = on_kafka("suppressions", "add", "Ann@example.com", "--tenant", "acme", "--reason", "bounce", "--until", "30d")
    assert ran.code == 0, ran.err
    (change,) = broker.changes()
    assert change.recipient_key == recipient_key("acme", "ann@example.com")
    assert (change.kind, change.tenant, change.recipient, change.lifts) == (K.BOUNCE, "acme", "Ann@example.com", False)
    assert change.until_ms - change.changed_ms == pytest.approx(30 * 86_400_000, abs=5_000)
    assert change.actor.startswith("cli")
    broker.fold()
    (entry,) = listed(on_kafka)
    assert (entry["address"], entry["reason"], entry["scope"], entry["tenant"]) == (
        "Ann@example.com", "bounce", "tenant", "acme",
    )  # fmt: skip
    assert listed(on_kafka, "--tenant", "acme", "ann@EXAMPLE.com") == [entry]
    assert listed(on_kafka, "--tenant", "globex") == listed(on_kafka, "--reason", "manual") == []


def test_a_lifted_address_is_listed_only_with_all(on_kafka: Streams, broker: Broker) -> None:
    on_kafka("suppressions", "add", "ann@example.com", "bob@example.com")
    assert on_kafka("suppressions", "remove", "ann@example.com").code == 0
    broker.fold()
    assert [entry["address"] for entry in listed(on_kafka)] == ["bob@example.com"]
    assert [entry["address"] for entry in listed(on_kafka, "--all")] == ["ann@example.com", "bob@example.com"]


def test_only_one_reason_or_only_one_list_is_lifted(on_kafka: Streams, broker: Broker) -> None:
    on_kafka("suppressions", "add", "ann@example.com", "--reason", "bounce")
    on_kafka("suppressions", "add", "ann@example.com", "--reason", "unsubscribe", "--list", "news")
    on_kafka("suppressions", "add", "ann@example.com", "--reason", "unsubscribe", "--list", "offers")
    on_kafka("suppressions", "remove", "ann@example.com", "--reason", "bounce")
    on_kafka("suppressions", "remove", "ann@example.com", "--list", "news")
    broker.fold()
    (entry,) = listed(on_kafka)
    assert (entry["reason"], entry["scope"], entry["list_id"]) == ("unsubscribe", "list", "offers")


def test_everybody_and_domains_are_rules_that_every_process_reads(on_kafka: Streams, broker: Broker) -> None:
    assert on_kafka("suppressions", "add", "ann@example.com", "--everywhere", "--note", "asked by phone").code == 0
    assert on_kafka("suppressions", "add", "*.Rival.example", "--tenant", "acme").code == 0
    assert broker.changes() == []
    assert b"domain/acme/*.rival.example" in broker.rules()
    found = listed(on_kafka)
    assert [(e["address"], e["scope"], e.get("tenant")) for e in found] == [
        ("*.rival.example", "tenant", "acme"),
        ("ann@example.com", "everywhere", None),
    ]
    assert on_kafka("suppressions", "remove", "*.rival.example", "--tenant", "acme").code == 0
    assert on_kafka("suppressions", "remove", "ann@example.com", "--everywhere").code == 0
    assert listed(on_kafka) == []
    assert [rule.address for rule in broker.rules().values() if rule] == ["ann@example.com"]  # remembered as lifted


def test_an_import_takes_the_good_lines_names_the_bad_ones_and_fails(
    on_kafka: Streams, broker: Broker, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("address,reason\nann@example.com,bounce\nnonsense,bounce\nbob@example.com,joy\n")
    ran = on_kafka("suppressions", "import", "list.csv", "--tenant", "acme", "--rejected", "bad.csv")
    assert ran.code == 1
    assert "line 3: 'nonsense' is neither an address nor a domain" in ran.err
    assert "line 4: 'joy' is no reason" in ran.err
    assert ran.complaint == "streams: 2 lines were not taken"
    assert (tmp_path / "bad.csv").read_text() == "nonsense,bounce\nbob@example.com,joy\n"
    assert [(c.recipient, c.kind, c.tenant) for c in broker.changes()] == [("ann@example.com", K.BOUNCE, "acme")]


@pytest.mark.parametrize("how", ["--strict", "--dry-run"])
def test_a_strict_import_and_a_dry_run_take_nothing(
    on_kafka: Streams, broker: Broker, tmp_path: Path, how: str
) -> None:
    (tmp_path / "list.jsonl").write_text('{"address": "ann@example.com"}\n{"address": "x"}\n')
    ran = on_kafka("suppressions", "import", "list.jsonl", how, "--json")
    assert ran.code == 1
    assert ran.json["taken"] == 0
    assert ran.json["refused"][0]["line"] == 2
    assert broker.changes() == []


def test_nothing_is_lost_between_import_and_export(on_kafka: Streams, broker: Broker, tmp_path: Path) -> None:
    lines = [f"user{number}@example.com" for number in range(2_000)] + ["*.gone.example"]
    ran = on_kafka("suppressions", "import", "-", stdin="\n".join(lines).encode())
    assert ran.code == 0, ran.err
    broker.fold()
    for name in ("all.csv", "all.jsonl"):
        assert on_kafka("suppressions", "export", name).code == 0
        again = on_kafka("suppressions", "import", name, "--dry-run", "--json")
        assert again.json == {"taken": 0, "good": 2_001, "refused": []}
    exported = [json.loads(line)["address"] for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert sorted(exported) == sorted(lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "ann"), "neither an address nor a domain"),
        (("add", "ann@example.com", "--list", "a", "--everywhere"), "exclude each other"),
        (("add", "*.example.com", "--list", "a"), "a domain has no list"),
        (("add", "ann@example.com", "--until", "soon"), "is no time"),
        (("add", "ann@example.com", "--until", "2001-01-01"), "is in the past"),
        (("add", "ann@example.com", "--tenant", "a b"), "is no tenant's name"),
        (("sync",), "name a provider"),
        (("sync", "nobody"), "there is no provider nobody"),
        (("import", "-", "--strict"), "standard input cannot be"),
    ],
)
def test_wrong_usage_says_what_is_wrong(on_kafka: Streams, arguments: tuple[str, ...], said: str) -> None:
    ran = on_kafka("suppressions", *arguments)
    assert ran.code == 2
    assert said in ran.complaint


def test_a_change_is_noted_for_compliance(on_kafka: Streams, broker: Broker) -> None:
    from streams.serde.configuration import decode_audit

    on_kafka("suppressions", "add", "ann@example.com", "--everywhere")
    (record,) = broker.kafka.read(f"{broker.prefix}audit-log")
    audit = decode_audit(record.value)
    assert (audit.action, audit.target_kind) == ("suppression.add", "address")  # type: ignore[union-attr]
    assert "ann" not in audit.target  # type: ignore[union-attr]


def test_the_changelog_is_where_the_engine_writes_it(kafka_settings: dict[str, str]) -> None:
    from streams.configured import engine_settings
    from streams.settings import load_settings

    settings = load_settings(None, kafka_settings)
    assert changelog_topic(settings.kafka) == engine_settings(settings).changelog_topic("suppressions")


async def test_a_comparison_takes_theirs_puts_ours_there_and_remembers_when(
    on_kafka: Streams, broker: Broker, tmp_path: Path
) -> None:
    (tmp_path / "sandbox").mkdir()
    async with sandbox(tmp_path / "sandbox") as running, HttpExchange() as exchange:
        (tmp_path / "streams.toml").write_text(
            f'[kafka]\n[suppression]\nsync = ["mg"]\nsync_tenant = "acme"\n'
            f'[providers.mg]\ntype = "mailgun"\ndomain = "mg.example.com"\napi_key = "env:KEY"\nbase_url = "{running.url}"\n'
            f'signing_keys = ["env:KEY"]\n'
        )
        provider = mailgun.create("mg", mailgun.Config("mg.example.com", api_key="key-sandbox", base_url=running.url))
        for request in provider.add_requests([Listed(ListName.BOUNCE, "theirs@example.net")], 0):  # type: ignore[attr-defined]
            await exchange(request, 5)

        async def compare(*arguments: str) -> list[dict[str, Any]]:
            env = {"KEY": "key-sandbox", "STREAMS_CONFIG": str(tmp_path / "streams.toml")}
            ran = await asyncio.to_thread(on_kafka, "suppressions", "sync", "--json", *arguments, env=env)
            assert ran.code == 0, ran.err
            found: list[dict[str, Any]] = ran.json
            return found

        def counts(report: dict[str, Any]) -> tuple[int, int, int]:
            return report["pulled"], report["pushed"], report["removed"]

        await asyncio.to_thread(
            on_kafka, "suppressions", "add", "ours@example.net", "--tenant", "acme", "--reason", "complaint"
        )
        await asyncio.to_thread(broker.fold)
        assert counts((await compare("--dry-run"))[0]) == (1, 1, 0)
        assert counts((await compare())[0]) == (1, 1, 0)
        assert {change.recipient for change in broker.changes()} == {"ours@example.net", "theirs@example.net"}
        assert b"sync/mg" in broker.kafka.table(f"{broker.prefix}suppression-rules")
        await asyncio.to_thread(on_kafka, "suppressions", "remove", "theirs@example.net", "--tenant", "acme")
        await asyncio.to_thread(broker.fold)
        assert counts((await compare())[0]) == (0, 0, 1)
        assert counts((await compare("--full"))[0]) == (0, 0, 0)
