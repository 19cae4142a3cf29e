"""Two workers whose clocks are ten minutes off, one ahead and one behind; then both jump, one of them back.

The clocks of these processes alone are wrong (wrong_clock/sitecustomize.py); the time that only passes is left true.
What must hold: nothing expires before its time and nothing is sent after it, nothing that is due later goes early or is
forgotten, no attempt is asked about while its own worker still waits for the answer, and nothing is sent twice.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.core.event import EventType
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.fleet import ROOT, Fleet, single

OFF_S = 600
HERE = Path(__file__).parent


class Clock:
    """The wall clock of one process, to be set while it runs: so many seconds ahead of the truth."""

    def __init__(self, file: Path, offset_s: int) -> None:
        self._file = file
        file.write_bytes(bytes(8))
        self.set(offset_s)

    def set(self, offset_s: int) -> None:
        with self._file.open("r+b") as file:  # in place: the process has mapped it
            file.write(struct.pack("=q", offset_s))

    @property
    def environment(self) -> dict[str, str]:
        return {"WRONG_CLOCK": str(self._file), "PYTHONPATH": f"{HERE / 'wrong_clock'}:{ROOT}"}


def in_s(seconds: float) -> int:
    """Epoch milliseconds, by the true clock."""
    return int((time.time() + seconds) * 1000)


@pytest.mark.timeout(240)
def test_wrong_clocks_expire_nothing_and_send_nothing_at_the_wrong_time(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    count = sized(500, 40)
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        clocks = {"ahead": Clock(tmp_path / "ahead.time", OFF_S), "behind": Clock(tmp_path / "behind.time", -OFF_S)}
        for name, clock in clocks.items():
            fleet.start_worker(name, **clock.environment)
        for name in clocks:
            fleet.until(f"{name} is ready", lambda name=name: fleet.is_ready(name), 40)
        lasting = fleet.produce(single(n, expires_at=in_s(120)) for n in range(count))
        fleet.until("what lasts two minutes has ended", lambda: fleet.seen.ended >= lasting, 60)
        over = fleet.produce(single(n, expires_at=in_s(-120)) for n in range(count, count + 20))
        due_ms = in_s(sized(60, 12))
        later = fleet.produce(single(n, send_at=due_ms) for n in range(count + 20, count + 60))
        fleet.fault(kind="slow", rate=0.3, hold_s=2, count=count)  # answers that take long, for leases to run
        slow = fleet.produce(single(n) for n in range(count + 60, 2 * count + 60))
        clocks["ahead"].set(-OFF_S)
        clocks["behind"].set(OFF_S)
        fleet.until("what was sent while they jumped has ended", lambda: fleet.seen.ended >= slow, 90)
        fleet.heal()
        fleet.until("what was due later has ended", lambda: fleet.seen.ended >= later, sized(60, 12) + 60)
        fleet.until("what came too late has ended", lambda: fleet.seen.ended >= over, 30)
        everything = lasting | over | later | slow
        expired = {event.message_id for event in fleet.seen.events if event.type is EventType.EXPIRED}
        figures.none("expired before their time", expired & (everything - over))
        figures.none("sent after their time", over - expired)
        taken = {line["variables"]["message_id"]: line["accepted_ms"] for line in fleet.ledger() if "plan" in line}
        figures.none("sent before they were due", [i for i in later if taken[i] < due_ms - 1_000])
        figures.at_most("latest after it was due", max(taken[i] - due_ms for i in later) / 1000, 10, "s")
        figures.none(
            "asked about while the answer was on its way",
            [event.message_id for event in fleet.seen.events if event.type is EventType.UNCERTAIN],
        )
        figures.account(fleet.account(everything))
