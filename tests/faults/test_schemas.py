"""Workers of three releases share the work, and take it from each other in every order: up and down again.

The later releases are made from this one (releases.py): each has fields in its rows, records and public schemas that
the ones before it do not know. What must hold: nobody crashes, nothing is lost or becomes a dead letter, and a field
that a newer worker has put into a row is still there after an older one has written that row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from streams.kafka import Record
from streams.serde.schemas import fingerprint, parse, schema
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.faults.releases import PUBLIC, field_of, make, schema_text
from tests.fleet import ROOT, Fleet, campaign, single
from tests.fleet.log import records

FATES = ("success", "success", "bounce", "defer", "softbounce", "click")
ORDER = (0, 2, 1, 0, 1, 2)
"""Which release comes next, taking the place of the worker that has been there longest."""


def learn(release: Path) -> None:
    """Let this process read what that release writes, as a consumer does that was given its schemas."""
    for name in PUBLIC:
        text = schema_text(release, name)
        schema(name).writers[fingerprint(text)] = parse(text)


def fields_taken_away(changelog: Iterable[Record]) -> tuple[int, list[str]]:
    """How many rows had a field of a later release, and the keys of those that lost it again."""
    had: dict[bytes, set[str]] = {}
    lost: list[str] = []
    later = {field_of(1), field_of(2)}
    for record in changelog:
        if record.key is None:
            continue
        present = later & set(msgspec.msgpack.decode(record.value)) if record.value else set()
        if had.get(record.key, set()) - present and record.value:
            lost.append(record.key.decode())
        had[record.key] = had.get(record.key, set()) | present
    return sum(1 for fields in had.values() if fields), lost


@pytest.mark.timeout(240)
def test_three_releases_work_together_and_take_nothing_from_each_others_rows(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    releases = [ROOT, make(tmp_path, 1), make(tmp_path, 2)]
    for release in releases[1:]:
        learn(release)
    per_step = sized(800, 150)
    with Fleet(tmp_path / "fleet", apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        wanted: set[str] = set()
        running: list[str] = []
        codes: list[int] = []
        for step, number in enumerate((*range(3), *ORDER[: sized(6, 3)])):
            if len(running) == 3:
                codes.append(fleet.stop_worker(running.pop(0)))
            name = f"w{step}-release-{number}"
            fleet.start_worker(name, PYTHONPATH=f"{releases[number]}:{ROOT}")
            running.append(name)
            fleet.until(f"{name} is ready", lambda name=name: fleet.is_ready(name), 60)
            # A throttled call rests in its rows, to be taken up by whoever has the partition then.
            fleet.fault(kind="throttle", retry_after=1, rate=0.2, count=20)
            new = [single(per_step * step + n, FATES[n % len(FATES)]) for n in range(per_step // 2)]
            wanted |= fleet.produce([*new, campaign(step, per_step // 2)])
            goal = len(wanted) - per_step // 3
            fleet.until("some of it is sent", lambda goal=goal: len(fleet.seen.sent) >= goal, 60)
        fleet.heal()
        fleet.until("every message has ended", lambda: fleet.seen.ended >= wanted, 90)
        codes += [fleet.stop_worker(name) for name in running]
        figures.note("changes of release", len(codes) - len(running))
        figures.none("workers that ended badly", [code for code in codes if code])
        figures.none("dead letters", records(apache_kafka.bootstrap, f"{topic_prefix}dead-letters"))
        for table in ("attempts", "messages"):
            changelog = records(apache_kafka.bootstrap, f"{topic_prefix}{topic_prefix}streams-{table}-changelog")
            rows, lost = fields_taken_away(changelog)
            figures.at_least(f"rows of {table} with a later release's field", rows, per_step)
            figures.none(f"rows of {table} that lost it", lost)
        figures.account(fleet.account(wanted))
