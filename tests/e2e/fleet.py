"""A fleet for crash tests: sandbox, ingress and any number of workers as real processes on a broker that is given.

    with Fleet(folder, bootstrap, prefix="t1.") as fleet:
        fleet.start_worker("w1")
        fleet.produce(requests)
        fleet.until("all ended", lambda: fleet.ended >= ids, 60)
        fleet.kill_worker("w1")

The oracle is :meth:`Fleet.account`: the sandbox's ledger and the events, as sets.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
from confluent_kafka import Consumer, Producer, TopicPartition

from streams.broker import free_port
from streams.core.event import DeliveryEvent, EventType
from streams.core.ids import message_id, recipient_key
from streams.processes import BoundProcess, log_tail
from streams.serde.events import decode_event

ROOT = Path(__file__).parents[2]
SECRETS = {
    "FLEET_MAILGUN_KEY": "key-sandbox",
    "FLEET_SIGNING_KEY": "signing-key-sandbox",
    "FLEET_SES_ACCESS": "AKIASANDBOX000000000",
    "FLEET_SES_SECRET": "sandbox-secret",
}
CONFIG = """\
[kafka]
bootstrap = "{bootstrap}"
profile = "{profile}"
partitions = {partitions}
replication_factor = 1
min_insync_replicas = 1
prefix = "{prefix}"
group = "{prefix}streams"

[worker]
port = 0
data_dir = "{folder}/state"
session_timeout_s = 6
commit_interval_s = 0.2

[ingress]
port = {ingress_port}

[providers.mailgun]
type = "mailgun"
base_url = "{sandbox}"
domain = "mg.example.com"
api_key = "env:FLEET_MAILGUN_KEY"
signing_keys = ["env:FLEET_SIGNING_KEY"]
deadline_s = 3
visibility_delay_s = 2

[providers.ses]
type = "ses"
endpoint_url = "{sandbox}"
region = "us-east-1"
access_key_id = "env:FLEET_SES_ACCESS"
secret_access_key = "env:FLEET_SES_SECRET"
configuration_set = "events"
topic_arns = ["arn:aws:sns:us-east-1:111122223333:ses-events"]
pinned_certificates = "{folder}/sandbox/certificates"
deadline_s = 3
visibility_delay_s = 4
{ses}

[[routing.rules]]
providers = ["mailgun", "ses"]
weights = {{ mailgun = 50, ses = 50 }}

[dispatch]
retry = "backoff"
lease_margin_s = 5
"""
TERMINAL = frozenset(
    {
        EventType.DELIVERED,
        EventType.BOUNCED,
        EventType.REJECTED,
        EventType.FAILED,
        EventType.SUPPRESSED,
        EventType.EXPIRED,
        EventType.CANCELLED,
    }
)


@dataclass(slots=True)
class Seen:
    """What the events topic has said so far; written by one thread."""

    events: list[DeliveryEvent] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    sent: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Account:
    """The comparison of ledger and events. ``twice`` maps a message to the attempts that providers accepted."""

    requested: int
    accepted: int
    lost: frozenset[str]
    twice: dict[str, tuple[str, ...]]
    unrecorded: frozenset[str]
    uncertain: frozenset[str]
    held: frozenset[str]
    repeated_events: int
    settled: dict[str, int]
    """How each uncertain attempt came to rest, by provider and way."""

    def table(self, title: str) -> str:
        """For a person."""
        rows = {
            "messages requested": self.requested,
            "accepted by providers": self.accepted,
            "lost (no acceptance or no end)": len(self.lost),
            "accepted twice": len(self.twice),
            "accepted, but not in the events": len(self.unrecorded),
            "uncertain on the way": len(self.uncertain),
            "left for a person": len(self.held),
            "events repeated with the same id": self.repeated_events,
        }
        rows |= {f"  uncertain, {how}": count for how, count in sorted(self.settled.items())}
        return "\n".join([title, *(f"  {name:<58}{count:>8}" for name, count in rows.items())])


class Fleet:
    """Use it as a context manager; everything ends with it."""

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        *,
        prefix: str,
        partitions: int = 4,
        profile: str = "kafka",
        sandbox: Sequence[str] = (),
        ses: str = "",
    ) -> None:
        """``sandbox`` are further options of it, ``ses`` further lines of its provider (``{sandbox}`` is its URL)."""
        self.folder = folder
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.seen = Seen()
        self.restarts: Counter[str] = Counter()
        self._processes: dict[str, BoundProcess] = {}
        self._sandbox = f"http://127.0.0.1:{(sandbox_port := free_port())}"
        self._sandbox_port = sandbox_port
        self._sandbox_options = list(sandbox)
        self._ingress_port = free_port()
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "streams.toml"
        self._config.write_text(
            CONFIG.format(
                bootstrap=bootstrap,
                profile=profile,
                prefix=prefix,
                partitions=partitions,
                folder=folder,
                sandbox=self._sandbox,
                ingress_port=self._ingress_port,
                ses=ses.replace("{sandbox}", self._sandbox),
            )
        )

    def __enter__(self) -> Self:
        webhooks = f"http://127.0.0.1:{self._ingress_port}/webhooks"
        data = str(self.folder / "sandbox")
        port = str(self._sandbox_port)
        options = ["--webhooks", webhooks, "--data", data, "--event-delay", "0.05", *self._sandbox_options]
        self._spawn("sandbox", ["sandbox", "--port", port, "--smtp-port", "0", "--starttls-port", "0", *options])
        assert self._spawn("topics", ["topics", "create"]).wait(30) == 0, self.log("topics")
        self._await(f"{self._sandbox}/sandbox/stats")
        self._spawn("ingress", ["ingress"])
        self._await(f"http://127.0.0.1:{self._ingress_port}/health/ready")
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for process in reversed(list(self._processes.values())):
            process.stop(grace_s=5)
        self._reader.join(10)

    # -- workers

    def start_worker(self, name: str, **environment: str) -> BoundProcess:
        """A worker of that name, with extra environment variables; it need not be ready yet."""
        self.restarts[name] += 1
        if name in self._processes:
            self._processes.pop(name).kill()  # it is dead already; what it held is given back
        state = str(self.folder / f"state-{name}")
        return self._spawn(name, ["worker"], {"STREAMS_WORKER__DATA_DIR": state, **environment})

    def start_poller(self) -> BoundProcess:
        """`streams poll`, without a port that others could want."""
        self._processes.pop("poll", None)
        return self._spawn("poll", ["poll", "--port", "0", "--json"])

    def kill_worker(self, name: str) -> None:
        """SIGKILL, as a power cut would."""
        self._processes.pop(name).kill()

    def stop_worker(self, name: str) -> int:
        """SIGTERM and wait; answers the exit code."""
        return self._processes.pop(name).stop(grace_s=40)

    def worker(self, name: str) -> BoundProcess:
        return self._processes[name]

    def log(self, name: str) -> str:
        return log_tail(self.folder / f"{name}.log", 6000)

    # -- messages

    def produce(self, requests: Iterable[dict[str, Any]]) -> set[str]:
        """Requests as plain JSON; answers the ids of all their messages once Kafka has them."""
        producer = Producer({"bootstrap.servers": self.bootstrap, "acks": "all", "linger.ms": 5})
        identities: set[str] = set()
        for request in requests:
            topic = self.prefix + ("send-requests.bulk" if request["stream"] == "bulk" else "send-requests")
            producer.produce(topic, json.dumps(request).encode(), key=request["idempotency_key"].encode())
            producer.poll(0)
            identities |= ids_of(request)
        assert producer.flush(30) == 0
        return identities

    def until(self, what: str, holds: Callable[[], bool], timeout_s: float) -> None:
        """Wait for a condition; a process that ended by itself, or the deadline, fails with its name."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                logs = "\n".join(f"--- {name}\n{self.log(name)[-1500:]}" for name in self._processes)
                raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n{logs}")
            time.sleep(0.02)

    # -- the oracle

    def ledger(self) -> list[dict[str, Any]]:
        """The sandbox's ledger lines."""
        text = httpx.get(f"{self._sandbox}/sandbox/ledger", timeout=60).text
        return [json.loads(line) for line in text.splitlines()]

    def stats(self) -> dict[str, Any]:
        return dict(httpx.get(f"{self._sandbox}/sandbox/stats", timeout=10).json())

    def fault(self, **fields: Any) -> None:
        httpx.post(f"{self._sandbox}/sandbox/faults", json=fields, timeout=10).raise_for_status()

    def heal(self) -> None:
        httpx.delete(f"{self._sandbox}/sandbox/faults", timeout=10).raise_for_status()

    def account(self, identities: set[str]) -> Account:
        """Compare what was asked, what providers took, and what the events say."""
        acceptances: dict[str, list[str]] = {}
        for line in self.ledger():
            if "plan" in line:
                identity = line["variables"].get("message_id", "")
                acceptances.setdefault(identity, []).append(f"{line['provider']}#{line['variables'].get('attempt')}")
        events = list(self.seen.events)
        kinds: dict[str, set[str]] = {}
        for event in events:
            kinds.setdefault(event.message_id, set()).add(event.type.value)
        said_sent = {identity for identity, types in kinds.items() if "message.sent" in types}
        held = {
            event.message_id
            for event in events
            if event.type is EventType.UNCERTAIN and event.message_id not in said_sent | self.seen.ended
        }
        return Account(
            requested=len(identities),
            accepted=sum(map(len, acceptances.values())),
            lost=frozenset(identities - set(acceptances) - held) | frozenset(identities - self.seen.ended - held),
            twice={identity: tuple(sorted(by)) for identity, by in acceptances.items() if len(by) > 1},
            unrecorded=frozenset(set(acceptances) - said_sent),
            uncertain=frozenset(i for i, types in kinds.items() if "message.uncertain" in types),
            held=frozenset(held),
            repeated_events=len(events) - len({event.event_id for event in events}),
            settled=_settled(events, acceptances, held),
        )

    # -- inside

    def _spawn(self, name: str, arguments: Sequence[str], extra: dict[str, str] | None = None) -> BoundProcess:
        clean = {key: value for key, value in os.environ.items() if not key.startswith("STREAMS_")}
        env = {**clean, **SECRETS, "STREAMS_CONFIG": str(self._config), "PYTHONPATH": str(ROOT), **(extra or {})}
        process = BoundProcess(
            [sys.executable, "-m", "streams", *arguments], env=env, cwd=self.folder, log=self.folder / f"{name}.log"
        )
        self._processes[name] = process
        return process

    def _await(self, url: str, timeout_s: float = 30) -> None:
        def answers() -> bool:
            try:
                return httpx.get(url, timeout=2, trust_env=False).is_success
            except httpx.HTTPError:
                return False

        self.until(f"{url} answers", answers, timeout_s)

    def _read(self) -> None:
        consumer = Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": f"{self.prefix}oracle", "enable.auto.commit": False}
        )
        topic = f"{self.prefix}delivery-events"
        partitions = consumer.list_topics(topic, timeout=20).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        while not self._stop.is_set():
            for message in consumer.consume(1000, timeout=0.1):
                if message.error():
                    continue
                event = decode_event(message.value())
                assert isinstance(event, DeliveryEvent)
                if event.type is EventType.SENT:
                    self.seen.sent.add(event.message_id)
                if event.type in TERMINAL:
                    self.seen.ended.add(event.message_id)
                self.seen.events.append(event)
        consumer.close()


_PROOF = {"mailgun": "found by the events API", "ses": "found by the Send event"}


def _settled(events: list[DeliveryEvent], acceptances: dict[str, list[str]], held: set[str]) -> dict[str, int]:
    """An uncertain attempt that the ledger knows was found; one it does not know was sent again or is held."""
    attempts = {(e.message_id, e.provider, e.attempt) for e in events if e.type is EventType.UNCERTAIN}
    ways: Counter[str] = Counter()
    for identity, provider, attempt in attempts:
        if f"{provider}#{attempt}" in acceptances.get(identity, ()):
            ways[f"{provider}: accepted, {_PROOF[provider]}, not sent again"] += 1
        elif identity in held:
            ways[f"{provider}: held for a person"] += 1
        else:
            ways[f"{provider}: never accepted, sent again as a new attempt"] += 1
    return dict(ways)


def ids_of(request: dict[str, Any]) -> set[str]:
    """The message ids that a request makes."""
    tenant, key = request["tenant"], request["idempotency_key"]
    return {message_id(tenant, key, recipient_key(tenant, r["email"])) for r in request["recipients"]}


def single(number: int, fate: str = "success", **fields: Any) -> dict[str, Any]:
    """A transactional request to one address whose name is its fate in the sandbox."""
    return {
        "idempotency_key": f"s{number}",
        "tenant": "acme",
        "stream": "transactional",
        "from": {"email": "shop@mg.example.com", "name": "Shop"},
        "recipients": [{"email": f"{fate}+s{number}@example.net"}],
        "subject": f"Order {number}",
        "text": f"Thank you for order {number}.",
        **fields,
    }


def campaign(number: int, size: int, fate: str = "success", **fields: Any) -> dict[str, Any]:
    """A bulk request to many addresses with one text."""
    return {
        **single(number),
        "idempotency_key": f"c{number}",
        "stream": "bulk",
        "recipients": [{"email": f"{fate}+c{number}r{index}@example.net"} for index in range(size)],
        "subject": f"News {number}",
        **fields,
    }
