"""One deployment, and what its users see: copies of events by tenant, what was sent, and the pages' own examples."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from streams.client import Client, EndedOtherwise, attachment
from streams.core.event import DeliveryEvent
from streams.kafka import KafkaClient, Record
from streams.serde.events import decode_event
from streams.testing import Deployment, DeploymentFailed

ROOT = Path(__file__).resolve().parents[2]
TOML = """
[tenants.shop]
from = "Shop <hello@mg.example.com>"
events_topic = "events.shop"

[tracking]
public_url = "https://t.example.com"
secrets = ["env:TRACKING_KEY"]
opens = true
clicks = true
"""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    env = {"TRACKING_KEY": "a key of at least 16 bytes"}
    with Deployment(tmp_path_factory.mktemp("deployment"), toml=TOML, env=env) as running:
        running.run("templates", "put", "welcome", "--subject", "Welcome", "--html", "<p>Hello {{ name }}</p>")
        yield running


@pytest.fixture(scope="module")
def client(deployment: Deployment) -> Iterator[Client]:
    with deployment.client() as client:
        yield client


def read(deployment: Deployment, topic: str) -> list[Record]:
    with KafkaClient(deployment.bootstrap) as kafka:
        return list(kafka.read(topic))


# ------------------------------------------------------------------------------------------- a tenant's own topic


def test_the_events_of_a_tenant_are_on_its_own_topic_too(deployment: Deployment, client: Client) -> None:
    ours = client.send("own-1", to="ann@example.net", subject="x", text="x", tenant="shop")
    other = client.send("own-2", to="ben@example.net", subject="x", text="x")
    ours.wait_for("delivered")
    other.wait_for("delivered")
    events = [one for one in read(deployment, "delivery-events") if one.key == ours.message_id.encode()]
    copies = read(deployment, "events.shop")
    assert [(c.partition, c.key, c.value, c.headers) for c in copies] == [
        (e.partition, e.key, e.value, e.headers) for e in events
    ]
    assert {event.tenant for c in copies if isinstance(event := decode_event(c.value), DeliveryEvent)} == {"shop"}


def test_a_record_of_the_topic_tenants_is_enough_and_can_be_taken_back(deployment: Deployment, client: Client) -> None:
    deployment.run("tenants", "put", "late", "--from", "late@mg.example.com", "--events-topic", "events.late")
    seen = 0
    for number in range(50):  # workers hear of it within moments
        client.send(f"late-{number}", to="ann@example.net", subject="x", text="x", tenant="late").wait_for("delivered")
        if seen := len(read(deployment, "events.late")):
            break
    assert seen
    deployment.run("tenants", "remove", "late")


# ------------------------------------------------------------------------------------------- what was sent


def test_what_was_sent_is_shown_as_the_provider_got_it(deployment: Deployment, client: Client, tmp_path: Path) -> None:
    sent = client.send(
        "shown-1",
        to="Änne <aenne@example.net>",
        template_id="welcome",
        data={"name": "Änne & Co"},
        headers={"X-Order": "7"},
        attachments=[attachment(b"%PDF", "r\u00e9sum\u00e9.pdf")],
    )
    sent.wait_for("delivered")
    (mail,) = deployment.sandbox.mails(message_id=sent.message_id)
    shown = json.loads(deployment.run("message", sent.message_id, "--content", "--json"))
    assert (shown["sent"], shown["provider"], shown["attempt"]) == (True, "mailgun", 1)
    assert ["X-Order", "7"] in shown["headers"]
    text, html, file = shown["parts"]
    assert text["content"].strip() == mail.text.strip() == "Hello Änne & Co"

    def without_tokens(page: str) -> str:
        return re.sub(r"(/t/[ocu]/)[A-Za-z0-9_.-]+", r"\1…", page).strip()

    assert without_tokens(html["content"]) == without_tokens(mail.html)
    assert "/t/o/" in mail.html
    assert html["content"].strip() != mail.html.strip()  # the pixel that is shown opens nothing
    assert (file["filename"], file["bytes"]) == ("résumé.pdf", 4)
    path = tmp_path / "sent.eml"
    deployment.run("message", "aenne@example.net", "--eml", str(path))
    assert path.stat().st_mode & 0o077 == 0
    written = message_from_bytes(path.read_bytes(), policy=policy.default)
    assert str(written["To"]) == "Änne <aenne@example.net>"
    plain = deployment.run("message", sent.message_id, "--content")
    assert "Hello Änne & Co" in plain
    assert "--- application/pdf, résumé.pdf, 4 bytes" in plain
    audit = [record for record in read(deployment, "audit-log") if b"message.read" in (record.value or b"")]
    assert len(audit) == 3


def test_a_whole_mail_is_shown_byte_by_byte(deployment: Deployment, client: Client) -> None:
    mime = b"From: a@mg.example.com\r\nTo: b@example.net\r\nSubject: \x1b[2Jred\r\n\r\nHello\x1b]0;x\x07\r\n"
    sent = client.send("whole-1", to="b@example.net", mime=mime)
    sent.wait_for("delivered")
    assert deployment.run("message", sent.message_id, "--eml", "-").encode() == mime.replace(b"\r\n", b"\n")
    shown = deployment.run("message", sent.message_id, "--content")
    assert "\x1b" not in shown
    assert "Hello\ufffd]0;x\ufffd" in shown


def test_what_was_not_handed_over_is_shown_and_said(deployment: Deployment, client: Client) -> None:
    deployment.run("suppressions", "add", "no@example.net", "--reason", "manual")
    sent = client.send("not-sent", to="no@example.net", subject="For later", text="x")
    with pytest.raises(EndedOtherwise):
        sent.wait_for("delivered")
    shown = json.loads(deployment.run("message", sent.message_id, "--content", "--json"))
    assert (shown["sent"], shown["provider"]) == (False, None)
    assert ["Subject", "For later"] in shown["headers"]


def test_what_was_never_taken_in_has_no_content(deployment: Deployment, client: Client) -> None:
    sent = client.send("refused", to="x@example.net", template_id="no-such-template")
    with pytest.raises(EndedOtherwise):
        sent.wait_for("delivered")
    with pytest.raises(DeploymentFailed, match="was never taken in"):
        deployment.run("message", sent.message_id, "--content")


# ------------------------------------------------------------------------------------------- the pages' examples


def blocks(page: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [textwrap.dedent(one) for one in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("number", range(len(blocks("client.md"))))
def test_the_examples_of_the_page_about_the_client_run(
    deployment: Deployment, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "invoice.pdf").write_bytes(b"%PDF")
    for name, value in deployment.environment.items():
        monkeypatch.setenv(name, value)
    source = blocks("client.md")[number].replace("localhost:9092", deployment.bootstrap)
    exec(compile(source, f"docs/client.md, example {number + 1}", "exec"), {"__name__": "__main__"})


def test_the_page_about_tests_shows_the_example_as_it_is() -> None:
    example = (ROOT / "docs" / "examples" / "shop" / "test_shop.py").read_text(encoding="utf-8")
    for block in blocks("testing.md"):
        for piece in re.split(r"\n(?=def |@)", block):
            assert piece.strip() in example or "Deployment(" in piece, piece
