"""The disk of a worker's tables is full while mail flows: the worker says so and ends, and nothing is lost by it.

The tables' truth is in Kafka; the disk holds copies. So a worker that cannot write them ends with exit code 1 (the
group gives its partitions to others, its orchestrator starts it again), commits nothing that Kafka does not have, and
goes on from what it has on disk when there is room again. The metric of free space tells of it before.

A worker whose tables are in memory does not care, nor does one whose log cannot be written.

Needs root, for a small file system of its own.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.core.ledger import AttemptRow
from streams.core.message import Message
from streams.core.message_state import MessageState
from streams.core.receipt import Receipt
from streams.serde.internal import unpack, unpacker
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.faults.load import Load
from tests.fleet import Fleet, single
from tests.fleet.log import committed, records, rows

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")

MEGABYTE = 1_000_000
ALMOST_FULL = 2 * MEGABYTE
"""What a first ballast leaves; somebody who watches the metric could still act."""
LINE = "The worker ends: the tables cannot be kept in "


class Disk:
    """A small file system."""

    def __init__(self, path: Path, size_mb: int) -> None:
        self.path = path
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(path)], check=True)

    @property
    def free(self) -> int:
        """Bytes."""
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Ballast, until only so much is left."""
        with (self.path / "ballast").open("ab", buffering=0) as file:
            try:
                while (much := self.free - leave) > 0:
                    file.write(bytes(min(much, MEGABYTE)))
            except OSError:
                assert not leave

    def clear(self) -> None:
        """Without the ballast."""
        (self.path / "ballast").unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk", 48)
    yield made
    made.unmount()


def ends_of(fleet: Fleet, name: str) -> list[str]:
    """The reasons that the worker gave for its ends, in whole lines."""
    text = (fleet.folder / f"{name}.log").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if "The worker ends: " in line]


def without_row(fleet: Fleet) -> list[str]:
    """Records that are committed although Kafka has no row of their message."""
    attempts = rows(fleet.bootstrap, fleet.prefix, "attempts", unpacker(AttemptRow))
    states = rows(fleet.bootstrap, fleet.prefix, "messages", unpacker(MessageState))
    found = []
    for topic, table in (("outbound", attempts), ("outbound.bulk", attempts), ("receipts", states)):
        until = committed(fleet.bootstrap, fleet.prefix, topic)
        for record in records(fleet.bootstrap, fleet.prefix + topic):
            content = unpack(record.value or b"") if record.offset < until[record.partition] else None
            if isinstance(content, Message | Receipt) and content.message_id.encode() not in table:
                found.append(f"{topic}[{record.partition}] {record.offset}: {content.message_id}")
    return found


@pytest.mark.timeout(180)
def test_disk_full_under_load(
    apache_kafka: KafkaServer,
    topic_prefix: str,
    tmp_path: Path,
    disk: Disk,
    sized: Callable[[int, int], int],
    figures: Figures,
) -> None:
    on_disk = {"STREAMS_WORKER__STORE": "rocksdb", "STREAMS_WORKER__DATA_DIR": str(disk.path / "state")}
    with Fleet(tmp_path / "fleet", apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        fleet.start_worker("w1", **on_disk)
        with Load(fleet, sized(300, 200)) as load:
            fleet.until("mail flows", lambda: len(fleet.seen.sent) > sized(5000, 500), 60)
            disk.fill(leave=ALMOST_FULL)
            shown = fleet.metric("w1", "streams_data_dir_free_bytes")
            figures.at_most("free space that the metric shows before", shown / MEGABYTE, ALMOST_FULL / MEGABYTE, "MB")
            disk.fill()
            began_s = time.monotonic()
            code = fleet.process("w1").wait(60)
            figures.at_most("from the full disk to the worker's end", time.monotonic() - began_s, 30, "s")
            figures.equal("exit code", code, 1)
            figures.equal("lines that say why", len(ends_of(fleet, "w1")), 1)
            assert LINE + str(disk.path) in ends_of(fleet, "w1")[0]
            figures.none("records committed without a row in Kafka", without_row(fleet))
            disk.fill()
            fleet.start_worker("w1", **on_disk)
            figures.equal("exit code of a start on the full disk", fleet.process("w1").wait(60), 1)
            assert LINE + str(disk.path) in ends_of(fleet, "w1")[-1]
            disk.clear()
            began_s = time.monotonic()
            fleet.start_worker("w1", **on_disk)
            fleet.until("it is ready", lambda: fleet.is_ready("w1"), 60)
            figures.note("ready after space came back within", time.monotonic() - began_s, "s")
            sent = len(fleet.seen.sent)
            fleet.until("mail flows again", lambda: len(fleet.seen.sent) > sent + sized(2000, 200), 60)
        fleet.until("every message has come to rest", lambda: fleet.seen.rests(load.ids), 120)
        figures.account(fleet.account(load.ids))


@pytest.mark.timeout(120)
def test_disk_full_is_no_concern_of_the_log_and_of_tables_in_memory(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, disk: Disk, figures: Figures
) -> None:
    with Fleet(tmp_path / "fleet", apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        log = disk.path / "w1.log"
        log.touch()
        (fleet.folder / "w1.log").symlink_to(log)
        disk.fill()
        fleet.start_worker("w1", STREAMS_WORKER__DATA_DIR=str(disk.path / "state"), STREAMS_LOG="DEBUG")
        ids = fleet.produce(single(n) for n in range(200))
        fleet.until("every message has ended", lambda: fleet.seen.ended >= ids, 60)
        figures.equal("bytes of log", log.stat().st_size, 0)
        figures.account(fleet.account(ids), twice_if_uncertain=False)
        figures.equal("exit code after SIGTERM", fleet.stop_worker("w1"), 0)
