"""Kafka with TLS, passwords, certificates and ACLs: the processes at work with exactly the rights that the table gives
them, what happens without one, and what nobody may do. On a real Apache Kafka.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.acls import Kind, Operation, Right
from streams.core.event import EventType
from streams.core.ids import message_id, recipient_key
from streams.kafka import GROUP
from streams.serde.public import decode_audit
from tests.brokers.secured import SecuredKafka, bindings
from tests.fleet import campaign, ids_of, single
from tests.security.kafka_fleet import SecuredFleet

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

DOORS = """
[doors.acme]
topic = "send-requests.acme"
tenants = ["acme"]
"""
READ, WRITE = Operation.READ, Operation.WRITE
LOOKING = Right(Kind.GROUP, GROUP, Operation.DESCRIBE)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with SecuredKafka(tmp_path_factory.mktemp("secured")) as kafka:
        yield kafka


@pytest.fixture(scope="module")
def fleet(secured: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredFleet]:
    """Topics, ingress and sandbox; a test starts the workers that it needs, and ends them."""
    folder = tmp_path_factory.mktemp("fleet")
    with SecuredFleet(folder, secured, prefix=f"t{uuid.uuid4().hex[:8]}.", more=DOORS) as found:
        yield found


@pytest.fixture
def numbers(request: pytest.FixtureRequest) -> range:
    """Of requests that no other test has sent."""
    begin = 1000 * (1 + list(request.session.items).index(request.node))
    return range(begin, begin + 1000)


def started(fleet: SecuredFleet, name: str) -> None:
    fleet.start_worker(name)
    fleet.until(f"{name} is ready", lambda: fleet.is_ready(name), 60)


def ids(requests: list[dict[str, Any]]) -> set[str]:
    return set().union(*map(ids_of, requests))


def topic(fleet: SecuredFleet, name: str, operation: Operation) -> Right:
    return Right(Kind.TOPIC, fleet.prefix + name, operation)


def one_line(said: str, *, with_remarks: bool = False) -> str:
    """The complaint of a command that failed, which has said nothing else."""
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if line.startswith("streams: ")]
    assert len(lines) == 1, said
    assert with_remarks or len(said.splitlines()) == 1, said
    return lines[0]


# ------------------------------------------------------------------------------------------------ at work


def test_all_is_sent_and_told_with_every_process_a_principal_that_has_its_own_rights_alone(
    fleet: SecuredFleet, numbers: range
) -> None:
    started(fleet, "w1")
    poller = fleet.start_poller()
    transactional = [single(number) for number in numbers[:40]]
    bounced = [single(number, "bounce") for number in numbers[40:50]]
    bulk = [campaign(number, size=25) for number in numbers[50:52]]
    by_door = [single(number) for number in numbers[60:70]]
    assert fleet.send_as("sender", "send-requests", [*transactional, *bounced]) == []
    assert fleet.send_as("sender", "send-requests.bulk", bulk) == []
    assert fleet.send_as("sender.acme", "send-requests.acme", by_door) == []
    wanted = ids([*transactional, *bounced, *bulk, *by_door])
    fleet.until("every message has ended", lambda: wanted <= fleet.seen.ended, 90)
    account = fleet.account(wanted)
    assert not account.lost and not account.twice and not account.unrecorded
    polled_and_posted = fleet.stats()
    assert polled_and_posted["webhook_attempts"] > 0

    code, said = fleet.command("reader", "events", "--json", "--type", "bounced")
    assert code == 0, said
    assert len([line for line in said.splitlines() if line.startswith("{")]) >= len(bounced)
    shown = min(ids(transactional))
    code, said = fleet.command("operator", "message", shown, "--json")
    assert code == 0 and "message.delivered" in said, said
    for order in (
        ["pause", "tenant", "nobody"],
        ["resume", "tenant", "nobody"],
        ["suppressions", "list"],
        ["failures"],
    ):
        assert fleet.command("operator", *order)[0] == 0, order
    code, said = fleet.command("topics", "topics", "check")
    assert code == 0, said
    found = {row["check"]: row for row in json.loads(fleet.command("doctor", "doctor", "--json")[1])}
    for check in (
        "kafka reachable",
        "topics exist",
        "partition counts",
        "in-sync replicas",
        "cleanup policy",
        "retention",
    ):
        assert found[check]["ok"], found[check]
    assert poller.stop(grace_s=15) == 0, fleet.log("poll")
    polled = json.loads(fleet.whole_log("poll").strip().splitlines()[-1])["polled"]["ses"]
    assert polled["stored"] > 0 and polled["errors"] == 0
    assert fleet.stop_worker("w1") == 0
    _no_password_anywhere(fleet)


def test_worker_and_ingress_log_in_by_certificates_whose_keys_are_locked(
    secured: SecuredKafka, tmp_path: Path, numbers: range
) -> None:
    by_certificate = ("worker", "ingress", "topics", "operator")
    prefix = f"t{uuid.uuid4().hex[:8]}."
    with SecuredFleet(tmp_path, secured, prefix=prefix, by_certificate=by_certificate) as fleet:
        started(fleet, "w1")
        requests = [single(number) for number in numbers[:20]]
        assert fleet.send_as("sender", "send-requests", requests) == []
        fleet.until("every message has ended", lambda: ids(requests) <= fleet.seen.ended, 60)
        account = fleet.account(ids(requests))
        assert not account.lost and not account.twice
        code, said = fleet.command("operator", "message", min(ids(requests)), "--content")
        assert code == 0, said  # it is read back by the other library
        assert fleet.stop_worker("w1") == 0
        assert "Traceback" not in fleet.whole_log("w1") + fleet.whole_log("ingress")
        _no_password_anywhere(fleet)


def test_a_stop_over_tls_does_not_wait_for_the_farewell_of_each_connection(fleet: SecuredFleet) -> None:
    for name in ("stop1", "stop2"):  # every other connection used to need 30 s
        started(fleet, name)
        restored = re.search(r"Restored [\d,]+ records in ([\d.]+) s", fleet.whole_log(name))
        assert restored is not None and float(restored[1]) < 15
        assert fleet.stop_worker(name) == 0


def _no_password_anywhere(fleet: SecuredFleet) -> None:
    logs = {path.name: path.read_text("utf-8", "replace") for path in fleet.folder.glob("*.log")}
    assert len(logs) > 4
    for process, password in fleet.passwords.items():
        assert [name for name, text in logs.items() if password in text] == [], process


# ------------------------------------------------------------------------------------------------ let in or not


def wrong_logins(fleet: SecuredFleet) -> dict[str, tuple[dict[str, str], int, str]]:
    """What is told instead of the truth; the exit code; what is said."""
    kafka = fleet.kafka
    certificate, key = kafka.certificate("stranger", by="others")
    own_certificate, own_key = kafka.certificate(fleet.name("worker"), password="locked")
    by_certificate = {"STREAMS_KAFKA__BOOTSTRAP": kafka.mutual, "STREAMS_KAFKA__SECURITY_PROTOCOL": "SSL"}
    own = {"STREAMS_KAFKA__SSL_CERT_FILE": str(own_certificate), "STREAMS_KAFKA__SSL_KEY_FILE": str(own_key)}
    foreign = {"STREAMS_KAFKA__SSL_CERT_FILE": str(certificate), "STREAMS_KAFKA__SSL_KEY_FILE": str(key)}
    port = kafka.scram.rpartition(":")[2]
    return {
        "wrong password": ({"KAFKA_PASSWORD": "guessed-by-somebody"}, 1, "refuses the login"),
        "unknown user": ({"STREAMS_KAFKA__SASL_USERNAME": "nobody"}, 1, "refuses the login"),
        "another mechanism": ({"STREAMS_KAFKA__SASL_MECHANISM": "SCRAM-SHA-256"}, 1, "refuses the login"),
        "a mechanism that is off": ({"STREAMS_KAFKA__SASL_MECHANISM": "PLAIN"}, 1, "refuses the login"),
        "untrusted authority": ({"STREAMS_KAFKA__SSL_CA_FILE": str(kafka.authority("others"))}, 1, "is not trusted"),
        "wrong host name": ({"STREAMS_KAFKA__BOOTSTRAP": f"localhost:{port}"}, 1, "not for this host name"),
        "no TLS": ({"STREAMS_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, 1, "[kafka] security_protocol"),
        "no certificate of ours": (by_certificate, 1, "our certificate is not taken"),
        "a stranger's certificate": ({**by_certificate, **foreign}, 1, "our certificate is not taken"),
        "a locked key": ({**by_certificate, **own}, 2, "[kafka] ssl_key_password is missing"),
        "a wrong password of the key": (
            {**by_certificate, **own, "STREAMS_KAFKA__SSL_KEY_PASSWORD": "env:KAFKA_PASSWORD"},
            2,
            "[kafka] ssl_key_password does not open",
        ),
        "no such authority": ({"STREAMS_KAFKA__SSL_CA_FILE": "/nowhere.pem"}, 2, "[kafka] ssl_ca_file: /nowhere.pem"),
        "nobody there": ({"STREAMS_KAFKA__BOOTSTRAP": "127.0.0.1:1"}, 1, "127.0.0.1:1 does not answer"),
    }


@pytest.mark.parametrize(
    "name",
    [
        "wrong password", "unknown user", "another mechanism", "a mechanism that is off", "untrusted authority",
        "wrong host name", "no TLS", "no certificate of ours", "a stranger's certificate", "a locked key",
        "a wrong password of the key", "no such authority", "nobody there",
    ],
)  # fmt: skip
def test_a_login_that_fails_is_one_line_and_an_exit_code(fleet: SecuredFleet, name: str) -> None:
    changes, expected, complaint = wrong_logins(fleet)[name]
    code, said = fleet.command("worker", "worker", timeout_s=30, **changes)
    assert (code, complaint in one_line(said)) == (expected, True), said
    assert fleet.passwords["worker"] not in said and "guessed-by-somebody" not in said


@pytest.mark.parametrize("process", ["ingress", "poll", "topics", "reader"])
@pytest.mark.parametrize("name", ["wrong password", "untrusted authority", "wrong host name"])
def test_the_other_processes_say_it_the_same_way(fleet: SecuredFleet, process: str, name: str) -> None:
    changes, expected, complaint = wrong_logins(fleet)[name]
    arguments = {"topics": ["topics", "create"], "reader": ["events"]}.get(process, [process])
    code, said = fleet.command(process, *arguments, timeout_s=30, **changes)
    assert (code, complaint in one_line(said)) == (expected, True), said


@pytest.mark.parametrize("name", ["wrong password", "untrusted authority", "wrong host name", "a locked key"])
def test_the_doctor_finds_it(fleet: SecuredFleet, name: str) -> None:
    changes, _, complaint = wrong_logins(fleet)[name]
    code, said = fleet.command("doctor", "doctor", "--json", timeout_s=60, **changes)
    (finding,) = [row for row in json.loads(said) if row["check"] == "kafka reachable"]
    assert code == 1
    assert not finding["ok"] and complaint in finding["detail"] and finding["advice"]


# ------------------------------------------------------------------------------------------------ without a right


@pytest.mark.parametrize(
    ("process", "name", "operation"),
    [
        ("worker", "delivery-events", WRITE),
        ("worker", "outbound", READ),
        ("worker", "outbound", WRITE),
        ("worker", "contents", READ),
        ("worker", "tenants", READ),
        ("worker", "send-requests.acme", READ),
        ("worker", "clock", WRITE),
        ("ingress", "webhooks.mailgun", WRITE),
        ("ingress", "tenants", READ),
        ("poll", "webhooks.ses", WRITE),
    ],
)
def test_who_lacks_a_right_does_not_start_and_says_which(
    fleet: SecuredFleet, process: str, name: str, operation: Operation
) -> None:
    right = topic(fleet, name, operation)
    assert right in fleet.rights[process]
    fleet.lacks(process, right)
    try:
        code, said = fleet.command(process, process, timeout_s=60)
        check = fleet.command(process, "topics", "acls", "--check", "--only", process)
    finally:
        fleet.has(process, right)
    assert code == 1, said
    assert f"{operation} on the topic {fleet.prefix}{name}" in one_line(said)
    assert f"streams topics acls --only {process}" in said
    assert check[0] == 1 and f"not allowed: {operation} on the topic {fleet.prefix}{name}" in one_line(check[1])


@pytest.mark.parametrize(
    ("process", "kind", "name", "operation", "arguments", "complaint"),
    [
        ("reader", Kind.GROUP, GROUP, Operation.DESCRIBE, ["events"], "reading {}delivery-events failed"),
        ("reader", Kind.TOPIC, "delivery-events", READ, ["events"], "topic {}delivery-events does not exist"),
        ("operator", Kind.TOPIC, "controls", WRITE, ["pause", "tenant", "x"], "Topic authorization failed"),
        ("operator", Kind.TOPIC, "audit-log", WRITE, ["breakers", "open", "ses"], "Topic authorization failed"),
        ("operator", Kind.TOPIC, "outbound", WRITE, ["cancel", "{id}"], "Topic authorization failed"),
        ("topics", Kind.TOPIC, "contents", Operation.DESCRIBE, ["topics", "check"], "topic {}contents does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_a_command_without_one_of_its_rights_fails_with_one_line(
    fleet: SecuredFleet,
    process: str,
    kind: Kind,
    name: str,
    operation: Operation,
    arguments: list[str],
    complaint: str,
) -> None:
    right = Right(kind, name if kind is Kind.GROUP else fleet.prefix + name, operation)
    unknown = message_id("acme", "never-asked", recipient_key("acme", "nobody@example.net"))
    given = [argument.replace("{id}", unknown) for argument in arguments]
    fleet.lacks(process, right)
    try:
        code, said = fleet.command(process, *given, timeout_s=90)
    finally:
        fleet.has(process, right)
    assert code == 1, said
    assert complaint.replace("{}", fleet.prefix) in one_line(said, with_remarks=True)


def test_a_doctor_that_may_not_look_says_so(fleet: SecuredFleet) -> None:
    right = topic(fleet, "contents", Operation.DESCRIBE_CONFIGS)
    fleet.lacks("doctor", right)
    try:
        code, said = fleet.command("doctor", "doctor", "--json")
    finally:
        fleet.has("doctor", right)
    (finding,) = [row for row in json.loads(said) if row["check"] == "topic configuration"]
    assert code == 1 and not finding["ok"]
    assert "allow DescribeConfigs to this user" in finding["advice"]


def test_who_may_not_join_the_group_ends(fleet: SecuredFleet) -> None:
    right = Right(Kind.GROUP, f"{fleet.prefix}streams", READ)
    fleet.lacks("worker", right)
    try:
        code, said = fleet.command("worker", "worker", timeout_s=60)
    finally:
        fleet.has("worker", right)
    assert code == 1
    assert f"Read on the group {fleet.prefix}streams" in one_line(said)


def test_a_topic_that_may_not_be_created_is_named(fleet: SecuredFleet) -> None:
    changes = {"STREAMS_DOORS__LATE__TOPIC": "send-requests.late", "STREAMS_DOORS__LATE__TENANTS": "late"}
    code, said = fleet.command("topics", "topics", "create", timeout_s=60, **changes)
    assert code == 1
    assert f"topic {fleet.prefix}send-requests.late: could not be created" in one_line(said)


@pytest.mark.parametrize(
    ("name", "operation"), [("delivery-events", WRITE), ("outbound", READ), ("streams", None)],
    ids=["writing events", "reading messages", "committing"],
)  # fmt: skip
def test_a_worker_that_loses_a_right_ends_and_with_it_back_nothing_is_lost(
    fleet: SecuredFleet, numbers: range, name: str, operation: Operation | None
) -> None:
    right = topic(fleet, name, operation) if operation else Right(Kind.GROUP, fleet.prefix + name, READ)
    loser, finder = f"loses-{name}", f"finds-{name}"
    started(fleet, loser)
    before = [single(number) for number in numbers[:5]]
    fleet.send_as("sender", "send-requests", before)
    fleet.until("it works", lambda: ids(before) <= fleet.seen.ended, 60)
    fleet.lacks("worker", right)
    try:
        after = [single(number) for number in numbers[5:15]]
        fleet.send_as("sender", "send-requests", after)
        code = fleet.worker(loser).wait(100)
    finally:
        fleet.has("worker", right)
    assert code == 1, fleet.log(loser)
    log = fleet.whole_log(loser)
    (last,) = [line for line in log.splitlines() if "The worker ends" in line]
    assert (fleet.prefix + name) in last and re.search("[Aa]uthoriz", log)
    started(fleet, finder)
    fleet.until("every message has ended", lambda: ids(after) <= fleet.seen.ended, 90)
    account = fleet.account(ids(before) | ids(after))
    assert not account.lost and not account.twice
    assert fleet.stop_worker(finder) == 0


# ------------------------------------------------------------------------------------------------ what nobody may do


@pytest.mark.parametrize(
    ("process", "name"),
    [
        ("ingress", "delivery-events"),
        ("ingress", "send-requests"),
        ("ingress", "receipts"),
        ("ingress", "tenants"),
        ("poll", "webhooks.mailgun"),
        ("poll", "delivery-events"),
        ("sender", "receipts"),
        ("sender", "outbound"),
        ("sender", "controls"),
        ("sender", "templates"),
        ("sender", "webhooks.mailgun"),
        ("sender", "send-requests.acme"),
        ("sender.acme", "send-requests"),
        ("sender.acme", "send-requests.bulk"),
        ("reader", "delivery-events"),
        ("reader", "send-requests"),
        ("worker", "templates"),
        ("worker", "tenants"),
        ("worker", "send-requests"),
        ("doctor", "controls"),
        ("topics", "tenants"),
    ],
)
def test_what_is_not_granted_cannot_be_written(fleet: SecuredFleet, process: str, name: str) -> None:
    assert fleet.send_as(process, name, [{}], idempotent=False) == ["TOPIC_AUTHORIZATION_FAILED"]


@pytest.mark.parametrize(
    ("process", "name"),
    [
        ("poll", "outbound"),
        ("poll", "contents"),
        ("ingress", "contents"),
        ("ingress", "send-requests"),
        ("sender", "send-requests"),
        ("sender", "delivery-events"),
        ("sender.acme", "send-requests.acme"),
        ("reader", "contents"),
        ("reader", "outbound"),
        ("reader", "audit-log"),
        ("doctor", "contents"),
        ("worker", "audit-log"),
    ],
)
def test_what_is_not_granted_cannot_be_read(fleet: SecuredFleet, process: str, name: str) -> None:
    assert _reading(fleet, process, fleet.prefix + name) == {"TOPIC_AUTHORIZATION_FAILED"}


def _reading(fleet: SecuredFleet, process: str, topic: str) -> set[str]:
    """What Kafka says to that principal: of the topic, or, where it may know of that, of what lies in it."""
    login = fleet.kafka.login(fleet.name(process), fleet.passwords[process], fleet.mechanism(process))
    fleet.kafka.allow(bindings(fleet.principal(process), [LOOKING]))  # that it may read something is not the question
    admin = AdminClient(login)
    (described,) = admin.describe_topics(TopicCollection([topic])).values()
    try:
        described.result(20)
    except KafkaException as exc:
        return {exc.args[0].name()}
    consumer = Consumer({**login, "group.id": LOOKING.name})
    try:
        consumer.assign([TopicPartition(topic, 0, 0)])
        return {message.error().name() if message.error() else "read" for message in consumer.consume(1, 20)}
    finally:
        consumer.close()


@pytest.mark.parametrize("process", ["reader", "sender", "ingress", "operator", "doctor"])
def test_nobody_else_moves_the_offsets_of_the_workers_group(fleet: SecuredFleet, process: str) -> None:
    admin = AdminClient(fleet.kafka.login(fleet.name(process), fleet.passwords[process], fleet.mechanism(process)))
    far = TopicPartition(f"{fleet.prefix}outbound", 0, 1_000_000)
    wanted = ConsumerGroupTopicPartitions(f"{fleet.prefix}streams", [far])
    (answer,) = admin.alter_consumer_group_offsets([wanted], request_timeout=20).values()
    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        answer.result(30)


# ------------------------------------------------------------------------------------------------ doors


def test_through_a_door_nobody_speaks_for_another_tenant(fleet: SecuredFleet, numbers: range) -> None:
    started(fleet, "w-doors")
    mine = single(numbers[0])
    foreign = single(numbers[1], tenant="victim")
    theirs = single(numbers[1], tenant="victim", idempotency_key=foreign["idempotency_key"])
    assert fleet.send_as("sender", "send-requests", [theirs]) == []
    fleet.until("the victim's own message has ended", lambda: ids_of(theirs) <= fleet.seen.ended, 60)
    assert fleet.send_as("sender.acme", "send-requests.acme", [foreign, mine]) == []
    fleet.until("what is allowed has ended", lambda: ids_of(mine) <= fleet.seen.ended, 60)
    address = foreign["recipients"][0]["email"]
    told = message_id("acme", foreign["idempotency_key"], recipient_key("acme", address))
    fleet.until("the door's tenant is told", lambda: told in fleet.seen.ended, 30)
    events = list(fleet.seen.events)
    (refusal,) = [event for event in events if event.message_id == told]
    assert refusal.type is EventType.REJECTED
    assert refusal.reason is not None and "may not be for tenant victim" in refusal.reason.detail
    of_victim = [event.type for event in events if event.message_id in ids_of(theirs)]
    assert EventType.REJECTED not in of_victim and of_victim.count(EventType.SENT) == 1
    assert fleet.metric("w-doors", "streams_requests_foreign_total", topic=f"{fleet.prefix}send-requests.acme") == 1
    audits = [decode_audit(value) for value in _values(fleet, "audit-log")]
    assert [(one.action, one.target) for one in audits if one.actor == "intake"] == [("request.refuse", "victim")]  # type: ignore[union-attr]
    assert httpx.get(f"{fleet.url('w-doors')}/health/ready", trust_env=False).is_success
    assert fleet.stop_worker("w-doors") == 0


def _values(fleet: SecuredFleet, name: str) -> list[bytes]:
    """All records of a topic with one partition, read by the tests' own superuser."""
    consumer = Consumer({"bootstrap.servers": fleet.kafka.bootstrap, "group.id": "tests", "enable.auto.commit": False})
    try:
        place = TopicPartition(fleet.prefix + name, 0, 0)
        end = consumer.get_watermark_offsets(place, timeout=10)[1]
        consumer.assign([place])
        return [message.value() or b"" for message in consumer.consume(end, 20)] if end else []
    finally:
        consumer.close()
