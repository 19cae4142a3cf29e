"""A test environment with everything running: whatever is asked for, only the allowed and the one inbox get mail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.core.ids import message_id, recipient_key
from streams.demo.config import SECRETS
from streams.demo.system import DemoSystem
from tests.e2e.waiting import Recorded, until

ROOT = Path(__file__).parents[2]
STAGING = '\n[staging]\nallow = ["@ours.example"]\nredirect = "inbox@ours.example"\n'

pytestmark = pytest.mark.timeout(120)


class StagedSystem(DemoSystem):
    """The demo's processes in a test environment."""

    def _write_config(self, ingress_port: int, worker_port: int) -> Path:
        path = super()._write_config(ingress_port, worker_port)
        path.write_text(path.read_text(encoding="utf-8") + STAGING, encoding="utf-8")
        return path


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StagedSystem]:
    with StagedSystem(tmp_path_factory.mktemp("staging"), "stg") as running:
        running.start(lambda _: None)
        yield running


def streams(system: DemoSystem, *arguments: str) -> Any:
    env = {**os.environ, **SECRETS, "STREAMS_CONFIG": str(system.folder / "streams.toml"), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "streams", *arguments, "--json"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def request(key: str, *emails: str, **more: Any) -> dict[str, Any]:
    return {
        "idempotency_key": key,
        "from": {"email": "shop@mg.example.com"},
        "recipients": [{"email": email} for email in emails],
        **({} if "mime" in more else {"subject": "Hi", "html": "<p>Hello</p>"}),
        **more,
    }


def identity(key: str, address: str) -> str:
    return message_id("default", key, recipient_key("default", address))


def test_nobody_outside_is_reached_by_any_kind_of_request_and_suppression_still_holds(
    system: StagedSystem, tmp_path: Path
) -> None:
    streams(system, "suppressions", "add", "*.rival.example", "--everywhere")
    streams(system, "suppressions", "add", "asked@customer.example", "--note", "by phone")
    recorded, ids = Recorded(system), set()
    for provider in ("mailgun", "ses"):
        people = [f"{provider}{number}@customer.example" for number in range(5)] + [f"{provider}@ours.example"]
        requests = [
            request(f"campaign-{provider}", *people, provider=provider, stream="bulk"),
            request(f"copies-{provider}", "boss@customer.example", cc=[{"email": "cc@customer.example"}], bcc=[{"email": "bcc@customer.example"}], provider=provider),
            request(f"whole-{provider}", "mime@customer.example", mime="RnJvbTogc2hvcEBtZy5leGFtcGxlLmNvbQ0KVG86IG1pbWVAY3VzdG9tZXIuZXhhbXBsZQ0KU3ViamVjdDogeA0KDQpib2R5DQo=", provider=provider),
        ]  # fmt: skip
        file = tmp_path / f"{provider}.json"
        file.write_text(json.dumps(requests))
        ids |= set(streams(system, "send", str(file))["message_ids"])
    assert len(ids) == 2 * 10
    stopped = {identity("stop", address) for address in ("x@mail.rival.example", "asked@customer.example")}
    file = tmp_path / "stop.json"
    file.write_text(json.dumps(request("stop", "x@mail.rival.example", "asked@customer.example")))
    streams(system, "send", str(file))
    until("every message has an end", lambda: ids | stopped <= recorded.ended(), system, describe=recorded.ended)

    lines = [line for line in map(json.loads, system.ledger()) if "recipient" in line and "variables" in line]
    assert {line["recipient"] for line in lines} == {"inbox@ours.example", "mailgun@ours.example", "ses@ours.example"}
    assert {line["variables"]["message_id"] for line in lines} == ids
    assert recorded.of_type("message.suppressed") == stopped
    told = {e["message_id"]: e["reason"] for e in recorded.events() if e["type"] == "message.sent"}
    redirected = {one for one, reason in told.items() if reason and reason["kind"] == "staging"}
    assert len(ids - redirected) == 2, "only those that staging allows went as they were"
    listed = streams(system, "suppressions", "list")
    assert {entry["address"] for entry in listed} == {"*.rival.example", "asked@customer.example"}
