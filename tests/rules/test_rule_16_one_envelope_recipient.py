"""Rule 16: whoever gets a copy gets a message of their own; a provider is never given a second address to send it to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streams.core.ids import partition_of, recipient_key_of
from streams.core.message import Mailbox, Role
from streams.core.receipt import ReceiptKind
from streams.core.suppression import Hold, Suppression, SuppressionKind
from streams.serde.internal import packer
from tests.agents.dispatch_desk import PARTITIONS, Desk
from tests.rules.mail import entry, sandbox
from tests.rules.test_rule_07_attempts_are_told_apart import ADAPTERS, adapter, taken

TO, CC = Mailbox("boss@example.net", "Boss"), Mailbox("dan@example.net")
WHOLE = b"From: shop@mg.example.com\r\nTo: boss@example.net\r\nCc: dan@example.net\r\nSubject: x\r\n\r\nbody\r\n"


@pytest.mark.parametrize("name", ADAPTERS)
@pytest.mark.parametrize(
    "parts", [{"visible_to": (TO,), "visible_cc": (CC,)}, {"mime": WHOLE}], ids=["our headers", "a whole MIME message"]
)
async def test_rule_16_visible_recipients_are_not_sent_to(tmp_path: Path, name: str, parts: dict[str, Any]) -> None:
    """Ann is a blind copy: the headers name Boss and Dan, who have messages of their own."""
    async with sandbox(tmp_path) as running:
        lines = await taken(adapter(name, running), tmp_path, entry("ann@example.net"), **parts)
    assert [line["recipient"] for line in lines] == ["ann@example.net"]


async def test_rule_16_a_suppressed_copy_is_not_sent_and_the_others_are() -> None:
    desk = await Desk().open()
    people = {"to@example.net": Role.TO, "cc@example.net": Role.CC, "bcc@example.net": Role.BCC}
    messages = {email: desk.message(email, role=role) for email, role in people.items()}
    gone = messages["cc@example.net"].message_id
    row = packer(Suppression)(Suppression((Hold(SuppressionKind.COMPLAINT, 5),)))
    desk.engine.table("suppressions").put(partition_of(gone, PARTITIONS), recipient_key_of(gone).encode(), row)
    await desk.give(*messages.values())
    assert sorted(desk.sent_to()) == ["bcc@example.net", "to@example.net"]
    assert [r.message_id for r in desk.receipts(ReceiptKind.SUPPRESSED)] == [gone]
