"""Real mails: the test mails of Python's own e-mail package, many of them broken on purpose, through both providers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from streams.cli.mail_files import MailFile, read_mail
from streams.core.ids import fingerprint, message_id, recipient_key
from streams.demo.config import SECRETS
from streams.demo.system import DemoSystem
from tests.e2e.waiting import Recorded, until

ROOT = Path(__file__).parents[2]


def mails() -> list[Path]:
    spec = find_spec("test")
    places = spec.submodule_search_locations if spec else None
    folders = [Path(place) / "test_email" / "data" for place in places or ()]
    return sorted(path for folder in folders for path in folder.glob("msg_*.txt"))


pytestmark = [
    pytest.mark.skipif(not mails(), reason="this interpreter comes without test/test_email/data"),
    pytest.mark.timeout(120),
]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSystem]:
    with DemoSystem(tmp_path_factory.mktemp("eml"), "eml") as running:
        running.start(lambda _: None)
        yield running


def send_files(system: DemoSystem, provider: str) -> tuple[int, dict[str, Any], str]:
    config = system.folder / "streams.toml"
    env = {**os.environ, **SECRETS, "STREAMS_CONFIG": str(config), "PYTHONPATH": str(ROOT)}
    files = [str(path) for path in mails()]
    argv = [
        sys.executable,
        "-m",
        "streams",
        "send",
        "--json",
        "--provider",
        provider,
        "--tenant",
        provider,
        "--eml",
        *files,
    ]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


@pytest.mark.parametrize("provider", ["mailgun", "ses"])
def test_every_mail_is_sent_as_it_is_or_refused_with_a_reason(system: DemoSystem, provider: str) -> None:
    code, answer, said = send_files(system, provider)
    read = {str(path): read_mail(path.read_bytes()) for path in mails()}
    good = {path: mail for path, mail in read.items() if isinstance(mail, MailFile)}
    assert good, "no mail could be read"
    assert len(good) < len(read), "no mail was refused"
    assert code == 1
    assert "were refused" in said
    assert "Traceback" not in said
    assert {entry["source"] for entry in answer["refused"]} == read.keys() - good.keys()
    assert all(len(entry["reason"]) > 15 for entry in answer["refused"])
    assert answer["requests"] == len(good)

    ids = set(answer["message_ids"])
    assert len(ids) == sum(len(mail.recipients) for mail in good.values())
    recorded = Recorded(system)
    until("every mail has an end", lambda: ids <= recorded.ended(), system, describe=lambda: ids - recorded.ended())

    lines = [json.loads(line) for line in system.ledger()]
    taken = {line["variables"]["message_id"]: line for line in lines if line.get("provider") == provider}
    suppressed = recorded.of_type("message.suppressed")
    assert ids == set(taken) | (suppressed & ids)
    for path, mail in good.items():
        for recipient in mail.recipients:
            line = taken.get(identity(provider, mail, recipient.email))
            if line is not None:  # else suppressed: an earlier mail to this address bounced
                copy = system.rendered(line["call_id"], recipient.email)["mime"]
                assert words(mail.mime.decode("utf-8", "replace")) == words(copy), Path(path).name


def words(text: str) -> list[str]:
    """A mail without its white space: line ends and the last one may change on the way."""
    return text.split()


def identity(tenant: str, mail: MailFile, address: str) -> str:
    return message_id(tenant, f"eml-{fingerprint(mail.mime)}", recipient_key(tenant, address))
