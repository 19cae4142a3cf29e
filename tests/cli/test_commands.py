"""Commands that read and write Kafka, on the embedded broker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.core.event import DeliveryEvent, EventType, Reason, ReasonKind, Status
from streams.core.ids import event_id, message_id, partition_of, recipient_key
from streams.kafka import KafkaClient, NewRecord
from streams.serde.internal import unpack
from streams.serde.public import encode_event, event_headers
from streams.serde.records import decode
from streams.tables import TABLES
from tests.cli.conftest import Streams

MAIL = b"From: a@example.com\nTo: b@example.net\nSubject: Hi\n\nHello\n"


def records_of(bootstrap: str, topic: str) -> list[Any]:
    with KafkaClient(bootstrap) as kafka:
        return list(kafka.read(topic))


def requests_of(bootstrap: str, prefix: str, topic: str = "send-requests") -> list[dict[str, Any]]:
    found = [decode("SendRequest", record.value) for record in records_of(bootstrap, prefix + topic)]
    assert all(isinstance(request, dict) for request in found)
    return found  # type: ignore[return-value]


def make_event(
    identity: str, kind: EventType, status: Status, reason: Reason | None = None, **more: Any
) -> DeliveryEvent:
    return DeliveryEvent(
        event_id=event_id(identity, kind.value, "r"),
        type=kind,
        occurred_ms=1_700_000_000_000,
        recorded_ms=1_700_000_000_500,
        message_id=identity,
        idempotency_key="k",
        tenant="default",
        stream="transactional",
        recipient="b@example.net",
        status=status,
        reason=reason,
        **more,
    )


def write_events(bootstrap: str, prefix: str, events: list[DeliveryEvent]) -> None:
    with KafkaClient(bootstrap) as kafka:
        topic = prefix + "delivery-events"
        partitions = kafka.partitions(topic)
        for event in events:
            key = event.message_id
            headers = tuple(event_headers(event))
            kafka.send(NewRecord(topic, key.encode(), encode_event(event), partition_of(key, partitions), headers))


def identity_of(address: str, key: str = "k") -> str:
    return message_id("default", key, recipient_key("default", address))


# ------------------------------------------------------------------------------------------------ send


def test_a_message_by_flags_is_a_request_on_kafka(on_kafka: Streams, embedded_kafka: str, topic_prefix: str) -> None:
    ran = on_kafka(
        *("send", "--from", "Ada <ada@example.com>", "--to", "b@example.net", "--subject", "Hi", "--text", "Hello"),
        *("--tag", "welcome", "--header", "X-Order: 7", "--key", "order-7", "--json"),
    )
    assert ran.code == 0, ran.err
    assert ran.json == {"requests": 1, "message_ids": [identity_of("b@example.net", "order-7")], "refused": []}
    (request,) = requests_of(embedded_kafka, topic_prefix)
    assert request["from"] == {"email": "ada@example.com", "name": "Ada"}
    assert request["idempotency_key"] == "order-7"
    assert request["headers"] == {"X-Order": "7"}
    assert request["tags"] == ["welcome"]


def test_a_campaign_takes_the_other_door(on_kafka: Streams, embedded_kafka: str, topic_prefix: str) -> None:
    ran = on_kafka("send", "--from", "a@example.com", "--to", "b@example.net", "--template", "t", "--bulk")
    assert ran.code == 0, ran.err
    assert requests_of(embedded_kafka, topic_prefix) == []
    assert len(requests_of(embedded_kafka, topic_prefix, "send-requests.bulk")) == 1


def test_of_a_json_stream_the_good_requests_go_and_the_bad_ones_are_named(
    on_kafka: Streams, embedded_kafka: str, topic_prefix: str
) -> None:
    good = {
        "idempotency_key": "k1",
        "from": {"email": "a@x.org"},
        "recipients": [{"email": "b@x.org"}],
        "subject": "s",
        "text": "t",
    }
    lines = [
        json.dumps(good),
        "not json",
        json.dumps(good | {"colour": "red"}),
        json.dumps(good | {"recipients": [{"email": "nobody"}]}),
        "",
        json.dumps(good | {"idempotency_key": "k2"}),
    ]
    ran = on_kafka("send", "-", stdin="\n".join(lines).encode())
    assert ran.code == 1
    assert "3 of 5 were refused" in ran.complaint
    for reason in ("line 2: not a JSON object", "line 3: Object contains unknown field `colour`", "line 4: 'nobody'"):
        assert reason in ran.err
    assert {request["idempotency_key"] for request in requests_of(embedded_kafka, topic_prefix)} == {"k1", "k2"}


def test_mail_files_are_sent_as_they_are_and_bad_ones_are_named(
    on_kafka: Streams, embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "good.eml").write_bytes(MAIL)
    (tmp_path / "bad.eml").write_bytes(b"From: a@example.com\n\nto nobody")
    ran = on_kafka("send", "--eml", "good.eml", "bad.eml", "gone.eml")
    assert ran.code == 1
    assert "refused bad.eml: it has no recipient" in ran.err
    assert "refused gone.eml: No such file" in ran.err
    (request,) = requests_of(embedded_kafka, topic_prefix)
    assert request["mime"] == MAIL
    assert [box["email"] for box in request["recipients"]] == ["b@example.net"]


def test_a_mail_file_goes_to_the_recipients_named(
    on_kafka: Streams, embedded_kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    (tmp_path / "good.eml").write_bytes(MAIL)
    ran = on_kafka(
        "send", "--eml", "good.eml", "--from", "x@example.org", "--to", "y@example.org", "--to", "z@example.org"
    )
    assert ran.code == 0, ran.err
    (request,) = requests_of(embedded_kafka, topic_prefix)
    assert request["from"]["email"] == "x@example.org"
    assert [box["email"] for box in request["recipients"]] == ["y@example.org", "z@example.org"]


# ------------------------------------------------------------------------------------------------ looking


@pytest.fixture
def recorded(on_kafka: Streams, embedded_kafka: str, topic_prefix: str) -> tuple[str, str]:
    """Two messages: one delivered, one bounced."""
    delivered, bounced = identity_of("b@example.net"), identity_of("c@example.net")
    reason = Reason(ReasonKind.BAD_MAILBOX, "550", "5.1.1", "no such user")
    events = [
        make_event(delivered, EventType.ACCEPTED, Status.ACCEPTED),
        make_event(delivered, EventType.SENT, Status.SENT, provider="mailgun", attempt=1),
        make_event(delivered, EventType.DELIVERED, Status.DELIVERED, provider="mailgun", attempt=1),
        make_event(bounced, EventType.SENT, Status.SENT, provider="ses", attempt=1),
        make_event(bounced, EventType.BOUNCED, Status.BOUNCED, reason, provider="ses", attempt=1),
    ]
    write_events(embedded_kafka, topic_prefix, [*events, events[0]])  # one repeated, as after a crash
    return delivered, bounced


def test_events_are_shown_and_filtered(on_kafka: Streams, recorded: tuple[str, str]) -> None:
    delivered, bounced = recorded
    everything = on_kafka("events", "--json").out.splitlines()
    assert len(everything) == 6
    (line,) = on_kafka("events", "--json", "--type", "bounced").out.splitlines()
    event = json.loads(line)
    assert (event["message_id"], event["reason"]["enhanced_code"]) == (bounced, "5.1.1")
    assert event["occurred_at"] == "2023-11-14T22:13:20.000Z"
    of_one = on_kafka("events", "--message", delivered).out
    assert of_one.count(delivered) == 4
    assert bounced not in of_one


def test_a_message_shows_its_timeline_by_id_and_by_address(on_kafka: Streams, recorded: tuple[str, str]) -> None:
    delivered, bounced = recorded
    (summary,) = on_kafka("message", delivered, "--json").json
    assert summary["status"] == "delivered"
    assert [event["type"] for event in summary["events"]] == ["message.accepted", "message.sent", "message.delivered"]
    (by_address,) = on_kafka("message", "C@Example.net", "--json").json
    assert by_address["message_id"] == bounced
    text = on_kafka("message", bounced).out
    assert "no such user" in text
    unknown = on_kafka("message", "nobody@example.net")
    assert unknown.code == 1
    assert "nothing is recorded about nobody@example.net" in unknown.complaint


def test_failures_are_shown_with_their_cause(on_kafka: Streams, recorded: tuple[str, str]) -> None:
    (failure,) = on_kafka("failures", "--json").json
    assert (failure["message_id"], failure["reason"]["kind"]) == (recorded[1], "bad_mailbox")
    assert on_kafka("failures", "--json", "--provider", "mailgun").json == []
    assert len(on_kafka("failures", "--json", "--reason", "bad_mailbox").json) == 1


# ------------------------------------------------------------------------------------------------ orders


def test_a_retry_is_a_command_in_the_partition_of_the_message(
    on_kafka: Streams, embedded_kafka: str, topic_prefix: str, recorded: tuple[str, str]
) -> None:
    assert on_kafka("retry", recorded[1], "--json").json["count"] == 1
    assert on_kafka("retry", "--all", "--yes", "--status", "bounced").code == 0
    asked, by_filter = records_of(embedded_kafka, topic_prefix + "outbound")
    for record in (asked, by_filter):
        command = unpack(record.value)
        assert (command.message_id, command.expected_attempt) == (recorded[1], 1), (
            "named, so that a repeat does nothing"
        )
        assert command.actor.startswith("cli")
        assert record.partition == partition_of(recorded[1], 4)
    audit = [decode("AuditRecord", record.value) for record in records_of(embedded_kafka, topic_prefix + "audit-log")]
    assert [(entry["action"], entry["target"]) for entry in audit] == [("message.retry", recorded[1])] * 2


def test_a_cancel_is_a_command(on_kafka: Streams, embedded_kafka: str, topic_prefix: str) -> None:
    identity = identity_of("b@example.net")
    assert on_kafka("cancel", identity).code == 0
    (record,) = records_of(embedded_kafka, topic_prefix + "outbound")
    assert type(unpack(record.value)).__name__ == "Cancel"


def test_a_pause_stands_until_it_is_taken_back(on_kafka: Streams, embedded_kafka: str, topic_prefix: str) -> None:
    assert on_kafka("pause", "tenant", "acme").code == 0
    with KafkaClient(embedded_kafka) as kafka:
        assert set(kafka.table(topic_prefix + "controls")) == {b"pause/tenant/acme"}
    assert on_kafka("resume", "tenant", "acme").code == 0
    with KafkaClient(embedded_kafka) as kafka:
        assert kafka.table(topic_prefix + "controls") == {}
    again = on_kafka("resume", "tenant", "acme")
    assert again.code == 1
    assert "is not paused" in again.complaint


def test_a_breaker_is_forced_and_left_to_itself_again(
    on_kafka: Streams, tmp_path: Path, embedded_kafka: str, topic_prefix: str
) -> None:
    (tmp_path / "streams.toml").write_text(
        '[providers.mg]\ntype = "mailgun"\ndomain = "mg.example.com"\napi_key = "env:MG"\n'
    )
    env = {"MG": "key"}
    assert on_kafka("breakers", "--json", env=env).json[0] | {"state": "closed", "forced": None}
    assert on_kafka("breakers", "open", "mg", env=env).code == 0
    assert on_kafka("breakers", "--json", env=env).json[0]["forced"] == "open"
    assert on_kafka("breakers", "auto", "mg", env=env).code == 0
    assert on_kafka("breakers", "--json", env=env).json[0]["forced"] is None
    audit = [decode("AuditRecord", record.value) for record in records_of(embedded_kafka, topic_prefix + "audit-log")]
    assert [entry["action"] for entry in audit] == ["breaker.open", "breaker.auto"]


# ------------------------------------------------------------------------------------------------ topics, templates


def test_topics_are_created_once_and_checked(on_kafka: Streams) -> None:
    first = on_kafka("topics", "create", "--json").json
    assert [name.rpartition("-")[2] for name in first["created"]] == ["changelog"] * len(TABLES)  # the others are there
    again = on_kafka("topics", "create", "--json").json
    assert again["created"] == []
    assert on_kafka("topics", "check").code == 0
    other = on_kafka("topics", "check", env={"STREAMS_KAFKA_PARTITIONS": "3"})
    assert other.code == 1
    assert "has 4 partitions, needs 3" in other.complaint
    create = on_kafka("topics", "create", env={"STREAMS_KAFKA_PARTITIONS": "3"})
    assert create.code == 1
    assert "has 4 partitions, needs 3" in create.complaint


@pytest.mark.usefixtures("on_kafka")
def test_a_worker_refuses_topics_with_another_partition_count(
    run_process: Streams, kafka_settings: dict[str, str], unused_port: int
) -> None:
    changes = {"STREAMS_KAFKA_PARTITIONS": "3", "STREAMS_WORKER_PORT": str(unused_port)}
    ran = run_process("worker", env=kafka_settings | changes)
    assert ran.code == 1
    assert "has 4 partitions, needs 3" in ran.complaint


def test_templates_are_stored_listed_and_tried_out(on_kafka: Streams) -> None:
    stored = on_kafka(
        "templates", "put", "hello", "--subject", "Hi {{ name }}", "--html", "<p>{{ name }}</p>", "--json"
    )
    assert stored.code == 0, stored.err
    (listed,) = on_kafka("templates", "list", "--json").json
    assert (listed["template_id"], listed["version"]) == ("hello", stored.json["version"])
    shown = on_kafka("templates", "render", "hello", "--data", '{"name": "A & B"}', "--json").json
    assert (shown["subject"], shown["html"]) == ("Hi A & B", "<p>A &amp; B</p>")
    missing = on_kafka("templates", "render", "hello")
    assert missing.code == 1
    assert "'name' is undefined" in missing.complaint
    broken = on_kafka("templates", "put", "bad", "--subject", "{{ x", "--text", "y")
    assert broken.code == 1
    assert "template bad, line 1" in broken.complaint


def test_variants_of_a_template_are_stored_and_tried_out_by_language(on_kafka: Streams) -> None:
    for locale, hello in (("", "Hello"), ("de", "Hallo"), ("pt-BR", "Oi")):
        more = ("--locale", locale) if locale else ()
        ran = on_kafka(
            "templates", "put", "hello", "--subject", f"{hello} {{{{ name }}}}", "--text", "x", *more, "--json"
        )
        assert ran.code == 0, ran.err
    listed = on_kafka("templates", "list", "--json").json
    assert [row["template_id"] for row in listed] == ["hello", "hello#de", "hello#pt-br"]

    def subject(*arguments: str, data: str = '{"name": "Ann"}') -> str:
        shown = on_kafka("templates", "render", "hello", "--data", data, "--json", *arguments)
        assert shown.code == 0, shown.err
        text: str = shown.json["subject"]
        return text

    assert subject() == "Hello Ann"
    assert subject("--locale", "de-AT") == "Hallo Ann"
    assert subject(data='{"name": "Ann", "locale": "pt_BR"}') == "Oi Ann"
    assert subject("--locale", "pt") == "Hello Ann"
    assert on_kafka("templates", "render", "hello", "--locale", "?").code == 2
    assert on_kafka("templates", "put", "a b", "--subject", "x", "--text", "y").code == 2
    early = on_kafka("templates", "put", "other", "--subject", "x", "--text", "y", "--locale", "fr")
    assert "there is no template other yet" in early.err
