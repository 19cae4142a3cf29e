"""Workers die by SIGKILL on real Kafka: nothing is lost, and what was sent twice or is unknown is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.failpoints import NAMES
from tests.brokers import KafkaServer
from tests.fleet import Fleet, campaign, single

pytestmark = [pytest.mark.kafka]

KILLS = 10


@pytest.mark.timeout(600)
def test_ten_kills_in_a_run_of_20000_messages_lose_nothing_and_send_nothing_twice_silently(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        requests = [campaign(n, 900, on_uncertain="resend") for n in range(20)]
        requests += [single(n, on_uncertain="resend") for n in range(2_000)]
        identities = fleet.produce(requests)
        assert len(identities) == 20_000
        fleet.start_worker("w1")
        for kill in range(KILLS):
            goal = (kill + 1) * len(identities) // (KILLS + 2)
            fleet.until(f"{goal} messages are sent", lambda goal=goal: len(fleet.seen.sent) >= goal, 90)
            fleet.kill_worker("w1")
            fleet.start_worker("w1")
        fleet.until("every message has ended", lambda: fleet.seen.ended >= identities, 240)
        fleet.until("the providers have reported everything", lambda: not fleet.stats()["pending_webhooks"], 60)
        account = fleet.account(identities)
        with capsys.disabled():
            print("\n" + account.table(f"{KILLS} kills of the worker during {len(identities)} messages"))
        assert not account.lost
        assert not account.unrecorded
        assert set(account.twice) <= account.uncertain


@pytest.mark.timeout(300)
def test_two_workers_share_the_work_and_stopping_one_moves_its_partitions_and_loses_nothing(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        fleet.start_worker("w1")
        fleet.start_worker("w2")
        first = fleet.produce([*(single(n) for n in range(1_000)), campaign(1, 1_000)])
        fleet.until("the first half has ended", lambda: fleet.seen.ended >= first, 120)
        shares = {name: fleet.log(name) for name in ("w1", "w2")}
        second = fleet.produce([*(single(n) for n in range(1_000, 2_000)), campaign(2, 1_000)])
        fleet.until("the second half is under way", lambda: len(fleet.seen.sent & second) > 200, 60)
        assert fleet.stop_worker("w2") == 0, shares["w2"]
        fleet.until("every message has ended", lambda: fleet.seen.ended >= first | second, 120)
        account = fleet.account(first | second)
        with capsys.disabled():
            print("\n" + account.table("one of two workers stopped under load"))
        assert not account.lost
        assert not account.twice
        assert not account.uncertain
        assert account.repeated_events == 0


@pytest.mark.timeout(120)
@pytest.mark.parametrize("failpoint", NAMES)
def test_a_worker_killed_at_this_step_loses_none_of_100_messages(
    failpoint: str, apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix) as fleet:
        worker = fleet.start_worker("w1", STREAMS_FAILPOINT=f"{failpoint}:2")
        identities = fleet.produce(
            [campaign(1, 60, on_uncertain="resend"), *(single(n, on_uncertain="resend") for n in range(40))]
        )
        assert len(identities) == 100
        fleet.until(f"the worker dies at {failpoint}", lambda: worker.returncode is not None, 60)
        fleet.start_worker("w1")
        fleet.until("every message has ended", lambda: fleet.seen.ended >= identities, 60)
        account = fleet.account(identities)
        with capsys.disabled():
            print("\n" + account.table(f"killed at {failpoint}"))
        assert not account.lost
        assert not account.unrecorded
        assert set(account.twice) <= account.uncertain
