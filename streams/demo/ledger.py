"""The sandbox's ledger in the oracle's terms. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from streams.demo.oracle import Accepted, Reported


def read_ledger(lines: Iterable[str]) -> tuple[list[Accepted], list[Reported]]:
    """What providers accepted, and what they reported."""
    accepted: list[Accepted] = []
    reported: list[Reported] = []
    for line in (json.loads(text) for text in lines if text):
        identity = str(line.get("variables", {}).get("message_id", ""))
        if "plan" in line:
            accepted.append(Accepted(line["provider"], identity, line["subject"], line["accepted_ms"]))
        elif "webhook" in line:
            delivered = line["answer"] == "delivered"
            reported.append(Reported(line["webhook"], identity, line["event"], line["event_id"], delivered))
    return accepted, reported
