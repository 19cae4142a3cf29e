"""SES events through a queue: the same facts by SNS over HTTP and by SQS, in both formats, and each is seen once."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.brokers import KafkaServer
from tests.fleet import Fleet, single

pytestmark = [pytest.mark.timeout(150)]

FATES = {
    "success": {"sent": 1, "delivered": 1},
    "bounce": {"sent": 1, "bounced": 1},
    "softbounce": {"sent": 1, "bounced": 1},
    "complaint": {"sent": 1, "delivered": 1, "complained": 1},
    "defer": {"sent": 1, "deferred": 1, "delivered": 1},
    "click": {"sent": 1, "delivered": 1, "opened": 1, "clicked": 1},
}
EACH = 8
QUEUE = 'sqs_queue_url = "{sandbox}/111122223333/ses-events"\nsqs_endpoint_url = "{sandbox}"\nsqs_wait_s = 1\nsqs_visibility_s = 10\n'


def requests() -> dict[str, str]:
    """The fate by key."""
    return {f"{fate}-{number}": fate for fate in FATES for number in range(EACH)}


def send(fleet: Fleet) -> set[str]:
    return fleet.produce(
        single(number, fate, idempotency_key=key, provider="ses")
        for number, (key, fate) in enumerate(requests().items())
    )


def told(fleet: Fleet) -> dict[str, Counter[str]]:
    """The types of events by fate of the message."""
    found: dict[str, Counter[str]] = {fate: Counter() for fate in FATES}
    for event in list(fleet.seen.events):
        kind = event.type.value.removeprefix("message.")
        if kind != "accepted":
            found[event.idempotency_key.partition("-")[0]][kind] += 1
    return found


def expected() -> dict[str, Counter[str]]:
    return {fate: Counter({kind: count * EACH for kind, count in kinds.items()}) for fate, kinds in FATES.items()}


def queue(fleet: Fleet) -> dict[str, int]:
    return dict(fleet.stats()["queue"])


def quiet(fleet: Fleet) -> bool:
    """Nothing is left to report, to fetch, or to delete."""
    return not fleet.stats()["pending_webhooks"] and not queue(fleet)["left"]


def nothing_more(fleet: Fleet, seconds: float) -> None:
    """The events do not change any more: what was told twice would show now."""
    before, deadline = len(fleet.seen.events), time.monotonic() + seconds
    fleet.until("a while has passed", lambda: time.monotonic() > deadline, seconds + 5)
    assert len(fleet.seen.events) == before


def test_what_http_and_the_queue_both_tell_in_both_formats_is_seen_once(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    options = ["--queue", "envelope", "--notifications", "--repeat", "0.2"]
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, sandbox=options, ses=QUEUE) as fleet:
        fleet.start_worker("w1")
        poller = fleet.start_poller()
        identities = send(fleet)
        fleet.until("every message has ended", lambda: fleet.seen.ended >= identities, 60)
        fleet.until("every event is told", lambda: told(fleet) == expected(), 30)
        fleet.until("nothing is left in the queue", lambda: quiet(fleet), 30)
        nothing_more(fleet, 1.5)
        assert told(fleet) == expected()
        stats, account = fleet.stats(), fleet.account(identities)
        assert poller.stop(grace_s=15) == 0, fleet.log("poll")
        polled = json.loads(fleet.log("poll").strip().splitlines()[-1])["polled"]["ses"]
    assert not account.lost
    assert not account.twice
    assert account.repeated_events == 0
    assert stats["queue"]["sent"] > stats["webhook_attempts"] > 0  # both ways, and the queue has the second format too
    assert polled["stored"] == stats["queue"]["sent"] == stats["queue"]["deleted"]
    assert (polled["errors"], polled["trouble"]) == (0, "")


def test_the_queue_alone_tells_everything_and_a_poller_that_is_killed_in_between_loses_nothing(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    dead_end = ["--webhooks", "http://127.0.0.1:9/nobody", "--queue", "raw"]
    with Fleet(tmp_path, apache_kafka.bootstrap, prefix=topic_prefix, sandbox=dead_end, ses=QUEUE) as fleet:
        fleet.start_worker("w1")
        poller = fleet.start_poller()
        identities = send(fleet)
        fleet.until("something was fetched", lambda: queue(fleet)["deleted"] > 0, 60)
        poller.kill()  # what it had comes again after its time
        fleet.start_poller()
        fleet.until("every message has ended", lambda: fleet.seen.ended >= identities, 60)
        fleet.until("every event is told", lambda: told(fleet) == expected(), 30)
        fleet.until("nothing is left in the queue", lambda: not queue(fleet)["left"], 30)
        assert queue(fleet)["dead"] == 0
        account = fleet.account(identities)
    assert not account.lost
    assert not account.twice
    assert account.repeated_events == 0
