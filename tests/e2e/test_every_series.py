"""Every series of the catalogue is fed by something real: worker, ingress and poller of one deployment, after a day's
worth of good and bad luck in half a minute. What cannot happen here is listed with its reason and the test that shows it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families

from streams.core.event import EventType
from streams.metrics.catalogue import CATALOGUE, PREFIX, STAGE_DURATION, Kind
from tests.brokers import KafkaServer
from tests.fleet import SECRETS, Fleet, campaign, single

pytestmark = pytest.mark.timeout(150)

ROOT = Path(__file__).parents[2]
SECTIONS = """
sqs_queue_url = "{sandbox}/111122223333/ses-events"
sqs_endpoint_url = "{sandbox}"
sqs_wait_s = 1

[breaker]
consecutive = 1
open_s = 1
ramp_s = 0

[tracking]
public_url = "https://t.example.com"
secrets = ["env:FLEET_SIGNING_KEY"]

[alerts]
from = "alerts@mg.example.com"
every_min = 0.01
provider = "mailgun"

[tenants.acme]
alert = "success+ops@example.net"
"""

NOT_HERE: Mapping[str, tuple[str, str, str]] = {
    "double_sends_total": (
        "that a message was sent twice must not happen",
        "tests/agents/test_track.py",
        "test_counts_name_providers_tenants_ends_latencies_and_double_sends",
    ),
    "requests_foreign_total": (
        "nobody has a door here",
        "tests/agents/test_intake_doors.py",
        "test_it_is_counted_by_topic",
    ),
    "poll_repeats_total": (
        "a queue that hands an item out three times needs minutes",
        "tests/pollers/test_loop.py",
        "test_counts_ages_and_items_that_come_again_and_again_are_in_the_metrics",
    ),
    **dict.fromkeys(
        ("provider_quota_limit", "provider_quota_remaining"),
        (
            "the stand-in's account has no daily limit",
            "tests/agents/test_quotas.py",
            "test_the_quota_of_an_account_limits_its_lane_and_is_shown",
        ),
    ),
    **dict.fromkeys(
        ("gap_events_total", "gap_watermark_timestamp_seconds"),
        (
            "the first look for lost webhooks comes a minute after the start",
            "tests/agents/test_gaps.py",
            "test_what_has_settled_is_handed_in_like_a_webhook_and_the_watermark_follows",
        ),
    ),
    "credential_reloads_total": (
        "nobody changes a secret here",
        "tests/test_renewal.py",
        "test_a_file_that_has_rested_for_a_look_is_read_and_only_its_adapter_is_another_one",
    ),
    "credential_expiry_timestamp_seconds": (
        "lasting keys do not end",
        "tests/test_gauges.py",
        "test_credentials_that_end_are_shown_and_lasting_ones_are_not",
    ),
    "data_dir_free_bytes": (
        "this worker's tables are in memory",
        "tests/test_gauges.py",
        "test_room_on_the_disk_is_shown_where_tables_lie_on_it",
    ),
    "suppression_sync_entries_total": (
        "the first comparison comes half a minute after the start",
        "tests/agents/test_suppression_sync.py",
        "test_the_job_compares_remembers_when_and_counts",
    ),
}
"""Series: why it has no sample here, and the test that feeds it."""


@pytest.fixture(scope="module")
def fleet(apache_kafka: KafkaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("series")
    options = ["--queue", "envelope"]
    with Fleet(folder, apache_kafka.bootstrap, prefix="series.", sandbox=options, ses=SECTIONS) as running:
        running.start_worker("w1")
        running.start_poller()
        yield running


def scraped(fleet: Fleet) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """By series: every sample of the three processes that says something (counters and histograms: above zero)."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {series.name: {} for series in CATALOGUE}
    for url in (pages(fleet, "w1"), fleet.ingress_url, pages(fleet, "poll")):
        text = httpx.get(f"{url}/metrics", timeout=5, trust_env=False).text
        samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        for series in CATALOGUE:
            name = f"{PREFIX}{series.name}{'_count' if series.kind is Kind.HISTOGRAM else ''}"
            for (sample, labels), value in samples.items():
                if sample == name and (value > 0 or series.kind is Kind.GAUGE):
                    found[series.name][labels] = value
    return found


def pages(fleet: Fleet, process: str) -> str:
    found = re.search(r"/metrics and /health at (http://\S+)", (fleet.folder / f"{process}.log").read_text())
    assert found is not None, fleet.log(process)
    return found[1]


def webhook(fleet: Fleet, event: str, message_id: str = "", **more: Any) -> None:
    """An event that Mailgun's key has signed."""
    stamp, token = str(int(time.time())), hashlib.sha256(f"{event}{message_id}".encode()).hexdigest()[:50]
    signature = hmac.digest(SECRETS["FLEET_SIGNING_KEY"].encode(), f"{stamp}{token}".encode(), "sha256").hex()
    body = {
        "signature": {"timestamp": stamp, "token": token, "signature": signature},
        "event-data": {
            "event": event,
            "id": token[:20],
            "timestamp": time.time(),
            "recipient": "somebody@example.net",
            "user-variables": {"message_id": message_id, "attempt": "1"} if message_id else {},
            **more,
        },
    }
    url = f"{fleet.ingress_url}/webhooks/mailgun"
    assert httpx.post(url, json=body, trust_env=False).status_code == 200


def types_of(fleet: Fleet, identities: set[str]) -> set[EventType]:
    return {event.type for event in fleet.seen.events if event.message_id in identities}


def eventful(fleet: Fleet) -> None:
    """Everything that can happen in half a minute."""
    fates = ("success", "bounce", "complaint", "click", "defer")
    plain = fleet.produce([single(n, fate, idempotency_key=fate) for n, fate in enumerate(fates)])
    plain |= fleet.produce([campaign(1, 20), single(50, provider="ses"), single(51, provider="mailgun")])
    fleet.until("they have ended", lambda: plain <= fleet.seen.ended, 60)
    _unreadable(fleet)
    (sent_by_ses,) = fleet.produce([single(60, provider="ses")])
    fleet.until("SES has it", lambda: sent_by_ses in fleet.seen.ended, 30)
    webhook(fleet, "delivered", sent_by_ses)  # not Mailgun's message
    webhook(fleet, "evaporated")
    webhook(fleet, "opened")  # of which message?
    (delivered,) = fleet.produce([single(61, provider="mailgun")])
    fleet.until("Mailgun has it", lambda: delivered in fleet.seen.ended, 30)
    webhook(fleet, "failed", delivered, severity="temporary", **{"delivery-status": {"code": 450}})  # too late
    httpx.get(f"{fleet.ingress_url}/t/o/made-up", trust_env=False)
    later = int(1000 * (time.time() + 3600))
    fleet.produce([single(70, send_at=later), single(71, send_at=later, stream="bulk")])
    fleet.fault(provider="mailgun", kind="reset_after", count=1)
    (doubtful,) = fleet.produce([single(80, provider="mailgun")])
    wanted = {EventType.UNCERTAIN, EventType.SENT}
    fleet.until("a doubt is settled", lambda: wanted <= types_of(fleet, {doubtful}), 30)
    fleet.fault(provider="mailgun", kind="throttle", count=1)
    fleet.fault(provider="mailgun", kind="reset_before", count=1)
    fleet.until("another provider takes over", lambda: _failed_over(fleet), 30)
    fleet.heal()
    fleet.fault(provider="ses", kind="status", status=403, count=1)  # the tenant gets a mail: it was given up
    (refused,) = fleet.produce([single(85, provider="ses", retry_policy="none")])
    fleet.until("it is given up", lambda: EventType.FAILED in types_of(fleet, {refused}), 30)


def _failed_over(fleet: Fleet) -> bool:
    number = 1000 + len(fleet.seen.events)
    identities = fleet.produce([single(number + n) for n in range(6)])
    fleet.until("they have left", lambda: identities <= fleet.seen.sent, 30)
    return bool(scraped(fleet)["failovers_total"])


def _unreadable(fleet: Fleet) -> None:
    producer = Producer({"bootstrap.servers": fleet.bootstrap})
    producer.produce(f"{fleet.prefix}send-requests", b"\xffnobody can read this")
    assert producer.flush(10) == 0


def test_every_series_is_fed_by_something_real(fleet: Fleet) -> None:
    eventful(fleet)

    def silent() -> list[str]:
        found = scraped(fleet)
        return [series.name for series in CATALOGUE if not found[series.name] and series.name not in NOT_HERE]

    deadline = time.monotonic() + 45  # some are told every ten seconds
    while silent() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ", ".join(silent()) == ""
    stages = {labels[0][1] for labels in scraped(fleet)[STAGE_DURATION.name]}
    assert stages == set(STAGE_DURATION.labels[0].values)


@pytest.mark.parametrize("series", NOT_HERE)
def test_what_is_not_seen_here_is_fed_elsewhere(series: str) -> None:
    reason, file, test = NOT_HERE[series]
    assert reason
    assert series in {one.name for one in CATALOGUE}
    assert test in (ROOT / file).read_text(encoding="utf-8")


def test_every_series_has_somebody_who_feeds_it() -> None:
    registry = (ROOT / "streams/metrics/registry.py").read_text(encoding="utf-8")
    attributes = re.findall(r"self\.(\w+) = self\._(?:counter|gauge|histogram)\(", registry)
    assert len(attributes) == len(CATALOGUE)
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "streams").rglob("*.py"))
    assert [name for name in attributes if len(re.findall(rf"metrics\.{name}\b|self\.{name}\.at", code)) == 0] == []
