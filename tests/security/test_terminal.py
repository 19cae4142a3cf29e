"""Texts of strangers, on the terminal of whoever looks at them: a bounce may say anything."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
from typing import Any

import pytest

from streams.cli.context import as_json, printable
from streams.cli.logs import OneLine
from streams.cli.suppression_files import FORMATS, Entry, read_entries, written
from streams.core.event import EventType, Reason, ReasonKind, Status
from streams.core.suppression import SuppressionKind
from streams.doctor.diagnosis import as_lines
from streams.doctor.finding import bad
from streams.providers._payload import detail
from streams.providers.mailgun.events import read_events
from tests.cli.conftest import Streams, kafka_settings, on_kafka, run_streams
from tests.cli.test_commands import identity_of, make_event, write_events

__all__ = ["kafka_settings", "on_kafka", "run_streams"]

ORDERS = {
    "a window title": "\x1b]0;owned\x07",
    "clearing the screen": "\x1b[2J\x1b[H",
    "colours that hide": "\x1b[8mhidden\x1b[0m",
    "asking the terminal to type": "\x1b[6n",
    "one byte of control": "\x9b2J",
    "going back over the line": "good\r\x08\x08bad",
    "a line of its own": "\n2030-01-01 00:00:00.000  delivered  forged",
    "another direction": "\u202etxt.exe",
    "isolates": "\u2066abc\u2069",
    "NUL": "\0",
    "a separator": "\u2028forged",
    "markup": "[bold red]x[/] [link=file:///etc/passwd]y[/link]",
    "a spreadsheet's formula": '=HYPERLINK("http://evil.example")',
}
OBEYED = set(map(chr, (*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def obeyed(text: str) -> set[str]:
    return {c for c in text if c in OBEYED} - {"\n"}


@pytest.mark.parametrize("order", ORDERS)
def test_what_a_provider_reports_reaches_an_event_on_one_line_without_orders(order: str) -> None:
    said = f"550 {ORDERS[order]} no"
    assert obeyed(detail(said)) == set()
    assert "\n" not in detail(said)
    event = {"event": "failed", "severity": "permanent", "delivery-status": {"code": 550, "message": said}}
    reading = read_events(json.dumps({"event-data": event}).encode(), 1)
    (sighting,) = reading.sightings  # type: ignore[union-attr]
    assert sighting.reason is not None
    assert obeyed(sighting.reason.detail) == set()


def test_no_command_passes_an_order_to_the_terminal(on_kafka: Streams, embedded_kafka: str, topic_prefix: str) -> None:
    """Neither from events of ours nor from such as an older version, or somebody else, has written."""
    events = []
    for number, text in enumerate(ORDERS.values()):
        reason = Reason(ReasonKind.UNKNOWN, f"5{text}", "", f"no {text} at all")
        identity = identity_of("b@example.net", f"k{number}")
        more: dict[str, Any] = {"url": f"https://x.example/{text}", "user_agent": text, "metadata": {"k": text}}
        events.append(make_event(identity, EventType.BOUNCED, Status.BOUNCED, reason, **more))
    write_events(embedded_kafka, topic_prefix, events)
    for command in (("events",), ("message", "b@example.net"), ("failures",)):
        ran = on_kafka(*command)
        assert ran.code == 0, ran.err
        assert "no " in ran.out
        assert obeyed(ran.out) == obeyed(ran.err) == set(), command
        assert not any(line.startswith("2030-01-01") for line in ran.out.splitlines())
        as_lines = on_kafka(*command, "--json")
        assert obeyed(as_lines.out) == set(), command
        assert [json.loads(line) for line in as_lines.out.splitlines()]


@pytest.mark.parametrize("order", ORDERS)
def test_what_is_shown_keeps_its_words(order: str) -> None:
    assert obeyed(printable(f"before {ORDERS[order]} after")) == set()
    assert printable("Zoë\u00a0 \U0001f600 日本語") == "Zoë\u00a0 \U0001f600 日本語"
    assert json.loads(as_json({"a": ORDERS[order]})) == {"a": ORDERS[order]}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("order", ORDERS)
def test_no_file_of_suppressions_is_obeyed_by_a_terminal_or_a_spreadsheet(form: str, order: str) -> None:
    said = " ".join(ORDERS[order].split())
    entries = [
        Entry("=cmd|'/C'!A0@example.net", SuppressionKind.BOUNCE, "tenant", "acme", note=said),
        Entry("+1-2@example.net", SuppressionKind.BOUNCE, "tenant", "acme", note=f"={said}", source="-x"),
    ]
    text = "".join(written(entries, form))
    assert obeyed(text) == set()
    if form == "csv":
        cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)
    again = list(read_entries(io.BytesIO(text.encode()), form, {}))
    assert [(e.address, e.source) for e in again if isinstance(e, Entry)] == [(e.address, e.source) for e in entries]
    if said.isprintable() or form == "jsonl":
        assert again == entries


@pytest.mark.parametrize("order", ORDERS)
def test_what_doctor_found_is_shown_without_orders(order: str) -> None:
    shown = as_lines([bad("check", f"a record says {ORDERS[order]}", f"look at {ORDERS[order]}")])
    assert obeyed(shown) == set()
    assert len(shown.splitlines()) == 3


@pytest.mark.parametrize("order", ORDERS)
def test_an_entry_of_the_log_is_one_line_without_orders(order: str) -> None:
    try:
        raise ValueError(f"it said {ORDERS[order]}")
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord("streams.x", logging.ERROR, "x.py", 1, "tenant %s", (ORDERS[order],), None)
    assert obeyed(OneLine("%(levelname)s %(message)s").format(record)) == set()
    assert "\n" not in OneLine("%(levelname)s %(message)s").format(record)
    record.exc_info = failure
    assert obeyed(OneLine("%(message)s").format(record)) == set()
    assert "Traceback" in OneLine("%(message)s").format(record)
