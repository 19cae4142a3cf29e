"""Every composed bounce reads as the table says: recipient, kind, reason, effect, and whose mail it was."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.bounces import Report, read_mail
from tests.bounces.compose import KEY, compose

PAYLOADS = Path(__file__).parent.parent / "payloads" / "bounces"


def table() -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    with (PAYLOADS / "expected.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            found.setdefault(row["file"], []).append(row)
    return found


EXPECTED = table()


def rows_of(file: str, report: Report) -> Iterator[dict[str, str]]:
    whose = {"message_id": report.message_id, "attempt": str(report.attempt)}
    nothing = {"kind": "", "recipient": "", "reason": "", "bounce": "", "suppress": "no"}
    for verdict in report.verdicts or (None,):
        said = nothing if verdict is None else {
            "kind": verdict.kind.value,
            "recipient": verdict.recipient,
            "reason": verdict.reason.kind.value if verdict.reason else "",
            "bounce": verdict.bounce_type.value if verdict.bounce_type else "",
            "suppress": "yes" if verdict.suppress else "no",
        }  # fmt: skip
        yield {"file": file, "form": report.form.value, **said, **whose}


def test_there_are_at_least_two_hundred_mails() -> None:
    assert len(EXPECTED) >= 200
    assert {path.name for path in PAYLOADS.glob("*.eml")} == set(EXPECTED)


@pytest.mark.parametrize("file", EXPECTED, ids=lambda file: file.removesuffix(".eml"))
def test_a_bounce_reads_as_the_table_says(file: str) -> None:
    report = read_mail((PAYLOADS / file).read_bytes(), [KEY])
    assert list(rows_of(file, report)) == EXPECTED[file]


def test_the_files_are_what_the_composer_writes() -> None:
    mails = compose()
    assert {name: (PAYLOADS / name).read_bytes() for name in mails.files} == mails.files


def test_a_mail_with_other_line_ends_reads_the_same() -> None:
    for file in EXPECTED:
        raw = (PAYLOADS / file).read_bytes()
        if b"\r" not in raw:
            assert rows(file, raw.replace(b"\n", b"\r\n")) == rows(file, raw), file


def rows(file: str, raw: bytes) -> list[dict[str, str]]:
    return list(rows_of(file, read_mail(raw, [KEY])))
