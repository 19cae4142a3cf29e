"""What the package index says against a release is a finding; what it does not say is not looked up."""

from __future__ import annotations

from typing import Any

import pytest

from tests.supply.index import ask_index
from tests.supply.locks import Pin
from tests.supply.stand_in import Answer, served

HASH, OTHER = "a" * 64, "b" * 64
PIN = Pin("h11", "0.16.0", None, (HASH,))
TYPE = "application/vnd.pypi.simple.v1+json"


def file(version: str = "0.16.0", sha256: str = HASH, *, yanked: bool | str = False) -> dict[str, Any]:
    name = f"h11-{version}-py3-none-any.whl"
    return {"filename": name, "url": f"http://127.0.0.1/{name}", "hashes": {"sha256": sha256}, "yanked": yanked}


def page(*files: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"meta": {"api-version": "1.4"}, "name": "h11", "files": list(files), "versions": [], **more}


@pytest.mark.parametrize(
    ("content", "findings"),
    [
        (page(file()), ()),
        (page(file(), file("0.15.0", OTHER, yanked="broken")), ()),
        (page(file(yanked="broken")), ("h11 0.16.0 was yanked: broken",)),
        (page(file(yanked=True)), ("h11 0.16.0 was yanked: no reason given",)),
        (page(file(), file(sha256=OTHER, yanked="one file")), ("h11 0.16.0 was yanked: one file",)),
        (page(file(sha256=OTHER)), ("h11 0.16.0: the index has no file with one of the locked hashes",)),
        (page(file("0.16")), ()),
        (
            page(file(), **{"project-status": {"status": "quarantined", "reason": "malware"}}),
            ("h11 0.16.0 is quarantined by the index: malware",),
        ),
    ],
)
def test_a_release_is_as_the_index_says(content: dict[str, Any], findings: tuple[str, ...]) -> None:
    with served(lambda path, _: (200, TYPE, content if path == "/simple/h11/" else {})) as address:
        answer = ask_index([PIN], f"{address}/simple")
    assert (answer.findings, answer.looked_up, answer.unchecked) == (findings, 1, ())


def test_an_index_that_speaks_html_alone_is_understood_as_well() -> None:
    link = f'<a href="h11-0.16.0-py3-none-any.whl#sha256={HASH}" data-yanked="broken">h11-0.16.0-py3-none-any.whl</a>'
    with served(lambda *_: (200, "text/html", f"<!DOCTYPE html><html><body>{link}</body></html>")) as address:
        answer = ask_index([PIN], f"{address}/simple")
    assert answer.findings == ("h11 0.16.0 was yanked: broken",)


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ((404, "text/plain", ""), "the index does not know h11"),
        ((503, "text/plain", ""), "h11: HTTPError"),
        ((200, "image/png", ""), "h11: UnsupportedContentTypeError"),
    ],
)
def test_what_the_index_does_not_say_was_not_looked_up(reply: Answer, why: str) -> None:
    with served(lambda *_: reply) as address:
        answer = ask_index([PIN], f"{address}/simple")
    assert (answer.findings, answer.looked_up, answer.unchecked) == ((), 0, (why,))


def test_an_index_that_cannot_be_reached_is_told_without_its_address_and_password() -> None:
    with served(lambda *_: (200, TYPE, {})) as address:
        gone = address.replace("http://", "http://user:hunter2@")
    answer = ask_index([PIN], f"{gone}/simple")
    assert (answer.looked_up, answer.unchecked) == (0, ("h11: ConnectionError",))


def test_nobody_waits_a_second_time_for_an_index_that_is_away() -> None:
    asked: list[str] = []

    def answer(path: str, _: bytes) -> Answer:
        asked.append(path)
        return 500, "text/plain", ""

    pins = [Pin(f"package-{number}", "1.0", None, (HASH,)) for number in range(200)]
    with served(answer) as address:
        found = ask_index(pins, f"{address}/simple")
    assert len(asked) < 20
    assert len(found.unchecked) == 200
    assert found.unchecked[-1] == "package-199: not asked"
