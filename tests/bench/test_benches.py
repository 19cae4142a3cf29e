"""Each measurement runs to its end with little work. Figures are not judged here: other things run on this machine."""

from __future__ import annotations

from importlib import import_module

import pytest

from streams.bench import mail
from streams.bench import track as track_bench
from streams.bench.command import BENCHES
from streams.bench.figures import Comparison
from streams.bench.lab import EMBEDDED, REAL, BenchFailed, Options, lab
from streams.bench.logs import fill, make_topics
from streams.core.receipt import Receipt
from streams.serde.internal import unpack
from streams.serde.public import decode_request

_LITTLE = 0.01


def run(name: str, kafka: str = EMBEDDED) -> list[Comparison]:
    found: list[Comparison] = import_module(f"streams.bench.{name}").compare(Options(1, _LITTLE, kafka))
    for each in found:
        assert all(reading.value > 0 and reading.cpu_s > 0 for reading in (*each.ours, *each.theirs))
        assert each.bench in BENCHES
    return found


def test_webhooks_are_measured_against_a_bare_handler() -> None:
    (found,) = run("webhooks")
    assert found.ours[0].work == 240
    assert "broker" in found.ours[0].busy


def test_a_failing_side_is_a_failure_that_quotes_it() -> None:
    with lab(Options(), EMBEDDED) as place, pytest.raises(BenchFailed, match="KeyError"):
        place.run("track:bare", {})


def test_our_track_folds_all_receipts_of_the_topic() -> None:
    with lab(Options(1, _LITTLE), EMBEDDED) as place:
        make_topics(place.bootstrap, ["source"], track_bench.PARTITIONS)
        assert fill(place.bootstrap, "source", mail.receipts(600, track_bench.PARTITIONS)) == 600
        said = place.run("track:ours", track_bench._config(place, "ours", "source", 60_000, "memory"))
    assert said["work"] == 600
    assert said["cpu_s"] > 0


@pytest.mark.bench
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("name", "count"), [("track", 4), ("send", 2), ("latency", 2)])
def test_a_measurement_gives_its_comparisons(name: str, count: int) -> None:
    assert len(run(name)) == count


@pytest.mark.kafka
@pytest.mark.timeout(120)
def test_restoring_is_measured_on_kafka_and_every_entry_is_counted() -> None:
    (found,) = run("restore", REAL)
    assert found.ours[0].work == found.theirs[0].work == 4000


def test_receipts_are_the_same_each_time_and_begin_with_the_facts() -> None:
    rows = list(mail.receipts(2500, 4))
    assert rows == list(mail.receipts(2500, 4))
    first = unpack(rows[0][2])
    assert isinstance(first, Receipt)
    assert first.facts is not None


def test_requests_are_what_intake_reads() -> None:
    for _, key, value in (mail.single_request(1, 4, "run"), mail.campaign_request(1, 3, 4, "run")):
        record = decode_request(value)
        assert key
        assert isinstance(record, dict)
        assert record["recipients"]
