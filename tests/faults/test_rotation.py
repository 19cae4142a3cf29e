"""Secrets are rotated under load: no send fails, and once a process has said that it has the new ones it uses no other.

Two workers, the ingress and a poller run with their secrets in files. Each rotation goes the way that docs/secrets.md
describes: both keys are good at the provider, the files are replaced, every process reports, the old key is revoked. A
key and its secret (SES) lie in two files that are replaced one after the other. Half of the rotations wait until the
change is noticed, the others ask for it by SIGHUP. At the end one fails half-way: an empty file.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from streams.core.event import EventType
from tests.brokers import KafkaServer
from tests.faults.figures import Figures
from tests.faults.load import Load
from tests.fleet import Fleet, single

WORKERS = ("w1", "w2")
READERS = {"mailgun": (*WORKERS, "ingress"), "ses": (*WORKERS, "poll")}
"""Who reports, by provider. (The others have these secrets too, but nothing to do with them.)"""
QUEUE = """
sqs_queue_url = "{sandbox}/111122223333/ses-events"
sqs_endpoint_url = "{sandbox}"
sqs_wait_s = 1
"""
GRACE_S = 1.0
"""How long after the last report the old keys are revoked."""
REFUSED = (401, 403)


class Vault:
    """The files with the secrets, and the providers' side of them. Keys are numbered: 0 is what a fleet begins with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.sandbox_url = ""
        for name, text in (*self.ses(0).items(), ("api", self.api(0)), ("sign", self.sign(0)), ("next", self.sign(0))):
            self.write(name, text)

    def api(self, number: int) -> str:
        return f"key-{number}"

    def sign(self, number: int) -> str:
        return f"signing-key-{number}"

    def ses(self, number: int) -> dict[str, str]:
        return {"id": f"AKIASANDBOX{number:09d}", "secret": f"secret-{number}"}

    def write(self, name: str, text: str) -> None:
        """All at once, as secrets are mounted."""
        (self.folder / "new").write_text(f"{text}\n")
        (self.folder / "new").rename(self.folder / name)

    def environment(self) -> dict[str, str]:
        """The settings that name the files."""
        file = f"file:{self.folder}"
        return {
            "STREAMS_PROVIDERS__MAILGUN__API_KEY": f"{file}/api",
            "STREAMS_PROVIDERS__MAILGUN__SIGNING_KEYS": f"{file}/sign,{file}/next",
            "STREAMS_PROVIDERS__SES__ACCESS_KEY_ID": f"{file}/id",
            "STREAMS_PROVIDERS__SES__SECRET_ACCESS_KEY": f"{file}/secret",
        }

    def allow(self, *numbers: int) -> None:
        """These keys are good at the providers, and no others."""
        self._put("mailgun", {"api_keys": [self.api(number) for number in numbers]})
        self._put("ses", {pair["id"]: pair["secret"] for pair in map(self.ses, numbers)})

    def sign_with(self, number: int) -> None:
        """Mailgun signs its webhooks with it from now on."""
        self._put("mailgun", {"signing_key": self.sign(number)})

    def _put(self, provider: str, content: dict[str, Any]) -> None:
        httpx.put(f"{self.sandbox_url}/sandbox/{provider}/keys", json=content, timeout=10).raise_for_status()


def reports(fleet: Fleet, process: str, provider: str) -> int:
    """How often that process has said that it uses new secrets."""
    log = (fleet.folder / f"{process}.log").read_text(encoding="utf-8")
    return log.count(f"credentials of {provider} were read anew")


def counts(fleet: Fleet) -> dict[tuple[str, str], int]:
    return {(name, provider): reports(fleet, name, provider) for provider, who in READERS.items() for name in who}


def rotate(fleet: Fleet, vault: Vault, number: int, *, ask: bool) -> dict[str, float]:
    """To the keys of that number; answers when all had reported (epoch ms) and how long that took."""
    vault.allow(number - 1, number)
    signed = reports(fleet, "ingress", "mailgun")
    vault.write("next", vault.sign(number))
    fleet.until("the ingress takes both", lambda: reports(fleet, "ingress", "mailgun") > signed, 30)
    vault.sign_with(number)
    before, began_s = counts(fleet), time.monotonic()
    vault.write("api", vault.api(number))
    for name, text in vault.ses(number).items():
        vault.write(name, text)
        time.sleep(0.3 if not ask else 0)  # a rotation by a slow script
    if ask:
        for name in (*WORKERS, "ingress", "poll"):
            fleet.process(name).signal(signal.SIGHUP)

    def all_reported() -> bool:
        return all(count > before[who] for who, count in counts(fleet).items() if who != ("ingress", "mailgun"))

    fleet.until("every process has reported", all_reported, 60)
    reported_ms, took_s = time.time() * 1000, time.monotonic() - began_s
    time.sleep(GRACE_S)
    vault.allow(number)
    vault.write("sign", vault.sign(number))
    return {"reported_ms": reported_ms, "took_s": took_s}


def forged(fleet: Fleet, key: str) -> int:
    """What a webhook with this key is answered."""
    stamp, token = str(int(time.time())), uuid.uuid4().hex + uuid.uuid4().hex[:18]
    proof = hmac.digest(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hex()
    body = {"signature": {"timestamp": stamp, "token": token, "signature": proof}, "event-data": {"event": "opened"}}
    return httpx.post(f"{fleet.ingress_url}/webhooks/mailgun", content=json.dumps(body), trust_env=False).status_code


@pytest.mark.timeout(180)
def test_rotation_under_load(
    apache_kafka: KafkaServer, topic_prefix: str, tmp_path: Path, sized: Callable[[int, int], int], figures: Figures
) -> None:
    vault, rounds = Vault(tmp_path / "vault"), sized(6, 2)
    options = {"sandbox": ["--queue", "envelope"], "ses": QUEUE, "environment": vault.environment()}
    with Fleet(tmp_path / "fleet", apache_kafka.bootstrap, prefix=topic_prefix, **options) as fleet:  # type: ignore[arg-type]
        vault.sandbox_url = fleet.sandbox_url
        vault.allow(0)
        vault.sign_with(0)
        for name in WORKERS:
            fleet.start_worker(name)
        fleet.start_poller()
        fleet.until("they are ready", lambda: all(map(fleet.is_ready, WORKERS)), 60)
        with Load(fleet, sized(300, 150)) as load:
            fleet.until("mail flows", lambda: len(fleet.seen.sent) > 100, 30)
            done = [rotate(fleet, vault, number, ask=not number % 2) for number in range(1, rounds + 1)]
        fleet.until("every message has ended", lambda: fleet.seen.ended >= load.ids, 120)
        fleet.until("all is reported", lambda: not fleet.stats()["pending_webhooks"], 60)
        figures.note("rotations of all keys", rounds)
        figures.note("from the new files to the last report, at most", max(one["took_s"] for one in done), "s")
        figures.account(fleet.account(load.ids), twice_if_uncertain=False)
        judge(fleet, vault, done, figures)
        half_way(fleet, vault, rounds, figures)


def judge(fleet: Fleet, vault: Vault, done: list[dict[str, float]], figures: Figures) -> None:
    """What the providers have seen of it."""
    calls = {provider: fleet.calls(provider) for provider in ("mailgun", "ses")}
    late = []
    for number, one in enumerate(done, 1):
        old = {vault.api(number - 1), vault.ses(number - 1)["id"]}
        late += [
            call for told in calls.values() for call in told
            if call["key"] in old and call["began_ms"] > one["reported_ms"]
        ]  # fmt: skip
    sends = [call for told in calls.values() for call in told if call["sends"]]
    failed = [event for event in fleet.seen.events if event.type in (EventType.FAILED, EventType.REJECTED)]
    figures.note("calls", len(sends))
    figures.none("failed sends", [event.message_id for event in failed if event.reason])
    figures.none("calls that a provider refused for their key", [c for c in sends if c["status"] in REFUSED])
    figures.none("calls with an old key after the reload was reported", late)
    figures.equal(
        "attempts that failed for credentials",
        sum(fleet.metric(name, "streams_provider_attempts_total", outcome="auth") for name in WORKERS),
        0,
    )
    refused = fleet.metric("ingress", "streams_ingress_requests_total", result="bad_signature")
    figures.equal("webhooks refused for their signature", refused, 0)
    log = (fleet.folder / "poll.log").read_text(encoding="utf-8")
    figures.none("errors of the poller", [line for line in log.splitlines() if " ERROR " in line])


def half_way(fleet: Fleet, vault: Vault, last: int, figures: Figures) -> None:
    """The old signing key is refused; an empty file changes nothing, and is told."""
    old, new = vault.sign(last - 1), vault.sign(last)
    fleet.until("the old signing key is forgotten", lambda: forged(fleet, old) == 406, 30)
    figures.equal("answer to a webhook signed with the last key but one", forged(fleet, old), 406)
    figures.equal("answer to a webhook signed with the last key", forged(fleet, new), 200)
    vault.write("api", "")
    for name in WORKERS:
        fleet.until(
            "it says that it keeps the old key",
            lambda name=name: fleet.metric(name, "streams_credential_reloads_total", result="failed") >= 1,
            30,
        )
    ids = fleet.produce(single(900_000 + n, provider="mailgun") for n in range(50))
    fleet.until("mail flows all the same", lambda: fleet.seen.ended >= ids, 60)
    figures.none("lost after a rotation that failed half-way", fleet.account(ids).lost)
    said = [name for name in WORKERS if "mailgun keeps its credentials: " in fleet.log(name)]
    figures.equal("workers that say so in the log", len(said), len(WORKERS))
