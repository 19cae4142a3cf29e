"""Connections that are neither alive nor dead: half-open ones, answers of one byte per second, peers that stop reading.

A call is over when its total deadline is, give or take a second, whatever trickles; its socket is gone with it, also
while the trouble lasts. The same from the other side: webhook senders that go silent in the middle, or trickle, hold a
connection of the ingress for no longer than it allows.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from streams.core.ledger import AttemptRow, LedgerState
from streams.serde.internal import unpacker
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.faults.network import DEADLINE_S, PROVIDERS, Network
from tests.faults.proxy import Trouble, Way
from tests.fleet.log import records

CASES = {
    "half-open": Trouble(silent=True),
    "answers of one byte per second": Trouble(Way.ANSWERS, bytes_per_s=1),
    "a peer that stops reading": Trouble(Way.REQUESTS, silent=True),
    "requests of one byte per second": Trouble(Way.REQUESTS, bytes_per_s=1),
}
SHORT = ("answers of one byte per second",)
HTTP = tuple(name for name in PROVIDERS if name != "relay")
LETTER = "A long letter. " * 20_000
SOON_S = 1.0
"""How long a socket may be there after its call."""
IDLE_S = 30.0
"""After so long without use every kept connection is closed (HTTP 20 s, SMTP 15 s)."""
READ_S = 2
"""What the ingress allows a sender for the head, and then for the body."""
LINGER_S = 2
"""Who got an answer without having ended may read it for so long; closing at once would throw it away."""


@pytest.mark.timeout(300)
def test_calls_end_with_their_deadline_and_leave_no_socket(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    patience = {"STREAMS_INGRESS__READ_TIMEOUT_S": str(READ_S)}
    with Network(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, **patience) as network:
        fleet = network.fleet
        worker = psutil.Process(fleet.start_worker("w1").pid)
        fleet.until("the worker is ready", lambda: fleet.is_ready("w1"), 60)
        before = sockets(network, worker, PROVIDERS)
        ids = network.send(PROVIDERS)
        fleet.until("every way works", lambda: fleet.seen.sent >= ids, 60)
        for name in CASES if sized(1, 0) else SHORT:
            ids |= troubled(network, worker, name, sized(10, 4), figures)
        about_senders(fleet.process("ingress").pid, fleet.ingress_port, sized(100, 20), figures)
        if sized(1, 0):
            after_the_calm(network, worker, before, figures)
        network.finish(ids, figures)


def after_the_calm(network: Network, worker: psutil.Process, before: int, figures: Figures) -> None:
    """Kept connections are closed in time; nothing else was left open."""
    deadline = time.monotonic() + IDLE_S
    while (left := sockets(network, worker, PROVIDERS)) > before and time.monotonic() < deadline:
        time.sleep(0.1)
    figures.equal("sockets to providers after the calm, more than before", left - before, 0)


def sockets(network: Network, process: psutil.Process, names: Sequence[str]) -> int:
    """The process's connections to these proxies."""
    ports = {network.ports[name] for name in names}
    return sum(1 for one in process.net_connections("tcp") if one.raddr and one.raddr.port in ports)


def troubled(network: Network, worker: psutil.Process, name: str, each: int, figures: Figures) -> set[str]:
    """Some messages of every provider meet the trouble at the same time, over kept connections and new ones."""
    fleet = network.fleet
    before = network.outcomes()
    network.trouble(CASES[name])
    ids = network.send(PROVIDERS, each, text=LETTER, on_uncertain="hold")

    def over(names: Sequence[str]) -> bool:
        ended = network.outcomes() - before
        return all(sum(count for (who, _), count in ended.items() if who == one) >= each for one in names)

    fleet.until(f"{name}: every call is over", lambda: over(HTTP), 30)
    ended_s = time.monotonic()
    fleet.until(f"{name}: no socket is left", lambda: not sockets(network, worker, HTTP), 40)
    figures.at_most(f"{name}: after the last call sockets are gone in", time.monotonic() - ended_s, SOON_S, "s")
    fleet.until(f"{name}: the mail server's calls are over too", lambda: over(PROVIDERS), 30)
    network.mend()
    took = durations(network, ids)
    figures.equal(f"{name}: calls measured", len(took), len(ids))
    figures.at_least(f"{name}: shortest call", min(took), DEADLINE_S - 1, "s")
    figures.at_most(f"{name}: longest call", max(took), DEADLINE_S + 1, "s")
    fleet.until(f"{name}: all doubts are settled", lambda: not open_rows(network, ids), 60)
    return ids


def history(network: Network, ids: set[str]) -> dict[str, list[AttemptRow]]:
    """Every row that the ledger has had for these messages, in order."""
    fleet, read = network.fleet, unpacker(AttemptRow)
    found: dict[str, list[AttemptRow]] = {name: [] for name in ids}
    for record in records(fleet.bootstrap, f"{fleet.prefix}{fleet.prefix}streams-attempts-changelog"):
        name = (record.key or b"").decode()
        if name in found and record.value is not None:
            row = read(record.value)
            assert isinstance(row, AttemptRow)
            found[name].append(row)
    return found


def durations(network: Network, ids: set[str]) -> list[float]:
    """How long each message's first call took, in seconds, from its row written ahead to the row of its result."""
    took: list[float] = []
    for rows in history(network, ids).values():
        begun = next(row for row in rows if row.state is LedgerState.SENDING)
        ended = next(row for row in rows if row.attempt == begun.attempt and row.state is not LedgerState.SENDING)
        took.append((ended.changed_ms - begun.changed_ms) / 1000)
    return took


def open_rows(network: Network, ids: set[str]) -> list[str]:
    done = (LedgerState.SENT, LedgerState.HELD)
    return [name for name, rows in history(network, ids).items() if rows[-1].state not in done]


@dataclass(slots=True)
class Sender:
    """A connection to the ingress that never gets to an end by itself. Times are seconds from its beginning."""

    kind: str
    sock: socket.socket
    began_s: float = field(default_factory=time.monotonic)
    told_s: float = 0.0
    """When it was first answered or hung up on."""
    ended_s: float = 0.0

    @property
    def age_s(self) -> float:
        return time.monotonic() - self.began_s


def about_senders(ingress: int, port: int, each: int, figures: Figures) -> None:
    """Senders that stop in the middle of head or body, and senders of one byte per second."""
    head = b"POST /webhooks/mailgun HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    begun = {"silent in the head": head, "silent in the body": head + b"Content-Length: 900\r\n\r\n{"}
    begun |= {f"one byte per second, {name}": data for name, data in begun.items()}
    senders: list[Sender] = []
    for kind, data in begun.items():
        for _ in range(each):
            senders.append(Sender(kind, socket.create_connection(("127.0.0.1", port))))
            senders[-1].sock.sendall(data)
    ours = {sender.sock.getsockname()[1] for sender in senders}
    assert held(ingress, ours), "the ingress has none of them"
    follow(senders)
    figures.none("senders that the ingress has not hung up on", [one.kind for one in senders if not one.ended_s])
    for kind in begun:
        told = [sender.told_s for sender in senders if sender.kind == kind]
        figures.at_least(f"webhooks {kind}: first told off after", min(told), READ_S - 1, "s")
        figures.at_most(f"webhooks {kind}: last told off after", max(told), READ_S + 1, "s")
    figures.at_most("connections held for at most", max(one.ended_s for one in senders), READ_S + LINGER_S + 1, "s")
    deadline = time.monotonic() + 5
    while held(ingress, ours) and time.monotonic() < deadline:
        time.sleep(0.05)
    figures.equal("of these connections the ingress still has", held(ingress, ours), 0)


def held(ingress: int, ports: Collection[int]) -> int:
    """How many connections from these ports the process has."""
    found = psutil.Process(ingress).net_connections("tcp")
    return sum(1 for one in found if one.raddr and one.raddr.port in ports)


def follow(senders: Sequence[Sender]) -> None:
    """Until all were hung up on; those of one byte per second go on with it meanwhile."""
    by = {sender.sock: sender for sender in senders}
    deadline_s = time.monotonic() + 4 * READ_S
    while by and time.monotonic() < deadline_s:
        for sock in select.select(list(by), [], [], 0.2)[0]:
            sender = by[sock]
            sender.told_s = sender.told_s or sender.age_s
            if is_over(sock):
                sender.ended_s = sender.age_s
                del by[sock]
                sock.close()
        trickle([sock for sock, sender in by.items() if sender.kind.startswith("one byte")])


def is_over(sock: socket.socket) -> bool:
    """Whether this was the end; an answer may come first."""
    try:
        return not sock.recv(4096)
    except ConnectionError:
        return True


def trickle(socks: Sequence[socket.socket]) -> None:
    """A byte from each, once a second or so."""
    for number, sock in enumerate(socks):
        if number % 5 == int(5 * time.monotonic()) % 5:
            try:
                sock.send(b"x")
            except ConnectionError:
                continue  # hung up on; its end is read next
