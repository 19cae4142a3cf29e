"""`streams failures` and `retry`: causes in words, filters and counts, and what is sent again, once, or why not."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streams.cli.failed import STATUSES, Failed, Standing
from streams.cli.retry_plan import left_because
from streams.core.event import DeliveryEvent, EventType, Reason, ReasonKind, Status
from streams.core.ids import partition_of_text, recipient_key
from streams.core.suppression import SuppressionChange, SuppressionKind
from streams.kafka import KafkaClient, NewRecord
from streams.serde.internal import packer, unpack
from streams.serde.public import decode_event, encode_event
from streams.serde.records import decode
from streams.suppression_sync import changelog_topic
from tests.cli.conftest import ROOT, Streams, without_settings
from tests.cli.test_commands import identity_of, make_event, records_of, write_events

E, S, R = EventType, Status, ReasonKind
PASSWORD = Reason(R.CREDENTIALS, "535", "5.7.8", "Authentication credentials invalid")


def told(name: str, *steps: tuple[EventType, Status, Reason | None, int], **more: Any) -> list[DeliveryEvent]:
    """Events of the message to NAME@example.net, each with an id of its own."""
    address, events = f"{name}@example.net", []
    for number, (kind, status, reason, attempt) in enumerate(steps):
        event = make_event(identity_of(address), kind, status, reason, attempt=attempt)
        events.append(replace(event, event_id=f"{name}-{number}", recipient=address, **more))
    return events


def gave_up(name: str, reason: Reason = PASSWORD, attempt: int = 5, **more: Any) -> list[DeliveryEvent]:
    return told(
        name,
        (E.ACCEPTED, S.ACCEPTED, None, 0),
        (E.DEFERRED, S.DEFERRED, reason, attempt - 1),
        (E.FAILED, S.FAILED, reason, attempt),
        provider=more.pop("provider", "relay"),
        **more,
    )


@pytest.fixture
def written(on_kafka: Streams, embedded_kafka: str, topic_prefix: str) -> Streams:
    """Failures of two tenants, and what is none."""
    full = Reason(R.MAILBOX_FULL, "452", "4.2.2", "over quota")
    nobody = Reason(R.BAD_MAILBOX, "550", "5.1.1", "no such user")
    doubt = Reason(R.UNCERTAIN, detail="shows no trace")
    events = [
        *gave_up("ann"),
        *gave_up("bob", tenant="shop", stream="bulk"),
        *gave_up("full", full, provider="mailgun"),
        *told("nobody", (E.SENT, S.SENT, None, 1), (E.BOUNCED, S.BOUNCED, nobody, 0), provider="mailgun"),
        *told("late", (E.EXPIRED, S.EXPIRED, Reason(R.EXPIRED, detail="its expires_at passed"), 0)),
        *told("wrong", (E.REJECTED, S.REJECTED, Reason(R.INVALID_REQUEST, "text", detail="text is missing"), 0)),
        *told("doubt", (E.UNCERTAIN, S.UNCERTAIN, doubt, 1), (E.UNCERTAIN, S.UNCERTAIN, doubt, 1), provider="relay"),
        *told("open", (E.UNCERTAIN, S.UNCERTAIN, doubt, 1), provider="relay"),
        *told(
            "fine", (E.DEFERRED, S.DEFERRED, full, 1), (E.SENT, S.SENT, None, 2), (E.DELIVERED, S.DELIVERED, None, 2)
        ),
        *told("soon", (E.DEFERRED, S.DEFERRED, full, 1)),
    ]
    write_events(embedded_kafka, topic_prefix, events)
    return on_kafka


def ids(*names: str) -> set[str]:
    return {identity_of(f"{name}@example.net") for name in names}


def retries(bootstrap: str, prefix: str) -> list[tuple[str, int]]:
    commands = [unpack(record.value) for record in records_of(bootstrap, prefix + "outbound")]
    return [(command.message_id, command.expected_attempt) for command in commands]


# ------------------------------------------------------------------------------------------------ listing


def test_failures_are_listed_by_tenant_with_the_cause_in_words_and_what_to_do(written: Streams) -> None:
    ran = written("failures")
    assert ran.code == 0, ran.err
    default, shop = ran.out.index("tenant default: 7 messages"), ran.out.index("tenant shop: 1 message")
    assert default < ran.out.index("bob@example.net") and shop < ran.out.index("bob@example.net")
    assert "the provider refused the account's user name, password or key (535 5.7.8 Authentication" in ran.out
    assert "1 because the mailbox is full: send it again in a day or two" in ran.out
    assert (
        "1 because the address does not exist: correct the address where it comes from (sent again as it is," in ran.out
    )
    assert "fine@example.net" not in ran.out and "soon@example.net" not in ran.out
    assert "8 messages; send one again with: streams retry ID" in ran.err


def test_json_says_the_cause_for_a_program_and_for_a_person(written: Streams) -> None:
    (failure,) = written("failures", "--json", "--tenant", "shop").json
    assert failure["reason"]["kind"] == "credentials"
    assert failure["attempt"] == 5
    assert failure["cause"]["happened"].startswith("the provider refused the account's user name")
    assert failure["cause"]["again"] is True


@pytest.mark.parametrize(
    ("options", "names"),
    [
        pytest.param(["--tenant", "shop"], ["bob"], id="tenant"),
        pytest.param(["--reason", "credentials"], ["ann", "bob"], id="reason"),
        pytest.param(["--provider", "mailgun"], ["full", "nobody"], id="provider"),
        pytest.param(["--stream", "bulk"], ["bob"], id="stream"),
        pytest.param(["--domain", "EXAMPLE.net", "--status", "expired"], ["late"], id="domain and status"),
        pytest.param(["--domain", "example.org"], [], id="another domain"),
        pytest.param(["--since", "2100-01-01T00:00:00Z"], [], id="since"),
    ],
)
def test_failures_are_chosen_by_a_filter(written: Streams, options: list[str], names: list[str]) -> None:
    found = written("failures", "--json", *options).json
    assert {failure["message_id"] for failure in found} == ids(*names)


def test_failures_are_counted_by_reason_provider_and_tenant(written: Streams) -> None:
    by_reason = {row["reason"]: row for row in written("failures", "--json", "--by", "reason").json}
    assert {name: row["count"] for name, row in by_reason.items()} == {
        "credentials": 2, "uncertain": 2, "bad_mailbox": 1, "expired": 1, "invalid_request": 1, "mailbox_full": 1,
    }  # fmt: skip
    assert by_reason["mailbox_full"]["advice"] == "send it again in a day or two"
    by_tenant = written("failures", "--json", "--by", "tenant").json
    assert [(row["tenant"], row["count"]) for row in by_tenant] == [("default", 7), ("shop", 1)]
    text = written("failures", "--by", "provider").out
    assert "(none)" in text and "relay" in text and "mailgun" in text
    assert written("failures", "--by", "tenant", "--tenant", "nobody").code == 0


def test_a_reason_that_does_not_exist_is_told_with_the_nearest(written: Streams) -> None:
    ran = written("failures", "--reason", "credential")
    assert ran.code == 2
    assert "did you mean credentials?" in ran.complaint


# ------------------------------------------------------------------------------------------------ folding


def standing(*events: DeliveryEvent, only: frozenset[str] | None = None) -> dict[str, Failed]:
    found = Standing(only)
    for event in events:
        record = decode("DeliveryEvent", encode_event(event))
        assert isinstance(record, dict) and isinstance(decode_event(encode_event(event)), DeliveryEvent)
        if found.wants(event.message_id, event.type.value):
            found.take(record)
    return found.found


def test_of_a_policy_that_ran_out_of_tries_the_reason_before_explains_it() -> None:
    full = Reason(R.MAILBOX_FULL, "552", "5.2.2", "over quota")
    exhausted = Reason(R.RETRIES_EXHAUSTED, detail="5 tries ended without delivery")
    (failed,) = standing(*told("x", (E.BOUNCED, S.DEFERRED, full, 5), (E.FAILED, S.FAILED, exhausted, 5))).values()
    assert failed.cause.happened == "the mailbox is full"
    assert failed.kinds == {"mailbox_full", "retries_exhausted"}, "it is found by either"


def test_a_refused_second_request_with_the_same_key_does_not_hide_why_the_first_failed() -> None:
    conflict = Reason(R.IDEMPOTENCY_CONFLICT, detail="another request used this key")
    (failed,) = standing(*gave_up("x"), *told("x", (E.REJECTED, S.FAILED, conflict, 0))).values()
    assert failed.reason["kind"] == "credentials"
    assert failed.attempt == 5


def test_what_fares_well_is_not_kept_and_what_is_opened_after_a_bounce_stays_bounced() -> None:
    bounce = Reason(R.SPAM, "554", "5.7.1", "spam")
    assert standing(*told("x", (E.SENT, S.SENT, None, 1), (E.DELIVERED, S.DELIVERED, None, 1))) == {}
    (failed,) = standing(
        *told("x", (E.SENT, S.SENT, None, 1), (E.BOUNCED, S.BOUNCED, bounce, 0), (E.OPENED, S.BOUNCED, None, 0))
    ).values()
    assert (failed.status, failed.attempt, failed.reason["kind"]) == ("bounced", 1, "spam")


def test_the_attempt_of_an_order_is_the_last_one_that_was_begun() -> None:
    bounce = Reason(R.SPAM, "554", "5.7.1", "spam")
    steps = told(
        "x", (E.DEFERRED, S.DEFERRED, PASSWORD, 1), (E.SENT, S.SENT, None, 2), (E.BOUNCED, S.BOUNCED, bounce, 0)
    )
    (failed,) = standing(*steps).values()
    assert failed.attempt == 2


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_cause(status: str) -> None:
    (failed,) = standing(*told("x", (E.FAILED, S(status), None, 1))).values()
    assert failed.cause.happened and failed.cause.advice


# ------------------------------------------------------------------------------------------------ retry


def test_a_retry_by_filter_sends_what_may_go_through_and_says_what_it_leaves(
    written: Streams, embedded_kafka: str, topic_prefix: str
) -> None:
    ran = written("retry", "--all", "--yes", "--json")
    assert ran.code == 0, ran.err
    assert set(ran.json["message_ids"]) == ids("ann", "bob", "full")
    why = {entry["message_id"]: entry["why"] for entry in ran.json["left"]}
    assert set(why) == ids("nobody", "late", "wrong"), "those in doubt are not even looked at"
    assert "would fail again" in why[identity_of("nobody@example.net")]
    assert why[identity_of("late@example.net")] == "its time has passed: send a new request"
    assert "the request was refused" in why[identity_of("wrong@example.net")]
    assert dict(retries(embedded_kafka, topic_prefix)) == dict.fromkeys(ids("ann", "bob", "full"), 5)


def test_without_a_terminal_and_without_yes_nothing_is_sent_again(
    written: Streams, embedded_kafka: str, topic_prefix: str
) -> None:
    ran = written("retry", "--all", "--reason", "credentials", stdin=b"y\n")
    assert ran.code == 2
    assert "2 messages would be sent again" in ran.complaint and "--yes" in ran.complaint
    assert retries(embedded_kafka, topic_prefix) == []


@pytest.mark.parametrize(("answer", "code", "sent"), [("n\n", 1, 0), ("y\n", 0, 2)])
def test_at_a_terminal_a_retry_by_filter_asks_with_the_count(
    written: Streams,
    kafka_settings: dict[str, str],
    embedded_kafka: str,
    topic_prefix: str,
    tmp_path: Path,
    answer: str,
    code: int,
    sent: int,
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "streams", "retry", "--all", "--reason", "credentials"],
        env=without_settings() | {"PYTHONPATH": str(ROOT)} | kafka_settings,
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    seen, deadline = b"", time.monotonic() + 30
    while b"again? [y/N]" not in seen and time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            seen += os.read(ours, 4096)
    assert b"Send 2 messages again?" in seen
    os.write(ours, answer.encode())
    assert process.wait(30) == code
    os.close(ours)
    assert len(retries(embedded_kafka, topic_prefix)) == sent


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("fine", "it has been delivered"),
        ("soon", "it will be tried again anyway"),
        ("late", "its time has passed"),
        ("open", "it is still being found out whether the provider took it"),
        ("wrong", "the request was refused"),
        ("stranger", "nothing is known of it"),
    ],
)
def test_a_named_message_that_cannot_be_sent_again_is_told_why(
    written: Streams, embedded_kafka: str, topic_prefix: str, name: str, why: str
) -> None:
    ran = written("retry", identity_of(f"{name}@example.net"))
    assert ran.code == 1
    assert f"not sent again, {why}" in ran.err
    assert retries(embedded_kafka, topic_prefix) == []


def test_what_may_arrive_twice_is_sent_again_only_by_name_and_with_a_warning(
    written: Streams, embedded_kafka: str, topic_prefix: str
) -> None:
    ran = written("retry", identity_of("doubt@example.net"))
    assert ran.code == 0
    assert "1 of them may arrive twice" in ran.err
    by_status = written("retry", "--all", "--status", "uncertain", "--yes", "--json").json
    assert set(by_status["message_ids"]) == ids("doubt")
    assert retries(embedded_kafka, topic_prefix) == [(identity_of("doubt@example.net"), 1)] * 2


def test_a_suppressed_address_is_not_sent_to_before_somebody_lifts_it(
    written: Streams, embedded_kafka: str, topic_prefix: str, kafka_settings: dict[str, str]
) -> None:
    from streams.core.suppression import fold
    from streams.settings import load_settings

    key = recipient_key("default", "nobody@example.net")
    row = fold(
        None, SuppressionChange(key, SuppressionKind.BOUNCE, 1, tenant="default", recipient="nobody@example.net")
    )
    topic = changelog_topic(load_settings(None, kafka_settings).kafka)
    with KafkaClient(embedded_kafka) as kafka:
        from confluent_kafka.admin import NewTopic

        kafka.admin.create_topics([NewTopic(topic, 4, 1)])[topic].result(10)
        kafka.send(NewRecord(topic, key.encode(), packer(type(row))(row), partition_of_text(key, 4)))
    ran = written("retry", identity_of("nobody@example.net"))
    assert ran.code == 1
    assert "the address is suppressed (bounce): lift it first with streams suppressions remove" in ran.err
    by_reason = written("retry", "--all", "--reason", "bad_mailbox", "--yes")
    assert by_reason.code == 1
    assert retries(embedded_kafka, topic_prefix) == []


def test_what_is_hopeless_is_tried_if_somebody_names_it() -> None:
    spam = Reason(R.SPAM, "554", "5.7.1", "spam")
    (failed,) = standing(*gave_up("x", spam)).values()
    assert "would fail again" in left_because(failed, named=False)
    assert left_because(failed, named=True) == ""
