"""Mail by SMTP whose bounces come back as mails: sandbox, IMAP server, poller and worker as real processes."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.broker import free_port
from streams.core.event import BounceType, EventType, ReasonKind
from tests.dovecot import PASSWORD, Dovecot, executable, running
from tests.fleet import Fleet, single

pytestmark = pytest.mark.timeout(150)

SECRETS = {"SMTP_PASSWORD": "password-sandbox", "BOX_PASSWORD": PASSWORD, "VERP_KEY": "a key for return paths"}
CONFIG = """\
[kafka]
bootstrap = "{bootstrap}"
profile = "embedded"
partitions = 4
replication_factor = 1
min_insync_replicas = 1
prefix = "{prefix}"
group = "{prefix}streams"

[worker]
port = 0
session_timeout_s = 6
commit_interval_s = 0.2

[ingress]
port = {ingress_port}

[poll]
port = 0

[providers.relay]
type = "smtp"
host = "localhost"
port = {smtp_port}
tls = "implicit"
ca_file = "{data}/smtp-certificate.pem"
username = "sandbox"
password = "env:SMTP_PASSWORD"
return_path = "bounces.example.com"
return_path_key = "env:VERP_KEY"
deadline_s = 5
visibility_delay_s = 2

[mailboxes.returns]
host = "localhost"
port = {imaps_port}
ca_file = "{imap_ca}"
user = "returns"
password = "env:BOX_PASSWORD"
provider = "relay"
verp_secrets = ["env:VERP_KEY"]
after = "delete"
wait_s = 1

[dispatch]
retry = "backoff"
"""
E = EventType
FATES = {
    "success": {E.ACCEPTED, E.SENT},
    "bounce": {E.ACCEPTED, E.SENT, E.BOUNCED},
    "softbounce": {E.ACCEPTED, E.SENT, E.BOUNCED},
    "blocked": {E.ACCEPTED, E.SENT, E.BOUNCED},
    "defer": {E.ACCEPTED, E.SENT, E.DEFERRED},
    "complaint": {E.ACCEPTED, E.SENT, E.COMPLAINED},
    "ooto": {E.ACCEPTED, E.SENT},
}
VERDICTS = {
    "bounce": (BounceType.HARD, ReasonKind.BAD_MAILBOX),
    "softbounce": (BounceType.SOFT, ReasonKind.MAILBOX_FULL),
    "blocked": (BounceType.BLOCK, ReasonKind.POLICY),
}
SUPPRESSED = {"bounce", "complaint"}
EACH = 5


class MailFleet(Fleet):
    """The fleet with an SMTP relay alone, whose bounces an IMAP server shows."""

    def __init__(self, folder: Path, bootstrap: str, *, prefix: str, data: Path, imap: Dovecot) -> None:
        super().__init__(folder, bootstrap, prefix=prefix, profile="embedded")
        self._data = data
        self._smtp_port = free_port()
        self.config.write_text(
            CONFIG.format(
                bootstrap=bootstrap,
                prefix=prefix,
                ingress_port=self.ingress_port,
                smtp_port=self._smtp_port,
                data=data,
                imaps_port=imap.imaps_port,
                imap_ca=imap.ca_file,
            )
        )

    def _start(self) -> None:
        smtp = ["--smtp-port", str(self._smtp_port), "--starttls-port", "0"]
        options = ["--port", str(self.sandbox_port), "--data", str(self._data), "--event-delay", "0.05"]
        self._spawn("sandbox", ["sandbox", *options, *smtp])
        assert self._spawn("topics", ["topics", "create"], SECRETS).wait(30) == 0, self.log("topics")
        self._await(f"{self.sandbox_url}/sandbox/stats")
        self._watcher.start()
        self.start_worker("w1", **SECRETS)
        self.start_polling()

    def start_polling(self) -> None:
        self._processes.pop("poll", None)
        self._spawn("poll", ["poll", "--port", "0", "--json"], SECRETS)

    def stop_polling(self) -> dict[str, Any]:
        assert self._processes["poll"].stop(grace_s=15) == 0, self.log("poll")
        found = json.loads(self.log("poll").strip().splitlines()[-1])["polled"]["returns"]
        return dict(found)


@pytest.fixture
def fleet(embedded_kafka: str, topic_prefix: str, tmp_path: Path) -> Iterator[MailFleet]:
    program = executable()
    if program is None:
        pytest.skip("needs Dovecot (Debian: dovecot-imapd)")
    data = Path(tempfile.mkdtemp(prefix="returns-"))
    try:
        data.chmod(0o755)
        for name in ("maildir", "maildir/cur", "maildir/new", "maildir/tmp"):
            (data / name).mkdir()
            (data / name).chmod(0o777)  # the IMAP server is somebody else
        with (
            running(program, data / "maildir") as imap,
            MailFleet(tmp_path, embedded_kafka, prefix=topic_prefix, data=data, imap=imap) as made,
        ):
            yield made
    finally:
        shutil.rmtree(data, ignore_errors=True)


def told(fleet: Fleet) -> dict[str, Counter[EventType]]:
    found: dict[str, Counter[EventType]] = {}
    for event in list(fleet.seen.events):
        found.setdefault(event.message_id, Counter())[event.type] += 1
    return found


def test_bounces_complaints_and_delays_come_home_by_mail_and_stop_mail_to_dead_addresses(fleet: MailFleet) -> None:
    fate_of: dict[str, str] = {}
    for index, fate in enumerate(FATES):
        for number in range(EACH):
            (identity,) = fleet.produce([single(100 * index + number, fate)])
            fate_of[identity] = fate

    def complete() -> bool:
        seen = told(fleet)
        return all(FATES[fate] <= set(seen.get(identity, ())) for identity, fate in fate_of.items())

    fleet.until("every bounce has come home", complete, 60)
    assert {identity: set(types) for identity, types in told(fleet).items()} == {
        identity: FATES[fate] for identity, fate in fate_of.items()
    }
    for event in fleet.seen.events:
        if event.type is E.BOUNCED:
            assert event.reason is not None
            assert (event.bounce_type, event.reason.kind) == VERDICTS[fate_of[event.message_id]]
            assert (event.provider, event.attempt) == ("relay", 1)

    again: dict[str, str] = {}
    for index, fate in enumerate(FATES):
        request = single(100 * index, fate, idempotency_key=f"again-{fate}")
        (identity,) = fleet.produce([request])
        again[identity] = fate
    fleet.until("all of them are sent or suppressed", lambda: all(
        {E.SENT, E.SUPPRESSED} & set(told(fleet).get(identity, ())) for identity in again
    ), 30)  # fmt: skip
    seen = told(fleet)
    assert {fate for identity, fate in again.items() if E.SUPPRESSED in seen[identity]} == SUPPRESSED

    summary = fleet.stop_polling()
    assert (summary["errors"], summary["trouble"]) == (0, "")
    assert summary["stored"] >= 6 * EACH
    assert len(fleet.seen.events) == len({event.event_id for event in fleet.seen.events})
