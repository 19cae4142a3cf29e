"""What the demo measures and counts beside the events: latency of two phases, and the ways in."""

from __future__ import annotations

import pytest

from streams.demo.latency import Latencies, Latency, measure
from streams.demo.ways import WAYS, count_ways, unused
from streams.kafka import Record


def test_latency_runs_from_when_a_request_was_due_and_p99_is_the_nearest_rank() -> None:
    due = {str(number): 1000.0 for number in range(200)}
    accepted = {str(number): 1001 + number for number in range(199)}  # the last one was never accepted
    found = measure(due, accepted, due)
    assert found == Latency(199, 100.0, 198.0)
    assert measure(due, {}, due) == Latency(0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("count", "alone", "beside", "broken"),
    [(300, 50.0, 90.0, False), (300, 50.0, 2500.0, False), (300, 300.0, 3600.0, True), (50, 300.0, 3600.0, False)],
    ids=["fine", "many times, on a busy machine", "behind the campaign", "too few to say"],
)
def test_only_waiting_behind_the_campaign_is_an_error(count: int, alone: float, beside: float, broken: bool) -> None:
    found = Latencies(Latency(count, 1.0, alone), Latency(count, 1.0, beside), 4000.0)
    assert found.broken is broken
    assert found.as_json()["p99_ratio"] == round(beside / alone, 2)


def record(verified: bytes) -> Record:
    return Record("t", 0, 0, 0, None, b"", {"verified": verified})


def test_every_way_in_is_counted_and_one_that_was_not_used_is_named() -> None:
    found = count_ways({"ses": [record(b"1"), record(b"sqs"), record(b"sqs")], "directmail": [record(b"0")]})
    assert found["SNS over HTTP"] == 1
    assert found["SNS over SQS"] == 2
    assert found["directmail by an unknown way"] == 1
    assert set(unused(found)) == set(WAYS.values()) - {"SNS over HTTP", "SNS over SQS"}
